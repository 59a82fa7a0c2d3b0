"""Words of the report: which effect separates the two efficiencies."""

import pytest

from pytest_llmperf.judge.record import Record
from pytest_llmperf.report.figures import value_of
from pytest_llmperf.report.text import effect_of
from tests.judge.build import measurement_of, round_of

ONE_IS_LONGER = "one agent takes longer than the other"
BOTH_ARE_SLOWER = "the agents are slower together than alone"


@pytest.mark.parametrize(
    ("solo_ms", "together_ms", "efficiencies", "words"),
    [
        ((100, 87.5), (100, 62.5), (81.25, 93.75), ONE_IS_LONGER),
        ((110, 110), (100, 84), (92.0, 110.0), ONE_IS_LONGER),
        ((100, 100), (200, 200), (100.0, 50.0), BOTH_ARE_SLOWER),
        ((90, 90), (100, 100), (100.0, 90.0), ""),
        ((100, 100), (100, 100), (100.0, 100.0), ""),
    ],
)
def test_efficiencies_that_differ_are_explained(solo_ms, together_ms, efficiencies, words: str) -> None:
    """More than 10 points apart, whichever is the higher: the effect is named, though scaling may be good."""
    record = Record(test="test", measurement=measurement_of(round_of(solo_ms, together_ms)), verdicts=())
    values = tuple(value_of(record, name) for name in ("efficiency_pct", "scaling_efficiency_pct"))
    assert values == pytest.approx(efficiencies)
    assert effect_of(record).startswith(words)
    assert bool(effect_of(record)) is bool(words)
