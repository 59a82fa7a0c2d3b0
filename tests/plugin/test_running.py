"""What a test's verdicts do to it, without servers."""

from types import SimpleNamespace

import pytest

from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Outcome, Settings, Verdict
from pytest_llmperf.plugin.collection import SPECS
from pytest_llmperf.plugin.running import RECORDS, GateWarning, Running
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
    item = SimpleNamespace(path=tmp_path / "test_it.py", stash=pytest.Stash())
    item.stash[SPECS], item.stash[RECORDS] = (), [record]
    config = SimpleNamespace(rootpath=tmp_path, pluginmanager=pytest.PytestPluginManager(), get_verbosity=lambda: 0)
    hook = Running(config, Settings(on_inconclusive="warn")).pytest_runtest_call(item)
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(None)


def test_an_undecided_gate_that_only_warns(tmp_path) -> None:
    """It warns, and where warnings are errors that is its failure."""
    with pytest.warns(GateWarning, match="not decided: test"):
        _called(tmp_path, Outcome.INCONCLUSIVE)
    with pytest.raises(pytest.fail.Exception, match="not decided"):
        _called(tmp_path, Outcome.INCONCLUSIVE)


@pytest.mark.parametrize("outcomes", [(Outcome.FAIL, Outcome.INCONCLUSIVE), (Outcome.INCONCLUSIVE, Outcome.FAIL)])
def test_a_failure_comes_before_any_warning(tmp_path, outcomes) -> None:
    """Where warnings are errors, a failed gate's text is still what the test fails with."""
    with pytest.raises(pytest.fail.Exception, match="is below the minimum"):
        _called(tmp_path, *outcomes)
