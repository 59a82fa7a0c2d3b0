"""What the page shows of a measurement, from its record in the session's document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Any

from markupsafe import Markup, escape

from pytest_llmperf.judge.metrics.series import CATALOGUE, TTFT_RATIO_LIMIT
from pytest_llmperf.model import KEYS
from pytest_llmperf.report.document import failing_remark
from pytest_llmperf.report.figures import CALLED, SHOWN
from pytest_llmperf.report.html.charts import (
    Chart,
    Level,
    distribution_chart,
    history_chart,
    loss_chart,
    phases_chart,
    rounds_chart,
)
from pytest_llmperf.report.html.machine_charts import machine_charts
from pytest_llmperf.report.html.phase_table import by_agent, tokens_ns
from pytest_llmperf.report.html.timeline import timeline
from pytest_llmperf.report.session_outcomes import Ending
from pytest_llmperf.report.wording.amounts import amount, digits_in

Plain = Mapping[str, Any]

_BAD = ("fail", "invalid", "inconclusive", "not comparable")
_PHASES_NOTE = (
    "Means over rounds: what is longer together is what running together costs, and the table has the differences. "
    "Own: the agent's time outside of its requests."
)
_LOSS_NOTE = "Alone: agents differ even alone; together: what company adds. Mean over rounds; below 0: a gain."
_BY_DURATIONS = (
    "This loss is one of durations; the scaling efficiency is one of token rates here, since the agents' work differed."
)
_DIFFERS_PP = 0.05
_ALWAYS = ("efficiency_pct", "scaling_efficiency_pct")
"""Metrics that are shown whatever the gates are about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number as it is and as it reads; `value` is None where there is none."""

    value: float | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A line of the table of verdicts."""

    gate: str
    metric: str
    value: Figure
    low: Figure
    high: Figure
    limit: str
    outcome: str
    action: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact of the manifest; `old` is what a baseline states where that differs, and `why` what follows."""

    key: str
    here: str
    old: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A section of the page.

    Attributes:
        anchor: of the section.
        record: in the document.
        outcome: the worst of its verdicts; `fail` where its test failed for another reason.
        why: what it failed by besides its gates, in one line; empty: nothing.
        ending: of its test, see `endings.Ending`; empty: not known.
        judged: its verdicts, the bad ones first.
        figures: definition, name and value of each figure that is defined.
        both: the two efficiencies, with their names, as far as they are defined.
        charts: in the order of reading.
        timeline: numbers that the page's script draws a chosen round from.
        machine: charts of what the machine did meanwhile.
        history: a chart for each metric that the baseline's sessions hold.
        facts: of the manifest, those that differ first.
    """

    anchor: str
    record: Plain
    outcome: str
    why: str
    ending: str
    judged: tuple[Judged, ...]
    figures: tuple[tuple[str, str, Figure], ...]
    both: tuple[tuple[str, Figure], ...]
    charts: tuple[Chart, ...]
    timeline: Plain
    machine: tuple[Chart, ...]
    history: tuple[Chart, ...]
    facts: tuple[Fact, ...]


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return escape(name).replace("_", Markup("_<wbr>"))


def view(record: Plain, number: int, ending: str) -> View:
    """A measurement as the page shows it; `number` tells its section from others, `ending` is its test's."""
    judged = _told_once(sorted(_judged(record), key=lambda verdict: verdict.outcome not in _BAD))
    outcomes = {verdict.outcome for verdict in judged}
    best = "fail" if ending == Ending.FAILED else "pass" if judged else "no gate"
    return View(
        anchor=f"m{number}",
        record=record,
        outcome=next((outcome for outcome in _BAD if outcome in outcomes), best),
        why=failing_remark(record),
        ending=ending,
        judged=tuple(judged),
        figures=tuple(
            (CATALOGUE[name].definition, name, _figure(record["figures"][name], name))
            for name in SHOWN
            if name in record["figures"]
        ),
        both=tuple(
            (CALLED[name].partition(" ")[0], _figure(record["figures"][name], name))
            for name in _ALWAYS
            if name in record["figures"]
        ),
        charts=tuple(_charts(record)),
        timeline=timeline(record["measurement"]),
        machine=tuple(machine_charts(record["measurement"]["telemetry"])),
        history=tuple(_history(record)),
        facts=tuple(_facts(record)),
    )


def _told_once(judged: Sequence[Judged]) -> list[Judged]:
    """What several gates of a measurement say alike, below what is their own, stands at the last of them only."""
    told = []
    for verdict, following in zip_longest(judged, judged[1:]):
        lines = verdict.text.splitlines()
        if following is not None and following.outcome in _BAD:
            theirs = following.text.splitlines()
            while len(lines) > 1 and theirs and lines[-1] == theirs.pop():
                lines.pop()
        told.append(replace(verdict, text="\n".join(lines)))
    return told


def _figure(value: float | None, metric: str, more: int = 0) -> Figure:
    return Figure(value=value, words=amount(value, metric, more))


def _judged(record: Plain) -> Iterator[Judged]:
    for verdict, words in zip(record["verdicts"], record["judged"], strict=True):
        metric, more = words["metric"], digits_in(verdict)
        yield Judged(
            gate=words["gate"],
            metric=metric,
            value=_figure(verdict["value"], metric, more),
            low=_end(verdict["low"], metric, more),
            high=_end(verdict["high"], metric, more),
            limit=words["limit"],
            outcome=words["outcome"],
            action=words["action"],
            text=words["text"],
        )


def _end(value: float | None, metric: str, more: int) -> Figure:
    """An end of an interval: without its unit, which stands beside it."""
    return Figure(value=value, words=amount(value, metric, more).partition(" ")[0])


def _facts(record: Plain) -> Iterator[Fact]:
    here = record["measurement"]["manifest"]["facts"]
    differing = {difference["key"]: difference for difference in record["differences"]}
    for key in sorted((key for key in KEYS if key in here or key in differing), key=lambda key: key not in differing):
        difference = differing.get(key)
        if difference is None:
            yield Fact(key=key, here=here[key])
            continue
        bound = "another machine: tok/s and ms are not compared" if difference["machine_bound"] else "noted"
        yield Fact(
            key=key,
            here=difference["new"],
            old=f"{difference['old']} ({difference['baseline']})",
            why=difference["voids"] or bound,
        )


def _charts(record: Plain) -> Iterator[Chart]:
    series: Mapping[str, Sequence[float]] = record["series"]
    gated = dict.fromkeys(_drawn_for(verdict["gate"]["metric"]) for verdict in record["verdicts"])
    for metric in gated or _ALWAYS:
        if metric in series:
            yield _rounds(record, metric)
    rounds = record["measurement"]["rounds"]
    if rounds and all(run["requests"] for round_ in rounds for run in (*round_["solo"], *round_["together"])):
        yield phases_chart("Where the time goes, alone and together", by_agent(rounds), _PHASES_NOTE)
    if loss := record.get("loss"):
        title = f"Where the loss goes: {loss['loss_pp']:.1f} pp of {loss['of']}"
        scaling = record["figures"].get("scaling_efficiency_pct") if loss["of"] == "scaling" else None
        differs = scaling is not None and abs(100 - scaling - loss["loss_pp"]) > _DIFFERS_PP
        yield loss_chart(title, loss["shares_pp"], f"{_LOSS_NOTE} {_BY_DURATIONS}" if differs else _LOSS_NOTE)
    runs = [
        (run["agent"], part, run)
        for round_ in record["measurement"]["rounds"]
        for part, name in (("together", "together"), ("alone", "solo"))
        for run in round_[name]
    ]
    ttft: dict[tuple[str, str], list[float]] = {}
    gaps: dict[tuple[str, str], list[float]] = {}
    for agent, part, run in runs:
        for request in run["requests"]:
            if (arrivals := request["arrivals_ns"]) and request["streamed"]:
                ttft.setdefault((agent, part), []).append((arrivals[0] - request["sent_ns"]) / 1e6)
            between = gaps.setdefault((agent, part), [])
            between.extend((b - a) / 1e6 for a, b in pairwise(tokens_ns(request)))
    if ttft:
        yield distribution_chart(
            "Time to first token", "ms", ttft, "The share of requests that had their first token within so many ms."
        )
    if gaps := {key: values for key, values in gaps.items() if values}:
        yield distribution_chart(
            "Time between tokens", "ms", gaps, "The share of gaps between two chunks that were at most so long."
        )


def _history(record: Plain) -> Iterator[Chart]:
    for trend in record.get("history", {}).get("trends", ()):
        metric = trend["metric"]
        points = [
            (point["saved_at"], point["commit"] or "commit not known", point["value"], level)
            for point, level in zip(trend["points"], trend["levels"], strict=True)
        ]
        yield history_chart(
            f"{_called(metric)} over the sessions", CATALOGUE[metric].unit, points, record["figures"].get(metric)
        )


def _drawn_for(metric: str) -> str:
    """The metric whose rounds show what a gate on this one is about."""
    if metric == "contention_rate_ttft":
        return "ttft_ratio"
    return metric.removesuffix("_cv_pct").replace("contention_rate_throughput", "decode_tok_s")


def _rounds(record: Plain, metric: str) -> Chart:
    """A metric's rounds with everything that they were judged by."""
    definition = CATALOGUE[metric]
    levels: list[Level] = []
    interval, stored = None, []
    for verdict in record["verdicts"]:
        gate = verdict["gate"]
        if gate["metric"] == "contention_rate_ttft" and metric == "ttft_ratio":
            levels.append(Level(name="above it, a round is contended", value=TTFT_RATIO_LIMIT, colour="var(--bad)"))
        if gate["metric"] != metric:
            continue
        if gate["delta"] is None:
            name = f"{'minimum' if gate['bound'] == 'min' else 'maximum'} of gate {gate['marker']}"
            levels.append(Level(name=name, value=gate["limit"], colour="var(--bad)"))
        else:
            levels.append(Level(name=f"stored centre ({gate['source']})", value=gate["limit"], colour="var(--quiet)"))
            stored = gate["reference"]
        if verdict["low"] is not None and verdict["high"] is not None:
            interval = verdict["low"], verdict["high"]
    values, rounds = record["series"][metric], record["measurement"]["rounds"]
    known = len(values) == len(rounds)  # a metric may be undefined in some
    numbers = [round_["index"] + 1 for round_ in rounds] if known else range(1, len(values) + 1)
    values = dict(zip(numbers, values, strict=True))
    title = f"{_called(metric)} by round"
    return rounds_chart(title, definition.unit, values, levels=levels, interval=interval, stored=stored)


def _called(metric: str) -> str:
    """As a heading begins: `Balance efficiency`."""
    words = CALLED.get(metric, metric)
    return words[0].upper() + words[1:]
