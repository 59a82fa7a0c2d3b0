"""The summary: a line a measurement, then what its verdicts say where they are not all green."""

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

_COLUMNS = (
    ("balance", "%", "efficiency_pct", "{:.1f}"),
    ("scaling", "%", "scaling_efficiency_pct", "{:.1f}"),
    ("contended", "rounds", "", ""),
    ("TTFT", "ms", "ttft_ms", "{:.0f}"),
    ("system", "tok/s", "system_tok_s", "{:.1f}"),
)
_NOT_JUDGED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the summary is written.

    Attributes:
        settings: of the session; its policy is said where it matters.
        columns: of the terminal.
        verbosity: pytest's; below 0 only the table and what is not green, above 0 evidence and policy as well.
        explained: tests whose failing gates stand in their failure text already.
    """

    settings: Settings = field(default_factory=Settings)
    columns: int = NARROW
    verbosity: int = 0
    explained: Collection[str] = ()


def table(records: Sequence[Record], manner: Manner | None = None) -> list[Line]:
    """Lines with pytest's terminal markup."""
    manner = manner or Manner()
    if not records:
        return [("no measurement was recorded", {})]
    lines = [*_rows(records, manner.columns), *_simulated(records)]
    lines += [(line, {}) for line in triage_lines(records, verbosity=manner.verbosity)]
    if manner.verbosity >= 0:
        lines += [(note, {}) for note in notes(records, verbosity=manner.verbosity, explained=manner.explained)]
    else:
        lines += [(text, {"red": True}) for text in _left(records, manner)]
    lines += [line for record in records for line in _not_green(record, manner)]
    lines += [(line, {}) for line in _policy(records, manner)]
    if manner.verbosity >= 0:
        lines += [(line, {}) for line in client_lines(records, calibrated=manner.verbosity > 0)]
    if manner.verbosity > 0:
        lines += [(line, {}) for line in machine_lines(records)]
    return [(wrapped(line, manner.columns), markup) for line, markup in lines]


# --- the table proper ------------------------------------------------------------------------------------------------


def _rows(records: Sequence[Record], columns: int) -> list[Line]:
    """Two lines of header, then a line a measurement; a name that is too long has a line of its own before it.

    Where two tests measured the same, each test's name stands above its lines.
    """
    header = [
        ("", *(above for above, *_ in _COLUMNS), ""),
        ("measured", *(unit for _, unit, *_ in _COLUMNS), "verdict"),
    ]
    found = [row for record in records for row in _both(record)]
    tests = _tests(records)
    indent = "  " if tests else ""
    widths = [max(len(row[column]) for row in [*header, *found]) for column in range(1, len(header[0]))]
    room = max(columns - sum(width + 2 for width in widths), 12)
    first = min(max(len(indent) + max(len(row[0]) for row in found), len("measured")), room)
    lines: list[Line] = [(_joined(row, first, widths), {"bold": True}) for row in header]
    said = ""
    for record in records:
        if tests and said != record.test:
            said = record.test
            lines.append((tests[record.test], {"bold": True}))
        for row in _both(record):
            label, colour = f"{indent}{row[0]}", _colour(record) if row[-1] != _NOT_JUDGED else {}
            if len(label) > first:
                lines.append((label, colour))
                label = ""
            lines.append((_joined((label, *row[1:]), first, widths), colour))
    return lines


def _both(record: Record) -> list[tuple[str, ...]]:
    """The cells of a measurement; then those of the incumbent which it took turns with."""
    rows = [_cells(record)]
    if record.incumbent is not None:
        _, *cells, _ = _cells(Record(test=record.test, measurement=record.incumbent.measurement))
        rows.append((f"  incumbent {record.incumbent.name}", *cells, _NOT_JUDGED))
    return rows


def _tests(records: Sequence[Record]) -> dict[str, str]:
    """A short name for each test, where lines of two tests would look alike without."""
    same = Counter((name_of(record), record.test) for record in records)
    if max(Counter(name for name, _ in same).values()) < 2:
        return {}
    tests = dict.fromkeys(record.test for record in records)
    short = {test: short_name(test) for test in tests}
    return short if len(set(short.values())) == len(tests) else {test: test for test in tests}


def _cells(record: Record) -> tuple[str, ...]:
    cells = [name_of(record)]
    for _, _, metric, layout in _COLUMNS:
        value = value_of(record, metric) if metric else None
        cells.append((contended_words(record) if not metric else "-") if value is None else layout.format(value))
    return (*cells, _verdict(record))


def _verdict(record: Record) -> str:
    """The worst outcome, or that there was no gate."""
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
    """Names and verdicts to the left, figures to the right."""
    *figures, verdict = cells[1:]
    right = (cell.rjust(width) for cell, width in zip(figures, widths, strict=False))
    return "  ".join((cells[0].ljust(first), *right, verdict)).rstrip()


# --- what stands below it --------------------------------------------------------------------------------------------


def _simulated(records: Sequence[Record]) -> list[Line]:
    """Nothing simulated is ever mistaken for real."""
    simulated = [record for record in records if record.measurement.topology.simulated]
    if not simulated:
        return []
    count = "all" if len(simulated) == len(records) else f"{len(simulated)} of {len(records)}"
    return [
        (f"SIMULATED: {count} of these lines come from a scripted server, not from a real engine", {"yellow": True})
    ]


def _left(records: Sequence[Record], manner: Manner) -> list[str]:
    """Measurements of which nothing is left, where no failure text says so: they have a word at `-q`, too."""
    silent = [record for record in records if record.test not in manner.explained]
    return list(dict.fromkeys(text for record in silent if (text := explain_nothing(record))))


def _not_green(record: Record, manner: Manner) -> list[Line]:
    """Its verdicts that are no pass, where no failure text has them."""
    explained = record.test in manner.explained
    shown = [
        verdict
        for verdict in worst_first(record.verdicts)
        if (verdict.outcome is not Outcome.PASS or verdict.gate.incumbent)
        and not (explained and action(verdict, record.verdicts, manner.settings) == "fail")
    ]
    lines: list[Line] = []
    if few := [verdict for verdict in shown if young(verdict)]:
        lines += [(line, {"yellow": True}) for line in young_lines(record, few)]
    steps: dict[str, None] = {}
    found = diagnose(record.measurement) if shown else None
    for verdict in shown:
        if verdict not in few:
            passed, failed = (verdict.outcome is one for one in (Outcome.PASS, Outcome.FAIL))
            lines.append((f"{name_of(record)}: {headline(verdict)}", {"yellow": not (passed or failed), "red": failed}))
            if not passed:
                steps[next_step(record, verdict, found)] = None
    return [*lines, *((f"  next: {step}", {}) for step in steps)]


def _policy(records: Sequence[Record], manner: Manner) -> Iterable[str]:
    """What the settings make of undecided gates and of other machines; where there are some, or on demand."""
    outcomes = {verdict.outcome for record in records for verdict in record.verdicts}
    undecided, machine = in_words(manner.settings)
    if Outcome.INCONCLUSIVE in outcomes or manner.verbosity > 0:
        yield undecided
    if Outcome.NOT_COMPARABLE in outcomes or manner.verbosity > 0:
        yield machine
