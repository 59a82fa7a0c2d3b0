"""The summary: a row per measurement, then notes and every verdict other than a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.judge.diagnosis.diagnose import diagnose
from pytest_llmperf.judge.gates.verdict_policy import action, in_words
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Outcome, Settings
from pytest_llmperf.model.node_id import short_name
from pytest_llmperf.report.figures import value_of
from pytest_llmperf.report.severity_order import WORST_FIRST, worst_first
from pytest_llmperf.report.terminal.machine_load import machine_lines
from pytest_llmperf.report.terminal.triage_text import triage_lines
from pytest_llmperf.report.terminal.wrapping import NARROW, wrapped
from pytest_llmperf.report.wording.client_cost import client_lines
from pytest_llmperf.report.wording.contention_text import contended_words
from pytest_llmperf.report.wording.footnotes import notes
from pytest_llmperf.report.wording.next_steps import next_step
from pytest_llmperf.report.wording.verdict_text import explain_nothing, headline, name_of, young, young_lines

Markup = dict[str, bool]
Line = tuple[str, Markup]

Column = tuple[str, str, str, str]
"""Name, unit, metric (empty: the contended rounds) and layout."""

_COLUMNS: tuple[Column, ...] = (
    ("balance", "%", "efficiency_pct", "{:.1f}"),
    ("scaling", "%", "scaling_efficiency_pct", "{:.1f}"),
    ("contended", "rounds", "", ""),
    ("TTFT", "ms", "ttft_ms", "{:.0f}"),
    ("system", "tok/s", "system_tok_s", "{:.1f}"),
)
_OF_GRAPHS = (("makespan", "s", "makespan_s", "{:.3f}"), ("graph", "%", "graph_efficiency_pct", "{:.1f}"))
"""Columns that are shown if some agents wait for others."""

_NOT_JUDGED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryStyle:
    """How the summary is written.

    Attributes:
        settings: the settings of the session.
        columns: the number of columns that a line may fill.
        verbosity: pytest's; below 0 only the table and verdicts other than a pass, above 0 evidence and policy as well.
        explained: tests whose failing gates are already in their failure text.
    """

    settings: Settings = field(default_factory=Settings)
    columns: int = NARROW
    verbosity: int = 0
    explained: Collection[str] = ()


def table(records: Sequence[Record], style: SummaryStyle | None = None) -> list[Line]:
    """Lines with pytest's terminal markup."""
    style = style or SummaryStyle()
    if not records:
        return [("no measurement was recorded", {})]
    lines = [*_rows(records, style.columns), *_simulated(records)]
    lines += [(line, {}) for line in triage_lines(records, verbosity=style.verbosity)]
    if style.verbosity >= 0:
        lines += [(note, {}) for note in notes(records, verbosity=style.verbosity, explained=style.explained)]
    else:
        lines += [(text, {"red": True}) for text in _without_rounds(records, style)]
    lines += [line for record in records for line in _not_green(record, style)]
    lines += [(line, {}) for line in _policy(records, style)]
    if style.verbosity >= 0:
        lines += [(line, {}) for line in client_lines(records, calibrated=style.verbosity > 0)]
    if style.verbosity > 0:
        lines += [(line, {}) for line in machine_lines(records)]
    return [(wrapped(line, style.columns), markup) for line, markup in lines]


# --- the table proper ------------------------------------------------------------------------------------------------


def _rows(records: Sequence[Record], columns: int) -> list[Line]:
    """Two lines of header, then a row per measurement; a name that is too long gets its own line.

    If two tests measured the same scenario and topology, each test's name precedes its rows.
    """
    shown = (*_COLUMNS, *_OF_GRAPHS) if any(record.measurement.scenario.graph for record in records) else _COLUMNS
    header = [("", *(above for above, *_ in shown), ""), ("measured", *(unit for _, unit, *_ in shown), "verdict")]
    rows = [row for record in records for row in _arms(record, shown)]
    tests = _tests(records)
    indent = "  " if tests else ""
    widths = [max(len(row[column]) for row in [*header, *rows]) for column in range(1, len(header[0]))]
    room = max(columns - sum(width + 2 for width in widths), 12)
    first = min(max(len(indent) + max(len(row[0]) for row in rows), len("measured")), room)
    lines: list[Line] = [(_joined(row, first, widths), {"bold": True}) for row in header]
    test = ""
    for record in records:
        if tests and test != record.test:
            test = record.test
            lines.append((tests[record.test], {"bold": True}))
        for row in _arms(record, shown):
            label, colour = f"{indent}{row[0]}", _colour(record) if row[-1] != _NOT_JUDGED else {}
            if len(label) > first:
                lines.append((label, colour))
                label = ""
            lines.append((_joined((label, *row[1:]), first, widths), colour))
    return lines


def _arms(record: Record, shown: Sequence[Column]) -> list[tuple[str, ...]]:
    """The row of a measurement, then the row of its incumbent, if any."""
    rows = [_cells(record, shown)]
    if record.incumbent is not None:
        _, *cells, _ = _cells(Record(test=record.test, measurement=record.incumbent.measurement), shown)
        rows.append((f"  incumbent {record.incumbent.name}", *cells, _NOT_JUDGED))
    return rows


def _tests(records: Sequence[Record]) -> dict[str, str]:
    """A short name per test, if rows of two tests would look alike."""
    same = Counter((name_of(record), record.test) for record in records)
    if max(Counter(name for name, _ in same).values()) < 2:
        return {}
    tests = dict.fromkeys(record.test for record in records)
    short = {test: short_name(test) for test in tests}
    return short if len(set(short.values())) == len(tests) else {test: test for test in tests}


def _cells(record: Record, shown: Sequence[Column]) -> tuple[str, ...]:
    cells = [name_of(record)]
    for _, _, metric, layout in shown:
        value = value_of(record, metric) if metric else None
        cells.append((contended_words(record) if not metric else "-") if value is None else layout.format(value))
    return (*cells, _verdict(record))


def _verdict(record: Record) -> str:
    """The worst outcome, or `no gate`."""
    outcomes = {verdict.outcome for verdict in record.verdicts}
    if record.soak is not None and record.soak.failed:
        return "fail"
    return next((str(outcome) for outcome in WORST_FIRST if outcome in outcomes), "no gate")


def _colour(record: Record) -> Markup:
    verdict = _verdict(record)
    return {
        "green": verdict == "pass",
        "red": verdict in ("fail", "invalid"),
        "yellow": verdict in ("inconclusive", "not comparable"),
    }


def _joined(cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    """Names and verdicts left-aligned, figures right-aligned."""
    *figures, verdict = cells[1:]
    right = (cell.rjust(width) for cell, width in zip(figures, widths, strict=False))
    return "  ".join((cells[0].ljust(first), *right, verdict)).rstrip()


# --- below the table ------------------------------------------------------------------------------------------------


def _simulated(records: Sequence[Record]) -> list[Line]:
    """A warning that some or all rows are simulated."""
    simulated = [record for record in records if record.measurement.topology.simulated]
    if not simulated:
        return []
    count = "all" if len(simulated) == len(records) else f"{len(simulated)} of {len(records)}"
    return [(f"SIMULATED: {count} rows were measured on a scripted server, not on a real engine", {"yellow": True})]


def _without_rounds(records: Sequence[Record], style: SummaryStyle) -> list[str]:
    """Measurements without a round that counts, unless a failure text says so."""
    unexplained = [record for record in records if record.test not in style.explained]
    return list(dict.fromkeys(text for record in unexplained if (text := explain_nothing(record))))


def _not_green(record: Record, style: SummaryStyle) -> list[Line]:
    """Verdicts other than a pass, unless a failure text has them."""
    explained = record.test in style.explained
    shown = [
        verdict
        for verdict in worst_first(record.verdicts)
        if (verdict.outcome is not Outcome.PASS or verdict.gate.incumbent)
        and not (explained and action(verdict, record.verdicts, style.settings) == "fail")
    ]
    lines: list[Line] = []
    if few := [verdict for verdict in shown if young(verdict)]:
        lines += [(line, {"yellow": True}) for line in young_lines(record, few)]
    steps: dict[str, None] = {}
    diagnosis = diagnose(record.measurement) if shown else None
    for verdict in shown:
        if verdict not in few:
            passed, failed = (verdict.outcome is outcome for outcome in (Outcome.PASS, Outcome.FAIL))
            lines.append((f"{name_of(record)}: {headline(verdict)}", {"yellow": not (passed or failed), "red": failed}))
            if not passed:
                steps[next_step(record, verdict, diagnosis)] = None
    return [*lines, *((f"  next: {step}", {}) for step in steps)]


def _policy(records: Sequence[Record], style: SummaryStyle) -> Iterable[str]:
    """How the settings treat inconclusive and not comparable gates, if there are any, or at -v."""
    verdicts = [verdict for record in records for verdict in record.verdicts]
    inconclusive = [verdict.gate for verdict in verdicts if verdict.outcome is Outcome.INCONCLUSIVE]
    concerned = (
        any(gate.delta is None for gate in inconclusive),
        any(gate.delta is not None for gate in inconclusive),
        any(verdict.outcome is Outcome.NOT_COMPARABLE for verdict in verdicts),
    )
    for line, shown in zip(in_words(style.settings), concerned, strict=True):
        if shown or style.verbosity > 0:
            yield line
