"""What a real Ollama of ours has started, as the system sees it."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_llmperf.model import Settings
from tests.live import PATIENCE_S, live_settings

OPTIONS = {"num_ctx": 512, "num_predict": 8, "seed": 1, "num_gpu": 0}
"""Little work, the same everywhere, so that the model is loaded once."""


@pytest.fixture(autouse=True)
def fresh_servers() -> None:
    """Every test here is one of how servers start and end."""


@pytest.fixture
def settings() -> Settings:
    """Starts the real Ollama."""
    return live_settings()


def ours(words: str = "") -> list[psutil.Process]:
    """Living processes whose HOME is in this run's temporary folder; with `words`, only servers with these words."""
    processes, folder = [], tempfile.gettempdir()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            at_home = process.environ().get("HOME", "").startswith(folder)
            command = " ".join(process.cmdline())
            wanted = not words or (words in command and "supervisor.py" not in command)
            if at_home and wanted and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
    return processes


def until(condition, problem: str) -> None:
    """Polls until the condition is true; fails with `problem` if it never is."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, problem
        time.sleep(0.05)


def assert_nothing_left() -> None:
    """No process, no home, no log."""
    until(lambda: not ours(), f"still running: {ours()}")
    assert [path.name for path in Path(tempfile.gettempdir()).glob("llmperf-*")] == []


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test here ends with nothing of Ollama's left."""
    yield
    assert_nothing_left()
