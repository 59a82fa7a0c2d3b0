"""Real clients, unchanged, behind the tap: each works as without it, and each request is timed like our own."""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Iterator

import aiohttp
import httpx
import ollama
import pytest
from langchain_ollama import ChatOllama

from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.external_agents import AgentRecording, run_tapped
from pytest_llmperf.measure.tap.proxy_client import Tap
from tests.contract.conftest import OPTIONS, PATIENCE_S

TOKENS = OPTIONS["num_predict"]


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


@pytest.fixture
def tapped(tap, served):
    """`tapped(run)`: what an agent asked for and got, alone behind the tap."""

    def run(agent) -> AgentRecording:
        members = [Member(label="agent x", url=served.url, run=agent)]
        return run_tapped(members, tap=tap, model=served.model, timeout_s=PATIENCE_S).recordings[0]

    return run


def check(heard: AgentRecording, count: int, *, tokens: int = TOKENS) -> None:
    """`count` complete requests with token counts and texts, and with moments in order."""
    assert len(heard.requests) == count
    for request in heard.requests:
        assert 0 < request.eval_count <= tokens
        assert request.text
        assert request.done_reason in ("stop", "length")
        assert request.sent_ns < request.arrivals_ns[0] <= request.arrivals_ns[-1] <= request.done_ns


def test_the_async_ollama_client(tapped, model_name):
    """Generate and chat, streamed, on one kept connection."""

    async def agent(url: str) -> None:
        async with ollama.AsyncClient(host=url) as client:
            parts = await client.generate(model=model_name, prompt="The sea", stream=True, options=OPTIONS)
            assert "".join([part.response async for part in parts])
            messages = [{"role": "user", "content": "The sea"}]
            parts = await client.chat(model=model_name, messages=messages, stream=True, options=OPTIONS)
            assert "".join([part.message.content async for part in parts])

    check(tapped(agent), 2)


OLLAMA_SCRIPT = """
import os, ollama
with ollama.Client() as client:
    model = os.environ["LLMPERF_MODEL"]
    assert model in [one.model for one in client.list().models]
    for part in client.generate(model=model, prompt="The sea", stream=True, options=OPTIONS):
        print(part.response, end="")
    client.chat(model=model, messages=[dict(role="user", content="The sea")], options=OPTIONS, stream=True)
    print(*client.chat(model=model, messages=[dict(role="user", content="A")], options=OPTIONS, stream=True))
"""


def test_the_ollama_client_as_a_command(tapped):
    """It finds the tap by OLLAMA_HOST; looking at the models is no request that counts, nor is an unread generator."""
    check(tapped((sys.executable, "-c", OLLAMA_SCRIPT.replace("OPTIONS", repr(OPTIONS)))), 2)


def test_httpx(tapped, model_name):
    """Several at once, each on a connection of its own."""

    async def agent(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
            body = {"model": model_name, "prompt": "The sea", "options": OPTIONS}
            answers = await asyncio.gather(*(client.post("/api/generate", json=body) for _ in range(3)))
            assert all(answer.status_code == 200 for answer in answers)

    check(tapped(agent), 3)


def test_aiohttp(tapped, model_name):
    """A request body in chunks, and an answer in chunks."""

    async def agent(url: str) -> None:
        async def body():
            yield b'{"model": "%s", "prompt": "The sea",' % model_name.encode()
            await asyncio.sleep(0.02)
            yield b'"options": {"num_predict": 8, "num_ctx": 512, "seed": 1, "temperature": 0.8}}'

        async with aiohttp.ClientSession() as client:
            for _ in range(2):
                async with client.post(f"{url}/api/generate", data=body()) as answer:
                    assert answer.status == 200
                    assert [line async for line in answer.content]

    heard = tapped(agent)
    check(heard, 2)


def test_langchain(tapped, model_name):
    """A chain knows nothing of us: it is given another base address."""

    async def agent(url: str) -> None:
        model = ChatOllama(model=model_name, base_url=url, num_predict=TOKENS, num_ctx=512, seed=1, temperature=0.8)
        assert "".join([str(part.content) async for part in model.astream("The sea")])
        with contextlib.suppress(AttributeError):  # it has no way to close its client
            await model._async_client._client.aclose()
            model._client._client.close()

    check(tapped(agent), 1)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")
def test_curl(tapped, model_name):
    """A program that knows only an address, and that announces its body with `Expect: 100-continue`."""
    options = '"num_predict": 8, "num_ctx": 512, "seed": 1, "temperature": 0.8'
    body = f'{{"model": "{model_name}", "prompt": "The sea", "options": {{{options}}}}}'
    check(
        tapped(("curl", "--silent", "--noproxy", "*", "-H", "Expect: 100-continue", "-d", body, "{url}/api/generate")),
        1,
    )


NODE_SCRIPT = """
const body = { model: process.env.LLMPERF_MODEL, messages: [{ role: "user", content: "The sea" }], options: OPTIONS };
for (let turn = 0; turn < 2; turn++) {
  const url = process.env.LLMPERF_BASE_URL + "/api/chat";
  const answer = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  for await (const part of answer.body) process.stdout.write(part);
}
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")
def test_node(tapped, tmp_path):
    """Another language, another HTTP stack."""
    path = tmp_path / "agent.mjs"
    path.write_text(NODE_SCRIPT.replace("OPTIONS", repr(OPTIONS)))
    check(tapped(("node", str(path))), 2)
