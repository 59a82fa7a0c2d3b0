"""A server with known times: it answers each request at a given pace, and records when each chunk left.

It runs as a plain script, so that it starts at once: `python calibration_server.py TTFT_MS TOK_S TOKENS`. It prints its
port, serves loopback until its standard input ends, and speaks just enough of Ollama's and OpenAI's streams to time a
client; a request may ask for another number of tokens (`num_predict`). `GET /truth` returns and deletes the records:
for each answered request its number, its arrival and the moments just before each of its chunks was handed to the
system, all in nanoseconds of the monotonic clock. The last line of an answer has its number (Ollama's `context`).
"""

import contextlib
import ctypes
import heapq
import json
import os
import select
import selectors
import socket
import struct
import sys
import time
from typing import Any

_SO_TIMESTAMPNS = 35
_PR_SET_TIMERSLACK = 29
_REST_S = 0.5  # how often it looks up while nothing is due


class _Client:
    """One connection and the answer that is under way on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.arrived_ns = 0
        self.chunks: list[bytes] = []
        self.sent_ns: list[int] = []
        self.number = 0
        self.last = False  # the client asked to close after this answer


class _Paced:
    def __init__(self, ttft_ms: float, tok_s: float, tokens: int) -> None:
        self._ttft_ns, self._gap_ns, self._tokens = round(ttft_ms * 1e6), 1e9 / tok_s, tokens
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._selector: Any = selectors.DefaultSelector()  # epoll's or kqueue's, each of which has a descriptor itself
        self._clients: dict[int, _Client] = {}
        self._due: list[tuple[int, int]] = []  # (moment, descriptor)
        self._truth: list[dict[str, object]] = []
        self._answered = 0
        self.port = self._listener.getsockname()[1]

    def serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)
        while True:
            self._send_what_is_due()
            for descriptor in self._ready():
                if descriptor == 0 and not os.read(0, 1):
                    return
                if descriptor == self._listener.fileno():
                    sock, _ = self._listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    with contextlib.suppress(OSError):
                        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                    self._clients[sock.fileno()] = _Client(sock)
                    self._selector.register(sock, selectors.EVENT_READ)
                elif client := self._clients.get(descriptor):
                    self._read(client)

    def _ready(self) -> list[int]:
        """Descriptors that can be read. Sleeps by `select`, whose time is finer than the millisecond of epoll."""
        wait_s = max(0.0, (self._due[0][0] - time.monotonic_ns()) / 1e9) if self._due else _REST_S
        if not select.select([self._selector], [], [], wait_s)[0]:
            return []
        return [key.fd for key, _ in self._selector.select(0)]

    def _send_what_is_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic_ns():
            _, descriptor = heapq.heappop(self._due)
            client = self._clients.get(descriptor)
            if client is None:
                continue
            chunk = client.chunks[len(client.sent_ns)]
            client.sent_ns.append(time.monotonic_ns())
            try:
                client.sock.sendall(chunk)
            except OSError:
                self._drop(client)
                continue
            if len(client.sent_ns) < len(client.chunks):
                self._plan(client)
            else:
                self._note(client)
                if client.last:
                    self._drop(client)

    def _plan(self, client: _Client) -> None:
        due_ns = client.arrived_ns + self._ttft_ns + round(len(client.sent_ns) * self._gap_ns)
        heapq.heappush(self._due, (due_ns, client.sock.fileno()))

    def _note(self, client: _Client) -> None:
        """The last of the chunks is the end, which carries no token."""
        self._truth.append({"number": client.number, "arrived_ns": client.arrived_ns, "sent_ns": client.sent_ns})

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.sock.fileno(), None):
            self._selector.unregister(client.sock)
        client.sock.close()

    def _read(self, client: _Client) -> None:
        try:
            data, ancillary, _, _ = client.sock.recvmsg(65536, 64)
        except OSError:
            data, ancillary = b"", []
        if not data:
            self._drop(client)
            return
        client.arrived_ns = _arrival_ns(ancillary)
        client.received += data
        head, mark, body = bytes(client.received).partition(b"\r\n\r\n")
        if not mark:
            return
        lines = head.decode("latin-1").lower().split("\r\n")
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(body) < length:
            return
        client.received.clear()
        client.last = headers.get("connection") == "close"
        self._answer(client, lines[0].split(" ")[1], json.loads(body) if length else {})

    def _answer(self, client: _Client, path: str, body: dict[str, object]) -> None:
        if path in ("/api/generate", "/api/chat", "/v1/chat/completions", "/v1/completions"):
            self._answered += 1
            client.number, client.sent_ns = self._answered, []
            client.chunks = _answer_of(path, body, client.number, _wanted(body) or self._tokens)
            self._plan(client)
            return
        if path == "/truth":
            text, self._truth = json.dumps(self._truth), []
        else:
            text = json.dumps({"version": "0.0.0-paced", "object": "list", "models": [], "data": [{"id": "paced"}]})
        client.sock.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
        )
        if client.last:
            self._drop(client)


def _answer_of(path: str, body: dict[str, object], number: int, tokens: int) -> list[bytes]:
    """One HTTP chunk a token and one for the end; the first carries the head of the answer, the last its close."""
    model, kind = body.get("model", "paced"), "application/x-ndjson"
    if path.startswith("/v1/"):
        kind = "text/event-stream"
        part: dict[str, object] = {
            "id": f"paced-{number}",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": model,
        }
        delta: dict[str, object] = {
            "choices": [{"index": 0, "delta": {"content": " word"}, "text": " word", "finish_reason": None}]
        }
        usage = {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": tokens + 8}
        end: dict[str, object] = {
            "choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "length"}],
            "usage": usage,
        }
        lines = [f"data: {json.dumps(part | delta)}\n\n"] * tokens
        lines.append(f"data: {json.dumps(part | end)}\n\ndata: [DONE]\n\n")
    else:
        head: dict[str, object] = {"model": model, "created_at": "2026-01-01T00:00:00.000000Z"}
        end = {"done": True, "done_reason": "length", "context": [number], "eval_count": tokens, "eval_duration": 1}
        lines = [json.dumps(head | _text_of(path, " word") | {"done": False}) + "\n"] * tokens
        lines.append(json.dumps(head | _text_of(path, "") | end) + "\n")
    chunks = [f"{len(line):x}\r\n{line}\r\n".encode() for line in lines]
    chunks[0] = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks[0]
    chunks[-1] += b"0\r\n\r\n"
    return chunks


def _text_of(path: str, text: str) -> dict[str, object]:
    return {"message": {"role": "assistant", "content": text}} if path == "/api/chat" else {"response": text}


def _arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The kernel's receive time on the monotonic clock, or now."""
    now_ns = time.monotonic_ns()
    for _, kind, data in ancillary:
        if kind == _SO_TIMESTAMPNS:
            seconds, rest = struct.unpack("@ll", data[: struct.calcsize("@ll")])
            return int(min(now_ns, seconds * 1_000_000_000 + rest - _wall_offset_ns()))
    return now_ns


def _wall_offset_ns() -> int:
    """Wall clock minus monotonic clock, from the quickest of some samples: reading both may be interrupted."""
    samples = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(8)]
    before_ns, wall_ns, after_ns = min(samples, key=lambda sample: sample[2] - sample[0])
    return wall_ns - (before_ns + after_ns) // 2


def _wanted(body: dict[str, object]) -> int:
    """The number of tokens that a request asks for; 0 if it leaves that to the server."""
    options = body.get("options")
    return int(options.get("num_predict", 0)) if isinstance(options, dict) else 0


def main() -> None:
    """Serves until standard input ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    paced = _Paced(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    print(paced.port, flush=True)
    paced.serve()


if __name__ == "__main__":
    main()
