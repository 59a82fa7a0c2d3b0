"""The effects of a fault on its own process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import NoReturn, Protocol

import uvicorn

_AT_ONCE = struct.pack("ii", 1, 0)  # a struct linger: closing throws away what is unsent, and resets


class Host(Protocol):
    """The server's process, seen by its faults."""

    def reset(self, client: tuple[str, int]) -> None:
        """Resets the connection with this peer."""
        ...

    def refuse(self, seconds: float) -> None:
        """Stops listening for `seconds`; 0 = forever."""
        ...

    def die(self) -> NoReturn:
        """Ends at once, without any cleanup."""
        ...


class UvicornHost:
    """A process that runs uvicorn; see Host.

    Args:
        listen: opens the listening socket anew.

    Attributes:
        server: set before it runs.
    """

    server: uvicorn.Server

    def __init__(self, listen: Callable[[], socket.socket]) -> None:
        self._listen = listen

    def reset(self, client: tuple[str, int]) -> None:
        """Closes with a reset, not with an end."""
        for connection in list(self.server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None and transport.get_extra_info("peername") == client:
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                transport.abort()

    def refuse(self, seconds: float) -> None:
        """Closes the listening socket, and opens another one later."""
        for server in self.server.servers:
            server.close()
        if seconds:
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, lambda: loop.create_task(self._listen_again()))

    async def _listen_again(self) -> None:
        await self.server.startup(sockets=[self._listen()])

    def die(self) -> NoReturn:
        """As after a crash."""
        logging.shutdown()
        os._exit(1)
