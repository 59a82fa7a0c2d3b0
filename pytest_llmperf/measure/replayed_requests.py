"""The bodies of recorded requests, as they are sent again."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import AgentRun, AnyAgent, Instance, RecordedAgent
from pytest_llmperf.model.model_names import same_model
from pytest_llmperf.recordings.filler import filler_of_tokens
from pytest_llmperf.recordings.recorded_requests import RecordedRequest

Body = dict[str, Any]

REPLAY_NOTE = (
    "recorded requests are the same in every round: a server's prompt cache may make later rounds faster than the first"
)
"""A note for the measurement if an agent was recorded."""

PROBE_TOKENS = 8
"""Size of the request that shows how many tokens a server adds to a prompt."""

_BYTES_A_TOKEN = 4
"""The assumed bytes per token of a body whose tokens were not counted."""


def _ollama(text: str, tokens: int, stream: bool) -> Body:
    return {"prompt": text, "stream": stream, "options": {"num_predict": tokens, "temperature": 0}}


def _chat(text: str, tokens: int, stream: bool) -> Body:
    body = _ollama(text, tokens, stream)
    return {"messages": [{"role": "user", "content": body.pop("prompt")}], **body}


def _completions(text: str, tokens: int, stream: bool) -> Body:
    options = {"stream_options": {"include_usage": True}} if stream else {}
    return {"prompt": text, "max_tokens": tokens, "temperature": 0, "stream": stream, **options}


def _chat_completions(text: str, tokens: int, stream: bool) -> Body:
    body = _completions(text, tokens, stream)
    return {"messages": [{"role": "user", "content": body.pop("prompt")}], **body}


def _responses(text: str, tokens: int, stream: bool) -> Body:
    return {"input": text, "max_output_tokens": tokens, "temperature": 0, "stream": stream}


def _messages(text: str, tokens: int, stream: bool) -> Body:
    messages = [{"role": "user", "content": text}]
    return {"messages": messages, "max_tokens": tokens, "temperature": 0, "stream": stream}


_FILLED: Mapping[str, Callable[[str, int, bool], Body]] = {
    "/api/generate": _ollama,
    "/api/chat": _chat,
    "/v1/chat/completions": _chat_completions,
    "/v1/completions": _completions,
    "/v1/responses": _responses,
    "/v1/messages": _messages,
    "/api/embed": lambda text, *_: {"input": text},
    "/api/embeddings": lambda text, *_: {"prompt": text},
    "/v1/embeddings": lambda text, *_: {"input": text},
}
"""By the end of a path: a body with this text that asks for at most this many tokens, streamed or not."""


class ReplayedBodies:
    """Makes the bodies.

    Args:
        model: the model's name on the servers here.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._added: dict[str, int] = {}

    def of(self, agent: RecordedAgent, request: RecordedRequest) -> Body:
        """The body of a request: as recorded, for the model here; if it was not kept, filler of as many tokens."""
        if request.body is None:
            tokens = max(1, _tokens_of(request) - self._added.get(request.path, 0))
            text = filler_of_tokens(tokens, first=zlib.crc32(agent.name.encode()))
            return self._filled(request.path, text, max(1, request.output_tokens), request.stream)
        body = dict(request.body)
        if not agent.model or same_model(str(body.get("model", agent.model)), agent.model):
            body["model"] = self._model
        return body

    def probe(self, path: str) -> Body:
        """A small body for a path; `learn` takes the number of tokens that the server counted in it."""
        return self._filled(path, filler_of_tokens(PROBE_TOKENS), 1, False)

    def learn(self, path: str, counted: int) -> None:
        """Notes how many tokens the server's template adds to the text."""
        self._added[path] = max(0, counted - PROBE_TOKENS)

    def _filled(self, path: str, text: str, tokens: int, stream: bool) -> Body:
        make = next((made for end, made in _FILLED.items() if path.endswith(end)), None)
        if make is None:
            raise UsageError(
                f"a request to {path} cannot be replayed without its body", next_step="record it again with bodies"
            )
        return {"model": self._model, **make(text, tokens, stream)}


def _tokens_of(request: RecordedRequest) -> int:
    """The size of a prompt, as counted or estimated."""
    return request.input_tokens or request.body_bytes // _BYTES_A_TOKEN


def recorded(agent: RecordedAgent, instance: Instance) -> tuple[RecordedRequest, ...]:
    """The requests of an agent, to be sent to an instance.

    Raises:
        UsageError: they cannot.
    """
    if not agent.requests:
        raise UsageError(
            f"agent {agent.name} comes from a stored record, which has only the hash of its requests: {agent.work}",
            next_step="create the scenario again: Scenario.from_recording(...)",
        )
    ollamas = next((request.path for request in agent.requests if request.path.startswith("/api/")), "")
    if ollamas and instance.api == "openai":
        raise UsageError(
            f"agent {agent.name} was recorded with {ollamas}, which an OpenAI-compatible server does not have",
            next_step="replay it on an Ollama, or record it again with an agent that uses /v1",
        )
    return agent.requests


def difference_note(agents: Sequence[AnyAgent], runs: Sequence[AgentRun]) -> str:
    """A note if replayed requests have other token counts than the recording; empty if they have the same.

    Args:
        agents: the agents of a scenario.
        runs: the runs of these agents in one part.
    """
    compared = [
        (agent.name, position + 1, request, timing)
        for agent, run in zip(agents, runs, strict=True)
        if isinstance(agent, RecordedAgent)
        for position, (request, timing) in enumerate(zip(agent.requests, run.requests, strict=False))
        if request.output_tokens and timing.eval_count and request.done_reason != "cancelled"
    ]
    differing = [
        (name, number, request, timing)
        for name, number, request, timing in compared
        if (request.input_tokens or timing.prompt_eval_count, request.output_tokens)
        != (timing.prompt_eval_count, timing.eval_count)
    ]
    if not differing:
        return ""
    name, number, request, timing = differing[0]
    return (
        f"{len(differing)} of {len(compared)} replayed requests have other token counts than the recording; the first, "
        f"request {number} of {name}: {timing.prompt_eval_count} in, {timing.eval_count} out; recorded "
        f"{request.input_tokens} in, {request.output_tokens} out (another model, a redacted text, or an answer without "
        "a fixed length)"
    )
