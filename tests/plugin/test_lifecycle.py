"""However a run ends, the machine is left as it was found: no process, no port, no lock, no file, a clean terminal."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.plugin.conftest import FAST, PAIR, PATIENCE_S, Aftermath, until
from tests.plugin.terminal import Terminal

pytestmark = pytest.mark.slow

ONE_ROUND = ("--llmperf-rounds=1", "--llmperf-max-rounds=1")
ENDLESS = "--llmperf-rounds=1000"
EMBEDDED = ("-p", "no:cacheprovider", "--llmperf-backend=embedded", "--llmperf-warmups=0")

# What the session says and how many rounds it has done, one line each, for the test to follow from outside.
FOLLOWED = """
import os, pytest

@pytest.fixture(autouse=True, scope="session")
def followed(llmperf):
    listener, say, round_done = llmperf.listener, llmperf.listener.say, llmperf.listener.round_done
    file = os.open("phases", os.O_CREAT | os.O_APPEND | os.O_WRONLY)  # which no Ctrl-C leaves to the collector

    def note(text):
        os.write(file, f"{text}\\n".encode())

    def note_and_say(text):
        note(text)
        say(text)

    def note_and_count(measurement, verdicts, **more):
        note(f"rounds done: {len(measurement.rounds)}")
        round_done(measurement, verdicts, **more)

    with pytest.MonkeyPatch.context() as patch:
        new = {"note": note, "say": note_and_say, "step": note_and_say, "round_done": note_and_count}
        for name, method in new.items():
            patch.setattr(listener, name, method)
        yield
"""

# Little work, for the embedded engine.
SHORT = """
    from pair import PAIR
    from dataclasses import replace
    from pytest_llmperf import GenerationOptions, Scenario

    LITTLE = GenerationOptions(num_predict=4, num_ctx=256, seed=1)
    SHORT = Scenario(name="short", agents=tuple(replace(agent, options=LITTLE) for agent in PAIR.agents))
"""

TEST = """
    from pair import PAIR

    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, aftermath: Aftermath) -> Path:
    """An inner project with one test on two instances."""
    pytester.makepyfile(pair=PAIR, short=SHORT, test_it=TEST)
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")
    return pytester.path


class Inner:
    """An inner pytest in a process group of its own, followed from outside.

    Args:
        folder: the inner project.
        options: options of the inner pytest.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "conftest.py").write_text(FOLLOWED)
        self._phases = folder / "phases"
        self._output = folder / "output"
        with self._output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text("utf-8", "replace")

    def wait_for(self, phase: str) -> None:
        """Until it has said this."""
        until(lambda: self.has_said(phase) or self.process.poll() is not None, lambda: f"never {phase}")
        assert self.process.poll() is None, self.output()

    def has_said(self, phase: str) -> bool:
        """Whether it has."""
        return self._phases.exists() and phase in self._phases.read_text()

    def signal(self, number: int) -> None:
        """To its whole process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> "Inner":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)


# signals

PHASES = {
    "start": ("starting dual", ()),
    "load": ("loading simulated:scripted on instance a", ("--llmperf-script=load_ms=30000",)),
    "warm-up": ("warming up", ("--llmperf-script=ttft_ms=30000,load_ms=1",)),
    "rounds": ("rounds done: 1", (ENDLESS,)),
}
DOING = {
    PHASES["start"][0]: "starting dual|loading |warming up|in round 1",  # it goes on until the key comes
    PHASES["load"][0]: "loading simulated:scripted on instance",
    PHASES["warm-up"][0]: "warming up",
    PHASES["rounds"][0]: r"in round \d+ of pair on dual \(\d+ rounds? done, not saved\)",
}


@pytest.mark.parametrize(("phase", "options"), PHASES.values(), ids=PHASES)
def test_ctrl_c(project: Path, aftermath: Aftermath, phase: str, options: tuple[str, ...]) -> None:
    """In every phase: exit code 2, a message that says what was going on, nothing left."""
    with Inner(project, *FAST, *options) as inner:
        inner.wait_for(phase)
        until(aftermath.servers, lambda: "no server was ever started")
        assert aftermath.locked()
        time.sleep(0.2)  # a connection that is being made while the key comes is closed by nobody but the interpreter
        inner.signal(signal.SIGINT)
        assert inner.ends() == pytest.ExitCode.INTERRUPTED, inner.output()
    doing = re.search(r"!!! llmperf: interrupted;? (.+) !!!", inner.output())
    assert doing, inner.output()
    assert re.search(DOING[phase], doing[1])
    assert not re.search("Exit:|no measurement was recorded|saved nothing", inner.output())
    aftermath.assert_nothing_left()


def test_ctrl_c_of_an_impatient_user(project: Path, aftermath: Aftermath) -> None:
    """Again and again while it cleans up: whatever is cut short, nothing is left."""
    with Inner(project, *FAST, ENDLESS) as inner:
        inner.wait_for("rounds done: 1")
        assert len(aftermath.servers()) == 2
        while inner.process.poll() is None:
            inner.signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                inner.process.wait(0.05)
    aftermath.assert_nothing_left()


KILLS = [*((signal.SIGKILL, *phase) for phase in PHASES.values()), (signal.SIGTERM, *PHASES["rounds"])]


@pytest.mark.parametrize(
    ("number", "phase", "options"), KILLS, ids=[*(f"SIGKILL-{name}" for name in PHASES), "SIGTERM-rounds"]
)
def test_a_pytest_that_is_killed(
    project: Path, aftermath: Aftermath, number: int, phase: str, options: tuple[str, ...]
) -> None:
    """In every phase, without a chance to clean up: the servers notice and end, the lock is free, no file is begun."""
    with Inner(project, *FAST, *options, "--llmperf-json=run.json", "--llmperf-save=mine") as inner:
        inner.wait_for(phase)
        until(aftermath.servers, lambda: "no server was ever started")
        assert aftermath.locked()
        inner.signal(number)
        assert inner.ends() == -number
    aftermath.assert_nothing_left()
    assert not list(project.glob("*.json")) + list(project.glob("baselines/*"))


def test_a_pytest_that_is_killed_with_the_embedded_engine(project: Path, aftermath: Aftermath) -> None:
    """As with the scripted one, though its threads compute in native code."""
    (project / "test_it.py").write_text(textwrap.dedent(TEST).replace("pair import PAIR", "short import SHORT as PAIR"))
    with Inner(project, *EMBEDDED, ENDLESS) as inner:
        inner.wait_for("rounds done: 1")
        assert len(aftermath.servers()) == 2
        inner.signal(signal.SIGKILL)
        assert inner.ends() == -signal.SIGKILL
    aftermath.assert_nothing_left()


def test_an_xdist_controller_that_is_killed(project: Path, aftermath: Aftermath) -> None:
    """Its worker is gone soon after it, whatever that measures, and with the worker its servers and the lock."""
    with Inner(project, *FAST, ENDLESS, "-n", "1") as inner:
        inner.wait_for("rounds done: 1")
        assert len(aftermath.servers()) == 2
        inner.process.kill()
        inner.process.wait(PATIENCE_S)
    aftermath.assert_nothing_left()


# within one process


@pytest.mark.parametrize(
    ("options", "backend"), [(FAST, "simulated"), (EMBEDDED, "embedded")], ids=["simulated", "embedded"]
)
def test_a_run_leaves_its_process_as_it_was(
    project: Path, pytester: pytest.Pytester, options: tuple[str, ...], backend: str
) -> None:
    """No thread, no child, no connection, no open file more than before, though there were some in between."""
    pytester.makepyfile(
        test_it="""
        import psutil
        from short import SHORT

        def test_pair(dual_ollama, run_agents):
            run_agents(SHORT, on=dual_ollama)
            assert len(psutil.Process().children()) == 2
        """
    )
    me = psutil.Process()

    def state() -> tuple[object, ...]:
        connections = sorted(str(connection) for connection in me.net_connections())
        return (
            me.children(recursive=True),
            connections,
            sorted(
                (file.path, file.fd, file.mode, file.flags) for file in me.open_files()
            ),  # a log's position may move
            me.num_fds(),
        )

    before, threads = state(), set(threading.enumerate())
    pytester.runpytest_inprocess(*options, *ONE_ROUND).assert_outcomes(passed=1)
    assert state() == before
    assert set(threading.enumerate()) <= threads  # one of another test may have ended meanwhile


ENDS = {
    "-x": ("assert False", ("-x",), pytest.ExitCode.TESTS_FAILED, "*stopping after 1 failures*"),
    "maxfail": ("assert False", ("--maxfail=1",), pytest.ExitCode.TESTS_FAILED, "*stopping after 1 failures*"),
    "exit": ("pytest.exit('enough', returncode=7)", (), 7, "*Exit: enough*"),
    "interrupt": ("raise KeyboardInterrupt", (), pytest.ExitCode.INTERRUPTED, "*KeyboardInterrupt*"),
    "sys.exit": ("raise SystemExit(3)", (), pytest.ExitCode.TESTS_FAILED, "*SystemExit: 3*"),
}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("statement", "options", "code", "line"), ENDS.values(), ids=ENDS)
def test_a_session_that_is_cut_short(
    pytester: pytest.Pytester, statement: str, options: tuple[str, ...], code: int, line: str
) -> None:
    """However the session ends while servers run, they are ended."""
    pytester.makepyfile(
        test_it=f"""
        import psutil, pytest

        def test_opens(dual_ollama):
            assert len(dual_ollama.urls) == 2
            assert len(psutil.Process().children()) == 2
            {statement}

        def test_after():
            pass
        """
    )
    result = pytester.runpytest_inprocess(*FAST, *options, no_reraise_ctrlc=True)
    assert result.ret == code
    result.stdout.fnmatch_lines([line])
    assert not psutil.Process().children(recursive=True)


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_a_fixture_that_fails(project: Path, pytester: pytest.Pytester, when: str) -> None:
    """A fixture of the user's fails while servers run: an error of the test, and they are ended."""
    pytester.makepyfile(
        test_it=f"""
        import psutil, pytest

        @pytest.fixture
        def mine(dual_ollama):
            assert len(dual_ollama.urls) == 2
            assert len(psutil.Process().children()) == 2
            {"raise RuntimeError('mine')" if when == "setup" else "yield"}
            raise RuntimeError('mine')

        def test_it(mine):
            pass
        """
    )
    result = pytester.runpytest_inprocess(*FAST)
    result.assert_outcomes(errors=1, passed=0 if when == "setup" else 1)
    result.stdout.fnmatch_lines(["*RuntimeError: mine"])
    assert not psutil.Process().children(recursive=True)


# what is printed

PRINTED = {
    "-q": (".* [[]100%]", "*= llmperf =*", "pair on dual *no gate"),
    "-v": ("test_it.py::test_pair PASSED *[[]100%]", "*= llmperf =*", "pair on dual *no gate"),
    "-s": ("test_it.py .", "*= llmperf =*", "pair on dual *no gate"),
    "--setup-show": (
        "SETUP    S llmperf*",
        "        SETUP    F dual_ollama (fixtures used: llmperf)",
        "        SETUP    F run_agents",
        "        test_it.py::test_pair (fixtures used: *)*.",
        "        TEARDOWN F dual_ollama",
        "TEARDOWN S llmperf",
        "*= llmperf =*",
    ),
}


@pytest.mark.parametrize("option", PRINTED)
def test_what_is_printed_into_a_file(project: Path, pytester: pytest.Pytester, option: str) -> None:
    """No live line, no control characters, pytest's own lines unbroken; stderr has what takes long, and rounds."""
    result = pytester.runpytest_inprocess(*FAST, *ONE_ROUND, option)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(PRINTED[option])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", result.stdout.str())
    assert "llmperf: starting" not in result.stdout.str()
    *steps, last = [line for line in result.stderr.lines if line]
    if option != "-q":
        assert last.startswith("llmperf: pair on dual: round 1: balance ")
    assert [*steps, *([last] if option == "-q" else [])] == [
        "llmperf: starting dual (simulated)",
        "llmperf: loading simulated:scripted on instance a",
        "llmperf: loading simulated:scripted on instance b",
    ]


LIVE = re.compile("starting dual|loading simulated|warming up|: round ")


def in_a_terminal(folder: Path, *options: str) -> Terminal:
    """An inner pytest in a terminal."""
    (folder / "conftest.py").write_text(FOLLOWED)
    return Terminal(folder, *options)


def assert_clean(terminal: Terminal) -> None:
    """Colours off, cursor at the start of an empty line, modes as before."""
    text = terminal.seen.decode()
    assert re.findall(r"\x1b\[[0-9;]*m", text)[-1] == "\x1b[0m"
    assert text.endswith("\n")
    assert terminal.modes_after == terminal.modes


def left_of_the_live_line(terminal: Terminal) -> list[str]:
    """Lines that should have been erased."""
    return [line for line in terminal.screen() if LIVE.search(line)]


@pytest.mark.parametrize(
    ("options", "line"),
    [((), r"test_it\.py \. +\[100%\]"), (("-v",), r"test_it\.py::test_pair PASSED +\[100%\]")],
    ids=["plain", "verbose"],
)
def test_a_live_line_on_a_terminal(project: Path, aftermath: Aftermath, options: tuple[str, ...], line: str) -> None:
    """It shows the current step and the progress, never wraps, and is erased at the end; pytest's own line stays."""
    terminal = in_a_terminal(project, *FAST, "--llmperf-rounds=2", "--llmperf-max-rounds=2", *options)
    assert terminal.run() == pytest.ExitCode.OK, terminal.seen
    for words in ("starting dual (simulated)", "loading simulated:scripted on instance b", "warming up", "round 2: "):
        assert words.encode() in terminal.seen
    assert_clean(terminal)
    assert not left_of_the_live_line(terminal)
    assert sum(row.startswith("pair on dual") for row in terminal.screen()) == 1
    assert sum(bool(re.fullmatch(line, row)) for row in terminal.screen()) == 1, terminal.screen()


def test_ctrl_c_on_a_terminal(project: Path, aftermath: Aftermath) -> None:
    """A key pressed in the middle of rounds: exit code 2, modes and colours as before, the servers are gone."""
    terminal = in_a_terminal(project, *FAST, ENDLESS)
    assert terminal.run(ctrl_c_at="round 2: ") == pytest.ExitCode.INTERRUPTED, terminal.seen
    assert_clean(terminal)
    assert any(re.search(r"llmperf: interrupted in round \d+ of pair on dual ", line) for line in terminal.screen())
    aftermath.assert_nothing_left()


def test_ctrl_c_takes_the_live_line_away(project: Path, aftermath: Aftermath) -> None:
    """The terminal echoes ^C at the cursor; the line is still erased."""
    terminal = in_a_terminal(project, *FAST, ENDLESS)
    terminal.run(ctrl_c_at="round 2: ")
    assert not left_of_the_live_line(terminal)
