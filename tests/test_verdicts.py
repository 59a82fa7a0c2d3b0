"""The simulation behind `make verdicts`: it simulates the package's rule, and says where a figure falls short."""

import numpy as np
import pytest

from benchmarks import fast_rule, verdicts
from pytest_llmperf.judge.gates.evaluate import decide
from pytest_llmperf.judge.regression.decision_rule import Looking
from pytest_llmperf.judge.regression.paired_rounds import paired_drop
from pytest_llmperf.judge.regression.stored_sessions import drop_of
from pytest_llmperf.judge.stats import error_spending
from pytest_llmperf.judge.stats.summary import Aggregate
from pytest_llmperf.model import Bound, Outcome
from tests.judge.build import gate

pytestmark = pytest.mark.slow

CODES = {Outcome.PASS: fast_rule.PASS, Outcome.FAIL: fast_rule.FAIL, Outcome.INCONCLUSIVE: fast_rule.OPEN}
IN_POINTS = {"delta": 2.0, "beyond": 2.0 * error_spending.BEYOND, "floor": 2.0 * error_spending.FLOOR_DELTAS}


def random_look(rng) -> tuple[int, Looking]:
    looking = Looking(looks=16, last=bool(rng.random() < 0.5), gates=int(rng.choice([1, 4, 20])))
    return int(rng.integers(5, 21)), looking


def rounds_of(rng, *shape: int):
    """Skewed rounds with a drop that every outcome may come of."""
    return 98.7 - rng.gamma(1.15, 1.1, shape) - rng.choice([0, 1, 2, 3, 5, 12])


@pytest.mark.parametrize(
    ("sessions", "length", "median"),
    [(4, 5, False), (20, 5, False), (8, 9, False), (1, 8, False), (3, 5, True), (8, 5, True), (20, 12, True)],
)
def test_the_twin_judges_stored_sessions_as_the_package_does(sessions: int, length: int, median: bool) -> None:
    """Same outcome and same errors, for random data, looks and numbers of gates."""
    rng = np.random.default_rng(sessions * 100 + length)
    seen = set()
    for _ in range(25):
        stored = 98.7 - rng.gamma(1.15, 1.1, (sessions, length)) + 0.6 * rng.standard_normal((sessions, 1))
        n, looking = random_look(rng)
        values = rounds_of(rng, n)
        found = drop_of(
            aggregate=Aggregate.MEDIAN if median else Aggregate.MEAN,
            bound=Bound.MIN,
            in_points=True,
            base=98.0,
            delta=2.0,
            sessions=stored.tolist(),
            values=values.tolist(),
            looking=looking,
        ).drop
        rule = fast_rule.StoredRule(-stored[None], median=median)
        doubts, shift = rule.doubts(np.array([0]), -values[None])
        errors = (looking.fail_error, looking.pass_error)
        (outcome,) = fast_rule.look(doubts, shift, errors=errors, last=looking.last, **IN_POINTS)
        assert outcome == CODES[found.outcome]
        assert doubts.worse(shift)[0] == pytest.approx(found.error_of_fail, abs=1e-7)
        assert doubts.better(2.0 - shift)[0] == pytest.approx(found.error_of_pass, abs=1e-7)
        seen.add(found.outcome)
    assert len(seen) >= 2


def test_the_twin_judges_pairs_as_the_package_does() -> None:
    """Same outcome and same errors."""
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(60):
        n, looking = random_look(rng)
        incumbent = 98.7 - rng.gamma(1.15, 1.1, n)
        candidate = rounds_of(rng, n)
        common = {"bound": Bound.MIN, "in_points": True, "delta": 2.0, "looking": looking}
        found = paired_drop(**common, incumbent=incumbent.tolist(), candidate=candidate.tolist())
        doubts, shift = fast_rule.PairedRule().doubts(np.array([0]), (incumbent - candidate)[None])
        errors = (looking.fail_error, looking.pass_error)
        (outcome,) = fast_rule.look(doubts, shift, errors=errors, last=looking.last, **IN_POINTS)
        assert outcome == CODES[found.outcome]
        assert doubts.worse(shift)[0] == pytest.approx(found.error_of_fail, abs=1e-7)
        seen.add(found.outcome)
    assert seen == set(CODES)


@pytest.mark.parametrize("sd", [0.0, 0.03, 0.3])
def test_the_twin_judges_rounded_values_as_the_package_does(sd: float) -> None:
    """Figures given to a tenth, which repeat or never change: same outcome and same errors, stored and by pairs."""
    rng = np.random.default_rng(6)
    seen = set()
    for _ in range(40):
        n, looking = random_look(rng)
        drop = rng.choice([0, 0.7, 1.3, 2, 4])
        stored = np.round(98 - sd * rng.standard_normal((8, 5)), 1)
        values, old = (np.round(98 - less - sd * rng.standard_normal(n), 1) for less in (drop, 0.0))
        common = {"bound": Bound.MIN, "in_points": True, "delta": 2.0, "looking": looking}
        by_package = [
            drop_of(
                **common, aggregate=Aggregate.MEAN, base=98.0, sessions=stored.tolist(), values=values.tolist()
            ).drop,
            paired_drop(**common, incumbent=old.tolist(), candidate=values.tolist()),
        ]
        by_twin = [
            fast_rule.StoredRule(-stored[None]).doubts(np.array([0]), -values[None]),
            fast_rule.PairedRule((old[None], values[None])).doubts(np.array([0]), (old - values)[None]),
        ]
        errors = (looking.fail_error, looking.pass_error)
        for found, (doubts, shift) in zip(by_package, by_twin, strict=True):
            (outcome,) = fast_rule.look(doubts, shift, errors=errors, last=looking.last, **IN_POINTS)
            assert outcome == CODES[found.outcome]
            assert doubts.better(2.0 - shift)[0] == pytest.approx(found.error_of_pass, abs=1e-7)
            seen.add(found.outcome)
    assert {Outcome.PASS, Outcome.FAIL} <= seen


def test_the_twin_runs_whole_sessions_as_the_package_does() -> None:
    """After the same number of rounds the same outcome: a regression gate, and a limit gate below a ceiling."""
    rng = np.random.default_rng(4)
    stored = 98.7 - rng.gamma(1.15, 1.1, (12, 8, 5))
    values = 98.7 - rng.gamma(1.15, 1.1, (12, 20)) - rng.choice([0, 2, 4], (12, 1))
    values[8:] = np.round(96.5 + rng.choice([-0.1, 0, 0.1], (4, 1)) + 0.04 * rng.standard_normal((4, 20)), 1)
    by_twin = [
        fast_rule.run(fast_rule.StoredRule(-stored), -values, **IN_POINTS),
        fast_rule.run_limit(values, 96.5, 100.0),
    ]
    for index in range(12):
        asked = [
            gate(limit=98.0, delta=2.0, reference=tuple(map(tuple, stored[index].tolist()))),
            gate(limit=96.5),
        ]
        for (outcomes, rounds), one in zip(by_twin, asked, strict=True):
            for n in range(5, 21):
                verdict = decide(one, values[index, :n].tolist(), looks=16, last=n == 20)
                if verdict.outcome is not Outcome.INCONCLUSIVE:
                    break
            assert (CODES[verdict.outcome], n) == (outcomes[index], rounds[index])


def test_healthy_runs_seldom_fail_and_broken_ones_never_pass() -> None:
    """2,000 runs against eight sessions that differ by 0.6 points, fixed seed: what `make verdicts` shows at length."""
    cells = [verdicts.Cell("stored", "skewed", 8, 0.6, drop) for drop in (0.0, 3.0, 5.0)]
    healthy, beyond, broken = (verdicts.simulate((cell, 2000))[1] for cell in cells)
    assert healthy.failed <= 1
    assert beyond.passed <= 1
    assert broken.failed >= 95


def test_a_quick_run_prints_the_table_and_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Every rule, every condition, every figure with its limit; few runs are forgiven what chance may do."""
    assert verdicts.main(["--quick", "--runs", "40", "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Welch, one-sided .01" in printed
    assert printed.count(" holds") >= 80
    assert "skewed         20 sessions, tau 1.2" in printed
    assert "every figure holds" in printed


def test_a_figure_that_falls_short_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """On either side of its limit, and not where it holds."""
    table = verdicts.Table(results={}, runs=20_000)
    table.figure("false alarms", 1.01, 1, most=True)
    table.figure("found", 94.9, 95, most=False)
    table.figure("kept", 1.0, 1, most=True)
    assert table.short == ["false alarms", "found"]
    assert capsys.readouterr().out.count("FALLS SHORT") == 2
