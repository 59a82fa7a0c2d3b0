"""One suite, three servers: the embedded engine, the scripted engine, and a real Ollama if one is available.

A real Ollama is taken from `LLMPERF_LIVE_URL` (with `LLMPERF_LIVE_MODEL`, or its first model), or started as
`tests.live.live_settings` says. Its tests carry the marker `live`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from pytest_llmperf.model import Script, Settings, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from tests.live import live_settings

OPTIONS = {"num_ctx": 512, "num_predict": 8, "seed": 1, "temperature": 0.8}
"""The same in every test unless it is about another, so that the model is loaded once."""

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Served:
    """A server under test."""

    kind: str
    url: str
    model: str


@pytest.fixture(
    scope="session",
    params=[
        "simulated",
        pytest.param("embedded", marks=pytest.mark.slow),
        pytest.param("live", marks=pytest.mark.live),
    ],
    autouse=True,
)
def served(request) -> Iterator[Served]:
    """The server, one a session and kind, with one slot."""
    if request.param == "live":
        yield from _live()
        return
    # slow enough to be left in the middle, fast enough not to be waited for
    script = Script(ttft_ms=5, prefill_tok_s=20_000, decode_tok_s=400, load_ms=20)
    settings = Settings(backend=request.param, script=script, threads=1)
    with choose(settings).open(TopologyKind.SINGLE, 1) as opened:
        yield Served(request.param, opened.topology.instances[0].url, opened.topology.model)


def _live() -> Iterator[Served]:
    if url := os.environ.get("LLMPERF_LIVE_URL"):
        model = os.environ.get("LLMPERF_LIVE_MODEL", "")
        with OllamaClient(url) as control:
            models = control.tags()
        if not (model or models):
            pytest.skip(f"the Ollama at {url} has no model")
        yield Served("live", url.rstrip("/"), model or models[0].name)
        return
    with choose(live_settings()).open(TopologyKind.SINGLE, 1) as opened:
        yield Served("live", opened.topology.instances[0].url, opened.topology.model)


@pytest.fixture
def server_url(served) -> str:
    """Base address of the server under test."""
    return served.url


@pytest.fixture
def model_name(served) -> str:
    """The model that it has."""
    return served.model


@pytest.fixture
def http(server_url) -> Iterator[httpx.Client]:
    """A bare HTTP client of it."""
    with httpx.Client(base_url=server_url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client
