"""Sessions to report on, made of plain figures."""

import json

import pytest

from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Bound, Settings
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.session_outcomes import Ending, Tested
from tests.judge.build import gate, measurement_of, round_of

GATES = (
    gate(marker="efficiency"),
    gate("contention_rate_ttft", 0.01, Bound.MAX, marker="contention"),
)


def run_of(
    *,
    together_ms=((100, 99), (100, 98), (100, 99.5), (100, 99), (100, 98.5)),
    tests=("test_pair",),
    gates=GATES,
    **measured,
):
    """A run of such rounds, each test of which has these gates; by default all pass."""
    records = []
    for test in tests:
        rounds = [round_of((95, 94), durations, index=index) for index, durations in enumerate(together_ms)]
        measurement = measurement_of(*rounds, **measured)
        verdicts = tuple(judge(gate, measurement, looks=1) for gate in gates)
        records.append(Record(test=f"perf/test_team.py::{test}", measurement=measurement, verdicts=verdicts))
    accepted = [record for record in records if all(verdict.outcome == "pass" for verdict in record.verdicts)]
    endings = {record.test: Ending.PASSED if record in accepted else Ending.FAILED for record in records}
    ended = [Tested(test=test, ending=ending, file="perf/test_team.py", line=7) for test, ending in endings.items()]
    return Run(records=records, settings=Settings(), accepted=accepted, tests=ended)


@pytest.fixture
def content():
    """The document of a run that passes, as it is read from a file."""
    return json.loads(as_text(document(run_of())))
