"""The decision rule: a change for the worse comes to `fail`, `pass` or neither, with what the evidence is worth.

- `fail`: chance alone does as much with at most the error of this look.
- `pass`: a change of delta looks as good by chance with at most BETA_AT_DELTA (half of it before the last look), and a
  change of DETECT_DELTAS deltas with at most the error of this look.
- Both are true if many rounds know a small change well: then the less probable of no change and delta is rejected.
- Both are true if nothing varies: then the change itself is known, and a change below delta passes.
- The hard floor: a change of HARD_FLOOR_DELTAS fails at every look with the error of the last. It needs evidence like
  any other: if sessions differ by more than delta, chance alone reaches the floor in several percent of healthy runs.

Between no change and delta either answer is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.judge.regression.null_distribution import NullDistribution
from pytest_llmperf.judge.stats.distributions import normal_tail
from pytest_llmperf.judge.stats.error_spending import (
    BETA_AT_DELTA,
    DETECT_DELTAS,
    HARD_FLOOR_DELTAS,
    error_of_look,
)
from pytest_llmperf.judge.stats.numpy_on_demand import np
from pytest_llmperf.judge.stats.roots import first_rounds
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmperf.judge.stats.row_statistics import Array

STILL = 1e-6
"""A standard deviation below this share of delta is the rounding of floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the rounds so far: how many a session takes, whether it is the last, and the gates of the run."""

    looks: int
    last: bool
    gates: int = 1

    @property
    def fail_error(self) -> float:
        """The error that a `fail` may make."""
        return error_of_look(self.looks, last=self.last, gates=self.gates)

    @property
    def floor_error(self) -> float:
        """The error that a `fail` of a change at the hard floor may make: that of the last look, at every look."""
        return error_of_look(self.looks, last=True, gates=self.gates)

    @property
    def pass_error(self) -> float:
        """The error that a `pass` may make beyond delta; gates do not share it: each miss counts by itself."""
        return error_of_look(self.looks, last=self.last)

    @property
    def delta_error(self) -> float:
        """The error that a `pass` may make at delta."""
        return BETA_AT_DELTA if self.last else BETA_AT_DELTA / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What the rule decides, for each run of a batch: neither passed nor failed is inconclusive.

    Attributes:
        passed, failed: the verdict.
        floored: failed by the hard floor.
    """

    passed: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    floored: NDArray[np.bool_]


def decide(null: NullDistribution, shift: Array, scale: Scale, delta: float, look: Look) -> Decisions:
    """Applies the rule.

    Args:
        null: distribution of the difference if nothing has changed.
        shift: the difference of centres on the loss scale, shape (...).
        scale: the scale of the shift.
        delta: the smallest change that matters, in the scale's unit.
        look: the current look.
    """
    floor = scale.change(shift) >= HARD_FLOOR_DELTAS * delta
    clear = null.may_exceed(shift, look.fail_error) | null.may_exceed(scale.shift(delta) - shift, look.delta_error)
    decisions = np.zeros((3, *np.shape(shift)), dtype=bool)
    if (near := floor | clear).any():
        decisions[:, near] = _decide_exactly(
            null.of(near), shift[near], floor[near], scale=scale, delta=delta, look=look
        )
    return Decisions(passed=decisions[0], failed=decisions[1], floored=decisions[2])


def _decide_exactly(
    null: NullDistribution, shift: Array, floor: NDArray[np.bool_], *, scale: Scale, delta: float, look: Look
) -> NDArray[np.bool_]:
    """Passed, failed and floored; floor: whether the change reaches the hard floor."""
    at_delta, detect = scale.shift(delta), scale.shift(DETECT_DELTAS * delta)
    by_chance, as_good = null.upper_tail(shift), null.lower_tail(at_delta - shift)
    fails = by_chance <= look.fail_error
    passes = as_good <= look.delta_error
    passes[passes] = null.of(passes).lower_tail(detect - shift[passes]) <= look.pass_error
    # Far out both tails are 0, and the distances tell which is the less probable.
    none_likelier = (as_good < by_chance) | ((as_good == by_chance) & (shift <= at_delta - shift))
    still = null.typical - null.rounding <= (STILL * at_delta) ** 2
    passed = passes & (none_likelier | (fails & still))
    floored = floor & ~passed & ~fails & (by_chance <= look.floor_error)
    return np.stack([passed, (fails & ~passed) | floored, floored])


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEstimate:
    """A change for the worse: positive is worse.

    Attributes:
        outcome: pass, fail or inconclusive.
        estimate: the estimate in `unit`.
        low: lower end in `unit`; above 0 if no change is excluded.
        high: upper end in `unit`; below delta if delta is excluded.
        unit: `pp`, or `%` of the baseline's centre.
        error_of_fail: probability that no change at all looks as bad.
        error_of_pass: probability that a change of delta looks as good.
        effect_size: the estimate in standard deviations of a round; None if rounds do not vary.
        power_pct: probability that a change of delta would have failed with these rounds, if this were the last look.
        rounds_needed: number that would decide, if estimate and spread stayed; None: no number would.
        floored: whether the hard floor decided.
        caveat: what in these rounds makes the interval wider, or the verdict late, in words; empty if nothing does.
    """

    outcome: Outcome
    estimate: float
    low: float
    high: float
    unit: str
    error_of_fail: float
    error_of_pass: float
    effect_size: float | None
    power_pct: float
    rounds_needed: int | None
    floored: bool = False
    caveat: str = ""


def estimate_change(
    null_after: Callable[[int], NullDistribution],
    *,
    rounds: int,
    shift: float,
    scale: Scale,
    delta: float,
    look: Look,
    round_sd: float,
) -> ChangeEstimate:
    """Judges a difference of centres of one run.

    Args:
        null_after: the null distribution after a number of rounds.
        rounds: so far.
        shift: the difference on the loss scale; positive is worse.
        scale: the scale of the shift.
        delta: the smallest change that matters, in the scale's unit.
        look: the current look.
        round_sd: standard deviation of one round on the loss scale.
    """
    null, final, at_delta = null_after(rounds), replace(look, last=True), scale.shift(delta)
    outcome, floored = outcome_of(null, shift, scale, delta, look)
    needed = None
    if outcome is Outcome.INCONCLUSIVE:
        needed = first_rounds(
            lambda n: outcome_of(null_after(n), shift, scale, delta, final)[0] is not Outcome.INCONCLUSIVE, rounds + 1
        )
    upper, upper_final = null.upper_quantile(np.array([look.fail_error, final.fail_error])).tolist()
    short = upper_final - at_delta
    power = normal_tail(short / math.sqrt(null.typical)) if null.typical > 0 else 1.0
    return ChangeEstimate(
        outcome=outcome,
        estimate=float(scale.change(shift)),
        low=float(scale.change(shift - upper)),
        high=float(scale.change(shift + null.lower_quantile(look.delta_error))),
        unit=scale.unit,
        error_of_fail=float(null.upper_tail(shift)),
        error_of_pass=float(null.lower_tail(at_delta - shift)),
        effect_size=shift / round_sd if round_sd > STILL * at_delta else None,
        power_pct=100 * float(power),
        rounds_needed=needed,
        floored=floored,
    )


def outcome_of(null: NullDistribution, shift: float, scale: Scale, delta: float, look: Look) -> tuple[Outcome, bool]:
    """What the rule decides for one run, and whether the hard floor did."""
    decisions = decide(null, np.asarray(shift), scale, delta, look)
    if decisions.passed:
        return Outcome.PASS, False
    return (Outcome.FAIL if decisions.failed else Outcome.INCONCLUSIVE), bool(decisions.floored)
