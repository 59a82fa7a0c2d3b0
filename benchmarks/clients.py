"""The clients that we are compared with: each streams so many answers at once here, and gives its CPU time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
import ollama

BODY = {"model": "paced", "prompt": "x", "stream": True}


async def nothing() -> None:
    """Nothing is to be closed."""


def cpu_ns_of(
    stream: Callable[[], Awaitable[None]], agents: int, *, close: Callable[[], Awaitable[None]] = nothing
) -> int:
    """CPU time of this process while so many streams run at once; closing is not counted."""

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
