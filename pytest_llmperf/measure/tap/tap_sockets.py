"""The sockets of the tap: how they are prepared, and how they tell that they failed or ended."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct

from pytest_llmperf.measure.wire.arrival import ask_for_kernel_time

_RESET = struct.pack("ii", 1, 0)  # a `struct linger`: closing sends a reset
_LEFT = getattr(select, "POLLRDHUP", 0)  # Linux tells an end that still has bytes before it; others when it is read


def has_left(sock: socket.socket) -> bool:
    """Whether its other side has closed or reset it, also while bytes from before that are unread."""
    poll = select.poll()
    poll.register(sock, _LEFT)
    return bool(poll.poll(0))


def check_connected(sock: socket.socket | None) -> None:
    """Raises OSError if a connection that was begun has failed."""
    if sock is not None and (number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
        raise OSError(number, os.strerror(number))


def prepare(sock: socket.socket) -> None:
    """Makes a socket non-blocking and send without delay; the kernel stamps the bytes that arrive."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ask_for_kernel_time(sock)


def close(sock: socket.socket, *, reset: bool) -> None:
    """Closes a socket, by a reset or in the usual way."""
    if reset:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
