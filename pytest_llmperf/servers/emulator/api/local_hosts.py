"""Refuses requests that name another host than this machine, as an Ollama on loopback does.

Without it a web page could have its own name resolve to 127.0.0.1 and use the server from the visitor's browser.
"""

from __future__ import annotations

import ipaddress
import socket

from starlette.types import ASGIApp, Receive, Scope, Send

_LOCAL_DOMAINS = (".localhost", ".local", ".internal")


class LocalHostsOnly:
    """ASGI middleware: 403 without a body for a foreign `Host`.

    Args:
        app: what answers everything else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._own_names = ("", "localhost", socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] != "http" or self._is_local(_host_of(scope)):
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def _is_local(self, host: str) -> bool:
        if host in self._own_names or host.endswith(_LOCAL_DOMAINS):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or address.is_private or address.is_unspecified


def _host_of(scope: Scope) -> str:
    """The `Host` header in lower case, without port and brackets."""
    value = next((value for name, value in scope["headers"] if name == b"host"), b"")
    host: str = value.decode("latin-1").strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host
