"""What agents asked of their servers: the values of a recording, and what makes one that can be replayed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.errors import did_you_mean

SHORT = 16
"""Hexadecimal digits of a short hash."""

MOST_PAUSE_MS = 86_400_000.0
"""The longest pause, a day."""

ENDS = {
    "complete": "every agent ended by itself",
    "interrupted": "the recording was interrupted",
    "failed": "an agent or a server failed",
    "size limit": "the size limit was reached",
}
"""How a recording can have ended."""

_PATH = re.compile(r"/[!-~]*")
_FIGURES = ("pause_ms", "body_bytes", "input_tokens", "output_tokens", "e2e_ms")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One request for text or embeddings.

    Attributes:
        id: an id that is unique in the recording; requests are in the order sent.
        agent: the agent that sent it.
        path: the path below the server's base address.
        after: ids of the requests whose ends it waits for.
        pause_ms: time from the last of these ends to the request; without any, from the start of the recording.
        body: the JSON object that was sent; None if it was not kept.
        body_bytes, body_sha256: size and hash of a body that was not kept.
        stream: whether a body that was not kept requested a stream.
        input_tokens, output_tokens: the server's token counts; 0 if it did not count.
        e2e_ms: time from the request to the end of its answer; not replayed.
        done_reason: why the answer ended; not replayed.
    """

    id: int
    agent: str
    path: str
    after: tuple[int, ...] = ()
    pause_ms: float = 0.0
    body: Mapping[str, Any] | None = None
    body_bytes: int = 0
    body_sha256: str = ""
    stream: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    e2e_ms: float = 0.0
    done_reason: str = ""

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise ValueError(fault)

    def _fault(self) -> str:
        """What is wrong with it by itself; empty if nothing is."""
        of_no_body = self.body_bytes or self.body_sha256 or self.stream
        faults = {
            f"id is {self.id}, wanted 1 or more": self.id < 1,
            "agent is empty, wanted the name of an agent": not self.agent,
            "path is not the path of an address, wanted one such as /api/chat": not _PATH.fullmatch(self.path),
            f"pause_ms is {self.pause_ms:g}, wanted at most {MOST_PAUSE_MS:.0f}, a day": self.pause_ms > MOST_PAUSE_MS,
            "there is neither a body nor its size, wanted body, or body_bytes or input_tokens": (
                self.body is None and not (self.body_bytes or self.input_tokens)
            ),
            "body_sha256 is no hash, wanted 64 hex digits": (
                bool(self.body_sha256) and not _SHA256.fullmatch(self.body_sha256)
            ),
            "body is given, and also body_bytes, body_sha256 or stream, which are for bodies that were not kept": (
                self.body is not None and of_no_body
            ),
            **{f"{name} is {getattr(self, name)}, wanted 0 or more": getattr(self, name) < 0 for name in _FIGURES},
        }
        return next((fault for fault, is_there in faults.items() if is_there), "")

    @property
    def streamed(self) -> bool:
        """Whether it asks for a stream, as far as the body says it; Ollama's own API streams unless told not to."""
        if self.body is None:
            return self.stream
        return self.body.get("stream", self.path.startswith("/api/")) is True

    @property
    def work(self) -> list[Any]:
        """What is replayed of it, as JSON values."""
        kept = self.body if self.body is not None else [self.body_sha256, self.input_tokens, self.output_tokens]
        return [self.agent, self.path, list(self.after), round(float(self.pause_ms), 3), kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The requests of one run of several agents.

    Attributes:
        agents: the agents' names, in the order of the scenario; each has at least one request.
        requests: the requests in the order sent.
        model: the model's name on the servers; in replayed bodies it is replaced with the deployment's model.
        recorded_at: ISO 8601 with the zone; empty if unknown.
        source: the origin of the recording, in words.
        redacted: the fields that were redacted.
        end: how the recording ended, one of ENDS.
    """

    agents: tuple[str, ...]
    requests: tuple[RecordedRequest, ...]
    model: str = ""
    recorded_at: str = ""
    source: str = ""
    redacted: tuple[str, ...] = ()
    end: str = "complete"

    @property
    def sha256(self) -> str:
        """A hash of what is replayed, not of the file's spelling."""
        return hashed([[self.model, list(self.agents)], *(request.work for request in self.requests)])

    @property
    def short_sha256(self) -> str:
        """The beginning of the hash, for texts."""
        return self.sha256[:SHORT]

    def of(self, agent: str) -> tuple[RecordedRequest, ...]:
        """The requests of one agent."""
        return tuple(request for request in self.requests if request.agent == agent)


def hashed(values: Sequence[Any]) -> str:
    """SHA-256 of JSON values, 64 hex digits."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def agents_fault(agents: Sequence[str]) -> str:
    """What is wrong with the names of agents; empty if nothing is."""
    if not agents:
        return "agents is empty, wanted the names of one agent or more"
    if "" in agents:
        return "agents holds an empty name"
    if twice := [name for name in agents if agents.count(name) > 1]:
        return f"agents holds {twice[0]!r} twice, wanted each name once"
    return ""


def place_fault(request: RecordedRequest, agents: Sequence[str], before: Mapping[int, RecordedRequest]) -> str:
    """The fault of a request's agent, id or order in its recording; empty if there is none.

    Args:
        request: the request to check.
        agents: the agents of the recording.
        before: the requests before it, by id.
    """
    if request.agent not in agents:
        wanted = f"wanted one of {', '.join(agents)}{did_you_mean(request.agent, agents)}"
        return f"agent is {request.agent!r}, which is no agent of the recording; {wanted}"
    if request.id in before:
        return f"id {request.id} is there before, wanted an id of its own"
    if unknown := [id_ for id_ in request.after if id_ not in before]:
        return f"after has {unknown[0]}, which is no request before this one"
    return ""
