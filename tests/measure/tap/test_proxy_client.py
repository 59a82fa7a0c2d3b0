"""The tap's process: its barrier, its limits, and its end."""

import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.calibrate import calibrate, paced_server
from pytest_llmperf.measure.tap import scheduling_priority
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.tap_runtime import TapRuntime
from tests.measure.scripted import request_to, serving

PATIENCE_S = 30.0


@pytest.fixture
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(PATIENCE_S)
        yield made


def url_of(listener: socket.socket, path: str = "") -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}{path}"


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.split(":")[2].partition("/")[0])), timeout=PATIENCE_S)


def opened(tap: Tap, listener: socket.socket, **limits: int) -> str:
    """A part of one agent begins; the tap's own look at the server is over."""
    (url,) = tap.open([url_of(listener)], ["agent a"], **limits)
    listener.accept()[0].close()
    return url


def accepted(listener: socket.socket) -> socket.socket:
    sock, _ = listener.accept()
    sock.settimeout(PATIENCE_S)
    return sock


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def until(condition, problem: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, problem
        time.sleep(0.01)


def test_nothing_leaves_before_all_are_there(tap: Tap, listener: socket.socket) -> None:
    """The first agent's bytes, on all its connections, wait for the second's; then all leave from one moment on."""
    urls = tap.open([url_of(listener)] * 2, ["agent a", "agent b"])
    listener.accept()[0].close()
    listener.accept()[0].close()
    with connect(urls[0]) as first, connect(urls[0]) as second, connect(urls[1]) as third:
        first.sendall(b"first")
        second.sendall(b"second")
        listener.settimeout(0.3)
        with pytest.raises(TimeoutError):
            listener.accept()
        assert not tap.released()
        last_ns = time.monotonic_ns()
        third.sendall(b"third")
        listener.settimeout(PATIENCE_S)
        got = set()
        for _ in range(3):
            with accepted(listener) as server:
                got.add(server.recv(100))
        assert got == {b"first", b"second", b"third"}
        until(tap.released, "the barrier was not told")
    capture = tap.take()
    handed = [chunk.handed_ns for agent in capture.agents for carried in agent for chunk in carried.up.chunks]
    assert len(handed) == 3
    assert last_ns < capture.start_ns < min(handed)
    assert capture.end_ns > max(handed)
    assert capture.cpu_ns(capture.end_ns) > 0


def test_a_whole_request_is_there_when_the_barrier_opens(tap: Tap, listener: socket.socket) -> None:
    """Clients send head and body in two writes: the second is waited for, a little; a busy machine may take longer."""
    for _ in range(20):
        url = opened(tap, listener)
        with connect(url) as first:
            first.sendall(b"head")
            first.sendall(b"body")
            with accepted(listener) as server:
                got = server.recv(100)
                while len(got) < 8:
                    got += server.recv(100)
        (carried,) = tap.take().agents[0]
        assert got == b"headbody"
        if carried.up.chunks[0].handed_ns > carried.up.chunks[-1].read_ns:
            return
    pytest.fail("the body was never waited for")


def test_a_part_without_requests_has_no_start(tap: Tap, listener: socket.socket) -> None:
    """Nobody came, or only to look: the barrier did not open."""
    (url,) = tap.open([url_of(listener)], ["agent a"])
    connect(url).close()
    time.sleep(0.05)
    capture = tap.take()
    assert capture.start_ns == 0
    assert not tap.released()


def test_a_part_ends_with_its_connections(tap: Tap, listener: socket.socket) -> None:
    """What is open is reset on both sides, its address is closed, and the next part has another one."""
    url = opened(tap, listener)
    with connect(url) as client:
        client.sendall(b"x")
        with accepted(listener) as server:
            assert server.recv(1) == b"x"
            tap.take()
            for sock in (client, server):
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(url)
    assert len(tap.open([url_of(listener)], ["agent a"])) == 1


def test_what_is_on_its_way_is_still_noted(tap: Tap, listener: socket.socket) -> None:
    """A client that sends, closes and is done: all of it is in the notes of the part that ends right after."""
    url = opened(tap, listener)
    with connect(url) as client:
        client.sendall(b"x")
        with accepted(listener) as server:
            assert server.recv(1) == b"x"
            server.sendall(b"answer")
            assert client.recv(6) == b"answer"
            client.sendall(b"more")
            client.close()
            (carried,) = tap.take().agents[0]
    assert b"".join(chunk.data for chunk in carried.up.chunks) == b"xmore"
    assert carried.up.ended_ns


def test_a_path_in_the_servers_address_is_kept(tap: Tap, listener: socket.socket) -> None:
    """An Ollama behind a path of a proxy."""
    (url,) = tap.open([url_of(listener, "/ollama/")], ["agent a"])
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/ollama")


def test_a_dead_server_is_named_before_an_agent_starts(tap: Tap) -> None:
    """With the agent's name and the command that looks at the server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(MeasurementError, match=rf"(?s)agent a: the server cannot be reached.*curl {url}/api/version"):
        tap.open([url], ["agent a"])


def test_memory_is_limited(tap: Tap, listener: socket.socket) -> None:
    """An endless answer ends with the agent's name; its connection is reset."""
    url = opened(tap, listener, limit_bytes=100_000)
    with connect(url) as client:
        client.sendall(b"x")
        with accepted(listener) as server, contextlib.suppress(ConnectionError):
            while True:
                server.sendall(b"y" * 10_000)
                client.recv(65536)
    with pytest.raises(MeasurementError, match="agent a: its requests and answers do not end"):
        until(tap.released, "the limit was not told")


def test_a_dead_tap_is_an_error_and_the_next_part_starts_anew(tap: Tap, listener: socket.socket) -> None:
    """Whatever is asked of it."""
    for ask in (tap.take, tap.released, tap.arrived, lambda: tap.open([url_of(listener)], ["agent a"])):
        tap.open([url_of(listener)], ["agent a"])
        assert tap._process is not None
        tap._process.kill()
        tap._process.wait()
        with pytest.raises(MeasurementError, match="the tap's process died"):
            ask()
    assert tap.open([url_of(listener)], ["agent a"])


PARENT = """
import sys, time
from pytest_llmperf.measure.tap.proxy_client import Tap
tap = Tap()
tap.open([sys.argv[1]], ["agent a"])
print(tap._process.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_tap_ends_with_its_parent(number: int, listener: socket.socket) -> None:
    """However the parent dies."""
    command = [sys.executable, "-c", textwrap.dedent(PARENT), url_of(listener)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        tap_pid = int(parent.stdout.readline())
        parent.send_signal(number)
        parent.wait()
    until(lambda: gone(tap_pid), "the tap outlived its parent")


def test_close_is_idempotent(tap: Tap) -> None:
    """Also before anything was started."""
    tap.close()
    tap.close()


@pytest.mark.skipif(platform.system() != "Linux", reason="Linux's scheduler")
def test_promptness_takes_what_it_is_given() -> None:
    """The real-time class if allowed; else short time slices if the kernel supports them; else silently no change."""
    code = (
        "import os, platform; from pytest_llmperf.measure.tap.scheduling_priority import be_prompt\n"
        "print(be_prompt(realtime=False), os.sched_getscheduler(0) == os.SCHED_OTHER)\n"
        "platform.machine = lambda: 'other'; print(be_prompt(realtime=False))\n"
        "print(be_prompt(), os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0] in ("short turns True", "ordinary True")
    assert out[1] == "ordinary"
    assert out[2] in ("realtime True", "ordinary False")


def test_promptness_is_asked_of_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the real-time class is forbidden, no error comes of it."""

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "unknown")
    assert scheduling_priority.be_prompt() == "ordinary"


def test_our_own_clients_run_behind_it_as_a_runtime(tap: Tap) -> None:
    """The same answers in the same order as by any runtime, with the moments at the tap."""
    runtime = TapRuntime(tap)
    with serving(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")) as url:
        part = runtime.run([[request_to(url, f"{name}{turn}") for turn in range(2)] for name in "ab"], timeout_s=30)
    runtime.close()
    assert [len(client) for client in part.exchanges] == [2, 2]
    for client in part.exchanges:
        moments = [part.start_ns]
        for exchange in client:
            assert b"".join(piece.data for piece in exchange.pieces) == b"HTTP/1.1 200 OK\r\n\r\nhello"
            moments += [exchange.sent_ns, exchange.pieces[0].arrival_ns]
        assert moments == sorted(moments)


def test_the_tap_can_be_calibrated(tap: Tap) -> None:
    """Against a server whose truth is known: no chunk arrives before it was sent, and two equal agents stay equal."""
    calibration = calibrate(TapRuntime(tap), agents=2, tok_s=115)
    assert calibration.runtime == "tap"
    assert calibration.arrival_p99_ms >= 0
    assert calibration.cpu_us_per_token > 0


def test_a_tap_that_hardly_runs_shows_it(tap: Tap) -> None:
    """Stopped nine tenths of the time: what it keeps its agents waiting for is no fault of the servers."""
    runtime = TapRuntime(tap)
    with paced_server(ttft_ms=5, tok_s=115, tokens=60) as url:
        runtime.run([[request_to(url)]], timeout_s=30)
        assert tap._process is not None
        its, over = psutil.Process(tap._process.pid), threading.Event()

        def hold_up() -> None:
            while not over.is_set():
                its.suspend()
                time.sleep(0.09)
                its.resume()
                time.sleep(0.01)

        thread = threading.Thread(target=hold_up)
        thread.start()
        try:
            starved = runtime.run([[request_to(url)]], timeout_s=30)
        finally:
            over.set()
            thread.join()
    assert starved.lag_ns[0] > 20_000_000


def test_the_barrier_waits_for_the_servers_to_accept(tap: Tap) -> None:
    """A far server takes its time: that is not the client's, which sends as soon as all are connected."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        full.settimeout(PATIENCE_S)
        url = opened(tap, full)
        with connect(url_of(full)), connect(url) as client:  # the first one fills the queue of a server that is busy
            client.sendall(b"x")
            time.sleep(0.4)
            assert not tap.released()
            full.accept()[0].close()
            with accepted(full) as server:  # the system tries again after a second
                assert server.recv(1) == b"x"
            until(tap.released, "the barrier was not told")
    capture = tap.take()
    (carried,) = capture.agents[0]
    assert carried.connected_ns - carried.connect_ns > 300_000_000
    assert carried.connected_ns <= capture.start_ns <= carried.up.chunks[0].handed_ns


def test_what_fails_while_it_runs_as_a_runtime_ends_it(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that fails, or notes that cannot be taken: the next part gets a tap that is in nobody's part."""

    def take() -> None:
        raise MeasurementError("its requests and answers do not end")

    runtime = TapRuntime(tap)
    with serving(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")) as url:
        with monkeypatch.context() as patched:
            patched.setattr(tap, "take", take)
            with pytest.raises(MeasurementError, match="do not end"):
                runtime.run([[request_to(url)]], timeout_s=30)
        assert tap._process is None
        assert runtime.run([[request_to(url)]], timeout_s=30).exchanges
