"""Makes a recording of what the agents of a part asked."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pytest_llmperf.measure.tap.http_exchanges import HttpExchange
from pytest_llmperf.model import RequestTiming
from pytest_llmperf.recordings.inferred_edges import Interval, inferred_edges
from pytest_llmperf.recordings.recorded_requests import RecordedRequest, Recording
from pytest_llmperf.recordings.recording_lines import parsed_line
from pytest_llmperf.recordings.redaction import Redaction

Asked = tuple[RequestTiming, HttpExchange]
"""A timed request, and what was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Makes recordings.

    Args:
        redaction: takes secrets and chosen fields out of bodies.
        bodies: whether bodies are kept.
        model: the model's name on the servers.
        source: the source of the servers, in words.
        after: for each agent, the names of the agents that its scenario has it wait for. It waits for no other agent's
            requests: two requests that were sent one after the other may be independent.
    """

    redaction: Redaction = field(default_factory=Redaction)
    bodies: bool = True
    model: str = ""
    source: str = ""
    after: Mapping[str, Collection[str]] = field(default_factory=dict)

    def recording(
        self, asked: Sequence[tuple[str, str, Sequence[Asked]]], *, start_ns: int, end: str = "complete"
    ) -> Recording:
        """The recording of a part.

        Args:
            asked: name, server's address and requests of each agent.
            start_ns: when the barrier opened.
            end: how it ended, one of ENDS.
        """
        sent = sorted(
            (
                (timing, http_exchange, agent, url)
                for agent, url, requests in asked
                for timing, http_exchange in requests
            ),
            key=lambda each: each[0].sent_ns,
        )
        agents = [agent for _, _, agent, _ in sent]
        edges = inferred_edges(
            [Interval(timing.sent_ns, timing.done_ns) for timing, *_ in sent],
            lambda index, earlier: agents[earlier] in (agents[index], *self.after.get(agents[index], ())),
        )
        first_of = {agent: index for index, agent in reversed(list(enumerate(agents)))}
        requests = []
        for index, ((timing, http_exchange, agent, url), (after, waited_ms)) in enumerate(
            zip(sent, edges, strict=True)
        ):
            since_barrier_ms = max(0.0, (timing.sent_ns - start_ns) / 1e6)
            at_barrier = first_of[agent] == index and since_barrier_ms < _AT_BARRIER_MS
            pause_ms = waited_ms if after else 0.0 if at_barrier else since_barrier_ms
            requests.append(
                RecordedRequest(
                    id=index + 1,
                    agent=agent,
                    path=http_exchange.path.removeprefix(urlsplit(url).path.rstrip("/")),
                    after=tuple(place + 1 for place in after),
                    pause_ms=round(pause_ms, 3),
                    input_tokens=timing.prompt_eval_count,
                    output_tokens=timing.eval_count,
                    e2e_ms=round((timing.done_ns - timing.sent_ns) / 1e6, 3),
                    done_reason=timing.done_reason,
                    **self._body(http_exchange.sent, streamed=timing.streamed),
                )
            )
        return Recording(
            agents=tuple(name for name, _, requests_of in asked if requests_of),
            requests=tuple(requests),
            model=self.model,
            recorded_at=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            source=self.source,
            redacted=self.redaction.used,
            end=end,
        )

    def _body(self, sent: bytes, *, streamed: bool) -> dict[str, Any]:
        """The fields of a request's body."""
        if self.bodies:
            with suppress(ValueError, RecursionError):  # it is no JSON object, or nested too deeply to be redacted
                return {"body": self.redaction.of_body(parsed_line(sent.decode()))}
        return {"body_bytes": len(sent), "body_sha256": hashlib.sha256(sent).hexdigest(), "stream": streamed}


_AT_BARRIER_MS = 100.0
"""An agent's first request that left within this time was held at the barrier; on a busy machine it leaves later."""
