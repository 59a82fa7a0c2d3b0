"""The records of appendix S, filled in from a session's document: decision (S.1), validation (S.2), change (S.3).

Fields that only people can fill in stay in brackets, as in the templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.gates.reasons import change_words
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.stats.summary import summarise
from pytest_llmperf.model import Baseline
from pytest_llmperf.report.document import Document
from pytest_llmperf.report.files.markdown import escaped, row, table
from pytest_llmperf.report.wording.amounts import amount, digits_in
from pytest_llmperf.report.wording.baseline_history import LOST

Plain = Mapping[str, Any]

_FACTS = ("gpu", "cpu", "memory_gib", "os")
_OPTIONS = ("num_gpu", "num_ctx", "temperature")
_EVIDENCE = ("efficiency_pct", "scaling_efficiency_pct", "contention_rate_ttft", "system_tok_s", "ttft_ms")
_MATCH_PCT = 5.0
"""S.2: the tolerance for a match with the baseline."""


def decision(content: Document, _: Baseline) -> str:
    """S.1: the measurements of a session as options, with evidence and risks."""
    lines = [*_head("Decision record", "DR", content), "**Decision:** [one sentence]", ""]
    lines += ["**Context:** [business context and constraints]", "", "**Options evaluated**", ""]
    lines += table("option", "gates", *_EVIDENCE)
    records = content["records"]
    for number, record in enumerate(records, 1):
        figures = record["figures"]
        cells = (amount(figures[name], name) if name in figures else "-" for name in _EVIDENCE)
        lines.append(row(f"{number}. {_name(record)}", _gates(record), *cells))
    lines += ["", f"**By the figures:** {_fastest(records)}", "", "**Decision:** [selected option]", ""]
    lines += ["**Evidence:**", "", *_evidence(content), "", "**Risk:**", "", *_risks(records)]
    lines += ["", "**Review date:** [date]", "", "**Owner:** [person or team]"]
    return "\n".join(lines) + "\n"


def validation(content: Document, card: Baseline) -> str:
    """S.2: a section per measurement; pass or fail by the card's limits, as in the template."""
    lines = _head("Benchmark validation record", "BV", content)
    for record in content["records"]:
        measurement, figures = record["measurement"], record["figures"]
        facts = measurement["manifest"]["facts"]
        cv_pct = _cv_pct(record)
        lines += [f"## {_name(record)}", "", *table("field", "value")]
        lines += [
            row(name, value)
            for name, value in (
                (
                    "Hardware",
                    escaped(", ".join(f"{key} {facts[key]}" for key in _FACTS if key in facts)) or "[hardware]",
                ),
                (
                    "Model",
                    escaped(" ".join(filter(None, (facts.get("model"), facts.get("quantization"))))) or "[model]",
                ),
                ("Configuration", escaped(_configuration(measurement))),
                ("Runs completed", f"{figures['rounds']} ({figures['grade']})"),
                (
                    "Mean throughput",
                    _figure(figures, "decode_tok_s", "an agent") + _figure(figures, "system_tok_s", ", all"),
                ),
                ("CV of throughput", "not defined" if cv_pct is None else f"{cv_pct:.2f} %"),
                ("Mean efficiency", _figure(figures, "efficiency_pct") or "not defined"),
                ("Contention rate", _figure(figures, "contention_rate_ttft") or "not defined"),
                ("Pass/Fail", _by_the_card(figures, cv_pct, card)),
                ("The session's gates", _gates(record)),
                ("Baseline match", _match(record)),
                ("Notes", "; ".join(map(escaped, _notes(record))) or "none"),
            )
        ]
        lines.append("")
    return "\n".join(lines)


def change(content: Document, _: Baseline) -> str:
    """S.3: the impact of a change, from a comparison (`--llmperf-compare` or `--llmperf-against`)."""
    lines = [*_head("Change approval request", "CR", content), "**Requested by:** [name]", ""]
    lines += ["**Change:** [model, configuration or infrastructure]", ""]
    differing = dict.fromkeys(
        f"{difference['key']}: {difference['old']} -> {difference['new']}"
        for record in content["records"]
        for difference in _differences(record)
    )
    lines += [f"- {escaped(line)}" for line in differing] or ["- the manifests do not differ"]
    lines += ["", "**Impact analysis:**", ""]
    impacts = [impact for record in content["records"] for impact in _impacts(record)]
    lines += impacts or ["- not measured: run with --llmperf-compare NAME or --llmperf-against URLS"]
    lines += ["- Expected cost change: [$/month]; at the same hourly price, cost per token falls as throughput rises"]
    lines += ["", "**Evidence:**", "", *_evidence(content), "", "**Rollback plan:** [how to revert]", ""]
    named = content["settings"]["compare"]
    after = f"pytest --llmperf-compare {named}" if named else "pytest with the same options"
    lines += [f"Afterwards `{after}` must pass.", "", "**Approval:** [name and date]"]
    return "\n".join(lines) + "\n"


RECORDS = {"decision": decision, "validation": validation, "change": change}
"""The records by kind."""


def _head(title: str, kind: str, content: Document) -> list[str]:
    day = content["written_at"][:10]
    simulated = any(record["figures"]["simulated"] for record in content["records"])
    warning = ["**SIMULATED: measured on a scripted server, no evidence for a decision.**", ""] if simulated else []
    return [f"# {title}", "", f"**ID:** {kind}-{day[:4]}-[NNN]", "", f"**Date:** {day}", "", *warning]


def _name(record: Plain) -> str:
    topology = record["measurement"]["topology"]
    name = (
        f"{record['measurement']['scenario']['name']} on {topology['kind']}, {topology['backend']} {topology['model']}"
    )
    return escaped(name)


def _gates(record: Plain) -> str:
    """All verdicts, and the result of a soak."""
    soak = {True: ["soak fail"], False: ["soak pass"]}.get(record["figures"].get("soak_failed"), [])
    return ", ".join([*(f"{verdict['gate']} {verdict['outcome']}" for verdict in record["judged"]), *soak]) or "no gate"


def _figure(figures: Plain, metric: str, of: str = "") -> str:
    return f"{of} {amount(figures[metric], metric)}".strip() if metric in figures else ""


def _fastest(records: Sequence[Plain]) -> str:
    """The option with the highest throughput among those that passed all gates, if options can be compared."""
    works = {record["measurement"]["scenario"]["name"] for record in records}
    fit = [
        record for record in records if record["passed"] and record["verdicts"] and "system_tok_s" in record["figures"]
    ]
    if len(records) < 2 or len(works) > 1:
        return "no alternatives of the same scenario were measured"
    if not fit:
        return "no option passed its gates"
    best = max(fit, key=lambda record: record["figures"]["system_tok_s"])
    return f"{_name(best)} has the highest throughput of the options that passed their gates"


def _evidence(content: Document) -> Iterator[str]:
    for record in content["records"]:
        lacks = "; ".join(record["evidence"]["lacks"])
        grade = f"not decision-grade: {lacks}" if lacks else "decision-grade"
        facts = record["measurement"]["manifest"]["facts"]
        dirty = ", with uncommitted changes" if facts.get("git_dirty") == "yes" else ""
        commit = f"commit {facts['git_commit'][:9]}{dirty}" if "git_commit" in facts else "commit unknown"
        yield f"- {_name(record)}: {record['figures']['rounds']} rounds, {escaped(grade)}; {commit}"
        yield from (f"  - {escaped(verdict['text'].splitlines()[0])}" for verdict in record["judged"])


def _risks(records: Sequence[Plain]) -> list[str]:
    """Risks that the session shows; people add mitigations."""
    risks = [
        f"- {_name(record)}: gate {verdict['gate']} {verdict['outcome']} ({escaped(verdict['limit'])})"
        for record in records
        for verdict in record["judged"]
        if verdict["outcome"] != "pass"
    ]
    risks += [
        f"- {_name(record)}: {escaped(remark['text'].splitlines()[0])}"
        for record in records
        for remark in record["remarks"]
        if remark["level"] != "note"
    ]
    risks += [f"- history: {escaped(line)}" for record in records for line in _lost(record)]
    return [*risks, "- [primary risk and mitigation]"]


def _lost(record: Plain) -> list[str]:
    return [line for line in record.get("history", {}).get("said", ()) if f" {LOST} " in line]


def _configuration(measurement: Plain) -> str:
    """The distinct options of the agents."""
    ways = {
        ", ".join(f"{key} {'default' if options[key] is None else options[key]}" for key in _OPTIONS)
        for agent in measurement["scenario"]["agents"]
        if (options := agent.get("options"))
    }
    return " / ".join(sorted(ways)) or "set by the agents"


def _cv_pct(record: Plain) -> float | None:
    try:
        return summarise(record["series"].get("decode_tok_s", ())).cv_pct
    except MeasurementError:
        return None


def _by_the_card(figures: Plain, cv_pct: float | None, card: Baseline) -> str:
    """Pass if both conditions of the template are met, with the card's limits."""
    limits = {threshold.metric: threshold.value for threshold in card.threshold if threshold.level == "validation"}
    efficiency = figures.get("efficiency_pct")
    rule = f"CV below {limits['cv_pct']:g} %, efficiency above {limits['efficiency_pct']:g} %"
    if cv_pct is None or efficiency is None:
        return f"undefined ({rule})"
    holds = cv_pct < limits["cv_pct"] and efficiency > limits["efficiency_pct"]
    return f"{'Pass' if holds else 'Fail'} ({rule})"


def _match(record: Plain) -> str:
    """Whether throughput matches the stored sessions."""
    now = record["figures"].get("system_tok_s")
    past = [trend for trend in record.get("history", {}).get("trends", ()) if trend["metric"] == "system_tok_s"]
    if now is None or not past:
        return "[unknown: no baseline of this machine was compared]"
    level = past[0]["levels"][-1]
    off = 100 * (now - level) / level
    name = escaped(record["history"]["baseline"])
    return f"{'Y' if abs(off) <= _MATCH_PCT else 'N'}: {off:+.1f} % from {amount(level, 'system_tok_s')} of {name}"


def _notes(record: Plain) -> list[str]:
    measurement = record["measurement"]
    scaled = (
        [f"the baseline sets {measurement['scenario']['scaled_by']}"] if measurement["scenario"]["scaled_by"] else []
    )
    lost = [f"{len(measurement['discarded'])} rounds discarded"] if measurement["discarded"] else []
    return [*scaled, *lost, *measurement["notes"], *record["evidence"]["lacks"]]


def _differences(record: Plain) -> Sequence[Plain]:
    incumbent = record["incumbent"]
    return [*record["differences"], *(incumbent["differences"] if incumbent else ())]


def _impacts(record: Plain) -> Iterator[str]:
    """A line per comparison with a baseline or an incumbent."""
    for verdict in record["verdicts"]:
        gate = verdict["gate"]
        if gate["delta"] is None or verdict["worse_by"] is None:
            continue
        metric, more = metric_of(gate["metric"]), digits_in(verdict)
        size = change_words(verdict["worse_by"], metric.change_unit)
        pairs = f" (the mean of {verdict['rounds']} pairs)" if gate["incumbent"] else ""
        values = f"{amount(gate['limit'], metric.name, more)} -> {amount(verdict['value'], metric.name, more)}"
        yield f"- {_name(record)}: {metric.name} {size}{pairs}, {values}: {verdict['outcome']}"
