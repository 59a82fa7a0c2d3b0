"""What a test's verdicts do to it, without servers."""

from types import SimpleNamespace

import pytest

from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Outcome, Settings, Verdict
from pytest_llmperf.plugin.failures import fail_without_traceback
from pytest_llmperf.plugin.results.gate_outcomes import GateWarning
from pytest_llmperf.plugin.runner import Runner
from pytest_llmperf.plugin.stash import RECORDS, SPECS
from pytest_llmperf.report.terminal.progress_line import ProgressLine
from tests.judge.build import gate, measurement_of, round_of


def _called(tmp_path, *outcomes: Outcome) -> None:
    """Runs the hook around the call of a test whose gates came to these outcomes; the undecided ones only warn."""
    verdicts = tuple(
        Verdict(
            gate=gate(), outcome=outcome, value=96, low=94, high=98, confidence_pct=95, rounds=5, grade="publishable"
        )
        for outcome in outcomes
    )
    record = Record(test="test", measurement=measurement_of(round_of((90, 90), (100, 100))), verdicts=verdicts)
    path = tmp_path / "test_it.py"
    item = SimpleNamespace(path=path, stash=pytest.Stash(), reportinfo=lambda: (path, 6, "test"))
    item.stash[SPECS], item.stash[RECORDS] = (), [record]
    config = SimpleNamespace(rootpath=tmp_path, pluginmanager=pytest.PytestPluginManager(), get_verbosity=lambda: 0)
    hook = Runner(config, Settings(on_inconclusive="warn"), {}).pytest_runtest_call(item)
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(None)


def test_an_undecided_gate_that_only_warns(tmp_path) -> None:
    """It warns, and where warnings are errors that is its failure."""
    with pytest.warns(GateWarning, match="not decided: test") as caught:
        _called(tmp_path, Outcome.INCONCLUSIVE)
    assert [(warning.filename, warning.lineno) for warning in caught] == [(str(tmp_path / "test_it.py"), 7)]
    with pytest.raises(pytest.fail.Exception, match="not decided"):
        _called(tmp_path, Outcome.INCONCLUSIVE)


@pytest.mark.parametrize("outcomes", [(Outcome.FAIL, Outcome.INCONCLUSIVE), (Outcome.INCONCLUSIVE, Outcome.FAIL)])
def test_a_failure_comes_before_any_warning(tmp_path, outcomes) -> None:
    """Where warnings are errors, a failed gate's text is still what the test fails with."""
    with pytest.raises(pytest.fail.Exception, match="is below the minimum"):
        _called(tmp_path, *outcomes)


class TestInterrupted:
    """Ctrl-C: one line, with no class name in it."""

    def said(self, live: ProgressLine, kept: str = "") -> str:
        """What pytest shows of it."""

        def interrupted() -> None:
            raise KeyboardInterrupt

        with pytest.raises(pytest.exit.Exception) as caught:
            fail_without_traceback(interrupted, live, kept)
        assert caught.value.returncode == pytest.ExitCode.INTERRUPTED
        return caught.exconly()

    def test_before_anything_is_measured(self) -> None:
        assert self.said(ProgressLine(None, None)) == "llmperf: interrupted; nothing was being measured"

    def test_in_a_step(self) -> None:
        live = ProgressLine(None, None)
        live.say("pair on dual: warming up")
        assert self.said(live) == "llmperf: interrupted; pair on dual: warming up"

    @pytest.mark.parametrize(("count", "words"), [(1, "in round 2 of {} (1 round"), (2, "in round 3 of {} (2 rounds")])
    def test_in_a_round(self, count: int, words: str) -> None:
        live = ProgressLine(None, None)
        measurement = measurement_of(*[round_of((90, 90), (100, 100))] * count)
        live.round_done(measurement, ())
        name = f"{measurement.scenario.name} on {measurement.topology.kind}"
        assert self.said(live) == f"llmperf: interrupted {words.format(name)} done, not saved)"

    def test_in_a_cell(self) -> None:
        live = ProgressLine(None, None)
        live.round_done(measurement_of(round_of((90, 90), (100, 100))), (), of="mine 1/3: ctx512")
        said = self.said(live, "finished cells are kept")
        assert (
            said
            == "llmperf: interrupted; mine 1/3: ctx512: in round 2 (1 round done, not saved); finished cells are kept"
        )
