"""Every runtime does the same: one contract, against real sockets."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pytest_llmperf.errors import MeasurementError, MissingExtraError
from pytest_llmperf.measure.runtimes import Runtime, runtime_of
from pytest_llmperf.measure.runtimes.processes import ProcessesRuntime
from pytest_llmperf.measure.wire import prepare
from pytest_llmperf.model import RUNTIMES

from .scripted import request_to, serving

ANSWER = b"HTTP/1.1 200 OK\r\n\r\nhello"


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    made = runtime_of(request.param)
    assert made.name == request.param
    yield made
    made.close()
    made.close()


def test_each_client_gets_its_answers_in_order(runtime: Runtime) -> None:
    """Two clients, three requests each, one after the other; all from one barrier on."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        clients = [[request_to(url, f"{name}{turn}") for turn in range(3)] for name in "ab"]
        for _ in range(2):  # what a runtime keeps serves the next part as well
            before_ns = time.monotonic_ns()
            part = runtime.run(clients, timeout_s=30)
            assert before_ns < part.start_ns < time.monotonic_ns()
            assert part.cpu_ns > 0
            assert [[one.label for one in client] for client in part.exchanges] == [
                ["a0", "a1", "a2"],
                ["b0", "b1", "b2"],
            ]
            for client in part.exchanges:
                moments = [part.start_ns]
                for one in client:
                    assert b"".join(piece.data for piece in one.pieces) == ANSWER
                    moments += [one.sent_ns, one.pieces[0].arrival_ns, one.pieces[-1].arrival_ns]
                assert moments == sorted(moments)


@pytest.mark.skipif(sys.platform != "linux", reason="kernel receive times are Linux's")
def test_arrivals_are_the_kernels(runtime: Runtime) -> None:
    """Every client asks for them, and gets them."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        for _ in range(3):  # the kernel begins to stamp a moment after it is first asked
            part = runtime.run([[request_to(url)], [request_to(url)]], timeout_s=30)
            if {one.source for client in part.exchanges for one in client} == {"kernel"}:
                return
            time.sleep(0.1)
    pytest.fail("no part had kernel times throughout")


def test_clients_run_at_once(runtime: Runtime) -> None:
    """No answer comes before all requests are there: a client that waited for another would never get one."""
    together = threading.Barrier(3)

    def handler(sock: socket.socket) -> None:
        together.wait(timeout=30)
        sock.sendall(ANSWER)

    with serving(handler) as url:
        part = runtime.run([[request_to(url)] for _ in range(3)], timeout_s=30)
    assert len(part.exchanges) == 3


def test_one_failure_gives_the_others_up(runtime: Runtime) -> None:
    """A reset ends the part at once, though the other client's server would never answer."""
    stuck = threading.Event()

    def reset(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with serving(lambda _: stuck.wait(60) and None) as silent, serving(reset) as bad:
        begun = time.monotonic()
        with pytest.raises(MeasurementError, match=r"agent b: the connection failed"):
            runtime.run([[request_to(silent)], [request_to(bad, "agent b")]], timeout_s=60)
        stuck.set()
        assert time.monotonic() - begun < 40


def test_a_stall_is_an_error_that_keeps_what_came(runtime: Runtime) -> None:
    """A server that stops in mid-answer runs into the limit of time."""
    gone = threading.Event()

    def handler(sock: socket.socket) -> None:
        sock.sendall(b"half")
        gone.wait(30)

    with serving(handler) as url:
        with pytest.raises(MeasurementError, match=r"no complete answer within 0\.4 s after 4 bytes") as caught:
            runtime.run([[request_to(url)]], timeout_s=0.4)
        gone.set()
    assert caught.value.received == b"half"


def test_a_refused_connection_is_an_error(runtime: Runtime) -> None:
    """A port on which nobody listens, with the agent's name."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(MeasurementError, match="agent a: the connection failed"):
        runtime.run([[prepare(f"http://127.0.0.1:{port}", "/x", b"{}", label="agent a")]], timeout_s=5)


def test_a_refusal_in_mid_conversation_is_an_error(runtime: Runtime) -> None:
    """The second request of a client meets a dead server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        second = prepare(f"http://127.0.0.1:{port}", "/x", b"{}", label="second")
        with pytest.raises(MeasurementError, match="second: the connection failed"):
            runtime.run([[request_to(url), second]], timeout_s=5)


def test_it_works_inside_a_running_event_loop(runtime: Runtime) -> None:
    """An async test may measure, too."""

    async def main() -> int:
        return len(runtime.run([[request_to(url)]], timeout_s=30).exchanges)

    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        assert asyncio.run(main()) == 1


def test_a_large_request_passes_a_small_buffer(runtime: Runtime) -> None:
    """A prompt larger than the socket's buffer is sent piece by piece, and stamped when its last piece leaves."""
    body = b"x" * 8_000_000 + b"{}"

    def handler(sock: socket.socket) -> None:
        sock.sendall(ANSWER)

    with serving(handler) as url:
        (exchange,) = runtime.run([[prepare(url, "/x", body, label="a")]], timeout_s=60).exchanges[0]
    assert exchange.pieces[0].arrival_ns > exchange.sent_ns


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_a_part(runtime: Runtime) -> None:
    """The interrupt comes through at once, and no client stays behind."""
    stuck = threading.Event()
    with serving(lambda _: stuck.wait(60) and None) as url:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            runtime.run([[request_to(url)], [request_to(url)]], timeout_s=60)
        stuck.set()
        timer.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("llmperf-client")]


def test_a_dead_client_process_is_an_error() -> None:
    """And the next part starts new ones."""
    runtime = ProcessesRuntime()
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        runtime.run([[request_to(url)]], timeout_s=30)
        runtime._workers[0]._process.kill()
        with pytest.raises(MeasurementError, match="a client process died"):
            runtime.run([[request_to(url)]], timeout_s=30)
        assert len(runtime.run([[request_to(url)]], timeout_s=30).exchanges) == 1
        worker = runtime._workers[0]._process
        runtime.close()
        assert worker.poll() is not None


def test_uvloop_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the error says what to install."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(MissingExtraError, match=r"(?s)needs uvloop.*pip install uvloop"):
        runtime_of("uvloop")
