"""`pytest-llmperf quick`: how agents run together, without a test."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.cli.arguments import parser
from pytest_llmperf.cli.measuring import quick_command
from pytest_llmperf.cli.measuring.quick_command import QuickLook
from pytest_llmperf.cli.measuring.server_choice import settings_of
from pytest_llmperf.model import Script, TopologyKind
from pytest_llmperf.report.terminal.progress_line import ProgressLine
from pytest_llmperf.session.session import Session
from tests.lent import known
from tests.report.published_schema import PUBLISHED_SCHEMA
from tests.started import simulated_server, simulated_servers

ROOT = Path(__file__).parents[3]
SCRIPT = {"ttft_ms": 20, "decode_tok_s": 400, "load_ms": 1}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_servers_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Header, table, one sentence, one next step; progress on stderr; no file is left."""
    assert main(["quick", "--backend", "simulated"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("llmperf: simulated, model simulated:scripted, own processes")
    assert [line.split() for line in lines if "balance" in line or line.startswith("measured")] == [
        ["balance", "scaling", "contended", "TTFT", "system"],
        ["measured", "%", "%", "rounds", "ms", "tok/s", "verdict"],
    ]
    (row,) = (line.split() for line in lines if line.startswith("quick on dual"))
    assert float(row[3]) > 90
    assert float(row[4]) > 90
    assert row[5:8] == ["0", "of", "5"]
    assert "SIMULATED: all rows were measured on a scripted server, not on a real engine" in lines
    assert lines[-2].startswith("the agents run well together: ")
    assert lines[-1] == "  next: write tests that fail if this gets worse: pytest-llmperf init"
    assert "quick on dual: round 5: balance" in err
    assert list(Path().iterdir()) == []


def form(line: str) -> str:
    """A line without its figures, addresses and spacing."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", re.sub(r"http://[\d.:]+", "URL", line)).split())


def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """All lines of docs/start.md, but for notes on single runs."""
    page = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    with simulated_server(**SCRIPT) as url, known(url, Script(**SCRIPT)):
        main(["quick", url])
    printed = [form(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("note: ")]
    assert printed == [form(line) for line in shown.splitlines()]


@pytest.mark.parametrize(("arguments", "agents"), [((), 2), (("--agents", "3"), 3)])
def test_one_server_for_all(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], agents: int) -> None:
    """The agents share it: the sentence has the cause, the next step is what to do about it."""
    with simulated_server(**SCRIPT) as url, known(url, Script(**SCRIPT)):
        assert main(["quick", url, *arguments]) == 0
    *_, sentence, step = capsys.readouterr().out.splitlines()
    assert sentence.startswith("the agents slow each other down: together 1.0")
    slowdown = re.search(r" x as much work per second as one after the other, the slowest agent ([\d.]+) x", sentence)
    assert slowdown is not None
    assert float(slowdown[1]) == pytest.approx(agents, abs=0.1)
    assert "; requests wait for a slot (queue time " in sentence
    assert step.startswith("  next: give the second agent a server of its own")


def test_a_server_per_agent(capsys: pytest.CaptureFixture[str]) -> None:
    """Two addresses: two agents, and nothing is shared."""
    with simulated_servers(2, **SCRIPT) as urls, known(urls[0], Script(**SCRIPT)), known(urls[1], Script(**SCRIPT)):
        assert main(["quick", *urls]) == 0
    assert "the agents run well together" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["http://a:1", "b:2"], ["a:1,http://b:2"], ["--llmperf-urls", "a:1,b:2"]])
def test_addresses_in_any_form(words: list[str]) -> None:
    """As words, with commas, without http://, or as the option that errors name."""
    assert settings_of(parser().parse_args(["quick", *words])).urls == ("http://a:1", "http://b:2")


def test_json_is_the_document_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout is the document alone."""
    assert main(["quick", "--backend", "simulated", "--json"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    PUBLISHED_SCHEMA.validate(content)
    assert content["records"][0]["figures"]["rounds"] == 5
    assert content["tests"][0]["test"] == "quick"
    assert "llmperf: simulated, model" in err


def test_it_ends_when_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Never before a round has ended."""
    assert main(["quick", "--backend", "simulated", "--seconds", "0.001"]) == 0
    assert "\nstopped at the end of --seconds 0.001 after 1 of 5 rounds; the agents " in capsys.readouterr().out


def test_no_round_begins_that_would_end_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged by the length of the rounds so far."""
    monkeypatch.setattr(quick_command, "round_s", lambda _: 8.0)
    monkeypatch.setattr(quick_command.ProgressLine, "round_done", lambda *_, **__: None)
    now_s = 100.0
    look = QuickLook(60, clock=lambda: now_s)

    class Rounds:
        rounds = (1, 2)

    now_s = 152.0
    look.round_done(Rounds, ())
    assert look.measurement is Rounds
    now_s = 152.1
    with pytest.raises(quick_command._TimeUpError):
        look.round_done(Rounds, ())


def test_ctrl_c_prints_what_was_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of the rounds that had ended, and exit code 2."""
    shown = QuickLook.round_done

    def interrupt(look: QuickLook, measurement, verdicts, **more) -> None:
        shown(look, measurement, verdicts, **more)
        if len(measurement.rounds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(QuickLook, "round_done", interrupt)
    assert main(["quick", "--backend", "simulated"]) == 2
    out = capsys.readouterr().out
    assert "0 of 2" in out
    assert "\ninterrupted after 2 of 5 rounds; the agents run well together" in out


@pytest.mark.parametrize("method", ["check", "measure"])
def test_ctrl_c_before_the_first_round(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Nothing was measured; one line of output says so."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, method, interrupt)
    assert main(["quick", "--backend", "simulated"]) == 2
    assert "pytest-llmperf quick: interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_a_round_is_kept_before_it_is_shown(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """Whatever ends the line that shows it."""

    class Rounds:
        rounds = (1,)

    def show(*_: object, **__: object) -> None:
        raise error

    look = QuickLook(150.0, clock=lambda: 0.0)
    monkeypatch.setattr(ProgressLine, "round_done", show)
    with pytest.raises(error):
        look.round_done(Rounds, ())
    assert look.measurement is Rounds


CODE = """
import sys
import time
import pytest
from pytest_llmperf.cli import main
from pytest_llmperf.cli.measuring import quick_command
from pytest_llmperf.cli.measuring.quick_command import QuickLook
from tests.keeps_up import keep_up

shown = QuickLook.round_done

def show_and_wait(*args, **more):
    shown(*args, **more)
    while True:  # until the Ctrl-C, which may also come while the round is shown
        time.sleep(0.01)

QuickLook.round_done = show_and_wait
keep_up(pytest.MonkeyPatch())
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_real_ctrl_c(folder: Path) -> None:
    """In a process of its own: what was measured is printed, and no server is left."""
    command = [sys.executable, "-c", CODE, "quick", "--backend", "simulated"]
    started = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert started.stderr is not None
        for line in started.stderr:
            if "round 1:" in line:
                break
        children = psutil.Process(started.pid).children(recursive=True)
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 2, err
    assert "interrupted after 1 of 5 rounds" in out, err
    assert "Traceback" not in err
    assert psutil.wait_procs(children, timeout=60)[1] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://me:pw@h:1"], "an address holds a user or password"),
        ([""], "is not an address, wanted http://host:port"),
        (["http://a:1,"], "is not an address"),
        (["--auth", "hunter2"], "--auth: wanted bearer:NAME or basic:NAME"),
        (["--agents", "3", "http://127.0.0.1:1", "http://127.0.0.1:2"], "3 agents for 2 servers"),
        (["--backend", "openai"], "no addresses are given"),
        (["--backend", "simulated", "http://127.0.0.1:1"], "addresses belong to running servers"),
        (["http://127.0.0.1:1"], "nothing answers there"),
    ],
)
def test_errors_say_what_and_what_next(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, a line on stderr and the next step; no secret is repeated."""
    assert main(["quick", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pytest-llmperf quick: ")
    assert words in err
    assert "\n  next: " in err
    assert "pw" not in err
    assert "hunter2" not in err


@pytest.mark.parametrize(
    "arguments", [["--agents", "1"], ["--seconds", "0"], ["--seconds", "nan"], ["--backend", "gpu"]]
)
def test_misuse(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Values that make no sense end with 2, before anything starts."""
    with pytest.raises(SystemExit, match="2"):
        main(["quick", *arguments])
    assert "pytest-llmperf quick: error: argument " in capsys.readouterr().err


def test_the_topology_goes_by_servers_and_agents() -> None:
    """A single running server is shared; otherwise each agent has its own."""
    assert quick_command._kind(("a",), 4) is TopologyKind.SINGLE
    assert quick_command._kind((), 2) is TopologyKind.DUAL
    assert quick_command._kind((), 3) is TopologyKind.FLEET
    assert quick_command._agents(None, ("a", "b", "c")) == 3
    assert quick_command._agents(None, ()) == 2
