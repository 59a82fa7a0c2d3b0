"""The values of metrics over the rounds of a measurement: `series` gives what gates judge, one value a round.

What a metric is (unit, good side, class, aggregate, source, definition) is in `catalogue`, offered here too; the
formulas themselves are in `formulas`.
"""

from __future__ import annotations

import statistics
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.metrics import formulas, machine_peaks, request_formulas, worst_requests
from pytest_llmperf.judge.metrics.catalogue import (
    CATALOGUE,
    CONTINUOUS,
    OBSERVED,
    PHASES,
    RATE_DROP_PCT,
    TTFT_RATIO_LIMIT,
    Metric,
    MetricClass,
    metric_of,
)
from pytest_llmperf.judge.metrics.contradictions import COUNT, DECODE, DURATIONS, check_figures
from pytest_llmperf.judge.metrics.graphs import critical_path
from pytest_llmperf.judge.metrics.graphs.graph_efficiency import graph_efficiency_pct
from pytest_llmperf.judge.metrics.request_pairs import contended, steps, ttft_ratio, with_ttft
from pytest_llmperf.judge.metrics.round_checks import located, paired, same_work, together, tokens
from pytest_llmperf.judge.stats.resolution import above
from pytest_llmperf.judge.stats.summary import Aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_llmperf.model import AgentRun, Measurement, Round, Scenario

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
        metric: a name of CONTINUOUS, a metric of requests (`itl_ms`, `tpot_ms`, `client_decode_tok_s`,
            `server_ttft_ms`), a contention metric (values 0.0 or 1.0), or `<continuous>_cv_pct` (the values of that
            metric).

    Returns:
        One float a round, in the metric's unit.

    Raises:
        UsageError: no such metric, or one that has no value per round.
        MeasurementError: a value is undefined; the text names round and agent.
    """
    definition = metric_of(metric)
    name = metric.removesuffix("_cv_pct") if definition.aggregate is Aggregate.CV else metric
    if name not in _SERIES:
        raise UsageError(f"metric {metric!r} has no value per round", next_step=f"use one of {', '.join(_SERIES)}")
    if not measurement.rounds:
        raise MeasurementError(f"measurement of scenario {measurement.scenario.name!r} has no round")
    if name in _OF_EQUALS and measurement.scenario.graph:
        raise MeasurementError(
            f"{name} is undefined for a graph of agents, which do not work at once: some wait for others",
            next_step="use the gates makespan and critical_path, and graph_efficiency_pct in regression",
        )
    for round_ in measurement.rounds:
        _check_figures(round_, _SERVERS_WORD.get(name, frozenset()))
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
    """The metrics among `names` that are defined in each round, by name."""
    defined = {}
    for name in names:
        with suppress(MeasurementError):
            defined[name] = series(measurement, name)
    return defined


def ttft_ratios(measurement: Measurement) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """TTFT together over the solo median of the same agent and step, over all rounds; see `steps`.

    Returns:
        By round, agent and step (request), x; without embeddings, unless there is nothing else.

    Raises:
        MeasurementError: a round has no solo run, steps differ between runs, or a TTFT is undefined.
    """
    return tuple(tuple(tuple(map(ttft_ratio, own)) for own in with_ttft(agents)) for agents in steps(measurement))


def slowdowns(round_: Round) -> tuple[float, ...]:
    """`C_i / S_i` of each agent of a round, x, without what it was to wait; per token where the work differs."""
    paired(round_)
    return tuple(_slowdown(alone, both) for alone, both in zip(round_.solo, round_.together, strict=True))


def _slowdown(alone: AgentRun, both: AgentRun) -> float:
    """The slowdown of one agent, whose token counts must be known."""
    counts = (0, 0) if same_work(alone, both) else tokens((alone, both))
    return formulas.slowdown(alone.own_ns, counts[0], both.own_ns, counts[1])


def scaling_efficiency_pct(round_: Round) -> float:
    """`sum(S_i) / (N * W) * 100` of a round, or its token-rate form where the work differs."""
    paired(round_)
    solo_ns, together_ns = _durations_ns(round_.solo), _durations_ns(round_.together)
    known = [same_work(alone, both) for alone, both in zip(round_.solo, round_.together, strict=True)]
    if all(known):
        return formulas.scaling_efficiency_pct(solo_ns, together_ns)
    return formulas.scaling_by_tokens_pct(solo_ns, tokens(round_.solo), together_ns, tokens(round_.together))


# --- one value a round -----------------------------------------------------------------------------------------------


def _each(value: Callable[[Round], float]) -> Callable[[Measurement], tuple[float, ...]]:
    """A series from a function of one round; errors name the round."""

    def over(measurement: Measurement) -> tuple[float, ...]:
        values = []
        for round_ in measurement.rounds:
            try:
                values.append(value(round_))
            except MeasurementError as error:
                raise located(error, f"round {round_.index}") from error
        return tuple(values)

    return over


def _balanced(round_: Round) -> tuple[int, ...]:
    """C_i of a round of at least two agents: the balance of one agent is 100 % whatever happens."""
    return _durations_ns(together(_of_several(round_)))


def _of_several(round_: Round) -> Round:
    """A round of at least two agents: one alone is alone with itself, too."""
    if len(together(round_)) < 2:
        raise MeasurementError("efficiency and speedup need at least 2 agents: with one they cannot fail")
    return round_


def _system_tok_s(round_: Round) -> float:
    runs = together(round_)
    return formulas.system_tok_s(tokens(runs), _durations_ns(runs))


def _slowest_decode_tok_s(round_: Round) -> float:
    return min(_decode_tok_s(run) for run in together(round_))


def _worst_ttft_ratios(measurement: Measurement) -> tuple[float, ...]:
    return tuple(max(chain.from_iterable(agents)) for agents in ttft_ratios(measurement))


def _contended_throughput(measurement: Measurement) -> tuple[float, ...]:
    rounds = [paired(round_) for round_ in measurement.rounds]
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
    return lambda measurement: machine_peaks.peaks(measurement, name)


def _of_scenario(value: Callable[[Scenario, Round], float]) -> Callable[[Measurement], tuple[float, ...]]:
    """A series from a function of the scenario and one round."""
    return lambda measurement: _each(partial(value, measurement.scenario))(measurement)


_OF_EQUALS = ("efficiency_pct", "scaling_efficiency_pct", "speedup", "scaling_speedup")
"""Metrics of agents that all start at the barrier."""

_BY_WORK = ("scaling_efficiency_pct", "scaling_speedup", "slowdown")
"""Metrics that count tokens to know whether the work was the same."""

_SERIES: Mapping[str, Callable[[Measurement], tuple[float, ...]]] = {
    "efficiency_pct": _each(lambda round_: formulas.efficiency_pct(_balanced(round_))),
    "scaling_efficiency_pct": _each(lambda round_: scaling_efficiency_pct(_of_several(round_))),
    "speedup": _each(lambda round_: formulas.speedup(_balanced(round_))),
    "scaling_speedup": _each(lambda round_: scaling_efficiency_pct(_of_several(round_)) / 100 * len(round_.together)),
    "system_tok_s": _each(_system_tok_s),
    "decode_tok_s": _each(_slowest_decode_tok_s),
    "ttft_ms": _each(worst_requests.worst_ttft_ms),
    "ttft_reasoning_ms": _each(worst_requests.worst_ttft_reasoning_ms),
    "server_ttft_ms": _each(worst_requests.worst_server_ttft_ms),
    "e2e_ms": _each(worst_requests.worst_e2e_ms),
    "e2e_s": _each(lambda round_: worst_requests.worst_e2e_ms(round_) / 1000),
    "ttft_ratio": _worst_ttft_ratios,
    "slowdown": _each(lambda round_: max(slowdowns(round_))),
    "queue_ms": _each(worst_requests.worst_queue_ms),
    "makespan_s": _each(lambda round_: max(_durations_ns(together(round_))) / formulas.NS_PER_S),
    "graph_efficiency_pct": _of_scenario(graph_efficiency_pct),
    **{f"critical_{phase}_share": _of_scenario(partial(critical_path.share_of, phase=phase)) for phase in PHASES},
    "client_decode_tok_s": _each(worst_requests.slowest_client_decode_tok_s),
    "itl_ms": _each(worst_requests.worst_itl_ms),
    "tpot_ms": _each(worst_requests.worst_tpot_ms),
    "contended_ttft": contended,
    "contended_throughput": _contended_throughput,
    "contention_rate_ttft": contended,
    "contention_rate_throughput": _contended_throughput,
    **{name: _observed(name) for name in OBSERVED},
}


_SERVERS_WORD = {
    "system_tok_s": COUNT,
    "decode_tok_s": DECODE,
    "client_decode_tok_s": COUNT,
    "tpot_ms": COUNT,
    "contended_throughput": DECODE,
    "contention_rate_throughput": DECODE,
    "queue_ms": DURATIONS,
    "server_ttft_ms": DURATIONS,
    "graph_efficiency_pct": COUNT,
    **{f"critical_{phase}_share": DURATIONS for phase in PHASES if phase not in critical_path.CLIENT_PHASES},
    **dict.fromkeys(_BY_WORK, COUNT),
}
"""The server's figures that a metric is computed from."""


def _check_figures(round_: Round, figures: frozenset[str]) -> None:
    """Raises MeasurementError with the round if the client's clock contradicts one of these figures."""
    try:
        check_figures((*round_.together, *round_.solo), figures)
    except MeasurementError as error:
        raise located(error, f"round {round_.index}") from error


def _decode_tok_s(run: AgentRun) -> float:
    """The agent's decode rate, which must exist."""
    rate = request_formulas.agent_decode_tok_s(run)
    if rate is None:
        tokens((run,))
        raise MeasurementError(
            f"agent {run.agent!r}: decode_tok_s is undefined, no request has 2 tokens or more and the server's decode "
            "time, which a /v1 stream never gives",
            next_step="raise num_predict, or use Ollama's own API",
        )
    return rate


def _durations_ns(runs: Iterable[AgentRun]) -> tuple[int, ...]:
    return tuple(run.duration_ns for run in runs)
