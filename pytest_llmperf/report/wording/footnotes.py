"""What a reader must know beside the figures: evidence, scaled work, other machines, rounds that do not count."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pytest_llmperf.judge.diagnosis.client_saturation import last_saturation, merged_firsts, set_aside
from pytest_llmperf.judge.diagnosis.diagnose import LARGE_PP, Diagnosis, diagnose, loss_of
from pytest_llmperf.judge.evidence import evidence_of
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.metrics import contradictions
from pytest_llmperf.judge.metrics.answer_notes import notes_of_answers
from pytest_llmperf.judge.record import Record
from pytest_llmperf.report.wording.contention_text import detector_notes
from pytest_llmperf.report.wording.verdict_text import name_of

_FULL_GRADE = "publishable"
_LEAST_SHARE_PP = 0.1
_MANY = 3
"""More differences than this are named by their keys ..."""

_LONG = 240
"""... and so are those that have more letters together."""


def notes(records: Sequence[Record], *, verbosity: int = 0, explained: Collection[str] = ()) -> list[str]:
    """What the reader must know, each once, with what it is about.

    Args:
        records: of the run.
        verbosity: pytest's; above 0 with all that is missing to be decision-grade.
        explained: tests whose failure text says what was seen.
    """
    lines = [*_graded(records, verbosity), *_scaled(records), *_differing(records, verbosity)]
    lines += _lost(records) if verbosity > 0 else []
    about: dict[str, list[str]] = {}
    for record in records:
        said = notes_of(record, None if record.test in explained else diagnose(record.measurement))
        for note in (*said, *map(str, record.measurement.incidents)):
            about.setdefault(note, []).append(name_of(record))
    everywhere = len(set(map(name_of, records)))
    for note, names in about.items():
        which = dict.fromkeys(names)
        of = f"{', '.join(which)}: " if len(which) < everywhere or everywhere == 1 else ""
        lines.append(f"note: {of}{note}")
    return lines


def _lost(records: Sequence[Record]) -> list[str]:
    """Where the greater of the two losses goes, a line a measurement that has one."""
    lines = []
    for record in records:
        if (loss := loss_of(record.measurement)) is not None:
            shares = sorted(loss.shares_pp.items(), key=lambda item: -abs(item[1]))
            told = ", ".join(f"{name} {pp:.1f}" for name, pp in shares if abs(pp) >= _LEAST_SHARE_PP)
            words = f": {told}" if told else ""
            lines.append(f"lost: {name_of(record)}: {loss.loss_pp:.1f} pp of {loss.of}{words}")
    return lines


def _graded(records: Sequence[Record], verbosity: int) -> list[str]:
    """Grades below the best one; when more is asked for, what is decision-grade, and what the rest lacks."""
    if verbosity > 0:
        return _grouped("evidence", records, lambda record: str(evidence_of(record, records)))
    return _grouped(
        "evidence",
        records,
        lambda record: "" if (found := _grade(record)) == _FULL_GRADE else f"{found} only, too few rounds",
    )


def _grouped(head: str, records: Sequence[Record], words: Callable[[Record], str]) -> list[str]:
    """`head: words: names`, each words once."""
    groups: dict[str, list[str]] = {}
    for record in records:
        if text := words(record):
            groups.setdefault(text, []).append(name_of(record))
    return [f"{head}: {text}: {', '.join(dict.fromkeys(names))}" for text, names in groups.items()]


def _grade(record: Record) -> str:
    return grade(len(record.measurement.rounds))


def _differing(records: Sequence[Record], verbosity: int) -> list[str]:
    """What is not as in the baselines that gave limits, old -> new, and what follows; each once.

    Of many differences (a card of another machine) the keys will do, unless more is asked for.
    """
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
                    line = f"note: baseline {baseline}: {words}: {_few(facts, verbosity)}"
                    ways.setdefault(line, []).append(record.measurement.scenario.name)
        if record.incumbent is not None and record.incumbent.differences:
            facts = list(map(str, record.incumbent.differences))
            line = f"note: incumbent {record.incumbent.name}: differs from what is measured: {_few(facts, verbosity)}"
            ways.setdefault(line, []).append(record.measurement.scenario.name)
    everywhere = {record.measurement.scenario.name for record in records}
    return [
        line if set(names) == everywhere else f"{line} (for {', '.join(dict.fromkeys(names))})"
        for line, names in ways.items()
    ]


def _few(facts: Sequence[str], verbosity: int) -> str:
    """Each fact where they are few; else what they are about."""
    if verbosity > 0 or (len(facts) <= _MANY and sum(map(len, facts)) <= _LONG):
        return "; ".join(facts)
    return f"{', '.join(fact.partition(':')[0] for fact in facts)} (-v: old -> new)"


def _scaled(records: Sequence[Record]) -> list[str]:
    """Which scenarios a baseline's workload scaled, and how; each way once."""
    ways: dict[str, list[str]] = {}
    for record in records:
        scenario = record.measurement.scenario
        if scenario.scaled_by:
            ways.setdefault(scenario.scaled_by, []).append(scenario.name)
    return [f"note: scaled to {way}: {', '.join(dict.fromkeys(names))}" for way, names in ways.items()]


def notes_of(record: Record, found: Diagnosis | None) -> list[str]:
    """What the reader of one measurement must know, besides its incidents.

    Args:
        record: of it.
        found: its diagnosis; None: there is none, or its failure text says what was seen.
    """
    measurement = record.measurement
    notes = []
    if found is not None and found.sentence and (found.loss_pp >= LARGE_PP or found.cause == "throttling"):
        notes.append(found.sentence)
    mismatched = sum(one.work_mismatch for one in measurement.rounds)
    if mismatched:
        notes.append(
            f"work differed in {mismatched} of {len(measurement.rounds)} rounds (another number of tokens "
            "together than alone); scaling is computed from token rates there"
        )
    if measurement.discarded:
        why = last_saturation(measurement)
        notes.append(f"{set_aside(measurement)} do not count, since the client was saturated: {why}")
    if unbelievable := contradictions.in_words(measurement.rounds):
        notes.append(unbelievable)
    notes += detector_notes(record)
    late, requests = merged_firsts(measurement)
    if late:
        notes.append(
            f"TTFT of {late} of {requests} requests is an upper bound: the first chunk was read together with "
            "later ones"
        )
    return [*notes, *notes_of_answers(measurement), *measurement.notes]
