"""The sections of the HTML page, a section per measurement, from the session's document."""

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
from pytest_llmperf.report.html.charts import Chart
from pytest_llmperf.report.html.machine_charts import machine_charts
from pytest_llmperf.report.html.phase_table import by_agent, tokens_ns
from pytest_llmperf.report.html.round_charts import Level, history_chart, rounds_chart
from pytest_llmperf.report.html.share_charts import distribution_chart, loss_chart, phases_chart
from pytest_llmperf.report.html.timeline import timeline
from pytest_llmperf.report.html.verdict_rows import Figure, Judged, figure, judged_of
from pytest_llmperf.report.session_outcomes import Ending

Plain = Mapping[str, Any]

_BAD = ("fail", "invalid", "inconclusive", "not comparable")
_PHASES_NOTE = (
    "Means over rounds. The table has the differences between together and alone: "
    "what takes longer together is the cost of running together. Own: the agent's time outside its requests."
)
_LOSS_NOTE = (
    "Alone: the agents differ even alone; together: added by running together. Means over rounds; below 0: a gain."
)
_BY_DURATIONS = (
    "This loss is computed from durations, the scaling efficiency from token rates because the agents' work differed."
)
_DIFFERS_PP = 0.05
_ALWAYS = ("efficiency_pct", "scaling_efficiency_pct")
"""Metrics that are shown whatever is gated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact of the manifest; `old` is a baseline's differing value, and `why` the effect of the difference."""

    key: str
    here: str
    old: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A section of the page.

    Attributes:
        anchor: the section's anchor.
        record: the measurement's record in the document.
        outcome: the worst of its verdicts; `fail` if its test failed for another reason.
        why: a failure other than a gate, in one line; empty: none.
        ending: the test's outcome, see `session_outcomes.Ending`; empty: unknown.
        judged: its verdicts, the worst first.
        figures: definition, name and value of each defined figure.
        both: the two efficiencies with their names, if they are defined.
        by_round: the gated metrics by round, the metrics with the worst verdicts first.
        charts: charts of phases and distributions, in reading order.
        timeline: the data from which the page's script draws a selected round; None if it draws nothing.
        machine: charts of the machine during the rounds.
        history: a chart of the baseline's sessions for each metric.
        facts: the facts of the manifest, differing facts first.
    """

    anchor: str
    record: Plain
    outcome: str
    why: str
    ending: str
    judged: tuple[Judged, ...]
    figures: tuple[tuple[str, str, Figure], ...]
    both: tuple[tuple[str, Figure], ...]
    by_round: tuple[Chart, ...]
    charts: tuple[Chart, ...]
    timeline: Plain | None
    machine: tuple[Chart, ...]
    history: tuple[Chart, ...]
    facts: tuple[Fact, ...]


def breakable(name: str) -> Markup:
    """A name that may be wrapped after its underscores."""
    return escape(name).replace("_", Markup("_<wbr>"))


def view(record: Plain, number: int, ending: str, *, drawn: bool = True) -> View:
    """The section of a measurement; `number` makes its anchor unique, `ending` is its test's outcome.

    Without `drawn` it has neither charts nor a timeline.
    """
    judged = _without_repeats(judged_of(record))
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
            (CATALOGUE[name].definition, name, figure(record["figures"][name], name))
            for name in SHOWN
            if name in record["figures"]
        ),
        both=tuple(
            (CALLED[name].partition(" ")[0], figure(record["figures"][name], name))
            for name in _ALWAYS
            if name in record["figures"]
        ),
        by_round=tuple(_by_round(record, judged)) if drawn else (),
        charts=tuple(_charts(record)) if drawn else (),
        timeline=timeline(record["measurement"], record.get("critical_path", {}).get("traced", ())) if drawn else None,
        machine=tuple(machine_charts(record["measurement"]["telemetry"])) if drawn else (),
        history=tuple(_history(record)) if drawn else (),
        facts=tuple(_facts(record)),
    )


def _without_repeats(judged: Sequence[Judged]) -> list[Judged]:
    """Removes lines that the next gate's text repeats, so that shared lines appear once."""
    shortened = []
    for verdict, following in zip_longest(judged, judged[1:]):
        lines = verdict.text.splitlines()
        if following is not None and following.outcome in _BAD:
            theirs = following.text.splitlines()
            while len(lines) > 1 and theirs and lines[-1] == theirs.pop():
                lines.pop()
        shortened.append(replace(verdict, text="\n".join(lines)))
    return shortened


def _facts(record: Plain) -> Iterator[Fact]:
    here = record["measurement"]["manifest"]["facts"]
    differing = {difference["key"]: difference for difference in record["differences"]}
    for key in sorted((key for key in KEYS if key in here or key in differing), key=lambda key: key not in differing):
        difference = differing.get(key)
        if difference is None:
            yield Fact(key=key, here=here[key])
            continue
        effect = (
            "another machine: tok/s and ms are not compared" if difference["machine_bound"] else "no effect on verdicts"
        )
        yield Fact(
            key=key,
            here=difference["new"],
            old=f"{difference['old']} ({difference['baseline']})",
            why=difference["voids"] or effect,
        )


def _by_round(record: Plain, judged: Sequence[Judged]) -> Iterator[Chart]:
    gated = dict.fromkeys(_drawn_for(verdict.metric) for verdict in judged)
    for metric in gated or _ALWAYS:
        if metric in record["series"]:
            yield _rounds(record, metric)


def _charts(record: Plain) -> Iterator[Chart]:
    rounds = record["measurement"]["rounds"]
    if rounds and all(run["requests"] for round_ in rounds for run in (*round_["solo"], *round_["together"])):
        yield phases_chart("Phases, alone and together", by_agent(rounds), _PHASES_NOTE)
    if loss := record.get("loss"):
        title = f"Shares of the loss: {loss['loss_pp']:.1f} pp of {loss['of']}"
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
            "Time to first token (TTFT)", "ms", ttft, "Cumulative share of requests by time to first token."
        )
    if gaps := {key: values for key, values in gaps.items() if values}:
        yield distribution_chart(
            "Inter-token latency (ITL)", "ms", gaps, "Cumulative share of gaps between two chunks by length."
        )


def _history(record: Plain) -> Iterator[Chart]:
    for trend in record.get("history", {}).get("trends", ()):
        metric = trend["metric"]
        points = [
            (point["saved_at"], point["commit"] or "commit unknown", point["value"], level)
            for point, level in zip(trend["points"], trend["levels"], strict=True)
        ]
        yield history_chart(
            f"{_called(metric)} over the sessions", CATALOGUE[metric].unit, points, record["figures"].get(metric)
        )


def _drawn_for(metric: str) -> str:
    """The metric whose rounds are drawn for a gate on this one."""
    if metric == "contention_rate_ttft":
        return "ttft_ratio"
    return metric.removesuffix("_cv_pct").replace("contention_rate_throughput", "decode_tok_s")


def _rounds(record: Plain, metric: str) -> Chart:
    """A metric's rounds with the limits and stored rounds they were judged by."""
    definition = CATALOGUE[metric]
    levels: list[Level] = []
    interval, stored = None, []
    for verdict in record["verdicts"]:
        gate = verdict["gate"]
        if gate["metric"] == "contention_rate_ttft" and metric == "ttft_ratio":
            levels.append(Level(name="contended above this ratio", value=TTFT_RATIO_LIMIT, colour="var(--bad)"))
        if gate["metric"] != metric:
            continue
        if gate["delta"] is None:
            name = f"{'minimum' if gate['bound'] == 'min' else 'maximum'} of gate {gate['marker']}"
            levels.append(Level(name=name, value=gate["limit"], colour="var(--bad)"))
        else:
            levels.append(
                Level(
                    name=f"stored {definition.aggregate} ({gate['source']})", value=gate["limit"], colour="var(--quiet)"
                )
            )
            stored = gate["reference"]
        if verdict["low"] is not None and verdict["high"] is not None:
            interval = verdict["low"], verdict["high"]
    values, rounds = record["series"][metric], record["measurement"]["rounds"]
    known = len(values) == len(rounds)  # a metric may be undefined in some rounds
    numbers = [round_["index"] + 1 for round_ in rounds] if known else range(1, len(values) + 1)
    values = dict(zip(numbers, values, strict=True))
    title = f"{_called(metric)} by round"
    return rounds_chart(title, definition.unit, values, levels=levels, interval=interval, stored=stored)


def _called(metric: str) -> str:
    """A metric's name, capitalised for a heading: `Balance efficiency`."""
    words = CALLED.get(metric, metric)
    return words[0].upper() + words[1:]
