"""asyncio and httpx."""

import asyncio
import json

import httpx
from specification import print_about, team


async def ask(base, body):
    """Posts a body over a new connection, and returns the streamed text."""
    async with (
        httpx.AsyncClient(timeout=None, trust_env=False, headers={"Connection": "close"}) as client,
        client.stream("POST", f"{base}/api/generate", json=body) as answer,
    ):
        answer.raise_for_status()
        return "".join([json.loads(line)["response"] async for line in answer.aiter_lines()])


if __name__ == "__main__":
    asyncio.run(team(ask))
    print_about("asyncio, httpx")
