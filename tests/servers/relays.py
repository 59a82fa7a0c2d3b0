"""Ways to a server that are not the server: relays, balancers, proxies and TLS ends, over real sockets."""

import contextlib
import itertools
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE_S = 20.0

Handle = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(handle: Handle) -> Iterator[int]:
    """A port of 127.0.0.1; every connection to it is handled in a thread of its own."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.02)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                thread = threading.Thread(target=_handled, args=(handle, client), daemon=True)
                threads.append(thread)
                thread.start()

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            server.join(PATIENCE_S)
            for thread in threads:
                thread.join(PATIENCE_S)


def _handled(handle: Handle, client: socket.socket) -> None:
    client.settimeout(PATIENCE_S)
    with client, contextlib.suppress(OSError):
        handle(client)


def pump(first: socket.socket, second: socket.socket) -> None:
    """Forwards bytes between two sockets, both ways, until one of them ends."""
    pairs = {first: second, second: first}
    while True:
        waiting = [sock for sock in pairs if isinstance(sock, ssl.SSLSocket) and sock.pending()]
        ready = waiting or select.select(list(pairs), [], [], PATIENCE_S)[0]
        for sock in ready:
            data = sock.recv(65536)
            if not data:
                return
            pairs[sock].sendall(data)


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port


@contextlib.contextmanager
def relay(
    *urls: str,
    tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
    heard: list[bytes] | None = None,
    needs: str = "",
) -> Iterator[str]:
    """An address that leads to these servers in turn, with TLS if `tls` is set; records what clients send.

    If `tls` is a function, it returns the TLS context of each connection. A request without the line `needs` is
    answered with 401.
    """
    turns = itertools.cycle(urls)

    def handle(client: socket.socket) -> None:
        if tls is not None:
            client = (tls() if callable(tls) else tls).wrap_socket(client, server_side=True)
        with client, socket.create_connection(address(next(turns)), PATIENCE_S) as server:
            first = client.recv(65536)
            if needs.lower() not in first.decode("latin-1").lower():
                client.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                client.close()
                return
            if heard is not None:
                heard.append(first)
            server.sendall(first)
            pump(client, server)
        client.close()

    with listening(handle) as port:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"


@contextlib.contextmanager
def proxy(heard: list[str], *, needs: str = "") -> Iterator[str]:
    """An HTTP proxy: CONNECT, and requests for whole addresses; notes the first line of each.

    Without the line that it needs, a request is answered with 407; with it, the server is not told that line.
    """

    def handle(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := client.recv(65536)):
                return  # given up
            head += data
        line, _, rest = head.partition(b"\r\n")
        heard.append(line.decode())
        lines = rest.split(b"\r\n")
        told = [line for line in lines if not needs or line.lower() != needs.lower().encode()]
        if needs and len(told) == len(lines):
            client.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
            )
            return
        rest = b"\r\n".join(told)
        method, target, version = line.split(b" ")
        if method == b"CONNECT":
            host, _, port = target.rpartition(b":")
            with socket.create_connection((host.decode(), int(port)), PATIENCE_S) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                pump(client, server)
            return
        parts = urlsplit(target.decode())
        with socket.create_connection((parts.hostname, parts.port), PATIENCE_S) as server:
            server.sendall(b" ".join((method, (parts.path or "/").encode(), version)) + b"\r\n" + rest)
            pump(client, server)

    with listening(handle) as port:
        yield f"http://127.0.0.1:{port}"


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that no system trusts, and what a server needs to use it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=llmperf-test", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context
