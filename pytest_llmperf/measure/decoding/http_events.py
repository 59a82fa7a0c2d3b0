"""The one place that has h11 read answers and requests: bytes in, events out."""

from __future__ import annotations

from collections.abc import Iterator

import h11


def answer_connection(method: str = "POST", *, closing: bool = False) -> h11.Connection:
    """An h11 connection that waits for the answer to a request.

    Args:
        method: the method of the request.
        closing: whether the request has asked the server to close the connection after the answer.
    """
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "x"), *([("Connection", "close")] if closing else [])]
    connection.send(h11.Request(method=method, target="/", headers=headers))
    connection.send(h11.EndOfMessage())
    return connection


def events(connection: h11.Connection, data: bytes) -> Iterator[h11.Event]:
    """The events up to the end of these bytes.

    Args:
        connection: keeps what it has read between calls.
        data: the bytes that follow; none = the end of the connection.

    Raises:
        h11.RemoteProtocolError: the bytes are not HTTP.
    """
    connection.receive_data(data)
    while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.ConnectionClosed):
            return
        assert isinstance(event, h11.Event)  # the other two are the sentinels above
        yield event
