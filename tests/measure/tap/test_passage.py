"""What passes the tap is what was sent, byte for byte, in both directions, against real sockets."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.recording import CapturedConnection, Stream

PATIENCE_S = 30.0

RESET = struct.pack("ii", 1, 0)

STREAMS = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=300), st.integers(1, 300_000).map(lambda size: b"%d" % size * (size // 6))
    ),
    max_size=6,
)
"""Writes of one side: small ones of any bytes, and some beyond any socket's buffer."""


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


class Ends:
    """Both ends of one connection through the tap; each sends from one thread and receives in another."""

    def __init__(self, tap: Tap) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE_S)
            (url,) = tap.open([f"http://127.0.0.1:{listener.getsockname()[1]}"], ["agent a"])
            listener.accept()[0].close()  # the tap looked whether it answers
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            with socket.create_connection(address) as first:  # opens the barrier
                first.sendall(b"x")
                opened, _ = listener.accept()
                with opened:
                    assert opened.recv(1) == b"x"
            self.client = socket.create_connection(address, timeout=PATIENCE_S)
            self.server, _ = listener.accept()
            self.server.settimeout(PATIENCE_S)
        self.received = {self.client: b"", self.server: b""}
        self.reset = {self.client: False, self.server: False}

    def __enter__(self) -> "Ends":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()

    def send(self, sock: socket.socket, writes: list[bytes]) -> None:
        """All of it, then the end of this direction."""
        with contextlib.suppress(OSError):
            for data in writes:
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

    def receive(self, sock: socket.socket) -> None:
        try:
            while data := sock.recv(65536):
                self.received[sock] += data
        except ConnectionResetError:
            self.reset[sock] = True

    def run(self, *work: tuple[object, ...]) -> None:
        threads = [threading.Thread(target=task[0], args=task[1:]) for task in work]  # type: ignore[arg-type]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def noted(flow: Stream) -> bytes:
    return b"".join(chunk.data for chunk in flow.chunks)


def last_of(tap: Tap) -> CapturedConnection:
    """The tap's record of the connection after the connection that opened the barrier."""
    return tap.take().agents[0][-1]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(up=STREAMS, down=STREAMS)
def test_every_byte_passes_unaltered_and_is_noted(tap: Tap, up: list[bytes], down: list[bytes]) -> None:
    """Both ends write whatever they like at once and close their direction: each gets what the other sent, and no more.

    The notes hold the same bytes, with times that never run backwards.
    """
    with Ends(tap) as ends:
        ends.run(
            (ends.send, ends.client, up),
            (ends.send, ends.server, down),
            (ends.receive, ends.client),
            (ends.receive, ends.server),
        )
        assert ends.received[ends.server] == b"".join(up)
        assert ends.received[ends.client] == b"".join(down)
        assert not any(ends.reset.values())
    carried = last_of(tap)
    for flow, sent in ((carried.up, up), (carried.down, down)):
        assert noted(flow) == b"".join(sent)
        moments = [moment for chunk in flow.chunks for moment in (chunk.read_ns, chunk.handed_ns)]
        assert moments == sorted(moments)
        assert flow.ended_ns >= max(moments, default=1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(up=STREAMS, down=STREAMS, client_resets=st.booleans(), heard=st.integers(0, 2000))
def test_a_reset_is_passed_on_at_once(
    tap: Tap, up: list[bytes], down: list[bytes], client_resets: bool, heard: int
) -> None:
    """Either side resets, at any point: the other is reset too, and has got a beginning of what was sent, unaltered."""
    with Ends(tap) as ends:
        quitter, stayer = (ends.client, ends.server) if client_resets else (ends.server, ends.client)
        sent, answered = (up, down) if client_resets else (down, up)

        def quit_early() -> None:
            with contextlib.suppress(OSError):
                for data in sent:
                    quitter.sendall(data)
                if heard < len(b"".join(answered)):
                    quitter.recv(max(1, heard))
            quitter.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            quitter.close()

        def answer() -> None:  # goes on sending until it cannot: also where nobody listens any more
            try:
                for data in answered:
                    stayer.sendall(data)
            except (ConnectionResetError, BrokenPipeError):
                ends.reset[stayer] = True  # the error is raised once: in this thread or in the receiving thread

        ends.run((quit_early,), (answer,), (ends.receive, stayer))
        assert ends.reset[stayer]
        assert b"".join(sent).startswith(ends.received[stayer])
    carried = last_of(tap)
    flow = carried.up if client_resets else carried.down
    assert flow.ended_ns
    assert b"".join(sent).startswith(noted(flow))
    assert noted(flow).startswith(ends.received[stayer])


def test_a_slow_reader_slows_the_writer(tap: Tap) -> None:
    """What one side does not read fills the sockets' buffers and no memory of the tap."""
    data = bytes(range(256)) * 400_000
    with Ends(tap) as ends:
        ends.server.settimeout(0.5)
        with pytest.raises(TimeoutError):
            ends.server.sendall(data)
        ends.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    flow = last_of(tap).down
    assert data.startswith(noted(flow))
    assert len(noted(flow)) < len(data) // 2


def test_bytes_pass_while_the_other_direction_is_stuck(tap: Tap) -> None:
    """Each direction waits for itself alone."""
    with Ends(tap) as ends:
        ends.server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                ends.server.send(b"y" * 65536)
                time.sleep(0.001)
        ends.client.sendall(b"still here")
        ends.server.settimeout(PATIENCE_S)
        assert ends.server.recv(100) == b"still here"
    tap.take()


def test_a_refused_connection_shows_as_a_reset(tap: Tap) -> None:
    """The server went away after the part began: the agent's connection is reset, and the notes are empty."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (url,) = tap.open([f"http://127.0.0.1:{listener.getsockname()[1]}"], ["agent a"])
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    (carried,) = tap.take().agents[0]
    assert carried.down.chunks == ()
    assert carried.down.ended_ns
