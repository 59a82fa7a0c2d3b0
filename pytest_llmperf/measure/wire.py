"""The timed path: one HTTP request on a fresh connection, raw bytes with their arrival times, nothing parsed.

The request asks the server to close the connection after its answer, so that the end of the answer is the end of
the connection and no framing has to be understood while the clock runs.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pytest_llmperf.errors import MeasurementError

TIMING_SOURCE = "read"
"""How arrivals are stamped: when the event loop read the bytes."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_READ_BYTES = 65536

Clock = Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prepared request: bytes only, so that nothing is built while the clock runs.

    Attributes:
        host, port: where to connect.
        tls: whether to speak TLS.
        payload: the whole HTTP request.
        label: for error messages, e.g. `agent insight, instance b (http://127.0.0.1:11435)`.
    """

    host: str
    port: int
    tls: bool
    payload: bytes
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What happened on the wire.

    Attributes:
        sent_ns: the moment the request's last byte was handed to the system.
        pieces: (arrival_ns, bytes) as read, in order.
        label: of the request.
    """

    sent_ns: int
    pieces: tuple[tuple[int, bytes], ...]
    label: str


def prepare(url: str, path: str, body: bytes, *, label: str) -> Request:
    """The bytes of a POST of JSON to `url + path`.

    Raises:
        MeasurementError: the URL is not http or https with a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MeasurementError(f"{label}: {url!r} is no http address", next_step="give http://host:port")
    tls = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or (443 if tls else 80)
    head = (
        f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\n"
        f"Host: {host}:{port}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return Request(host=parts.hostname, port=port, tls=tls, payload=head.encode("ascii") + body, label=label)


async def exchange(request: Request, *, timeout_s: float, clock: Clock = time.monotonic_ns) -> Exchange:
    """Sends one request and collects the answer until the server closes the connection.

    Raises:
        MeasurementError: refused, reset, longer than `timeout_s` seconds, or over MAX_ANSWER_BYTES;
            `received` holds what had arrived.
    """
    pieces: list[tuple[int, bytes]] = []
    size = 0
    writer: asyncio.StreamWriter | None = None

    def failure(what: str, next_step: str) -> MeasurementError:
        received = b"".join(data for _, data in pieces)
        return MeasurementError(
            f"{request.label}: {what} after {len(received)} bytes", next_step=next_step, received=received
        )

    try:
        async with asyncio.timeout(timeout_s):
            context = ssl.create_default_context() if request.tls else None
            reader, writer = await asyncio.open_connection(request.host, request.port, ssl=context)
            writer.write(request.payload)
            await writer.drain()
            sent_ns = clock()
            while data := await reader.read(_READ_BYTES):
                pieces.append((clock(), data))
                size += len(data)
                if size > MAX_ANSWER_BYTES:
                    raise failure("the answer does not end", "set num_predict on the agent's options")
    except TimeoutError:
        raise failure(
            f"no complete answer within {timeout_s:g} s", "look at the server's log, or raise --llmperf-timeout"
        ) from None
    except OSError as error:
        raise failure(
            f"the connection failed ({error})",
            f"is the server alive? curl http://{request.host}:{request.port}/api/version",
        ) from error
    finally:
        if writer is not None:
            writer.close()
    return Exchange(sent_ns=sent_ns, pieces=tuple(pieces), label=request.label)
