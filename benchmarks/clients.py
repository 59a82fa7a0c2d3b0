"""The clients that the plugin is compared with: each streams n answers at once and returns its CPU time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
import socket
import time
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
import ollama

from pytest_llmperf.measure.runtimes import Part
from pytest_llmperf.measure.wire.arrival import READ, Piece
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import prepare

BODY = {"model": "paced", "prompt": "x", "stream": True}


async def nothing() -> None:
    """Closes nothing."""


def cpu_ns_of(
    stream: Callable[[], Awaitable[None]], agents: int, *, close: Callable[[], Awaitable[None]] = nothing
) -> int:
    """CPU time of this process while `agents` streams run at once; closing is not counted."""

    async def main() -> int:
        before_ns = time.process_time_ns()
        await asyncio.gather(*(stream() for _ in range(agents)))
        spent_ns = time.process_time_ns() - before_ns
        await close()
        return spent_ns

    return asyncio.run(main())


def ollama_client(url: str, agents: int) -> int:
    """The official client, consumed as its README shows."""
    client = ollama.AsyncClient(host=url, trust_env=False)

    async def stream() -> None:
        async for _ in await client.generate(model="paced", prompt="x", stream=True):
            pass

    return cpu_ns_of(stream, agents, close=client._client.aclose)


def httpx_lines(url: str, agents: int) -> int:
    """A hand-written loop: lines, their time, JSON."""

    async def stream() -> None:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=60) as client,
            client.stream("POST", f"{url}/api/generate", json=BODY) as answer,
        ):
            _ = [(time.monotonic_ns(), json.loads(line)) async for line in answer.aiter_lines()]

    return cpu_ns_of(stream, agents)


def aiohttp_bare(url: str, agents: int) -> int:
    """The barest loop: lines and their time, nothing parsed."""

    async def stream() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/api/generate", json=BODY) as answer,
        ):
            _ = [(time.monotonic_ns(), line) async for line in answer.content]

    return cpu_ns_of(stream, agents)


def plain_reader(url: str, agents: int) -> Part:
    """Ten lines: one loop that reads the available bytes and notes the time of each read, without kernel timestamps."""
    requests = [prepare(url, "/api/generate", b'{"model": "paced"}', label=f"client {n}") for n in range(agents)]
    pieces: list[list[Piece]] = [[] for _ in requests]
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for client, request in enumerate(requests):
            sock = stack.enter_context(socket.create_connection((request.host, request.port)))
            selector.register(sock, selectors.EVENT_READ, client)
        start_ns, sent_ns = time.monotonic_ns(), [0] * agents
        for key in list(selector.get_map().values()):
            key.fileobj.sendall(requests[key.data].signed())  # type: ignore[union-attr]
            sent_ns[key.data] = time.monotonic_ns()
        while selector.get_map():
            for key, _ in selector.select():
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                now_ns = time.monotonic_ns()
                if data:
                    pieces[key.data].append(Piece(now_ns, now_ns, data))
                else:
                    selector.unregister(key.fileobj)
    exchanges = [
        (Exchange(sent_ns=sent, pieces=tuple(read), source=READ, label=request.label),)
        for sent, read, request in zip(sent_ns, pieces, requests, strict=True)
    ]
    return Part(start_ns=start_ns, exchanges=tuple(exchanges), cpu_ns=(0,), lag_ns=(0,) * agents)
