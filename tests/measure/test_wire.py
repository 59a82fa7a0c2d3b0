"""The timed path against a real socket server that follows a script."""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure import wire
from pytest_llmperf.measure.wire import Exchange, exchange, prepare

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(handler: Handler, *, timeout_s: float = 30, clock: Callable[[], int] | None = None) -> Exchange:
    """One exchange with a server that does `handler` for its one connection."""

    async def main() -> Exchange:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            request = prepare(f"http://127.0.0.1:{port}", "/api/generate", b"{}", label="agent a")
            ticks = itertools.count(1).__next__
            return await exchange(request, timeout_s=timeout_s, clock=clock or ticks)

    return asyncio.run(main())


def test_the_request_is_what_a_server_expects() -> None:
    """A POST of JSON to the path below the base address, on a connection of its own."""
    request = prepare("https://host:8443/ollama/", "/api/chat", b'{"a":1}', label="x")
    assert (request.host, request.port, request.tls) == ("host", 8443, True)
    assert request.payload == (
        b"POST /ollama/api/chat HTTP/1.1\r\nHost: host:8443\r\nContent-Type: application/json\r\n"
        b'Content-Length: 7\r\nConnection: close\r\n\r\n{"a":1}'
    )


@pytest.mark.parametrize(("url", "port"), [("http://h", 80), ("https://h", 443), ("http://[::1]:5", 5)])
def test_default_ports(url: str, port: int) -> None:
    """A URL without a port means the scheme's; an IPv6 address keeps its brackets in the header."""
    request = prepare(url, "/x", b"", label="x")
    assert request.port == port
    assert b"Host: [::1]:5" in request.payload or request.host == "h"


def test_no_http_address_is_refused() -> None:
    """Anything but http and https is an error before a connection is tried."""
    with pytest.raises(MeasurementError, match="no http address"):
        prepare("ftp://h", "/x", b"", label="x")


def test_pieces_are_stamped_as_they_are_read() -> None:
    """The send is stamped first, then each read, in order; the connection's end is the answer's end."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"one")
        await writer.drain()

    result = run(handler)
    assert result.sent_ns == 1
    assert [stamp for stamp, _ in result.pieces] == list(range(2, 2 + len(result.pieces)))
    assert b"".join(data for _, data in result.pieces) == b"one"


def test_a_stall_is_an_error_that_keeps_what_came() -> None:
    """A server that stops in mid-answer runs into the limit of time."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"half")
        await writer.drain()
        await reader.read()  # until the client gives up

    with pytest.raises(MeasurementError, match=r"no complete answer within 0\.3 s after 4 bytes") as caught:
        run(handler, timeout_s=0.3)
    assert caught.value.received == b"half"


def test_a_reset_is_an_error_that_names_the_server() -> None:
    """A connection that the server resets is named, with the command that looks at it."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    with pytest.raises(MeasurementError, match=r"the connection failed .*(?s:.)*curl http://127.0.0.1:"):
        run(handler)


def test_a_refused_connection_is_an_error() -> None:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    request = prepare(f"http://127.0.0.1:{port}", "/x", b"", label="agent a")
    with pytest.raises(MeasurementError, match="agent a: the connection failed"):
        asyncio.run(exchange(request, timeout_s=5))


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond the limit of memory ends in an error."""
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 10_000)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        while not writer.is_closing():
            writer.write(b"x" * 4096)
            try:
                await writer.drain()
            except ConnectionError:
                return

    with pytest.raises(MeasurementError, match="does not end"):
        run(handler)
