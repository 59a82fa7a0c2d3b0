"""Every runtime does the same: one contract, against real sockets."""

import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from pytest_llmperf.errors import MeasurementError, MissingExtraError
from pytest_llmperf.measure.calibrate import paced_server
from pytest_llmperf.measure.runtimes import Runtime, loop_runtime, process_runtime, runtime_of
from pytest_llmperf.measure.runtimes import runtime as runtime_module
from pytest_llmperf.measure.runtimes.process_runtime import LEAD_NS, ProcessesRuntime
from pytest_llmperf.measure.runtimes.runtime import Part, Start
from pytest_llmperf.measure.wire import request_connection
from pytest_llmperf.measure.wire.prepared_request import prepare
from pytest_llmperf.measure.wire.request_connection import Address, Connection
from pytest_llmperf.model import RUNTIMES, SERIAL
from tests.measure.scripted import kernel_stamps, request_to, serving

ANSWER = b"HTTP/1.1 200 OK\r\n\r\nhello"

HOUR_S = 3600.0
"""What is not waited for, for else a test would never end."""


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    made = runtime_of(request.param)
    assert made.name == request.param
    yield made
    made.close()
    made.close()


def test_the_bad_runtime_serves_one_client_after_the_other() -> None:
    """All clocks start at one barrier; nobody sends before the one before has all its answers."""
    bad = runtime_of(SERIAL)
    assert bad.name == SERIAL
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        part = bad.run([[request_to(url), request_to(url)], [request_to(url)]], timeout_s=30)
    bad.close()
    (_, first_done), (second,) = part.exchanges
    assert part.start_ns < first_done.sent_ns < first_done.pieces[-1].arrival_ns < second.sent_ns
    assert b"".join(piece.data for piece in second.pieces) == ANSWER


def test_each_client_gets_its_answers_in_order(runtime: Runtime) -> None:
    """Two clients, three requests each, one after the other; all from one barrier on."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        clients = [[request_to(url, f"{name}{turn}") for turn in range(3)] for name in "ab"]
        for _ in range(2):  # what a runtime keeps serves the next part as well
            before_ns = time.monotonic_ns()
            part = runtime.run(clients, timeout_s=30)
            assert before_ns < part.start_ns < time.monotonic_ns()
            assert all(spent_ns > 0 for spent_ns in part.cpu_ns)
            assert len(part.cpu_ns) == (2 if runtime.name == "processes" else 1)
            assert [[exchange.label for exchange in client] for client in part.exchanges] == [
                ["a0", "a1", "a2"],
                ["b0", "b1", "b2"],
            ]
            for client in part.exchanges:
                moments = [part.start_ns]
                for exchange in client:
                    assert b"".join(piece.data for piece in exchange.pieces) == ANSWER
                    moments += [exchange.sent_ns, exchange.pieces[0].arrival_ns, exchange.pieces[-1].arrival_ns]
                assert moments == sorted(moments)


@pytest.mark.skipif(sys.platform != "linux", reason="kernel receive times are Linux's")
def test_arrivals_are_the_kernels(runtime: Runtime) -> None:
    """Every client asks for them, and gets them."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url, kernel_stamps():
        part = runtime.run([[request_to(url)], [request_to(url)]], timeout_s=30)
    assert [exchange.source for client in part.exchanges for exchange in client] == ["kernel", "kernel"]


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
    """A reset ends the part, though the other client's server would never answer: else this would take an hour."""
    stuck = threading.Event()

    def reset(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with serving(lambda _: stuck.wait(HOUR_S) and None) as silent, serving(reset) as bad:
        with pytest.raises(MeasurementError, match=r"agent b: the connection failed"):
            runtime.run([[request_to(silent)], [request_to(bad, "agent b")]], timeout_s=HOUR_S)
        stuck.set()


def test_a_stall_is_an_error_that_keeps_what_came(runtime: Runtime) -> None:
    """A server that stops in mid-answer runs into the limit of time; it may need a longer one to come so far."""
    gone = threading.Event()

    def handler(sock: socket.socket) -> None:
        sock.sendall(b"half")
        gone.wait(HOUR_S)

    with serving(handler) as url:
        for timeout_s in (0.4, 4, 40):
            with pytest.raises(MeasurementError, match=rf"no complete answer within {timeout_s} s after \d") as caught:
                runtime.run([[request_to(url)]], timeout_s=timeout_s)
            if caught.value.received:
                break
        gone.set()
    assert caught.value.received == b"half"
    assert "after 4 bytes" in str(caught.value)


def test_two_failures_at_once_are_one_error(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    """The other is not left for the garbage collection to complain of, whenever that comes."""
    gone = threading.Event()
    with serving(lambda _: gone.wait(30) and None) as url:
        with pytest.raises(MeasurementError, match=r"no complete answer within 0\.3 s"):
            runtime.run([[request_to(url)], [request_to(url)]], timeout_s=0.3)
        gone.set()
    gc.collect()
    assert caplog.messages == []


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """An address that is taken, so that nobody else gets it, but on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_refused_connection_is_an_error(runtime: Runtime) -> None:
    """A port on which nobody listens, with the agent's name."""
    with refusing() as url:
        for path, shows in (("/x", "/api/version"), ("/v1/chat/completions", "/v1/models")):
            with pytest.raises(MeasurementError, match="agent a: the connection failed") as caught:
                runtime.run([[prepare(url, path, b"{}", label="agent a")]], timeout_s=5)
            assert str(caught.value).endswith(f"next: is the server alive? curl {url}{shows}")


def test_a_refusal_in_mid_conversation_is_an_error(runtime: Runtime) -> None:
    """The second request of a client meets a dead server."""
    with refusing() as dead, serving(lambda sock: sock.sendall(ANSWER)) as url:
        second = prepare(dead, "/x", b"{}", label="second")
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


@pytest.mark.alone
@pytest.mark.parametrize("inside", [False, True], ids=["plain", "inside a loop"])
def test_ctrl_c_ends_a_part(runtime: Runtime, inside: bool) -> None:
    """The interrupt comes through at once, also where an event loop would keep it to itself; no client stays behind."""
    stuck, asked = threading.Event(), threading.Event()

    async def main() -> None:
        runtime.run(clients, timeout_s=HOUR_S)

    def answer(_: socket.socket) -> None:
        asked.set()
        stuck.wait(HOUR_S)

    def interrupt() -> None:
        asked.wait(HOUR_S)
        time.sleep(0.3)  # so that the clients wait
        os.kill(os.getpid(), signal.SIGINT)

    with serving(answer) as url:
        clients = [[request_to(url)], [request_to(url)]]
        timer = threading.Thread(target=interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main()) if inside else runtime.run(clients, timeout_s=HOUR_S)
        stuck.set()
        timer.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("llmperf-")]


@pytest.mark.alone
@pytest.mark.parametrize(("inside", "first"), [(False, False), (True, True)], ids=["later", "first, inside a loop"])
def test_ctrl_c_ends_a_part_that_connects(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, inside: bool, first: bool
) -> None:
    """A server that accepts nobody, from the start or in mid-conversation, is not waited for."""
    monkeypatch.setattr(request_connection, "CONNECT_S", HOUR_S)

    async def main() -> None:
        runtime.run(clients, timeout_s=HOUR_S)

    with (
        serving(lambda sock: sock.sendall(ANSWER)) as url,
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        deaf = prepare(f"http://127.0.0.1:{full.getsockname()[1]}", "/x", b"{}", label="agent a")
        clients = [[deaf], [deaf]] if first else [[request_to(url), deaf]]
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main()) if inside else runtime.run(clients, timeout_s=HOUR_S)
        timer.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("llmperf-")]


def test_a_cancelled_test_ends_its_part(runtime: Runtime) -> None:
    """Whoever cancels the task of the running loop."""
    stuck = threading.Event()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        runtime.run([[request_to(url)]], timeout_s=HOUR_S)

    with serving(lambda _: stuck.wait(HOUR_S) and None) as url:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
        stuck.set()


def test_the_barrier_waits_for_no_client(runtime: Runtime) -> None:
    """A server that does not take the first client's long request holds only that one up."""
    asked = threading.Event()
    body = b"x" * 8_000_000 + b"{}"

    def answer(sock: socket.socket) -> None:
        asked.set()
        sock.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as deaf, serving(answer) as url:
        slow = prepare(f"http://127.0.0.1:{deaf.getsockname()[1]}", "/x", body, label="agent a")
        with pytest.raises(MeasurementError, match="agent a: no complete answer"):
            runtime.run([[slow], [request_to(url)]], timeout_s=2)
        assert asked.wait(HOUR_S)  # it had left by then, whenever its server gets to it


STARVED_CODE = """
import sys
from pytest_llmperf.measure.runtimes import runtime_of
from tests.measure.scripted import request_to
runtime = runtime_of(sys.argv[1])
clients = [[request_to(sys.argv[2])] for _ in range(2)]
runtime.run(clients, timeout_s=60)
print("go", flush=True)
print(*runtime.run(clients, timeout_s=60).lag_ns, flush=True)
runtime.close()
"""
STARVED = (sys.executable, "-c", STARVED_CODE)


def test_a_client_that_hardly_runs_shows_it(runtime: Runtime) -> None:
    """Stopped nine tenths of the time at 115 tok/s, where the kernel's merged stamps make every byte look fresh."""
    with (
        paced_server(ttft_ms=5, tok_s=115, tokens=100) as url,
        subprocess.Popen([*STARVED, runtime.name, url], stdout=subprocess.PIPE, text=True) as child,
    ):
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "go\n"
            stopped = psutil.Process(child.pid).children() or [psutil.Process(child.pid)]
            while not select.select([child.stdout], [], [], 0.01)[0]:
                for process in stopped:
                    process.suspend()
                time.sleep(0.09)
                for process in stopped:
                    process.resume()
            lags_ns = [int(lag_ns) for lag_ns in child.stdout.readline().split()]
        finally:
            child.kill()
    assert min(lags_ns) > 20_000_000


@pytest.mark.parametrize("name", ["threads", "asyncio"])
def test_a_clock_that_steps_in_mid_part_makes_it_one_of_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offset of the clocks is taken before and after."""
    offsets = iter([0, 10**9])
    monkeypatch.setattr(runtime_module, "wall_offset_ns", offsets.__next__)
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        (exchange,) = runtime_of(name).run([[request_to(url)]], timeout_s=30).exchanges[0]
    assert exchange.source == "read"
    assert list(offsets) == []


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


def test_a_client_process_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for as long as its requests may take, and ended."""
    monkeypatch.setattr(process_runtime, "CONNECT_S", 0.2)
    runtime = ProcessesRuntime()
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        runtime.run([[request_to(url)]], timeout_s=30)
        worker = psutil.Process(runtime._workers[0]._process.pid)
        monkeypatch.setattr(process_runtime, "_START_S", 0.2)
        worker.suspend()
        with pytest.raises(MeasurementError, match=r"a client process does not answer.*\n.*--llmperf-runtime=threads"):
            runtime.run([[request_to(url)]], timeout_s=0.2)
    assert not worker.is_running()


@pytest.mark.parametrize("agents", [1, 2, 16])
def test_the_barrier_of_client_processes_leaves_time_for_each(monkeypatch: pytest.MonkeyPatch, agents: int) -> None:
    """Its moment is as far ahead as there are workers to tell; one agent waits for nobody, and starts at once."""
    orders: list[object] = []

    class Told:
        def tell(self, order: object) -> None:
            orders.append(order)

    part = Part(start_ns=7, exchanges=((),), cpu_ns=(0,), lag_ns=(0,))
    monkeypatch.setattr(process_runtime, "_Worker", Told)
    monkeypatch.setattr(process_runtime, "_answers", lambda workers, *_, **__: [part] * len(workers))
    monkeypatch.setattr(process_runtime.time, "monotonic_ns", lambda: 1000)
    start_ns = ProcessesRuntime().run([[]] * agents, timeout_s=1).start_ns
    assert orders[agents:] == [0 if agents == 1 else 1000 + agents * LEAD_NS] * agents
    assert start_ns == (7 if agents == 1 else orders[-1])


def test_a_client_that_was_given_up_opens_no_connection() -> None:
    """Its next turn would be one for nobody."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        start = Start([[request_to(url), request_to(url)]], timeout_s=30)
        start.barrier()
        start.finish(0, given_up=iter([False, False, True]).__next__)
        first, second = start.connections[0]
        start.close()
    assert first.sock is not None
    assert second.sock is None


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("10.0.0.1", False), ("fe80::1%lo", False)],
)
def test_only_this_machine_is_near(host: str, near: bool) -> None:
    """By the address that was found, not by the name: `127.example.com` may be anywhere."""
    assert loop_runtime._is_near((socket.AF_INET6 if ":" in host else socket.AF_INET, (host, 80))) is near


def test_a_far_server_is_connected_to_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the other clients go on meanwhile; a near one where it runs, at once."""
    opened_in: list[bool] = []
    real = Connection.open

    def noted(self: Connection, address: Address | None = None) -> Address:
        opened_in.append(threading.current_thread() is threading.main_thread())
        return real(self, address)

    monkeypatch.setattr(Connection, "open", noted)
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        runtime_of("asyncio").run([[request_to(url), request_to(url)]], timeout_s=30)
        monkeypatch.setattr(loop_runtime, "_is_near", lambda _: False)
        runtime_of("asyncio").run([[request_to(url), request_to(url)]], timeout_s=30)
    assert opened_in == [True, True, True, False]


def test_uvloop_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the error says what to install."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(MissingExtraError, match=r"(?s)needs uvloop.*pip install uvloop"):
        runtime_of("uvloop")
