"""What is recorded of the requests of agents."""

import json

from pytest_llmperf.measure.agents.recorder import Asked, Recorder
from pytest_llmperf.measure.tap.http_exchanges import HttpExchange
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import RequestTiming
from pytest_llmperf.recordings.recorded_requests import RecordedRequest

URL = "http://127.0.0.1:9"


def asked(sent: bytes, sent_ns: int, done_ns: int) -> Asked:
    exchange = Exchange(sent_ns=sent_ns, pieces=(), source="read", label="agent a")
    http_exchange = HttpExchange(method="POST", path="/api/chat", sent=sent, exchange=exchange, whole=True, left_ns=0)
    timing = RequestTiming(sent_ns=sent_ns, arrivals_ns=(), done_ns=done_ns, eval_count=3, prompt_eval_count=2)
    return timing, http_exchange


def recorded(sent: bytes) -> RecordedRequest:
    (request,) = Recorder().recording([("a", URL, [asked(sent, 1, 5)])], start_ns=0).requests
    return request


def test_a_body_is_kept() -> None:
    request = recorded(b'{"model": "m", "messages": []}')
    assert request.body == {"model": "m", "messages": []}
    assert (request.input_tokens, request.output_tokens) == (2, 3)


def test_of_a_body_that_cannot_be_redacted_the_size_is_kept() -> None:
    """It is no JSON object, no text, or nested too deeply."""
    for sent in (b"[]", b"{", b"\xff", json.dumps({"a": 1}).encode() * 2, b'{"a": ' + b"[" * 600 + b"]" * 600 + b"}"):
        request = recorded(sent)
        assert request.body is None
        assert request.body_bytes == len(sent)
        assert len(request.body_sha256) == 64


def test_an_agent_waits_for_those_before_it_in_the_scenario() -> None:
    """Not for others, though their requests had ended as well."""
    team = [
        ("planner", URL, [asked(b"{}", 1_000_000, 5_000_000), asked(b"{}", 6_000_000, 9_000_000)]),
        ("bystander", URL, [asked(b"{}", 1_000_000, 10_000_000)]),
        ("critic", URL, [asked(b"{}", 11_000_000, 14_000_000), asked(b"{}", 15_000_000, 16_000_000)]),
    ]

    def waits(after: dict[str, tuple[str, ...]]) -> list[tuple[str, tuple[int, ...], float]]:
        requests = Recorder(after=after).recording(team, start_ns=1_000_000).requests
        return [(request.agent, request.after, request.pause_ms) for request in requests]

    begin = [("planner", (), 0.0), ("bystander", (), 0.0), ("planner", (1,), 1.0)]
    assert waits({"critic": ("planner",)}) == [*begin, ("critic", (3,), 2.0), ("critic", (4,), 1.0)]
    assert waits({}) == [*begin, ("critic", (), 0.0), ("critic", (4,), 1.0)]
