"""A command and all its descendants, in any session: none is left; its environment and the output that is shown."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_llmperf.measure.agents import running_command
from pytest_llmperf.measure.agents.command_environment import DUMMY_KEY, VARIABLES, command_environment
from pytest_llmperf.measure.agents.running_command import RunningCommand, tail_of, without_proxy

PATIENCE_S = 60.0

PYTHON = (sys.executable, "-I", "-S", "-c")

CHILDREN = """
import os, signal, subprocess, sys, time
code = '''
import os, signal, sys, time
if {ignores}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1] + ".asked", "w").close(), sys.exit()))
open(sys.argv[1] + ".part", "w").write(str(os.getpid()))
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(1000)
'''
if {detached}:  # as a daemon does: its parent ends at once
    code = "import os\\nif os.fork(): os._exit(0)\\nos.setsid()" + code
subprocess.Popen([sys.executable, "-I", "-S", "-c", code, sys.argv[1]], start_new_session={session})
while not os.path.exists(sys.argv[1]):
    time.sleep(0.005)
{end}
"""


def children(folder: Path, *, ignores: bool, session: bool, detached: bool, end: str = "") -> tuple[str, ...]:
    """A command that has a child when it ends; the child's pid is in the file `child`."""
    code = CHILDREN.format(ignores=ignores, session=session, detached=detached, end=end)
    return (*PYTHON, code, str(folder / "child"))


def ran(words: tuple[str, ...]) -> int:
    """Its exit code, once nothing of it is left."""

    async def run() -> int:
        with tempfile.TemporaryFile() as output:
            running = RunningCommand(words, env=os.environ, output=output)
            try:
                return await running.exit_code()
            finally:
                await running.end()

    return asyncio.run(run())


def gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def until(condition: Callable[[], bool], failure: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, failure
        time.sleep(0.01)


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to the nearest reaper")


@pytest.mark.parametrize(
    ("session", "detached"),
    [
        pytest.param(False, False, id="its own group"),
        pytest.param(True, False, id="a session of its own", marks=linux),
        pytest.param(True, True, id="a daemon", marks=linux),
    ],
)
@pytest.mark.parametrize("ignores", [False, True], ids=["that ends when asked", "that ignores it"])
def test_what_a_command_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: bool, detached: bool, ignores: bool
) -> None:
    """SIGTERM first, so that it can tidy up; SIGKILL for what does not listen."""
    monkeypatch.setattr(running_command, "GRACE_S", 0.1 if ignores else PATIENCE_S)
    assert ran(children(tmp_path, ignores=ignores, session=session, detached=detached)) == 0
    assert gone(int((tmp_path / "child").read_text()))
    assert (tmp_path / "child.asked").exists() is not ignores


@linux
def test_a_command_that_is_given_up_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """By whoever waits for it no longer; the event loop goes on meanwhile."""
    words = children(tmp_path, ignores=False, session=True, detached=True, end="time.sleep(1000)")

    async def run() -> int:
        with tempfile.TemporaryFile() as output:
            running = RunningCommand(words, env=os.environ, output=output)
            while not (tmp_path / "child").exists():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.005)
            before = asyncio.create_task(running.exit_code())
            await running.end()
            before.cancel()
            running.close()  # idempotent
        return int((tmp_path / "child").read_text())

    pid = asyncio.run(run())
    assert gone(pid)
    assert (tmp_path / "child.asked").exists()


PARENT = """
import asyncio, os, sys
from pytest_llmperf.measure.agents.command_environment import DUMMY_KEY, VARIABLES, command_environment
from pytest_llmperf.measure.agents.running_command import RunningCommand

async def main():
    running = RunningCommand(sys.argv[1:], env=os.environ, output=open(os.devnull, "wb"))
    await running.exit_code()

asyncio.run(main())
"""


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_run_that_is_killed(tmp_path: Path, number: int) -> None:
    """However pytest dies, what its agents started ends, in a session of its own or not."""
    words = children(tmp_path, ignores=False, session=True, detached=False, end="time.sleep(1000)")
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT), *words]) as parent:
        until((tmp_path / "child").exists, "the command did not start")
        pid = int((tmp_path / "child").read_text())
        parent.send_signal(number)
        parent.wait()
    until(lambda: gone(pid), "the child outlived pytest")


@pytest.mark.parametrize(
    ("code", "exit_code"), [("", 0), ("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", -9), ("os.abort()", -6)]
)
def test_the_exit_code_is_the_commands(code: str, exit_code: int) -> None:
    """As without a reaper."""
    assert ran((*PYTHON, f"import os, sys\n{code}")) == exit_code


def test_a_command_that_is_not_there() -> None:
    """The system's own words."""
    with pytest.raises(OSError, match="No such file or directory: '/no/such/program'"):
        ran(("/no/such/program",))


def test_a_reaper_that_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whom ever: its end is the command's."""

    async def run() -> int:
        with tempfile.TemporaryFile() as output:
            running = RunningCommand((*PYTHON, "import time; time.sleep(1000)"), env=os.environ, output=output)
            os.kill(running._process.pid, signal.SIGKILL)
            try:
                return await running.exit_code()
            finally:
                await running.end()

    assert asyncio.run(run()) == -9


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "a.example, b"}, "a.example,b,127.0.0.1,localhost"),
        ({"no_proxy": "localhost", "NO_PROXY": "a"}, "localhost,a,127.0.0.1"),
        ({"no_proxy": "*"}, "*,127.0.0.1,localhost"),
        ({"no_proxy": ""}, "127.0.0.1,localhost"),
    ],
)
def test_no_agent_goes_through_a_proxy_to_the_tap(before: dict[str, str], after: str) -> None:
    """Programs read one name or the other; what the user set stays in force."""
    assert without_proxy(before) == {"NO_PROXY": after, "no_proxy": after}


LOG = [f"INFO step {number}" for number in range(40)]
FRAMES = [line for number in range(30) for line in (f"  {number}: app::run", "             at ./src/main.rs:4:5")]
RUST = ["", "thread 'main' panicked at src/main.rs:4:5:", "the answer was empty", "stack backtrace:", *FRAMES]
GO = [
    "panic: runtime error: index out of range [3] with length 3",
    "",
    "goroutine 1 [running]:",
    *["main.run()", "\t/src/main.go:7 +0x1d"] * 10,
    "exit status 2",
]
JAVA = ['Exception in thread "main" java.net.ConnectException: refused', *["\tat a.b.C(D.java:1)"] * 20]
NODE = [
    "/src/a.mjs:3",
    "throw new Error('empty')",
    "^",
    "",
    "Error: empty",
    *["    at run (a.mjs:3:7)"] * 20,
    "Node.js v20",
]
PYTHON_TRACE = ["Traceback (most recent call last):", *['  File "a.py", line 1'] * 30, "ValueError: no more words"]


@pytest.mark.parametrize(
    ("lines", "first", "last"),
    [
        ([*LOG, *RUST], "thread 'main' panicked at src/main.rs:4:5:", FRAMES[-1]),
        (
            [*LOG, *RUST, "thread panicked while processing panic. aborting."],
            RUST[1],
            "thread panicked while processing",
        ),
        ([*LOG, *GO], GO[0], "exit status 2"),
        ([*LOG, *JAVA], JAVA[0], JAVA[-1]),
        ([*LOG, *NODE], "Error: empty", "Node.js v20"),
        ([*LOG, *PYTHON_TRACE], PYTHON_TRACE[-12], "ValueError: no more words"),
        (LOG, "INFO step 28", "INFO step 39"),
        (["only this"], "only this", "only this"),
    ],
    ids=["rust", "rust twice", "go", "java", "node", "python", "no reason", "short"],
)
def test_the_reason_is_shown_though_its_backtrace_is_long(lines: list[str], first: str, last: str) -> None:
    """A panic prints its reason before the backtrace; the last lines have only the backtrace."""
    shown = tail_of(io.BytesIO("\n".join(lines).encode())).splitlines()[1:]
    assert shown[0] == f"  | {first}"
    assert shown[-1].startswith(f"  | {last}")
    assert len(shown) <= 12 + 5 + 1


def test_a_rust_message_follows_its_panic() -> None:
    """On the next lines, up to the backtrace; what is left out is marked."""
    shown = tail_of(io.BytesIO("\n".join([*LOG, *RUST]).encode())).splitlines()[1:4]
    assert shown == [f"  | {line}" for line in (*RUST[1:3], "...")]


def test_a_silent_command_says_so_and_a_long_line_is_cut() -> None:
    """A line of a minified program may have a hundred thousand characters."""
    assert tail_of(io.BytesIO()) == "\n  (it printed nothing)"
    assert len(tail_of(io.BytesIO(b"x" * 50_000))) < 500


URL = "http://127.0.0.1:5001/below"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OLLAMA_HOST", URL), ("OLLAMA_API_BASE", URL), ("ANTHROPIC_BASE_URL", URL), ("LLMPERF_BASE_URL", URL)),
        *(("OPENAI_BASE_URL", f"{URL}/v1"), ("OPENAI_API_BASE", f"{URL}/v1"), ("OLLAMA_BASE_URL", f"{URL}/v1")),
        *(("LLMPERF_MODEL", "gemma3:1b"), ("OLLAMA_MODEL", "gemma3:1b"), ("ANTHROPIC_MODEL", "gemma3:1b")),
        *(("OPENAI_API_KEY", DUMMY_KEY), ("ANTHROPIC_API_KEY", DUMMY_KEY), ("HOME", "/home/me")),
        *(("OPENAI_AGENTS_DISABLE_TRACING", "1"), ("LANGSMITH_TRACING", "false"), ("CREWAI_DISABLE_TELEMETRY", "true")),
    ],
)
def test_a_command_finds_the_tap_under_the_name_that_its_framework_reads(name: str, value: str) -> None:
    """With or without `/v1`; what sends traces elsewhere is off, though the caller had it on."""
    caller = {"HOME": "/home/me", "OLLAMA_HOST": "http://elsewhere", "LANGSMITH_TRACING": "true", "OPENAI_API_KEY": ""}
    assert command_environment(caller, url=URL, model="gemma3:1b")[name] == value


def test_keys_of_the_caller_are_kept() -> None:
    """A dummy is only for clients that would not start; a token for Anthropic's makes its key unnecessary."""
    caller = {"OPENAI_API_KEY": "mine", "ANTHROPIC_AUTH_TOKEN": "token"}
    environment = command_environment(caller, url=URL, model="m")
    assert environment["OPENAI_API_KEY"] == "mine"
    assert "ANTHROPIC_API_KEY" not in environment


def test_no_variable_is_there_twice() -> None:
    """The table of the docs has a row for each."""
    assert len({variable.name for variable in VARIABLES}) == len(VARIABLES)
