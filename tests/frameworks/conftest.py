"""Servers that note what they generated, and the page of the docs that the last run writes."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.model import Script
from pytest_llmperf.servers.emulator.app import create_app
from pytest_llmperf.servers.emulator.engine import Completion, Emit, Engine, Job
from pytest_llmperf.servers.emulator.model_files import model_file
from pytest_llmperf.servers.emulator.scripted_engine import MODEL_NAME, ScriptedEngine
from tests.faults.conftest import serving
from tests.frameworks.page import Row, stored_rows, write_page


class Noting:
    """An engine that notes the counts of every generation.

    Args:
        engine: does all the work.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.done: list[Completion] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, job: Job, emit: Emit, cancelled: threading.Event) -> Completion:
        completion = self._engine.generate(job, emit, cancelled)
        self.done.append(completion)
        return completion


@dataclass
class Servers:
    """Two servers.

    Attributes:
        engines: the engine of each server.
        urls: the address of each server.
        model: its name on both.
    """

    model: str
    engines: list[Noting] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)


@contextlib.contextmanager
def _served(model: str, engines: list[Noting]) -> Iterator[Servers]:
    servers = Servers(model=model, engines=engines)
    with contextlib.ExitStack() as stack:
        for engine in engines:
            port, _ = stack.enter_context(serving(create_app(engine, keep_alive_s=float("inf"))))
            servers.urls.append(f"http://127.0.0.1:{port}")
        yield servers
    for engine in engines:
        engine.unload()


@pytest.fixture(scope="session")
def embedded() -> Iterator[Servers]:
    """Two embedded engines with the packaged model, one thread each."""
    from pytest_llmperf.servers.emulator.llama_engine import LlamaEngine

    file = model_file("", "")
    engines = [Noting(LlamaEngine(file.path, file.card, slots=1, threads=1)) for _ in "ab"]
    with _served(file.card.name, engines) as servers:
        yield servers


@pytest.fixture(scope="session")
def simulated() -> Iterator[Servers]:
    """Two simulated servers that call a tool once before they answer."""
    script = Script(ttft_ms=5, prefill_tok_s=1e6, decode_tok_s=2000, load_ms=1, tool_calls=1)
    with _served(MODEL_NAME, [Noting(ScriptedEngine(script)) for _ in "ab"]) as servers:
        yield servers


@pytest.fixture(scope="session")
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


@pytest.fixture(scope="session")
def rows() -> Iterator[dict[str, Row]]:
    """What was measured, by title; `LLMPERF_FRAMEWORKS_PAGE=1` writes it into the docs."""
    measured = stored_rows()
    yield measured
    if os.environ.get("LLMPERF_FRAMEWORKS_PAGE"):
        write_page()
