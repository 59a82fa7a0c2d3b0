"""The live line on terminals of several widths: what matters is never cut off."""

import io

import pytest
from _pytest.terminal import TerminalReporter

from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.model import Bound
from pytest_llmperf.report.terminal.progress_line import ProgressLine
from tests.judge.build import gate, measurement_of, round_of

WRITTEN = "perf_suites/test_multiagent.py "
TOGETHER_MS = ((100, 97), (100, 82), (100, 97), (100, 99), (100, 88))


def line_of(pytester: pytest.Pytester, columns: int, rounds: int = 5, wanted: int | None = 2, of: str = "") -> str:
    """The text behind a file's name after `rounds` rounds, with two gates judged."""
    shown = io.StringIO()
    reporter = TerminalReporter(pytester.parseconfig(), shown)
    reporter._tw.fullwidth = columns
    reporter._tw.write(WRITTEN)
    both = [round_of((95, 95), durations, index=index) for index, durations in enumerate(TOGETHER_MS[:rounds])]
    measurement = measurement_of(*both, scenario="chimera_homo")
    gates = gate(marker="efficiency"), gate("contention_rate_ttft", 0.01, Bound.MAX, marker="contention")
    verdicts = [judge(gate, measurement, looks=16) for gate in gates] if rounds == 5 else []
    live = ProgressLine(reporter, None)
    live.round_done(measurement, verdicts, gates=wanted, of=of)
    *_, line = shown.getvalue().split("\r")
    live.done()
    assert shown.getvalue().split("\r")[-1] == WRITTEN
    return line


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            200,
            f"{WRITTEN} chimera_homo on dual: round 5: balance 96.3 % (INTERVAL); scaling 95.0 %; "
            "efficiency inconclusive, contention pass; at most 4 s left",
        ),
        (
            150,
            "chimera_homo on dual: round 5: balance 96.3 % (INTERVAL); scaling 95.0 %; "
            "efficiency inconclusive, contention pass; at most 4 s left",
        ),
        (
            130,
            "round 5: balance 96.3 % (INTERVAL); scaling 95.0 %; "
            "efficiency inconclusive, contention pass; at most 4 s left",
        ),
        (110, "round 5: balance 96.3 % (INTERVAL); efficiency inconclusive, contention pass; at most 4 s left"),
        (90, "round 5: balance 96.3 % (INTERVAL); 1 inconclusive, 1 pass; at most 4 s left"),
        (80, "round 5: balance 96.3 % (INTERVAL); 1 inconclusive, 1 pass; 4 s left"),
        (40, "round 5: balance 96.3 % (INTERVAL); 1 inconclusive, 1 pass; 4 s left"),
    ],
)
def test_a_narrow_line_has_what_matters(pytester: pytest.Pytester, columns: int, line: str) -> None:
    """Estimate, interval, verdicts and the time left, down to 80 columns; first the file's name goes, then words."""
    interval = "70.6 to 100.0"
    assert line_of(pytester, columns) == line.replace("INTERVAL", interval)[: columns - 4]


def test_a_terminal_that_knows_no_other_letters(pytester: pytest.Pytester) -> None:
    """They are spelt out; what moves the cursor is not."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    reporter = TerminalReporter(pytester.parseconfig(), shown)
    reporter._tw.write("größer.py ")
    live = ProgressLine(reporter, None)
    live.say("loading größer")
    live.done()
    shown.flush()
    written = shown.buffer.getvalue().decode("ascii").split("\r")
    assert written[0] == "gr\\xf6\\xdfer.py "
    assert written[-2].strip() == "gr\\xf6\\xdfer.py"
    assert any(line.startswith("gr\\xf6\\xdfer.py  loading gr\\xf6\\xdfer") for line in written)


def test_the_time_to_the_first_verdict_at_80_columns(pytester: pytest.Pytester) -> None:
    """Before there is one."""
    line = line_of(pytester, 80, rounds=3)
    assert "balance 96.0 %; " in line  # its interval, 0.0 to 100.0, would say nothing
    assert line.endswith("1 s to the first verdict")


@pytest.mark.parametrize(("wanted", "ends"), [(0, "; 0 s left"), (None, "scaling 95.0 %")])
def test_a_measurement_that_no_gate_judges(pytester: pytest.Pytester, wanted: int | None, ends: str) -> None:
    """No word of verdicts; nor of time, where rounds are not counted."""
    assert line_of(pytester, 200, rounds=4, wanted=wanted).endswith(ends)


def test_an_experiment_comes_first(pytester: pytest.Pytester) -> None:
    """Progress and remaining time come first, and are never cut."""
    where = "mine 2/12, about 4 min left: ctx1024"
    assert line_of(pytester, 110, of=where).startswith(f"{where}: round 5: balance 96.3 % (")
    assert line_of(pytester, 60, of=where) == f"{where}: round 5"


@pytest.mark.parametrize(
    ("plain", "steps", "lines"),
    [
        (False, True, ["loading m on instance a", "pulling m: 40 %"]),
        (True, False, ["loading m on instance a", "pulling m: 40 %", "a note"]),
        (False, False, []),
    ],
)
def test_what_takes_long_is_a_line_without_a_terminal(
    capsys: pytest.CaptureFixture[str], plain: bool, steps: bool, lines: list[str]
) -> None:
    """A step is printed at once; other progress only after some time without output."""
    now = [0.0]
    live = ProgressLine(None, None, plain=plain, steps=steps, clock=lambda: now[0])
    now[0] = 100.0
    live.step("loading m on instance a")
    for at_s, text in ((101, "pulling m: 1 %"), (131, "pulling m: 40 %"), (132, "pulling m: 41 %")):
        now[0] = at_s
        live.say(text)
    live.note("a note")
    live.done()
    assert capsys.readouterr().err.splitlines() == ([""] + [f"llmperf: {line}" for line in lines] if lines else [])


def test_on_a_terminal_a_step_is_no_line_of_its_own(pytester: pytest.Pytester, capsys) -> None:
    """Each step is drawn in place of the last one."""
    shown = io.StringIO()
    reporter = TerminalReporter(pytester.parseconfig(), shown)
    reporter._tw.fullwidth = 80
    live = ProgressLine(reporter, None, steps=True)
    live.step("loading m on instance a")
    live.done()
    assert "loading m on instance a" in shown.getvalue()
    assert "\n" not in shown.getvalue()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("together_ms", "shown"),
    [(((100, 97), (100, 20), (100, 60)), False), (((100, 97), (100, 96), (100, 97.5)), True)],
    ids=["0 to 100", "narrow"],
)
def test_an_interval_that_says_nothing_is_not_shown(together_ms, shown: bool, capsys) -> None:
    """Three rounds that differ much: any balance would do."""
    live = ProgressLine(None, None, plain=True)
    live.round_done(
        measurement_of(*(round_of((95, 95), durations, index=i) for i, durations in enumerate(together_ms))), ()
    )
    line = capsys.readouterr().err.splitlines()[-1]
    assert ": balance " in line
    assert (" to " in line) is shown
