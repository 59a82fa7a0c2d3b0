"""Markers become gates: where each limit comes from, and whether it applies here.

Precedence: the marker's argument, else the command line or ini, else the baseline in force (level `validation`, the
most specific match). A limit that a baseline sets on a machine-bound metric applies only if the manifest's identity
agrees; a limit that somebody typed applies where they typed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from pytest_llmperf.errors import BaselineError, UsageError
from pytest_llmperf.judge.baselines.comparability import other_machine
from pytest_llmperf.judge.baselines.toml_format import CRITICAL, LEVEL
from pytest_llmperf.judge.gate_kinds import Judged
from pytest_llmperf.judge.gates.comparison_gates import marked_comparisons, sessions_like
from pytest_llmperf.judge.gates.quality_gate import answer_gates
from pytest_llmperf.judge.metrics.catalogue import OBSERVED, MetricClass, metric_of
from pytest_llmperf.judge.metrics.formulas import cost_per_1m_usd
from pytest_llmperf.model import Gate, RequestLimit

if TYPE_CHECKING:
    from pytest_llmperf.judge.baselines.lookup import Key
    from pytest_llmperf.judge.gates.target import Target
    from pytest_llmperf.judge.marker_keywords import Keyword
    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Baseline, Threshold

_OPTION = "--llmperf-limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """The baselines that limits may come from.

    Attributes:
        in_force: the baseline with the thresholds.
        compared: the baseline whose sessions `regression` uses (`--llmperf-compare`); None: the baseline in force.
    """

    in_force: Baseline
    compared: Baseline | None = None


def resolve(marker: Marker, target: Target, baselines: Baselines) -> tuple[Gate, ...]:
    """The gates that a marker requires, each with its limit.

    Args:
        marker: a validated marker.
        target: the measurement that will be judged.
        baselines: where limits may come from.

    Returns:
        One gate for each limit, or metric compared; for `quality` also one for the answers.

    Raises:
        UsageError: there is no limit, or the marker would refuse a setting.
        BaselineError: thresholds that contradict each other, or nothing stored to compare with.
    """
    return _RESOLVERS[marker.kind.judged](marker, target, baselines)


def _limit_gates(marker: Marker, target: Target, baselines: Baselines) -> tuple[Gate, ...]:
    gates = (_limit_gate(marker, limit, target, baselines.in_force) for limit in marker.limits)
    return tuple(_with_sessions(gate, target, baselines) for gate in gates)


def _with_sessions(gate: Gate, target: Target, baselines: Baselines) -> Gate:
    """The limit gate with the stored sessions that tell how much sessions differ; as it is if there are none."""
    sessions = sessions_like(gate.metric, baselines.compared or baselines.in_force, target)
    return replace(gate, reference=sessions)


def _cost_gates(marker: Marker, target: Target, baselines: Baselines) -> tuple[Gate, ...]:
    """A limit on cost is a limit on the rate of all agents, whose rounds have an interval."""
    prices = target.settings.configuration.prices
    stated = marker.stated(marker.limits[0], target.option_limit(marker.name))
    if stated is None and prices is not None and prices.max_usd_per_1m_tokens:
        stated = prices.max_usd_per_1m_tokens, "max_usd_per_1m_tokens of llmperf.toml"
    if stated is None or prices is None:
        lacking = "llmperf.toml states no price of an hour" if prices is None else "nothing states a limit"
        key = "usd_per_hour" if prices is None else "max_usd_per_1m_tokens"
        raise UsageError(
            f"marker {marker} cannot be judged: {lacking}",
            next_step=f"state {key} in [prices] of llmperf.toml, see docs/economics.md",
        )
    limit_usd, source = stated
    metric = metric_of("system_tok_s")
    gate = Gate(
        marker=marker.name,
        metric=metric.name,
        bound=metric.good,
        limit=cost_per_1m_usd(tok_s=limit_usd, usd_per_hour=prices.usd_per_hour),  # the formula is its own inverse
        source=f"{limit_usd:g} USD for a million tokens, {source}, at {prices.usd_per_hour:g} USD an hour",
    )
    return (_with_sessions(gate, target, baselines),)


def _answer_gates(marker: Marker, target: Target, _: Baselines) -> tuple[Gate, ...]:
    return answer_gates(marker, target.option_limit(marker.name))


def _comparison_gates(marker: Marker, target: Target, baselines: Baselines) -> tuple[Gate, ...]:
    return marked_comparisons(marker, baselines.compared or baselines.in_force, target)


_RESOLVERS: Mapping[Judged, Callable[[Marker, Target, Baselines], tuple[Gate, ...]]] = {
    "limit": _limit_gates,
    "cost": _cost_gates,
    "answers": _answer_gates,
    "comparison": _comparison_gates,
}


def _limit_gate(marker: Marker, limit: Keyword, target: Target, baseline: Baseline) -> Gate:
    """A limit gate by precedence."""
    metric, not_comparable, stated_by = marker.metric(limit), "", ""
    bounds = [row.name for row in marker.kind.keywords if row.of_requests]
    if bounds and not marker.request_limits:
        raise UsageError(
            f"marker {marker} on {target.key.test} states nothing that each request has to keep",
            next_step=f"add one or more of {', '.join(f'{name}=' for name in bounds)}",
        )
    if stated := marker.stated(limit, target.option_limit(marker.name)):
        value, source = stated
    else:
        names = (metric, *filter(None, (limit.also.get(metric),)))
        threshold = _threshold(baseline, metric, names, target.key)
        if threshold is None:
            raise _no_limit(marker, names, target.key, baseline.name)
        value, source, stated_by = threshold.value, f"baseline {baseline.name}, {threshold.source}", baseline.name
        # A threshold of another limit of the marker is about that limit's metric; others stand for the metric.
        if threshold.metric in {marker.metric(keyword) for keyword in marker.kind.limits}:
            metric = threshold.metric
        if metric_of(metric).kind is MetricClass.MACHINE:
            not_comparable = other_machine(baseline.manifest, target.facts)
    return Gate(
        marker=marker.name,
        metric=metric,
        bound=metric_of(metric).good,
        limit=value,
        source=source,
        not_comparable=not_comparable,
        baseline=stated_by,
        robust=marker.robust,
        request_limits=tuple(RequestLimit(metric=name, most=most) for name, most in marker.request_limits),
    )


def _no_limit(marker: Marker, thresholds: tuple[str, ...], key: Key, baseline: str) -> UsageError:
    """The error for a marker whose limit nothing states."""
    name = marker.name
    return UsageError(
        f"marker {marker} on {key.test} has no limit: it gives none, {_OPTION} gives none, and "
        f"baseline {baseline} has no {LEVEL} threshold of {' or '.join(thresholds)} "
        f"for topology {key.topology}, scenario {key.scenario}",
        next_step=f"write @pytest.mark.{name}({marker.kind.limits[0].name}=...), give {_OPTION} {name}=..., "
        f"or add a [[threshold]] of level {LEVEL} to the baseline",
    )


def _threshold(baseline: Baseline, metric: str, names: tuple[str, ...], key: Key) -> Threshold | None:
    """The most specific threshold that applies; one that names the scenario beats one that names the topology.

    For what is observed of the machine, the critical level (H.2) is used if there is none for gates.
    """
    bound = metric_of(metric).good
    levels = (LEVEL, CRITICAL) if metric in OBSERVED else (LEVEL,)
    for level, name in product(levels, names):
        ranked: dict[tuple[bool, bool], Threshold] = {}
        for threshold in baseline.threshold:
            if (threshold.metric, threshold.level, threshold.bound) != (name, level, bound):
                continue
            if threshold.scenario not in ("", key.scenario) or threshold.topology not in ("", key.topology):
                continue
            rank = (bool(threshold.scenario), bool(threshold.topology))
            if rank in ranked and ranked[rank].value != threshold.value:
                raise BaselineError(
                    f"baseline {baseline.name} has two {level} thresholds of {name} that apply alike: "
                    f"{ranked[rank].value:g} ({ranked[rank].source}) and {threshold.value:g} ({threshold.source})",
                    next_step="remove one, or give it a topology or scenario of its own",
                )
            ranked.setdefault(rank, threshold)
        if ranked:
            return ranked[max(ranked)]
    return None
