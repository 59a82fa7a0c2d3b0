"""What a session keeps to run clients with."""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from pytest_llmperf.measure import client_pool as module
from pytest_llmperf.measure.client_pool import USUAL_TOK_S, Clients
from pytest_llmperf.measure.wire.arrival import hold_kernel_time
from pytest_llmperf.model import RequestTiming
from tests.measure.scripted import request_to, serving


@pytest.fixture
def clients() -> Iterator[Clients]:
    with contextlib.closing(Clients()) as made:
        yield made


def at(tok_s: float) -> list[RequestTiming]:
    """A warm-up whose server decodes at this rate."""
    return [RequestTiming(sent_ns=0, done_ns=1, arrivals_ns=(), eval_count=100, eval_duration_ns=round(1e11 / tok_s))]


def test_a_calibration_holds_for_its_runtime_its_number_and_its_rate(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cost at 50 tok/s says nothing of 500; rates that hardly differ share one."""
    real, made = module.calibrate, []

    def calibrate(runtime, *, agents, tok_s):
        made.append((runtime.name, agents, round(tok_s)))
        return real(runtime, agents=agents, tok_s=tok_s)

    monkeypatch.setattr(module, "calibrate", calibrate)
    threads, loop = clients.runtime("threads"), clients.runtime("asyncio")
    first = clients.calibration(threads, at(400), 1)
    assert first.tok_s == pytest.approx(400)
    assert clients.calibration(threads, at(300), 1) is clients.calibration(threads, at(550), 1) is first
    clients.calibration(threads, at(900), 1)
    clients.calibration(threads, at(400), 2)
    clients.calibration(loop, at(400), 1)
    assert clients.calibration(threads, at(1e9), 1) is clients.calibration(threads, at(2000), 1)
    clients.calibration(threads, [], 1)
    one_client = [("threads", 1, 2000), ("threads", 1, USUAL_TOK_S)]
    assert made == [("threads", 1, 400), ("threads", 1, 900), ("threads", 2, 400), ("asyncio", 1, 400), *one_client]


@pytest.mark.skipif(sys.platform != "linux", reason="kernel receive times are Linux's")
def test_the_kernel_stamps_from_the_first_part_on(clients: Clients) -> None:
    """It is asked early and kept at it: it begins late, and ends with the last socket that asks."""
    runtime = clients.runtime("threads")
    held = clients._stamping
    assert held is not None
    assert held.getsockopt(socket.SOL_SOCKET, 35)
    clients.runtime("asyncio")
    assert clients._stamping is held
    time.sleep(0.1)
    with serving(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")) as url:
        (exchange,) = runtime.run([[request_to(url)]], timeout_s=30).exchanges[0]
    assert exchange.source == "kernel"
    clients.close()
    assert held.fileno() == -1


def test_elsewhere_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that does not stamp."""
    monkeypatch.setattr("pytest_llmperf.measure.wire.arrival._SO_TIMESTAMPNS", None)
    assert hold_kernel_time() is None


def test_what_is_closed_starts_again(clients: Clients) -> None:
    """Closing is idempotent."""
    first = clients.runtime("threads")
    clients.close()
    clients.close()
    assert clients.runtime("threads") is not first
