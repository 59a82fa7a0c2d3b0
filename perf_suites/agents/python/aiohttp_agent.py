"""aiohttp, each chunk parsed as it comes, as the report had it; with UVLOOP=1 on uvloop."""

import asyncio
import json
import os

import aiohttp
from specification import print_about, team


async def ask(base, body):
    """Posts a body over a new connection, and returns the streamed text."""
    connector, timeout = aiohttp.TCPConnector(force_close=True), aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.post(f"{base}/api/generate", json=body) as answer,
    ):
        answer.raise_for_status()
        return "".join([json.loads(line)["response"] async for line in answer.content])


if __name__ == "__main__":
    if os.environ.get("UVLOOP"):
        import uvloop

        uvloop.run(team(ask))
        print_about("uvloop, aiohttp")
    else:
        asyncio.run(team(ask))
        print_about("asyncio, aiohttp")
