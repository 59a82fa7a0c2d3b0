"""The grade of a measurement, and what it lacks to be decision-grade."""

from dataclasses import replace

import pytest

from pytest_llmperf.judge.evidence import evidence_of
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import KEYS, TopologyKind
from tests.judge.build import measurement_of, round_of

FACTS = dict.fromkeys(KEYS, "known")


def record(*together_ms: float, facts: dict = FACTS, real: bool = True, **topology: object) -> Record:
    """A round for each duration of the slower agent; the other takes 100 ms."""
    rounds = [round_of((100, 100), (100, ms), index=index) for index, ms in enumerate(together_ms)]
    measurement = measurement_of(*rounds, facts=facts)
    changed = replace(measurement.topology, **{"backend": "embedded" if real else "simulated", **topology})
    return Record(test="t.py::test_x", measurement=replace(measurement, topology=changed))


ONE = record(100, 101, 100)
OTHER = record(100, 101, 100, kind=TopologyKind.SINGLE)


def test_a_run_with_everything_is_decision_grade() -> None:
    """Three rounds that agree, a whole manifest, another topology of the same scenario."""
    evidence = evidence_of(ONE, (ONE, OTHER))
    assert (evidence.grade, evidence.lacks, str(evidence)) == ("directional", (), "decision-grade")


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (record(100, 100), "2 rounds, wanted at least 3"),
        (record(100), "CV not known, wanted below 10 %"),
        (record(100, 160, 250), "wanted below 10 %"),
        (record(100, 101, 100, facts={**FACTS, "cpu": ""} | {"timing_source": ""}), "no measurement boundary stated"),
        (record(100, 101, 100, facts={k: v for k, v in FACTS.items() if k != "os_build"}), "manifest lacks os_build"),
        (record(100, 101, 100, real=False), "simulated, not a real engine"),
    ],
)
def test_each_lack_is_named(lacking: Record, words: str) -> None:
    """Alone, with all else there."""
    assert words in str(evidence_of(lacking, (lacking, OTHER)))


def test_an_alternative_is_another_deployment_of_the_same_scenario() -> None:
    """Neither the same again nor another scenario; another model is one."""
    again = replace(ONE, test="t.py::test_y")
    stranger = replace(
        OTHER, measurement=replace(OTHER.measurement, scenario=replace(OTHER.measurement.scenario, name="z"))
    )
    for run in ((), (ONE,), (ONE, again), (ONE, stranger)):
        assert evidence_of(ONE, run).lacks == ("no alternative tried",)
    assert evidence_of(ONE, (ONE, record(100, 100, model="other"))).lacks == ()


def test_undefined_figures_leave_the_spread_unknown() -> None:
    """A measurement without rounds has no CV, and is no evidence."""
    bare = replace(ONE, measurement=replace(ONE.measurement, rounds=()))
    assert "CV not known" in str(evidence_of(bare, ()))
    assert evidence_of(bare, ()).grade == "exploratory"
