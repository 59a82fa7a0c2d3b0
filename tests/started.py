"""Servers that somebody else has started: simulated ones in processes of their own, and plain HTTP in a thread."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pytest_llmperf.servers.processes.server_process import OwnServer

PATIENCE_S = 60.0


def start_own(arguments: Sequence[str], *, label: str, timeout_s: float = PATIENCE_S) -> tuple[OwnServer, int]:
    """Our own server once it listens, and its port; none is left where that fails."""
    process = OwnServer(arguments, label=label)
    try:
        return process, process.port(timeout_s)
    except BaseException:
        process.stop()
        raise


@contextmanager
def simulated_server(*arguments: str, **script: float) -> Iterator[str]:
    """The address of a simulated server with these further arguments, which behaves so."""
    process, port = start_own(["--engine", "scripted", "--script", json.dumps(script), *arguments], label="found")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


@contextmanager
def simulated_servers(count: int, **script: float) -> Iterator[tuple[str, ...]]:
    """The addresses of some that behave alike."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(simulated_server(**script)) for _ in range(count))


class Handler(BaseHTTPRequestHandler):
    """A handler of plain HTTP that prints nothing on stderr."""

    def body(self) -> dict:
        """The JSON that was sent."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body: bytes, *, status: int = 200, kind: str = "application/json") -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps the output clean."""


@contextmanager
def http_server(handler: type[Handler]) -> Iterator[str]:
    """The address of a server that answers by this."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(PATIENCE_S)
