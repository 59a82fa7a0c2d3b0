"""The history of a baseline: the changes that are reported, and the changes that count."""

import random

import pytest

from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.trend import trends, worse_by
from pytest_llmperf.judge.gates.comparison_gates import compare_gates
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.gates.target import Target
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.stats.changepoints import How
from pytest_llmperf.model import Baseline, Outcome, Stored, StoredSession

FACTS = {"backend": "embedded", "cpu": "i9", "model": "m"}
KEY = Key(test="t.py::test_pair", scenario="pair", topology="dual", workload="abc")


def baseline_of(levels, *, metric: str = "efficiency_pct", facts=None, seed: int = 3, sd: float = 0.4) -> Baseline:
    """Ten rounds a session about these levels; the commits count up."""
    rng = random.Random(seed)
    sessions = tuple(
        StoredSession(
            saved_at=f"2026-01-{number + 1:02}T00:00:00+00:00",
            manifest={**FACTS, "git_commit": f"c{number:08}{0:031}", **(facts(number) if facts else {})},
            rounds={metric: tuple(level + rng.gauss(0, sd) for _ in range(10))},
        )
        for number, level in enumerate(levels)
    )
    entry = Stored(test=KEY.test, scenario=KEY.scenario, topology=KEY.topology, workload=KEY.workload, session=sessions)
    return Baseline(schema=2, name="main", stored=(entry,))


def test_a_slow_creep_passes_every_gate_and_is_found() -> None:
    """0.3 points a session: no session fails against those before it, and the trend says what was lost in all."""
    whole = baseline_of([98 - 0.3 * number for number in range(20)], sd=1.0)
    (entry,) = whole.stored
    for count in range(4, 20):
        before = Baseline(
            schema=2,
            name="main",
            stored=(
                Stored(
                    test=KEY.test,
                    scenario="pair",
                    topology="dual",
                    workload="abc",
                    session=entry.session[count - 4 : count],
                ),
            ),
        )
        (gate,) = compare_gates(before, Target(key=KEY, facts=FACTS), metrics=("efficiency_pct",))
        assert judge_values(gate, entry.session[count].rounds["efficiency_pct"], looks=1).outcome is not Outcome.FAIL
    (trend,) = trends(whole)
    assert [change.how for change in trend.breaks] == [How.CREEP]
    assert trend.lost == pytest.approx(5.7, abs=0.7)
    assert trend.worse


def test_a_step_names_its_commits() -> None:
    """The last session before it, the first after it."""
    (trend,) = trends(baseline_of([98] * 6 + [95] * 4))
    (change,) = trend.breaks
    assert (trend.points[change.start].commit, trend.points[change.end].commit) == ("c00000005", "c00000006")
    assert trend.points[change.end].saved_at.startswith("2026-01-07")
    assert trend.worse


def test_what_was_made_good_is_no_loss() -> None:
    """Down and up again: both are found, nothing is lost."""
    (trend,) = trends(baseline_of([98] * 6 + [94] * 6 + [98] * 6))
    assert len(trend.breaks) == 2
    assert not trend.worse


def test_small_steps_add_up() -> None:
    """Two steps of 1.4 points, none of which counts alone: 2.8 are lost."""
    (trend,) = trends(baseline_of([98] * 7 + [96.6] * 7 + [95.2] * 7, sd=0.2))
    assert trend.lost == pytest.approx(2.8, abs=0.4)
    assert trend.worse


def test_a_gain_is_no_loss() -> None:
    """An improvement is reported and is no fault; neither is a loss that is too small to matter."""
    (better,) = trends(baseline_of([90] * 6 + [98] * 6))
    assert better.breaks
    assert better.lost == 0
    (small,) = trends(baseline_of([98] * 8 + [97] * 8, sd=0.2))
    assert small.breaks
    assert not small.worse
    (strict,) = trends(baseline_of([98] * 8 + [97] * 8, sd=0.2), delta=0.5)
    assert strict.worse


def test_sessions_of_another_machine_are_left_out() -> None:
    """For tok/s only sessions of the newest session's machine count; for ratios all but simulated sessions."""
    levels = [60] * 6 + [100] * 6
    (trend,) = trends(baseline_of(levels, metric="system_tok_s", facts=lambda n: {"cpu": "i5" if n < 6 else "i9"}))
    assert (len(trend.points), trend.left_out, trend.breaks) == (6, 6, ())
    (trend,) = trends(baseline_of(levels, metric="system_tok_s"))
    assert trend.left_out == 0
    assert trend.breaks
    (trend,) = trends(baseline_of(levels, facts=lambda n: {"backend": "simulated" if n < 6 else "embedded"}))
    assert (len(trend.points), trend.left_out) == (6, 6)


def test_few_sessions_are_not_enough() -> None:
    """Four cannot tell a change from chance."""
    (trend,) = trends(baseline_of([98, 98, 90, 90]))
    assert not trend.enough
    assert not trend.worse


def test_how_much_worse() -> None:
    """Points for percentages, percent for the rest; the good side of each metric counts."""
    assert worse_by(metric_of("efficiency_pct"), 98.0, 95.0) == 3.0
    assert worse_by(metric_of("ttft_ms"), 100.0, 120.0) == 20.0
    assert worse_by(metric_of("system_tok_s"), 100.0, 120.0) == -20.0
    assert worse_by(metric_of("queue_ms"), 0.0, 5.0) == 0.0
