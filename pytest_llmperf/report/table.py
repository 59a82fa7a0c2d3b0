"""The summary table: a line a measurement, then what its verdicts say where they are not all green."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_llmperf.judge.evidence import evidence_of
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.stats import grade
from pytest_llmperf.judge.validity import last_saturation, merged_firsts
from pytest_llmperf.model import Outcome
from pytest_llmperf.report.client import client_lines
from pytest_llmperf.report.figures import value_of
from pytest_llmperf.report.text import effect_of, one_line

Markup = dict[str, bool]
Line = tuple[str, Markup]

_COLUMNS = (
    ("balance %", "efficiency_pct", "{:.1f}"),
    ("scaling %", "scaling_efficiency_pct", "{:.1f}"),
    ("contended", "contention_rate_ttft", "{:.0%}"),
    ("TTFT ms", "ttft_ms", "{:.0f}"),
    ("system tok/s", "system_tok_s", "{:.1f}"),
)
_NOT_JUDGED = "-"
_WORST = (Outcome.FAIL, Outcome.INVALID, Outcome.INCONCLUSIVE, Outcome.NOT_COMPARABLE, Outcome.PASS)


def table(records: Sequence[Record]) -> list[Line]:
    """Lines with pytest's terminal markup."""
    if not records:
        return [("no measurement was recorded", {})]
    header = ["scenario", "topology", "rounds", "evidence", *(title for title, _, _ in _COLUMNS), "verdict"]
    shown = [(row, _colour(record) if row[-1] != _NOT_JUDGED else {}) for record in records for row in _rows(record)]
    rows = [row for row, _ in shown]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines: list[Line] = [(_joined(header, widths), {"bold": True})]
    lines += [(_joined(row, widths), markup) for row, markup in shown]
    if simulated := [record for record in records if record.measurement.topology.simulated]:
        count = "all" if len(simulated) == len(records) else f"{len(simulated)} of {len(records)}"
        lines.append(
            (f"SIMULATED: {count} of these lines come from a scripted server, not from a real engine", {"yellow": True})
        )
    lines += [(note, {}) for note in (*_graded(records), *_scaled(records), *_differing(records))]
    for record in records:
        lines += [(f"note: {note}", {}) for note in _notes(record)]
        lines += [
            (
                one_line(record, verdict),
                {
                    "yellow": verdict.outcome not in (Outcome.FAIL, Outcome.PASS),
                    "red": verdict.outcome is Outcome.FAIL,
                },
            )
            for verdict in record.verdicts
            if verdict.outcome is not Outcome.PASS or verdict.gate.incumbent
        ]
    return [*lines, *((line, {}) for line in client_lines(records))]


def _rows(record: Record) -> list[list[str]]:
    """The line of a measurement; below it that of the incumbent which it took turns with."""
    rows = [_row(record)]
    if record.incumbent is not None:
        _, *cells, _ = _row(Record(test=record.test, measurement=record.incumbent.measurement))
        rows.append([f"  incumbent {record.incumbent.name}", *cells, _NOT_JUDGED])
    return rows


def _row(record: Record) -> list[str]:
    measurement = record.measurement
    cells = [
        measurement.scenario.name,
        str(measurement.topology.kind),
        str(len(measurement.rounds)),
        grade(len(measurement.rounds)),
    ]
    for _, metric, layout in _COLUMNS:
        value = value_of(record, metric)
        cells.append("-" if value is None else layout.format(value))
    return [*cells, _verdict(record)]


def _verdict(record: Record) -> str:
    """The worst outcome, or that there was no gate."""
    outcomes = {verdict.outcome for verdict in record.verdicts}
    return next((str(outcome) for outcome in _WORST if outcome in outcomes), "no gate")


def _colour(record: Record) -> Markup:
    verdict = _verdict(record)
    return {
        "green": verdict == "pass",
        "red": verdict in ("fail", "invalid"),
        "yellow": verdict in ("inconclusive", "not comparable"),
    }


def _joined(cells: Iterable[str], widths: Sequence[int]) -> str:
    """Text to the left, figures to the right."""
    padded = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _graded(records: Sequence[Record]) -> list[str]:
    """What is decision-grade, and what the rest lacks; each lack once."""
    lacking: dict[str, list[str]] = {}
    for record in records:
        measurement = record.measurement
        name = f"{measurement.scenario.name} on {measurement.topology.kind}"
        lacking.setdefault(str(evidence_of(record, records)), []).append(name)
    return [f"evidence: {words}: {', '.join(dict.fromkeys(names))}" for words, names in lacking.items()]


def _differing(records: Sequence[Record]) -> list[str]:
    """What is not as in the baselines that gave limits, old -> new, and what follows; each once."""
    ways: dict[str, list[str]] = {}
    for record in records:
        for baseline in dict.fromkeys(one.baseline for one in record.differences):
            found = [one for one in record.differences if one.baseline == baseline]
            void = dict.fromkeys(f"{one} ({one.voids})" for one in found if one.voids)
            bound = [str(one) for one in found if one.machine_bound]
            noted = [str(one) for one in found if not one.machine_bound and not one.voids]
            for facts, words in (
                (bound, "another machine, so that tok/s and ms are not compared"),
                (list(void), "void here by its own conditions; its limits for ratios are judged all the same"),
                (noted, "noted"),
            ):
                if facts:
                    line = f"note: baseline {baseline}: {words}: {'; '.join(facts)}"
                    ways.setdefault(line, []).append(record.measurement.scenario.name)
        if record.incumbent is not None and record.incumbent.differences:
            facts = list(map(str, record.incumbent.differences))
            line = f"note: incumbent {record.incumbent.name}: differs from what is measured: {'; '.join(facts)}"
            ways.setdefault(line, []).append(record.measurement.scenario.name)
    everywhere = {record.measurement.scenario.name for record in records}
    return [
        line if set(names) == everywhere else f"{line} (for {', '.join(dict.fromkeys(names))})"
        for line, names in ways.items()
    ]


def _scaled(records: Sequence[Record]) -> list[str]:
    """Which scenarios a baseline's workload scaled, and how; each way once."""
    ways: dict[str, list[str]] = {}
    for record in records:
        scenario = record.measurement.scenario
        if scenario.scaled_by:
            ways.setdefault(scenario.scaled_by, []).append(scenario.name)
    return [f"note: scaled to {way}: {', '.join(dict.fromkeys(names))}" for way, names in ways.items()]


def _notes(record: Record) -> list[str]:
    """What the reader must know about this line."""
    measurement = record.measurement
    name = f"{measurement.scenario.name} on {measurement.topology.kind}"
    notes = []
    if effect := effect_of(record):
        notes.append(f"{name}: {effect}")
    mismatched = sum(one.work_mismatch for one in measurement.rounds)
    if mismatched:
        notes.append(
            f"{name}: work differed in {mismatched} of {len(measurement.rounds)} rounds (another number of tokens "
            "together than alone); scaling is computed from token rates there"
        )
    if measurement.discarded:
        ran = len(measurement.rounds) + len(measurement.discarded)
        notes.append(
            f"{name}: {len(measurement.discarded)} of {ran} rounds do not count, since the client was saturated: "
            f"{last_saturation(measurement)}"
        )
    late, requests = merged_firsts(measurement)
    if late:
        notes.append(
            f"{name}: TTFT of {late} of {requests} requests is an upper bound: the first chunk was read together with "
            "later ones"
        )
    return [*notes, *(f"{name}: {note}" for note in (*measurement.notes, *measurement.incidents))]
