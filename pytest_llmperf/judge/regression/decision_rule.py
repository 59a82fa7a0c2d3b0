"""A change for the worse, judged: `fail`, `pass` or neither, with what the evidence was worth.

- `fail`: no change at all would do as much by chance, with the error of this look at most.
- `pass`: a change of delta would look as good by chance with NEAR at most (half of it before the last look), and one of
  BEYOND deltas with the error of this look at most.
- Both hold where many rounds know a small change well: then the less probable of no change and delta gives way.
- Both hold since nothing scatters: then the change itself is known, and what is below delta passes.
- The hard floor: a change of FLOOR_DELTAS fails at the last look in any case, and before with ALPHA, not its share.

Between no change and delta either answer is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pytest_llmperf.judge.regression.effect_scale import Scale
from pytest_llmperf.judge.regression.null_distribution import Doubt
from pytest_llmperf.judge.stats.confidence_intervals import first_rounds
from pytest_llmperf.judge.stats.distributions import normal_tail
from pytest_llmperf.judge.stats.error_spending import ALPHA, BEYOND, FLOOR_DELTAS, NEAR, error_of_look
from pytest_llmperf.model import Outcome

STILL = 1e-6
"""Scatter of less than this share of delta is the rounding of floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """Which look of how many, in a run of how many gates."""

    looks: int
    last: bool
    gates: int = 1

    @property
    def fail_error(self) -> float:
        """What a `fail` may err by."""
        return error_of_look(self.looks, last=self.last, gates=self.gates)

    @property
    def pass_error(self) -> float:
        """What a `pass` may err by beyond delta; not shared by the gates, for a miss of one is no miss of all."""
        return error_of_look(self.looks, last=self.last)

    @property
    def near_error(self) -> float:
        """What a `pass` may err by at delta."""
        return NEAR if self.last else NEAR / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The change for the worse: positive is worse.

    Attributes:
        outcome: pass, fail or inconclusive.
        estimate: in `unit`.
        low: in `unit`; above 0 where no change is excluded.
        high: in `unit`; below delta where delta is excluded.
        unit: `pp`, or `%` of the baseline's centre.
        error_of_fail: how probably no change at all looks as bad.
        error_of_pass: how probably a change of delta looks as good.
        effect_size: the estimate in standard deviations of a round; None where rounds do not scatter.
        power_pct: how probably a change of delta would have failed with so many rounds, were this the last look.
        rounds_needed: that would decide, were estimate and spread to stay; None: no number would.
        floored: whether the hard floor decided.
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


def outcome_of(doubt: Doubt, shift: float, scale: Scale, delta: float, looking: Looking) -> tuple[Outcome, bool]:
    """The rule: what this shift comes to, and whether the hard floor decided."""
    near, beyond = scale.shift(delta), scale.shift(BEYOND * delta)
    no_change, as_good = doubt.worse(shift), doubt.better(near - shift)
    fails = no_change <= looking.fail_error
    passes = as_good <= looking.near_error and doubt.better(beyond - shift) <= looking.pass_error
    # Far out both are 0, and the distances tell which is the less probable.
    nearer_none = as_good < no_change or (as_good == no_change and shift <= near - shift)
    still = doubt.scatter <= (STILL * near) ** 2
    if passes and (nearer_none or (fails and still)):
        return Outcome.PASS, False
    if fails:
        return Outcome.FAIL, False
    if scale.change(shift) >= FLOOR_DELTAS * delta and (looking.last or no_change <= ALPHA):
        return Outcome.FAIL, True
    return Outcome.INCONCLUSIVE, False


def judge_drop(
    doubt_at: Callable[[int], Doubt],
    *,
    rounds: int,
    shift: float,
    scale: Scale,
    delta: float,
    looking: Looking,
    round_sd: float,
) -> Drop:
    """Judges a difference of centres.

    Args:
        doubt_at: what chance does to the difference after so many rounds.
        rounds: so far.
        shift: the difference, on the scale; positive is worse.
        scale: of the shift.
        delta: the smallest change that matters, in the scale's unit.
        looking: which look this is.
        round_sd: standard deviation of one round, on the scale.
    """
    doubt = doubt_at(rounds)
    outcome, floored = outcome_of(doubt, shift, scale, delta, looking)
    needed, final = None, replace(looking, last=True)
    if outcome is Outcome.INCONCLUSIVE:

        def decided(n: int) -> bool:
            return outcome_of(doubt_at(n), shift, scale, delta, final)[0] is not Outcome.INCONCLUSIVE

        needed = first_rounds(decided, rounds + 1)
    short = doubt.worse_quantile(final.fail_error) - scale.shift(delta)
    power = normal_tail(short / math.sqrt(doubt.typical)) if doubt.typical > 0 else 1.0
    return Drop(
        outcome=outcome,
        estimate=scale.change(shift),
        low=scale.change(shift - doubt.worse_quantile(looking.fail_error)),
        high=scale.change(shift + doubt.better_quantile(looking.near_error)),
        unit=scale.unit,
        error_of_fail=doubt.worse(shift),
        error_of_pass=doubt.better(scale.shift(delta) - shift),
        effect_size=shift / round_sd if round_sd > STILL * scale.shift(delta) else None,
        power_pct=100 * power,
        rounds_needed=needed,
        floored=floored,
    )
