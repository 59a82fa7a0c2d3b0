"""A hand-driven engine, and the application served over a real socket in a thread."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from pytest_llmperf.servers.emulator.app import create_app
from pytest_llmperf.servers.emulator.engine import Completion, EngineError, ModelCard

CARD = ModelCard(
    name="hand:driven",
    digest="d" * 64,
    size_bytes=7,
    modified_at="2026-01-01T00:00:00Z",
    format="gguf",
    family="hand",
    parameter_size="1",
    quantization="none",
    context_length=8192,
)
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def fresh_servers() -> None:
    """Every test here is one of how servers start and end."""


class HandEngine:
    """Runs each job until the test lets it end, and records what was asked of it."""

    def __init__(self, *, slots: int = 1, template: str = "") -> None:
        self.slots = slots
        self.version = "0.0.0-hand"
        self.card = CARD if not template else ModelCard(**{**_as_dict(CARD), "template": template})
        self.events: list[str] = []
        self.jobs = []
        self.loads = []
        self.let_load = threading.Event()
        self.let_load.set()
        self.let_end = threading.Event()
        self.let_end.set()
        self.running = threading.Semaphore(0)
        self.loading = threading.Semaphore(0)
        self.load_error: EngineError | None = None
        self.early_error: EngineError | None = None
        self.late_error: Exception | None = None
        self.answer = ("one", " two")

    def load(self, options) -> None:
        self.loading.release()
        assert self.let_load.wait(PATIENCE_S)
        if self.load_error:
            raise self.load_error
        self.loads.append(options)
        self.events.append("load")

    def unload(self) -> None:
        self.events.append("unload")

    def generate(self, job, emit, cancelled) -> Completion:
        if self.early_error:
            raise self.early_error
        self.jobs.append(job)
        self.events.append(f"begin {job.prompt}")
        emit(self.answer[0])
        self.running.release()
        while not self.let_end.wait(0.005) and not cancelled.is_set():
            pass
        self.events.append(f"{'cancel' if cancelled.is_set() else 'end'} {job.prompt}")
        if self.late_error:
            raise self.late_error
        for text in self.answer[1:]:
            emit(text)
        return Completion(
            done_reason="stop",
            prompt_eval_count=3,
            prompt_eval_duration_ns=5,
            eval_count=len(self.answer),
            eval_duration_ns=11,
        )

    def wait_running(self) -> None:
        """Until one more job is inside `generate`."""
        assert self.running.acquire(timeout=PATIENCE_S)


def _as_dict(card: ModelCard) -> dict:
    return {name: getattr(card, name) for name in ModelCard.__dataclass_fields__}


@contextlib.contextmanager
def serving(engine, **more) -> Iterator[httpx.Client]:
    """The application over this engine on a loopback port; yields a client of it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        app = create_app(engine, **more)
        config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
                client.get("/")
                scheduler = app.state.scheduler
                client.app_users = lambda: scheduler.loaded.users if scheduler.loaded else 0
                yield client
        finally:
            engine.let_load.set()
            engine.let_end.set()
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@pytest.fixture
def toy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small GGUF file, and a cache folder of its own."""
    from tests.servers.emulator.test_model_files import gguf

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "Toy.gguf"
    path.write_bytes(gguf())
    return path


@pytest.fixture
def hand() -> HandEngine:
    """An engine with one slot that ends each job at once unless told otherwise."""
    return HandEngine()


@pytest.fixture
def client(hand) -> Iterator[httpx.Client]:
    """A client of the application over `hand`."""
    with serving(hand) as client:
        yield client
