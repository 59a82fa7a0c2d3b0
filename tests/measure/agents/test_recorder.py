"""What is recorded of the requests of agents."""

import json

from pytest_llmperf.measure.agents.recorder import Recorder
from pytest_llmperf.measure.tap.http_exchanges import HttpExchange
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.model import RequestTiming
from pytest_llmperf.recordings.recorded_requests import RecordedRequest

URL = "http://127.0.0.1:9"


def recorded(sent: bytes) -> RecordedRequest:
    exchange = Exchange(sent_ns=1, pieces=(), source="read", label="agent a")
    http_exchange = HttpExchange(method="POST", path="/api/chat", sent=sent, exchange=exchange, whole=True, left_ns=0)
    timing = RequestTiming(sent_ns=1, arrivals_ns=(), done_ns=5, eval_count=3, prompt_eval_count=2)
    (request,) = Recorder().recording([("a", URL, [(timing, http_exchange)])], start_ns=0).requests
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
