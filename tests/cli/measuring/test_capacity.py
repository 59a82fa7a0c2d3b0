"""`pytest-llmperf capacity`: how many agents a server carries, without a test.

The scripted server has one slot: the TTFT of each request is 33 ms, and 53 ms more for each one before it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.errors import MeasurementError, ServerError
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.model import Script
from pytest_llmperf.session import capacity_run
from tests.lent import known
from tests.started import simulated_server

ROOT = Path(__file__).parents[3]
SCRIPT = {"ttft_ms": 20, "decode_tok_s": 400, "load_ms": 1}
THREE = ("--ttft-ms", "165", "--tokens", "8", "--share", "0.9", "--max-agents", "6")
"""Three agents keep the limit, the fourth does not."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def url() -> Iterator[str]:
    with simulated_server(**SCRIPT) as address, known(address, Script(**SCRIPT)):
        yield address


def test_a_table_a_sentence_and_a_step(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer, its interval, what gives first; stderr first says how long it takes."""
    assert main(["capacity", url, *THREE]) == 0
    out, err = capsys.readouterr()
    *_, sentence, step = out.splitlines()
    assert re.fullmatch(
        r"carries 3 agents: at least 90 % of requests keep TTFT at most 165 ms \(at most 1 % of such answers promise "
        r"too much\); not more \(97\.5 % confidence\); what gives first: the TTFT with 4 agents, "
        r"19\d(\.\d)? ms in the median of the requests that break it",
        sentence,
    )
    assert step == "  next: exit with 1 if this gets worse: --min-agents 3"
    rows = [line.split() for line in out.splitlines() if re.match(r"\d", line)]
    assert [(row[0], row[-1]) for row in rows if row[-1] in ("confirmed", "many")] == [
        ("3", "confirmed"),
        ("4", "many"),
    ]
    assert re.search(
        r"llmperf: the search takes \d+ rounds or more of [\d.]+ s or more: \d+ s at least, and 900 s at most", err
    )
    assert err.index("the search takes") < err.index("2 agents: warming up")
    assert list(Path().iterdir()) == []


def test_the_page_shows_what_is_printed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of docs/capacity.md, but for figures."""
    (shown,) = re.findall(r"```text\n(.*?)```", (ROOT / "docs" / "capacity.md").read_text("utf-8"), re.DOTALL)
    main(["capacity", url, *THREE])
    assert form(capsys.readouterr().out) == form(shown)


def form(text: str) -> str:
    """A text without its figures, addresses and spacing."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", re.sub(r"http://[\d.:]+", "URL", text)).split())


@pytest.mark.parametrize(("least", "code"), [("3", 0), ("4", 1)])
def test_it_gates(url: str, least: str, code: int) -> None:
    """Fewer than --min-agents is exit code 1."""
    assert main(["capacity", url, *THREE, "--min-agents", least]) == code


def test_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout is the document alone."""
    assert main(["capacity", url, *THREE, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["capacity"]
    rows = answer.pop("tried")
    assert answer == {
        "agents": 3,
        "at_most": 3,
        "share": 0.9,
        "limits": {"ttft_ms": 165.0},
        "correlation": 0.3,
        "max_agents": 6,
        "ended": "",
        "backend": "simulated",
        "model": "simulated:scripted",
    }
    row = next(row for row in rows if row["agents"] == 4)
    assert row["kept"] == 3 * row["rounds"]
    assert row["broken"]["limit"] == "ttft_ms"
    assert row["broken"]["median"] == pytest.approx(192, abs=10)


def test_not_even_one(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and how to choose better limits."""
    assert main(["capacity", url, "--ttft-ms", "5", "--tokens", "8"]) == 1
    *_, sentence, step = capsys.readouterr().out.splitlines()
    assert sentence.startswith(
        "carries no agent: not even for one of them at least 95 % of requests keep TTFT at most 5 ms; "
    )
    assert "pytest-llmperf quick" in step


def test_all_that_may_be_tried(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The next step is to try more."""
    assert main(["capacity", url, "--e2e-s", "50", "--tokens", "8", "--share", "0.5", "--max-agents", "2"]) == 0
    *_, sentence, step = capsys.readouterr().out.splitlines()
    assert sentence.startswith(
        "carries 2 agents: at least 50 % of requests keep time for the whole answer at most 50 s"
    )
    assert step == "  next: try more: --max-agents 4"


def test_the_time_is_over(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is printed, without a promise."""
    clock = iter(range(10**6))
    monkeypatch.setattr(capacity_run.CapacityRun.__init__, "__kwdefaults__", {"clock": lambda: float(next(clock))})
    assert main(["capacity", url, *THREE, "--seconds", "12"]) == 1
    *_, sentence, step = capsys.readouterr().out.splitlines()
    assert sentence.startswith("the time is over (12 s); not decided: no number of agents was confirmed for which ")
    assert "; so far " in sentence
    assert "--seconds" in step


@pytest.mark.parametrize("when", [0, 7])
def test_ctrl_c(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    """Exit code 2; the rounds before it are printed."""
    rounds, run = iter(range(1000)), Rounds.run

    def interrupted(*arguments):
        if next(rounds) == when:
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(Rounds, "run", interrupted)
    assert main(["capacity", url, *THREE]) == 2
    out, err = capsys.readouterr()
    if when:
        assert out.splitlines()[-2].startswith("interrupted; not decided: ")
    else:
        assert "interrupted before a round had ended: nothing was measured" in err


def test_agents_that_cannot_be_measured(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From three on, requests fail: such rounds keep no limit, and the sentence has the failure."""
    run = Rounds.run

    def failing(rounds: Rounds, index: int):
        if len(rounds._placed()) > 2:
            raise MeasurementError("the server answered 503: busy", next_step="wait")
        return run(rounds, index)

    monkeypatch.setattr(Rounds, "run", failing)
    assert main(["capacity", url, *THREE]) == 0
    *_, sentence, _ = capsys.readouterr().out.splitlines()
    assert sentence.startswith("carries 2 agents: ")
    assert sentence.endswith("what gives first: with 3 agents, requests fail: the server answered 503: busy")


@pytest.mark.parametrize(("error", "printed"), [(MeasurementError, False), (ServerError, True)])
def test_a_server_that_dies(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: type, printed: bool
) -> None:
    """A single agent that cannot be measured is an error at once; what was measured before one dies is printed."""
    run = Rounds.run

    def dying(rounds: Rounds, index: int):
        if not printed or len(rounds._placed()) > 1:
            raise error("instance a is gone", next_step="start it")
        return run(rounds, index)

    monkeypatch.setattr(Rounds, "run", dying)
    assert main(["capacity", url, *THREE]) == 2
    out, err = capsys.readouterr()
    assert "instance a is gone" in err
    assert "next: start it" in err
    assert ("not decided" in out) is printed


def test_a_client_that_cannot_keep_up(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such rounds do not count; the search ends and says so."""
    saturated = [""] * 6 + ["our loop was late"] * 100
    monkeypatch.setattr(capacity_run, "saturated", lambda _: saturated.pop(0))
    assert main(["capacity", url, *THREE]) == 1
    *_, sentence, _ = capsys.readouterr().out.splitlines()
    assert sentence.startswith("our own client cannot keep up with 2 agents: our loop was late; not decided")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no limit is given that requests must keep"),
        (["--ttft-ms", "1", "http://127.0.0.1:1", "http://127.0.0.1:2"], "2 addresses: all agents share one server"),
        (["--ttft-ms", "1", "http://127.0.0.1:1"], "nothing answers there"),
        (["--ttft-ms", "1", "http://me:pw@h:1"], "an address holds a user or password"),
    ],
)
def test_errors_say_what_and_what_next(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, a line on stderr and the next step."""
    assert main(["capacity", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pytest-llmperf capacity: ")
    assert words in err
    assert "\n  next: " in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--share", "1"], "wanted a share from 0.5 to 0.999"),
        (["--ttft-ms", "0"], "wanted a number above 0"),
        (["--ttft-ms", "nan"], "wanted a number above 0"),
        (["--max-agents", "0"], "wanted a number from 1 to 256"),
        (["--tokens", "1"], "wanted a number from 2 to 8192"),
        (["--correlation", "1.1"], "wanted a number from 0 to 1"),
    ],
)
def test_wrong_values(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused by name before anything starts."""
    with pytest.raises(SystemExit) as caught:
        main(["capacity", *arguments])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert f"argument {arguments[0]}" in err
    assert words in err
