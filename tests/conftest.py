"""What all tests share."""

import gc
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from pytest_llmperf.measure import client_pool
from pytest_llmperf.servers.backends import own_servers
from tests.keeps_up import keep_up
from tests.lent import end_all, lent
from tests.scripted_time import ScriptedTime

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by a background job of a shell,
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and by one of `nohup`; what tests start would ignore them, too

hypothesis.settings.register_profile("busy", deadline=None)  # how long an example takes says nothing on a busy machine
hypothesis.settings.load_profile("busy")


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files and the machine's lock in a folder of this run: no other measurement is waited for."""
    folder = tmp_path_factory.getbasetemp() / "temporary"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("LLMPERF_LOCK_DIR", str(folder))


ALTERING = re.compile(
    r"CI|CI_.*|BUILD_NUMBER|GITHUB_.*|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|CLICOLOR.*|PY_COLORS|PYTEST_XDIST_.*|PYTEST_DEBUG|"
    r"PYTEST_THEME.*|PYTHON(WARNINGS|UTF8|IOENCODING|OPTIMIZE|HASHSEED|DEVMODE|ASYNCIODEBUG)|LC_.*|LANGUAGE|TZ|GIT_.*|"
    r"OLLAMA_.*|OPENAI_.*|ANTHROPIC_.*|GGML_.*|LLAMA_.*|CUDA_.*|HIP_.*|ROCR_.*|OMP_.*|([a-z]+_proxy|[A-Z]+_PROXY)"
)
"""Variables that change how the plugin, pytest, git, a server or a client behaves; the caller's values are removed."""


@pytest.fixture(autouse=True)
def no_altering_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested does the same on a CI system, beside a named server, in an xdist worker and at any terminal."""
    for name in filter(ALTERING.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture(autouse=True)
def children_without_coverage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring coverage of child processes is expensive: only tests of servers and clients do it."""
    if not {"contract", "measure", "servers"} & set(request.path.relative_to(request.config.rootpath).parts):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def without_others(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner runs load only these plugins: finding and importing other plugins takes longer than most tests."""
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester")  # which takes the variable away
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p llmperf -p xdist -p benchmark")


@pytest.fixture
def fresh_servers() -> None:
    """For tests of how servers start and end: no other one is among our children."""


@pytest.fixture(scope="session", autouse=True)
def no_lent_server_is_left() -> Iterator[None]:
    """At the end; should we be killed, they end by themselves."""
    yield
    end_all()


@pytest.fixture(autouse=True)
def lent_servers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner runs in this process use simulated servers one after the other; where nobody asks for `fresh_servers`."""
    if "fresh_servers" in request.fixturenames:
        end_all()
    else:
        monkeypatch.setattr(own_servers, "OwnServer", lent)


@pytest.fixture
def real_time() -> None:
    """For tests of what only happens while requests are under way."""


@pytest.fixture(autouse=True)
def scripted_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Rounds on lent servers take no time, unless the test asks for `real_time`.

    The options that do the same for a pytest in a process of its own.
    """
    if "real_time" in request.fixturenames:
        return ()
    monkeypatch.setattr(client_pool, "runtime_of", ScriptedTime)
    return () if "fresh_servers" in request.fixturenames else ("-p", "tests.scripted_run")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository with a baseline."""
    subprocess.run(("git", "init", "-q", tmp_path), check=True)
    (tmp_path / "perf" / "baselines").mkdir(parents=True)
    (tmp_path / "perf" / "baselines" / "main.toml").touch()
    return tmp_path


@pytest.fixture
def judged_client() -> None:
    """For tests of what the client's own part does to rounds and verdicts."""


@pytest.fixture(autouse=True)
def client_keeps_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Rounds count, however busy the machine is that the tests run on; where nobody asks for `judged_client`.

    The options that do the same for a pytest in a process of its own.
    """
    if "judged_client" in request.fixturenames:
        return ()
    keep_up(monkeypatch)
    return ("-p", "tests.keeps_up")


def pytest_collection_finish() -> None:
    """What is here by now stays: the inner runs, which look for what they have left, need not look at it each time."""
    gc.collect()
    gc.freeze()


TIERS = {
    "long": "a long proof: make proofs, or pytest -m long",
    "slow": "slow: make slow, or pytest -m slow",
    "frameworks": "real frameworks: make frameworks",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips slow tiers unless they are selected; the skips are reported in one line, because they originate here."""
    tier = next(filter(item.get_closest_marker, TIERS), None)
    if tier is not None and tier not in item.config.option.markexpr:
        pytest.skip(TIERS[tier])
