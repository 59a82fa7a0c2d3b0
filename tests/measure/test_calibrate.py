"""The harness against a server whose truth is known."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure import calibrate as module
from pytest_llmperf.measure.calibrate import Truth, arrivals_of, calibrate, compare, paced_server, truths
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.runtimes import Part, Runtime, runtime_of
from pytest_llmperf.measure.wire.arrival import Piece
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import prepare
from pytest_llmperf.model import RUNTIMES
from tests.started import Handler, http_server

MS = 1_000_000


def answer(number: int, *moments: int, sent_ns: int = 0) -> Exchange:
    """A paced answer whose chunks arrived at these moments; two alike were read together."""
    pieces: list[Piece] = []
    for index, moment in enumerate(moments):
        data = b'{"done": false}' if index + 1 < len(moments) else b'{"done": true, "context": [%d]}' % number
        if pieces and pieces[-1].arrival_ns == moment:
            pieces[-1] = Piece(moment, moment, pieces[-1].data + data)
        else:
            pieces.append(Piece(moment, moment, data))
    return Exchange(sent_ns=sent_ns, pieces=tuple(pieces), source="kernel", label="a")


def test_the_figures_of_a_calibration() -> None:
    """Errors are arrival minus truth, the bias is the read balance minus the true one, by hand."""
    part = Part(
        start_ns=0,
        exchanges=((answer(1, 21 * MS, 31 * MS, 41 * MS, sent_ns=1 * MS),), (answer(2, 20 * MS, 30 * MS, 30 * MS),)),
        cpu_ns=(200_000, 400_000),
        lag_ns=(0, 0),
    )
    truth = {
        1: Truth(1 * MS, (20 * MS, 30 * MS, 40 * MS)),
        2: Truth(0, (20 * MS, 29 * MS, 30 * MS)),
    }
    calibration = compare(part, truth, runtime="threads", tok_s=100, tokens=2)
    assert calibration.cpu_us_per_token == 150
    assert calibration.arrival_p99_ms == 1
    assert calibration.bias_pp == pytest.approx(100 * (41 + 30) / (2 * 41) - 100 * (39 + 30) / (2 * 39))
    assert (calibration.agents, calibration.timing_source) == (2, "kernel")


def test_no_answer_of_the_paced_server_is_an_error() -> None:
    """Whatever else may have been at its port."""
    with pytest.raises(MeasurementError, match="no complete answer"):
        arrivals_of(Exchange(sent_ns=0, pieces=(Piece(1, 1, b"nonsense"),), source="read", label="a"))


@pytest.fixture
def paced() -> Iterator[str]:
    with paced_server(ttft_ms=5, tok_s=500, tokens=6) as url:
        yield url


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_the_paced_server_answers_as_ollama_does(paced: str, path: str) -> None:
    """Answers have the stated or the requested number of tokens; the server reports the true times."""
    body = json.dumps({"model": "m", "options": {"num_predict": 4}}).encode()
    clients = [[prepare(paced, path, b'{"model": "m"}', label="a"), prepare(paced, path, body, label="b")]]
    first, second = runtime_of("threads").run(clients, timeout_s=30).exchanges[0]
    assert (decode(first).eval_count, decode(second).eval_count) == (6, 4)
    assert len(decode(first).arrivals_ns) == 6
    known = truths(paced)
    assert [len(scripted.sent_ns) for scripted in known.values()] == [7, 5]
    for exchange, truth in zip((first, second), known.values(), strict=True):
        assert exchange.sent_ns <= truth.arrived_ns < truth.sent_ns[0]
        assert all(late >= 0 for late in map(int.__sub__, arrivals_of(exchange)[0], truth.sent_ns))
    assert truths(paced) == {}


def test_the_paced_server_speaks_openais_stream_and_keeps_a_connection(paced: str) -> None:
    """For the clients that the benchmarks compare with."""
    with httpx.Client(trust_env=False) as client:
        for _ in range(2):
            answer = client.post(f"{paced}/v1/chat/completions", json={"model": "m", "stream": True})
            lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
            assert lines[-1] == "data: [DONE]"
            assert json.loads(lines[-2][6:])["usage"]["completion_tokens"] == 6
        assert client.get(f"{paced}/api/version").json()["version"] == "0.0.0-paced"


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_can_be_calibrated(name: str) -> None:
    """Facts only: all tokens were timed, none before it left, and it cost something."""
    runtime: Runtime = runtime_of(name)
    try:
        calibration = calibrate(runtime, agents=2, tok_s=100)
    finally:
        runtime.close()
    assert (calibration.runtime, calibration.agents, calibration.tokens) == (name, 2, 10)
    assert calibration.arrival_p99_ms > 0
    assert calibration.cpu_us_per_token > 0
    assert abs(calibration.bias_pp) < 50


def test_a_rate_beyond_reason_is_calibrated_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of a token a minute must not cost minutes."""
    monkeypatch.setattr(module, "SLOWEST_TOK_S", 200.0)
    assert calibrate(runtime_of("threads"), agents=1, tok_s=1 / 60).tok_s == 200


def test_a_paced_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is an error of the measurement, not a hang."""
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with pytest.raises(MeasurementError, match="did not start"), paced_server(ttft_ms=1, tok_s=1, tokens=1):
        pass


def test_a_paced_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Is not waited for forever."""
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(mute))
    monkeypatch.setattr(module, "START_S", 0.2)
    with pytest.raises(MeasurementError, match="did not start"), paced_server(ttft_ms=1, tok_s=1, tokens=1):
        pass


def kill_paced() -> None:
    (server,) = [child for child in psutil.Process().children() if "calibration_server.py" in " ".join(child.cmdline())]
    server.kill()
    server.wait()


def test_a_paced_server_that_dies_vouches_for_nothing():
    """Another one may have answered on its port."""
    with pytest.raises(MeasurementError, match="died"), paced_server(ttft_ms=1, tok_s=1000, tokens=2):
        kill_paced()


def test_an_answer_that_the_paced_server_did_not_give():
    """It wrote none down."""
    with paced_server(ttft_ms=1, tok_s=1000, tokens=2) as url:
        part = runtime_of("threads").run([[prepare(url, "/api/generate", b"{}", label="client")]], timeout_s=20)
    with pytest.raises(MeasurementError, match="client: an answer that the calibration server did not send"):
        compare(part, {}, runtime="threads", tok_s=1000, tokens=2)


@pytest.mark.parametrize("body", [b"3", b"[3]", b'[{"number": 1}]', b"{", b"[" * 100_000])
def test_a_truth_that_is_none(body):
    """Whatever else answers there."""

    class Other(Handler):
        def do_GET(self):
            self.answer(body)

    with http_server(Other) as url, pytest.raises(MeasurementError, match="does not answer"):
        truths(url)
