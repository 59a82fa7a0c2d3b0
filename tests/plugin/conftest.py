"""A pytest inside pytest, with the scripted server, and what must be left of it afterwards: nothing."""

import contextlib
import importlib
import os
import pkgutil
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpcore  # noqa: F401 - as below; httpx keeps its transport's classes
import jinja2  # noqa: F401 - as below
import numpy as np  # noqa: F401 - as below
import psutil
import pynvml  # noqa: F401 - as below
import pytest
import vl_convert  # noqa: F401 - can be loaded once in a process only

import pytest_llmperf
from pytest_llmperf.session.lock import lock_file, machine_lock

# pytester forgets the modules that an inner run has imported, and the next one would import them anew: these load once
for module in pkgutil.walk_packages(pytest_llmperf.__path__, "pytest_llmperf."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

PATIENCE_S = 60.0
"""How long anything is waited for that must happen, however busy the machine is."""

SCREEN_LINES = 50

CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
"""The user's cache folder: pytester sets another HOME, and the packaged model would be assembled anew there."""

FAST = (
    "--llmperf-backend=simulated",
    "--llmperf-calibrate=off",  # a third of a second each; test_client.py calibrates
    "--llmperf-script=decode_tok_s=267,ttft_ms=30,load_ms=1,jitter_pct=0.2",
    "-p",
    "no:cacheprovider",
)

PAIR = """
from pytest_llmperf import Agent, GenerationOptions, Scenario

PAIR = Scenario(name="pair", agents=tuple(
    Agent(name=name, prompts=("tell me more",), options=GenerationOptions(num_predict=16, seed=1)) for name in "xy"
))
"""

GATED = """
    import pytest
    from pair import PAIR

    @pytest.mark.multiagent
    @pytest.mark.efficiency(min_pct=85)
    @pytest.mark.contention(max_rate=0.2)
    def test_pair({fixture}, run_agents):
        run_agents(PAIR, on={fixture})
"""


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no line is broken; test_screen.py has narrow ones."""
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture
def simulated(
    request: pytest.FixtureRequest,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    client_keeps_up: tuple[str, ...],
    scripted_time: tuple[str, ...],
):
    """`simulated(*options)`: runs the inner pytest against the scripted server, in this process or one of its own."""
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    pytester.makepyfile(pair=PAIR)
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")

    def run(*options: object, own_process: bool = False) -> pytest.RunResult:
        if own_process:
            return pytester.runpytest_subprocess(*FAST, *client_keeps_up, *scripted_time, *options)
        return pytester.runpytest_inprocess(*FAST, *options)

    return run


class Aftermath:
    """Finds everything that an inner run has started or left, by a mark in its environment and its own folder.

    Args:
        mark: a value in the environment of every process that descends from the test.
        temp: the folder for temporary files and the machine's lock.
        root: the inner project.
    """

    def __init__(self, mark: str, temp: Path, root: Path) -> None:
        self._mark = mark
        self._temp = temp
        self._root = root

    def processes(self, words: str = "") -> list[psutil.Process]:
        """Living processes of the inner runs whose command line contains these words."""
        processes = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                ours = self._mark in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE
                if ours and process.pid != os.getpid() and words in " ".join(process.cmdline()):
                    processes.append(process)
        return processes

    def servers(self) -> list[psutil.Process]:
        """The instances among them, without their supervisors."""
        instances = self.processes("pytest_llmperf.servers.emulator.serve")
        return [process for process in instances if not _is_supervisor(process)]

    def locked(self) -> bool:
        """Whether some session holds the machine's lock."""
        descriptor = lock_file.locked(self._temp / machine_lock.NAME)
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None

    def assert_nothing_left(self) -> None:
        """No process (a killed session's servers get time to notice), no lock held, no log, no half-written file."""
        until(lambda: not self.processes(), lambda: f"still running: {self.processes()}")
        assert not self.locked()
        assert sorted(path.name for path in self._temp.iterdir() if path.suffix != ".lock") == []
        assert list(self._root.rglob("*.tmp")) == []


def assert_clear(result: pytest.RunResult, code: pytest.ExitCode, *lines: str) -> None:
    """These lines in this order, a next step after them, no traceback, one screen, this exit code."""
    text = f"{result.stdout.str()}\n{result.stderr.str()}"
    assert result.ret == code, text
    output = result.stderr if code == pytest.ExitCode.USAGE_ERROR else result.stdout
    output.fnmatch_lines([*lines, *([] if "next:" in lines[-1] else ["*next: ?*"])])
    assert "Traceback" not in text
    assert not re.findall(r"^\S+\.py:\d+:.*$|^E  .*$", text, re.MULTILINE), text
    assert len(text.splitlines()) < SCREEN_LINES, text


def _is_supervisor(process: psutil.Process) -> bool:
    try:
        return any(word.endswith("supervisor.py") for word in process.cmdline())
    except psutil.Error:
        return False


def until(condition: Callable[[], object], describe: Callable[[], str]) -> None:
    """Polls until the condition holds; fails with these words when it never does."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, describe()
        time.sleep(0.01)


@pytest.fixture
def aftermath(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_servers: None
) -> Iterator[Aftermath]:
    """What the inner runs started and left; fails the test where something is left at its end."""
    temp = tmp_path / "temp"
    temp.mkdir()
    mark = uuid.uuid4().hex
    monkeypatch.setenv("LLMPERF_TEST_MARK", mark)
    monkeypatch.setenv("TMPDIR", str(temp))
    monkeypatch.setenv("LLMPERF_LOCK_DIR", str(temp))
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    aftermath = Aftermath(mark, temp, pytester.path)
    yield aftermath
    aftermath.assert_nothing_left()
