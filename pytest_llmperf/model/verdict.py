"""Gates and their outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a gate."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"  # too few or too noisy rounds to say
    NOT_COMPARABLE = "not comparable"  # the limit comes from another machine
    INVALID = "invalid"  # the measurement itself failed


class Bound(StrEnum):
    """The good side of a limit."""

    MIN = "min"  # the value must not be below the limit
    MAX = "max"  # the value must not be above the limit

    @property
    def word(self) -> str:
        """The word for a limit on this side: `minimum` or `maximum`."""
        return f"{self.value}imum"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimit:
    """What each request has to keep for goodput.

    Attributes:
        metric: of requests: `ttft_ms`, `tpot_ms` or `e2e_s`.
        most: the largest good value.
    """

    metric: str
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A limit on one metric of one measurement, with the value of the limit and its source.

    Attributes:
        marker: the marker that requires it, e.g. `efficiency`; `compare` for a gate that `--llmperf-compare` adds.
        metric: name in the catalogue, e.g. `efficiency_pct`.
        bound: which side is good.
        limit: the limit in the metric's unit. For a regression gate: the aggregate of the stored baseline, or of the
            incumbent; in a verdict, over the compared rounds of each stored session.
        source: where the limit came from, in words, e.g. `baseline decision_card, E.1 #6`.
        delta: regression gates: the smallest change for the worse that counts (pp for percentages of ratio
            class, else percent of the limit). None for limit gates.
        reference: the values of the stored rounds, one tuple for each session. Regression gates compare with them;
            limit gates take the spread between sessions from them.
        not_comparable: why it cannot be judged here (keys that differ), or empty.
        demanded: whether a marker requires it (False: added by `--llmperf-compare`).
        baseline: name of the baseline that the limit comes from; empty: the user gave it.
        incumbent: regression gates: name of the deployment that took turns with this one; empty: stored sessions.
        robust: whether betting decides it, without assumptions on the distribution of rounds.
        request_limits: goodput: what each request has to keep.
    """

    marker: str
    metric: str
    bound: Bound
    limit: float
    source: str
    delta: float | None = None
    reference: tuple[tuple[float, ...], ...] = ()
    not_comparable: str = ""
    demanded: bool = True
    baseline: str = ""
    incumbent: str = ""
    robust: bool = False
    request_limits: tuple[RequestLimit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one gate, with the evidence.

    Attributes:
        gate: the gate that was judged.
        outcome: see Outcome.
        value: the metric's aggregate over rounds, or None if it could not be computed.
        low, high: confidence interval of the aggregate at `confidence_pct`; None if undefined.
        confidence_pct: e.g. 95.0.
        rounds: number of rounds used.
        grade: `exploratory`, `directional` or `publishable`; `simulated` for a scripted server.
        reason: the reason for this outcome, one clause.
        gates: number of gates in the run, which share the error of `fail`.
        worse_by: regression gates: how much worse than the stored sessions, or than the incumbent pair by pair, in
            points for percentages of ratio class, else percent; negative: better. None: unknown, or another gate.
        error_of_fail: probability that an unchanged value looks as bad as this one; None: not available.
        error_of_pass: regression gates: probability that a change of delta looks as good as this one.
        effect_size: distance from the limit, or from the stored aggregate, in standard deviations of a round; negative
            on the bad side. None if rounds are equal or the metric is not a mean or a median.
        power_pct: probability that a true value worse than the limit (or the stored aggregate) by delta, the metric's
            default for a limit gate, would have failed with this number of rounds, if this were the last look.
        rounds_needed: inconclusive gates: number of rounds that would decide if aggregate and spread stay; None: too
            many.
        sessions_needed: total number of stored sessions that would decide; None: more sessions do not help.
        autocorrelation: autocorrelation of neighbouring rounds; None for few rounds or equal values.
        outliers: numbers (from 1) of the outlying rounds; all of them count.
        rule: name and version of the rule that judged (`stored 3`, `interval 2`); empty: not judged.
    """

    gate: Gate
    outcome: Outcome
    value: float | None
    low: float | None
    high: float | None
    confidence_pct: float
    rounds: int
    grade: str
    reason: str = ""
    gates: int = 1
    worse_by: float | None = None
    error_of_fail: float | None = None
    error_of_pass: float | None = None
    effect_size: float | None = None
    power_pct: float | None = None
    rounds_needed: int | None = None
    sessions_needed: int | None = None
    autocorrelation: float | None = None
    outliers: tuple[int, ...] = ()
    rule: str = ""
