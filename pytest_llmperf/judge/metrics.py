"""The values of metrics over the rounds of a measurement: `series` gives what gates judge, one value a round.

What a metric is (unit, good side, class, aggregate, source, definition) is in `catalogue`, offered here too; the
formulas themselves are in `formulas`.
"""

from __future__ import annotations

import statistics
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge import formulas, telemetry
from pytest_llmperf.judge.catalogue import (
    CATALOGUE,
    CONTINUOUS,
    OBSERVED,
    RATE_DROP_PCT,
    TTFT_RATIO_LIMIT,
    Aggregate,
    Metric,
    MetricClass,
    metric_of,
)
from pytest_llmperf.judge.resolution import above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_llmperf.model import AgentRun, Measurement, Round

__all__ = [
    "CATALOGUE",
    "CONTINUOUS",
    "OBSERVED",
    "RATE_DROP_PCT",
    "TTFT_RATIO_LIMIT",
    "Aggregate",
    "Metric",
    "MetricClass",
    "all_series",
    "metric_of",
    "observed_series",
    "scaling_efficiency_pct",
    "series",
    "slowdowns",
    "ttft_ratios",
]


def series(measurement: Measurement, metric: str) -> tuple[float, ...]:
    """The values of a metric that gates judge, one a round, in the order of the rounds.

    A round never drops out: where the value of one round is undefined (a rate from one token, no solo run, the
    balance of one agent), the whole series is an error, because rounds that fail to report are not a random sample.

    Args:
        measurement: one or more rounds.
        metric: a name of CONTINUOUS, a contention metric (values 0.0 or 1.0), or `<continuous>_cv_pct` (the values
            of that metric).

    Returns:
        One float a round, in the metric's unit.

    Raises:
        UsageError: no such metric, or one that has no value per round.
        MeasurementError: a value is undefined; the text names round and agent.
    """
    found = metric_of(metric)
    name = metric.removesuffix("_cv_pct") if found.aggregate is Aggregate.CV else metric
    if name not in _SERIES:
        raise UsageError(f"metric {metric!r} has no value per round", next_step=f"use one of {', '.join(_SERIES)}")
    if not measurement.rounds:
        raise MeasurementError(f"measurement of scenario {measurement.scenario.name!r} has no round")
    return _SERIES[name](measurement)


def all_series(measurement: Measurement) -> dict[str, tuple[float, ...]]:
    """Every metric of the rounds that is defined, by name: what reports show and baselines store.

    Metrics that are undefined for this measurement (see `series`) are absent, and what is observed of the machine is
    (see `observed_series`).
    """
    return _defined(measurement, (*CONTINUOUS, "contended_ttft", "contended_throughput"))


def observed_series(measurement: Measurement) -> dict[str, tuple[float, ...]]:
    """Every metric of the machine that was observed in each round, by name."""
    return _defined(measurement, OBSERVED)


def _defined(measurement: Measurement, names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Those of these metrics that are defined in each round, by name."""
    found = {}
    for name in names:
        with suppress(MeasurementError):
            found[name] = series(measurement, name)
    return found


def ttft_ratios(measurement: Measurement) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """TTFT together over the solo median of the same agent and step, over all rounds.

    A TTFT alone that is but an upper bound (its first chunk was read together with later ones) would make the ratio too
    small: it is no part of the median, unless all are such.

    Returns:
        By round, agent and step (request), x.

    Raises:
        MeasurementError: a round has no solo run, steps differ between runs, or a TTFT is undefined.
    """
    rounds = [_paired(round_) for round_ in measurement.rounds]
    together = [[_ttfts_ms(round_.index, run) for run in round_.together] for round_ in rounds]
    bases = []
    for agent in range(len(rounds[0].solo)):
        solo = [_ttfts_ms(round_.index, round_.solo[agent]) for round_ in rounds]
        steps = {len(ttfts) for ttfts in (*solo, *(runs[agent] for runs in together))}
        if len(steps) != 1:
            name = rounds[0].solo[agent].agent
            raise MeasurementError(f"agent {name!r} sent {sorted(steps)} requests in different runs, wanted one number")
        merged = [[request.first_merged for request in round_.solo[agent].requests] for round_ in rounds]
        steps_alone = zip(zip(*solo, strict=True), zip(*merged, strict=True), strict=True)
        bases.append([statistics.median(_exact(ttfts, bounds)) for ttfts, bounds in steps_alone])
    return tuple(
        tuple(
            tuple(formulas.ratio(ttft, base, "ttft_ratio") for ttft, base in zip(ttfts, bases[agent], strict=True))
            for agent, ttfts in enumerate(runs)
        )
        for runs in together
    )


def _exact(ttfts: Sequence[float], bounds: Sequence[bool]) -> Sequence[float]:
    """Those that are no upper bounds; all where all are."""
    return [ttft for ttft, bound in zip(ttfts, bounds, strict=True) if not bound] or ttfts


def slowdowns(round_: Round) -> tuple[float, ...]:
    """`C_i / S_i` of each agent of a round, x; per token where the work differs."""
    _paired(round_)
    return tuple(_slowdown(alone, both) for alone, both in zip(round_.solo, round_.together, strict=True))


def _slowdown(alone: AgentRun, both: AgentRun) -> float:
    """Of one agent; its counts must be known where they differ."""
    tokens = (0, 0) if alone.eval_count == both.eval_count else _tokens((alone, both))
    return formulas.slowdown(alone.duration_ns, tokens[0], both.duration_ns, tokens[1])


def scaling_efficiency_pct(round_: Round) -> float:
    """`sum(S_i) / (N * W) * 100` of a round, or its token-rate form where the work differs."""
    _paired(round_)
    solo_ns, together_ns = _durations_ns(round_.solo), _durations_ns(round_.together)
    if not round_.work_mismatch:
        return formulas.scaling_efficiency_pct(solo_ns, together_ns)
    return formulas.scaling_by_tokens_pct(solo_ns, _tokens(round_.solo), together_ns, _tokens(round_.together))


# --- one value a round -----------------------------------------------------------------------------------------------


def _each(value: Callable[[Round], float]) -> Callable[[Measurement], tuple[float, ...]]:
    """A series from a function of one round; errors name the round."""

    def over(measurement: Measurement) -> tuple[float, ...]:
        values = []
        for round_ in measurement.rounds:
            try:
                values.append(value(round_))
            except MeasurementError as error:
                raise _located(error, f"round {round_.index}") from error
        return tuple(values)

    return over


def _balanced(round_: Round) -> tuple[int, ...]:
    """C_i of a round of at least two agents: the balance of one agent is 100 % whatever happens."""
    return _durations_ns(_together(_of_several(round_)))


def _of_several(round_: Round) -> Round:
    """A round of at least two agents: one alone is alone with itself, too."""
    if len(_together(round_)) < 2:
        raise MeasurementError("efficiency and speedup need at least 2 agents: with one they cannot fail")
    return round_


def _system_tok_s(round_: Round) -> float:
    runs = _together(round_)
    return formulas.system_tok_s(_tokens(runs), _durations_ns(runs))


def _slowest_decode_tok_s(round_: Round) -> float:
    return min(_decode_tok_s(run) for run in _together(round_))


def _worst_ttft_ms(round_: Round) -> float:
    return max(formulas.ttft_ms(request) for run in _together(round_) for request in run.requests)


def _worst_queue_ms(round_: Round) -> float:
    waits_ms = [formulas.queue_ms(request) for run in _together(round_) for request in run.requests]
    known_ms = [wait_ms for wait_ms in waits_ms if wait_ms is not None]
    if len(known_ms) < len(waits_ms):
        raise MeasurementError(
            f"queue_ms is undefined: {len(waits_ms) - len(known_ms)} of {len(waits_ms)} answers give no "
            "`total_duration`, as a /v1 stream never does",
            next_step="measure it with Ollama's own API",
        )
    return max(known_ms)


def _worst_ttft_ratios(measurement: Measurement) -> tuple[float, ...]:
    return tuple(max(max(steps) for steps in agents) for agents in ttft_ratios(measurement))


def _contended_ttft(measurement: Measurement) -> tuple[float, ...]:
    return tuple(float(above(worst, TTFT_RATIO_LIMIT)) for worst in _worst_ttft_ratios(measurement))


def _contended_throughput(measurement: Measurement) -> tuple[float, ...]:
    rounds = [_paired(round_) for round_ in measurement.rounds]
    bases = [
        statistics.median(_decode_tok_s(run) for run in runs) for runs in zip(*(r.solo for r in rounds), strict=True)
    ]
    kept = 1 - RATE_DROP_PCT / 100
    return tuple(
        float(any(above(kept * base, _decode_tok_s(run)) for run, base in zip(round_.together, bases, strict=True)))
        for round_ in rounds
    )


def _observed(name: str) -> Callable[[Measurement], tuple[float, ...]]:
    """The peaks of a metric of the machine."""
    return lambda measurement: telemetry.peaks(measurement, name)


_SERIES: Mapping[str, Callable[[Measurement], tuple[float, ...]]] = {
    "efficiency_pct": _each(lambda round_: formulas.efficiency_pct(_balanced(round_))),
    "scaling_efficiency_pct": _each(lambda round_: scaling_efficiency_pct(_of_several(round_))),
    "speedup": _each(lambda round_: formulas.speedup(_balanced(round_))),
    "scaling_speedup": _each(lambda round_: scaling_efficiency_pct(_of_several(round_)) / 100 * len(round_.together)),
    "system_tok_s": _each(_system_tok_s),
    "decode_tok_s": _each(_slowest_decode_tok_s),
    "ttft_ms": _each(_worst_ttft_ms),
    "ttft_ratio": _worst_ttft_ratios,
    "slowdown": _each(lambda round_: max(slowdowns(round_))),
    "queue_ms": _each(_worst_queue_ms),
    "contended_ttft": _contended_ttft,
    "contended_throughput": _contended_throughput,
    "contention_rate_ttft": _contended_ttft,
    "contention_rate_throughput": _contended_throughput,
    **{name: _observed(name) for name in OBSERVED},
}


# --- what a round must hold ------------------------------------------------------------------------------------------


def _together(round_: Round) -> tuple[AgentRun, ...]:
    """The together part, proven complete and started by one barrier."""
    if not round_.together or not all(run.requests for run in round_.together):
        raise MeasurementError(f"round {round_.index} has an empty together part")
    if len({run.start_ns for run in round_.together}) != 1:
        raise MeasurementError(f"round {round_.index}: the agents did not start at one moment")
    return round_.together


def _paired(round_: Round) -> Round:
    """A round whose solo part holds the same agents in the same order."""
    alone, both = [run.agent for run in round_.solo], [run.agent for run in _together(round_)]
    if alone != both or not all(run.requests for run in round_.solo):
        raise MeasurementError(
            f"round {round_.index} has solo runs of {alone}, wanted {both}: contention and scaling are defined only "
            "against a solo baseline of the same session"
        )
    return round_


def _decode_tok_s(run: AgentRun) -> float:
    """The agent's decode rate, which must exist."""
    rate = formulas.agent_decode_tok_s(run)
    if rate is None:
        raise MeasurementError(
            f"agent {run.agent!r}: decode_tok_s is undefined, no request has 2 tokens or more and the server's decode "
            "time, which a /v1 stream never gives",
            next_step="raise num_predict, or use Ollama's own API",
        )
    return rate


def _ttfts_ms(index: int, run: AgentRun) -> tuple[float, ...]:
    """TTFT of each request of a run; errors name the round and the agent."""
    try:
        return tuple(formulas.ttft_ms(request) for request in run.requests)
    except MeasurementError as error:
        raise _located(error, f"round {index}, agent {run.agent!r}") from error


def _located(error: MeasurementError, where: str) -> MeasurementError:
    """The same error, saying where."""
    return MeasurementError(f"{where}: {error.args[0]}", next_step=error.next_step, received=error.received)


def _durations_ns(runs: Iterable[AgentRun]) -> tuple[int, ...]:
    return tuple(run.duration_ns for run in runs)


def _tokens(runs: Iterable[AgentRun]) -> tuple[int, ...]:
    """n_i of each run; a request without a count would make its sum too small."""
    runs = tuple(runs)
    for run in runs:
        uncounted = sum(request.eval_count <= 0 for request in run.requests)
        if uncounted:
            raise MeasurementError(
                f"agent {run.agent!r}: {uncounted} of {len(run.requests)} answers have no token count, so that a rate "
                "of tokens is undefined",
                next_step='a /v1 stream gives it where the request has "stream_options": {"include_usage": true}',
            )
    return tuple(run.eval_count for run in runs)
