"""How far a measurement may be trusted, by the report's terms: its grade, and what it lacks to be decision-grade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.gates.evidence_grade import decision_grade, grade
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Measurement, Verdict
from pytest_llmperf.model.model_names import full_name

PRIMARY, PRIMARY_OF_GRAPH = "efficiency_pct", "makespan_s"
"""The metric whose spread counts: what the report measures several agents by (3.1); a graph has no balance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How strong the evidence of a measurement is.

    Attributes:
        grade: `exploratory`, `directional` or `publishable`, by rounds (decision card), or `simulated`.
        lacks: the unmet requirements of decision-grade evidence (glossary D, P.1), a clause each; empty: none.
    """

    grade: str
    lacks: tuple[str, ...]

    def __str__(self) -> str:
        return f"not decision-grade: {'; '.join(self.lacks)}" if self.lacks else "decision-grade"


def grade_of(measurement: Measurement) -> str:
    """The grade of its rounds."""
    return grade(len(measurement.rounds), simulated=measurement.topology.simulated)


def graded(verdicts: Sequence[Verdict], measurement: Measurement) -> tuple[Verdict, ...]:
    """The verdicts on a measurement, each with the grade of the rounds that it used."""
    simulated = measurement.topology.simulated
    return tuple(replace(verdict, grade=grade(verdict.rounds, simulated=simulated)) for verdict in verdicts)


def evidence_of(record: Record, run: Sequence[Record]) -> Evidence:
    """How strong the evidence of a record is.

    Args:
        record: the record to grade.
        run: the records of the same run so far: the same scenario on another topology, backend or model is an
            alternative that was tried.
    """
    measurement = record.measurement
    scenario = measurement.scenario.name
    source = measurement.manifest.facts.get("timing_source")
    lacks = decision_grade(
        rounds=len(measurement.rounds),
        cv_pct=_cv_pct(record),
        boundaries=[f"timed by {source}, {measurement.warmups} warm-up requests excluded"] if source else [],
        alternatives=[
            earlier.test
            for earlier in run
            for tried in (earlier.measurement, *([earlier.incumbent.measurement] if earlier.incumbent else []))
            if tried.scenario.name == scenario and _deployment(tried) != _deployment(measurement)
        ],
        manifest=measurement.manifest,
    )
    simulated = ("simulated, not a real engine",) if measurement.topology.simulated else ()
    return Evidence(grade=grade_of(measurement), lacks=(*simulated, *lacks))


def _cv_pct(record: Record) -> float | None:
    try:
        return record.summary(PRIMARY_OF_GRAPH if record.measurement.scenario.graph else PRIMARY).cv_pct
    except MeasurementError:
        return None


def _deployment(measurement: Measurement) -> tuple[str, str, str]:
    """What can be an alternative to another."""
    topology = measurement.topology
    return str(topology.kind), topology.backend, full_name(topology.model)
