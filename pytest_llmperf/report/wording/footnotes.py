"""Notes below the table: evidence, scaled work, differences from baselines, discarded rounds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from pytest_llmperf.judge.diagnosis.answer_notes import notes_of_answers
from pytest_llmperf.judge.diagnosis.client_saturation import (
    discarded_of_total,
    last_saturation,
    merged_firsts,
    why_discarded,
)
from pytest_llmperf.judge.diagnosis.diagnose import LARGE_PP, Diagnosis, diagnose, loss_of
from pytest_llmperf.judge.evidence import evidence_of
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.gates.limit_verdicts import about_session
from pytest_llmperf.judge.metrics import contradictions
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.regression.stored_sessions import SESSIONS_FOR_SPREAD
from pytest_llmperf.report.wording.contention_text import detector_notes
from pytest_llmperf.report.wording.critical_path_text import path_words, traced_path
from pytest_llmperf.report.wording.program_text import program_lines
from pytest_llmperf.report.wording.verdict_text import name_of

_FULL_GRADE = "publishable"
_LEAST_SHARE_PP = 0.1
_MANY_DIFFERENCES = 3
_LONG_DIFFERENCES = 240
"""More differences, or more characters of them, are listed by key only."""


def notes(records: Sequence[Record], *, verbosity: int = 0, explained: Collection[str] = ()) -> list[str]:
    """The notes below the table, each once, with the measurements it is about.

    Args:
        records: the records of the run.
        verbosity: pytest's; above 0 adds what each measurement lacks to be decision-grade, losses, rules.
        explained: tests whose failure text has the diagnosis.
    """
    lines = [*_graded(records, verbosity), *_scaled(records), *_differing(records, verbosity)]
    if verbosity > 0:
        lines += [*_lost(records), *_grouped("rules", records, _rules), *_about_sessions(records)]
    names_by_note: dict[str, list[str]] = {}
    for record in records:
        own = notes_of(record, None if record.test in explained else diagnose(record.measurement))
        for note in (*own, *map(str, record.measurement.incidents)):
            names_by_note.setdefault(note, []).append(name_of(record))
    measurements = len(set(map(name_of, records)))
    for note, names in names_by_note.items():
        unique = dict.fromkeys(names)
        about = f"{', '.join(unique)}: " if len(unique) < measurements or measurements == 1 else ""
        lines.append(f"note: {about}{note}")
    return lines


def _lost(records: Sequence[Record]) -> list[str]:
    """The shares of the larger of the two losses, one line per measurement."""
    lines = []
    for record in records:
        if (loss := loss_of(record.measurement)) is not None:
            shares = sorted(loss.shares_pp.items(), key=lambda item: -abs(item[1]))
            shown = ", ".join(f"{name} {pp:.1f}" for name, pp in shares if abs(pp) >= _LEAST_SHARE_PP)
            words = f": {shown}" if shown else ""
            lines.append(f"lost: {name_of(record)}: {loss.loss_pp:.1f} pp of {loss.of}{words}")
    return lines


def _rules(record: Record) -> str:
    """The rules that judged the gates, with their versions; empty if there was none."""
    return ", ".join(dict.fromkeys(verdict.rule for verdict in record.verdicts if verdict.rule))


def _about_sessions(records: Sequence[Record]) -> list[str]:
    """One line for the whole run if the verdict on some limit does not include how much sessions differ."""
    if not any(about_session(verdict) for record in records for verdict in record.verdicts):
        return []
    return [
        "limits: a verdict on a limit is about this session only if fewer than "
        f"{SESSIONS_FOR_SPREAD} comparable sessions are stored: days may differ. Save sessions on other days "
        "(--llmperf-save NAME) and name them (--llmperf-compare NAME)"
    ]


def _graded(records: Sequence[Record], verbosity: int) -> list[str]:
    """Grades below the best one; at -v, what is decision-grade and what the other measurements lack."""
    if verbosity > 0:
        return _grouped("evidence", records, lambda record: str(evidence_of(record, records)))
    return _grouped(
        "evidence",
        records,
        lambda record: "" if (own := _grade(record)) == _FULL_GRADE else f"only {own} (too few rounds)",
    )


def _grouped(head: str, records: Sequence[Record], words: Callable[[Record], str]) -> list[str]:
    """`head: text: names`, each text once."""
    groups: dict[str, list[str]] = {}
    for record in records:
        if text := words(record):
            groups.setdefault(text, []).append(name_of(record))
    return [f"{head}: {text}: {', '.join(dict.fromkeys(names))}" for text, names in groups.items()]


def _grade(record: Record) -> str:
    return grade(len(record.measurement.rounds))


def _differing(records: Sequence[Record], verbosity: int) -> list[str]:
    """Differences from the baselines in force and from incumbents, old -> new, with their effect; each once.

    Many differences (a baseline of another machine) are listed by key only, unless at -v.
    """
    scenarios: dict[str, list[str]] = {}
    for record in records:
        for line in (*_from_baselines(record, verbosity), *_from_incumbent(record, verbosity)):
            scenarios.setdefault(line, []).append(record.measurement.scenario.name)
    everything = {record.measurement.scenario.name for record in records}
    return [
        line if set(names) == everything else f"{line} (for {', '.join(dict.fromkeys(names))})"
        for line, names in scenarios.items()
    ]


def _from_baselines(record: Record, verbosity: int) -> Iterator[str]:
    for baseline in dict.fromkeys(difference.baseline for difference in record.differences):
        own = [difference for difference in record.differences if difference.baseline == baseline]
        void = dict.fromkeys(f"{difference} ({difference.voids})" for difference in own if difference.voids)
        bound = [str(difference) for difference in own if difference.machine_bound]
        noted = [str(difference) for difference in own if not difference.machine_bound and not difference.voids]
        for facts, effect in (
            (bound, "another machine, so tok/s and ms are not compared"),
            (list(void), "only its limits on ratios apply here, by its own conditions, because these facts differ"),
            (noted, "differs, too, but verdicts do not depend on it"),
        ):
            if facts:
                yield f"note: baseline {baseline}: {effect}: {_few(facts, verbosity)}"


def _from_incumbent(record: Record, verbosity: int) -> Iterator[str]:
    if record.incumbent is not None and record.incumbent.differences:
        facts = list(map(str, record.incumbent.differences))
        yield f"note: incumbent {record.incumbent.name}: differs from the candidate: {_few(facts, verbosity)}"


def _few(facts: Sequence[str], verbosity: int) -> str:
    """All facts if they are few, else their keys."""
    if verbosity > 0 or (len(facts) <= _MANY_DIFFERENCES and sum(map(len, facts)) <= _LONG_DIFFERENCES):
        return "; ".join(facts)
    return f"{', '.join(fact.partition(':')[0] for fact in facts)} (-v shows old -> new)"


def _scaled(records: Sequence[Record]) -> list[str]:
    """The scenarios that a baseline's workload scaled, by how it scaled them."""
    scenarios: dict[str, list[str]] = {}
    for record in records:
        scenario = record.measurement.scenario
        if scenario.scaled_by:
            scenarios.setdefault(scenario.scaled_by, []).append(scenario.name)
    return [
        f"note: the baseline sets {scale} in: {', '.join(dict.fromkeys(names))}" for scale, names in scenarios.items()
    ]


def _is_large(diagnosis: Diagnosis) -> bool:
    return diagnosis.loss_pp >= LARGE_PP or diagnosis.cause == "throttling"


def notes_of(record: Record, diagnosis: Diagnosis | None) -> list[str]:
    """The notes on one measurement, without its incidents.

    Args:
        record: the record of the measurement.
        diagnosis: the diagnosis of the measurement; None: there is none, or the failure text has it.
    """
    measurement = record.measurement
    notes = []
    if diagnosis is not None and diagnosis.sentence and _is_large(diagnosis):
        notes.append(diagnosis.sentence)
    if (path := traced_path(measurement)) is not None:
        notes.append(path_words(path))
    notes += program_lines(measurement)
    mismatched = sum(round_.work_mismatch for round_ in measurement.rounds)
    if mismatched:
        notes.append(
            f"in {mismatched} of {len(measurement.rounds)} rounds the agents generated more or fewer tokens together "
            "than alone; the scaling efficiency of such a round is computed from token rates"
        )
    if measurement.discarded:
        why = last_saturation(measurement)
        notes.append(f"{discarded_of_total(measurement)} discarded because {why_discarded(measurement)}: {why}")
    if unbelievable := contradictions.in_words(measurement.rounds):
        notes.append(unbelievable)
    notes += detector_notes(record)
    late, requests = merged_firsts(measurement)
    if late:
        notes.append(
            f"for {late} of {requests} requests, TTFT is an upper bound: the first chunk arrived together with "
            "later chunks"
        )
    return [*notes, *notes_of_answers(measurement), *measurement.notes]
