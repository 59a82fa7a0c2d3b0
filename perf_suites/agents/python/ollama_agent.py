"""The `ollama` client."""

import asyncio

import ollama
from specification import print_about, team


async def ask(base, body):
    """Asks over a new connection, and returns the streamed text."""
    client = ollama.AsyncClient(host=base, trust_env=False, headers={"Connection": "close"})
    try:
        return "".join([chunk.response async for chunk in await client.generate(**body)])
    finally:
        await client._client.aclose()


if __name__ == "__main__":
    asyncio.run(team(ask))
    print_about("asyncio, ollama")
