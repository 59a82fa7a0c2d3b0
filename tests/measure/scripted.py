"""A real socket server that follows a script, for tests of the timed path."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_llmperf.measure.wire.arrival import ANCILLARY_BYTES, ask_for_kernel_time, hold_kernel_time
from pytest_llmperf.measure.wire.prepared_request import Request, prepare
from tests.plugin.conftest import until

Handler = Callable[[socket.socket], None]


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """Does `handler` for each connection, in a thread of its own, once its request has come; the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(sock: socket.socket) -> None:
        with sock:
            received = b""
            try:
                while not received.endswith(b"{}"):
                    received += sock.recv(4096) or b"{}"
                handler(sock)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(sock,)))
            threads[-1].start()

    threads.append(threading.Thread(target=accept))
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join()


@contextmanager
def kernel_stamps() -> Iterator[None]:
    """From here on the kernel stamps all bytes of sockets that ask: it begins some time after the first has asked.

    TCP bytes that came before have no stamp; UDP ones would get that of their read.
    """
    held = hold_kernel_time()
    assert held is not None
    with (
        held,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as peer,
    ):
        assert ask_for_kernel_time(client)

        def stamped() -> bool:
            peer.sendall(b"x")
            return bool(client.recvmsg(1, ANCILLARY_BYTES)[1])

        until(stamped, lambda: "the kernel never began to stamp")
        yield


def request_to(url: str, label: str = "agent a") -> Request:
    return prepare(url, "/api/generate", b"{}", label=label)
