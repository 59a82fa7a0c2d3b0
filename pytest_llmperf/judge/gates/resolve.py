"""Markers become gates: where each limit comes from, and whether it holds here.

Precedence: the marker's argument, else the command line or ini, else the baseline in force (level `validation`, the
most specific match). A limit that a baseline sets on a machine-bound metric holds only where the manifest's identity
agrees; a limit that somebody typed holds where they typed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from pytest_llmperf.errors import BaselineError, UsageError
from pytest_llmperf.judge.baselines.lookup import Here, Key, differences, entry_of, other_machine, regression_gate
from pytest_llmperf.judge.baselines.toml_format import CRITICAL, LEVEL
from pytest_llmperf.judge.gates.quality_gate import gates_of
from pytest_llmperf.judge.markers import (
    MARKERS,
    TWO_LIMITS,
    Consistency,
    Contention,
    Cost,
    Marker,
    Quality,
    Regression,
    Throughput,
    Ttft,
    build,
    written,
)
from pytest_llmperf.judge.metrics.catalogue import OBSERVED, MetricClass, metric_of
from pytest_llmperf.judge.metrics.formulas import cost_per_1m_usd
from pytest_llmperf.model import Gate, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llmperf.model import Baseline, Prices, Threshold

__all__ = ["Key", "bare_limit", "compare_gates", "differences", "resolve", "without_regression"]

_OPTION = "--llmperf-limit"
_PLAIN = {"efficiency": "efficiency_pct", "scaling": "scaling_efficiency_pct", "speedup": "speedup"}
_RATES_OF_TOKENS = ("decode_tok_s", "system_tok_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A limit to find: of which metric, what the marker says, and which thresholds of a baseline would do."""

    metric: str
    given: float | None
    thresholds: tuple[str, ...]


def resolve(
    spec: Marker,
    *,
    settings: Settings,
    baseline: Baseline,
    stored: Baseline | None,
    key: Key,
    facts: Mapping[str, str],
) -> tuple[Gate, ...]:
    """The gates that a marker asks for, each with its limit.

    Args:
        spec: the marker, validated.
        settings: with `limits` by marker name.
        baseline: in force, for thresholds.
        stored: with the sessions that `regression` compares with (`--llmperf-compare`); None: the one in force.
        key: of the measurement.
        facts: of the manifest here.

    Returns:
        One gate; for `ttft` one for each limit given, for `regression` one a metric, for `quality` one of answers, too.

    Raises:
        UsageError: no limit anywhere, or a setting that the marker would refuse.
        BaselineError: thresholds that contradict each other, or nothing stored to compare with.
    """
    bare, here = bare_limit(spec.NAME, settings), Here(key=key, facts=facts)
    if isinstance(spec, Regression):
        return tuple(
            regression_gate(
                metric,
                marker=spec.NAME,
                delta=bare if spec.delta is None else spec.delta,
                stored=baseline if stored is None else stored,
                here=here,
                demanded=True,
            )
            for metric in spec.metrics
        )
    if isinstance(spec, Quality):
        return gates_of(spec, bare)
    if isinstance(spec, Cost):
        return (_cost_gate(spec, bare, settings.configuration.prices),)
    return tuple(_limit_gate(spec, wanted, bare, baseline, here) for wanted in _wanted(spec))


def compare_gates(
    stored: Baseline,
    *,
    key: Key,
    facts: Mapping[str, str],
    settings: Settings | None = None,
    metrics: tuple[str, ...] = Regression().metrics,
) -> tuple[Gate, ...]:
    """The gates that `--llmperf-compare` adds to a test without a `regression` marker: one a metric.

    Args:
        stored: the baseline named by `--llmperf-compare`.
        key: of the measurement.
        facts: of the manifest here.
        settings: with the limit of `regression`, if any; None: none.
        metrics: those of them that every stored session holds are compared.

    Returns:
        Gates with `demanded=False`.

    Raises:
        UsageError: a setting that the marker would refuse.
        BaselineError: nothing stored of this measurement, or none of the metrics.
    """
    entry = entry_of(stored, key)
    held = [metric for metric in metrics if all(metric in session.rounds for session in entry.session)]
    if not held:
        raise BaselineError(
            f"baseline {stored.name} holds none of {', '.join(metrics)} in every session of {key}",
            next_step="save it anew under another name: pytest --llmperf-save NAME",
        )
    delta, here = bare_limit(Regression.NAME, settings or Settings()), Here(key=key, facts=facts)
    return tuple(
        regression_gate(metric, marker="compare", delta=delta, stored=stored, here=here, demanded=False)
        for metric in held
    )


def without_regression(
    specs: Sequence[Marker], settings: Settings, baseline: Baseline, stored: Baseline | None
) -> tuple[tuple[Marker, ...], tuple[str, ...]]:
    """The markers without `regression`, where the run makes the very baseline that it would ask for; and a note.

    That is so with `--llmperf-update`, and with `--llmperf-save` where nothing is given to compare with.
    """
    new = settings.update or (settings.save if stored is None and not baseline.stored else "")
    if not new or not any(isinstance(spec, Regression) for spec in specs):
        return tuple(specs), ()
    note = f"the marker regression was not judged: what is measured here is what baseline {new} will hold"
    return tuple(spec for spec in specs if not isinstance(spec, Regression)), (note,)


def _wanted(spec: Marker) -> tuple[_Wanted, ...]:
    """The limits that a marker other than `regression` asks for."""
    if isinstance(spec, TWO_LIMITS):
        both = tuple(_of(metric, getattr(spec, keyword)) for keyword, metric in spec.METRICS.items())
        given = tuple(wanted for wanted in both if wanted.given is not None)
        return given or ((_of("ttft_ms", None, "ttft_ratio"),) if isinstance(spec, Ttft) else both[:1])
    given_limit = getattr(spec, spec.LIMIT)
    if isinstance(spec, Contention):
        return (_of(f"contention_rate_{spec.detector}", given_limit, "contention_rate"),)
    if isinstance(spec, Throughput):
        return (_of("decode_tok_s" if spec.of == "agent" else "system_tok_s", given_limit),)
    if isinstance(spec, Consistency):
        # A.4 states its limit for rates of tokens; it says nothing of other metrics.
        return (_of(f"{spec.metric}_cv_pct", given_limit, *(["cv_pct"] if spec.metric in _RATES_OF_TOKENS else [])),)
    return (_of(_PLAIN[spec.NAME], given_limit),)


def _of(metric: str, given: float | None, *others: str) -> _Wanted:
    """A limit of a metric; in a baseline, a threshold of its own name comes before the others."""
    return _Wanted(metric=metric, given=given, thresholds=(metric, *others))


def _cost_gate(spec: Cost, bare: float | None, prices: Prices | None) -> Gate:
    """A limit on cost is one on the rate of all agents, whose rounds have an interval."""
    given, where = spec.max_usd_per_1m, f"marker {written(spec)}"
    if given is None and bare is not None:
        given, where = bare, f"{_OPTION} {spec.NAME}={bare:g}"
    if given is None and prices is not None and prices.max_usd_per_1m_tokens:
        given, where = prices.max_usd_per_1m_tokens, "max_usd_per_1m_tokens of llmperf.toml"
    if given is None or prices is None:
        lacking = "llmperf.toml states no price of an hour" if prices is None else "nothing states a limit"
        key = "usd_per_hour" if prices is None else "max_usd_per_1m_tokens"
        raise UsageError(
            f"marker {written(spec)} cannot be judged: {lacking}",
            next_step=f"state {key} in [prices] of llmperf.toml, see docs/economics.md",
        )
    metric = "system_tok_s"
    return Gate(
        marker=spec.NAME,
        metric=metric,
        bound=metric_of(metric).good,
        limit=cost_per_1m_usd(tok_s=given, usd_per_hour=prices.usd_per_hour),  # the formula is its own inverse
        source=f"{given:g} USD for a million tokens, {where}, at {prices.usd_per_hour:g} USD an hour",
    )


def _limit_gate(spec: Marker, wanted: _Wanted, bare: float | None, baseline: Baseline, here: Here) -> Gate:
    """A limit gate by precedence."""
    metric, not_comparable, of = wanted.metric, "", ""
    if wanted.given is not None:
        limit, source = wanted.given, f"marker {written(spec)}"
    elif bare is not None:
        limit, source = bare, f"{_OPTION} {spec.NAME}={bare:g}"
    else:
        threshold = _threshold(baseline, wanted, here.key)
        if threshold is None:
            raise UsageError(
                f"marker {written(spec)} on {here.key.test} has no limit: it gives none, {_OPTION} gives none, and "
                f"baseline {baseline.name} has no {LEVEL} threshold of {' or '.join(wanted.thresholds)} "
                f"for topology {here.key.topology}, scenario {here.key.scenario}",
                next_step=f"write @pytest.mark.{spec.NAME}({spec.LIMIT}=...), give {_OPTION} {spec.NAME}=..., "
                f"or add a [[threshold]] of level {LEVEL} to the baseline",
            )
        limit, source, of = threshold.value, f"baseline {baseline.name}, {threshold.source}", baseline.name
        # Only `ttft` falls back to another metric; the other names stand for the metric that was asked for.
        metric = threshold.metric if threshold.metric == "ttft_ratio" else metric
        if metric_of(metric).kind is MetricClass.MACHINE:
            not_comparable = other_machine(baseline.manifest, here.facts)
    return Gate(
        marker=spec.NAME,
        metric=metric,
        bound=metric_of(metric).good,
        limit=limit,
        source=source,
        not_comparable=not_comparable,
        baseline=of,
    )


def _threshold(baseline: Baseline, wanted: _Wanted, key: Key) -> Threshold | None:
    """The most specific threshold that applies; one that names the scenario beats one that names the topology.

    Of what is observed of the machine, a baseline that states no limit for gates has one in its critical level (H.2).
    """
    bound = metric_of(wanted.metric).good
    levels = (LEVEL, CRITICAL) if wanted.metric in OBSERVED else (LEVEL,)
    for level, name in product(levels, wanted.thresholds):
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


def bare_limit(name: str, settings: Settings) -> float | None:
    """The limit that the command line or ini gives for a marker, as the marker would accept it."""
    if name not in settings.limits:
        return None
    try:
        build(name, kwargs={MARKERS[name].LIMIT: settings.limits[name]})
    except (TypeError, ValueError) as error:
        text = f"{_OPTION} {name}={settings.limits[name]!r}: {error}"
        raise UsageError(text, next_step=f"give {_OPTION} {name}=VALUE with a value in range") from error
    return settings.limits[name]
