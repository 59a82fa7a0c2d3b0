"""A table counts contended rounds by the gate's detector; a note reports the other detector's count."""

import json
from dataclasses import replace

import pytest

from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Bound, Settings, TopologyKind
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.files import markdown
from pytest_llmperf.report.terminal.summary_table import table
from pytest_llmperf.report.wording.footnotes import notes
from tests.judge.build import gate, measurement_of, round_of

LATE = [round_of((100, 100), (200, 200), index=index, ttft_ms=90) for index in range(5)]
"""First tokens come nine times as late as alone, at the same decode rate."""


def record_of(*detectors: str, rounds=LATE, kind: TopologyKind = TopologyKind.SINGLE) -> Record:
    measurement = measurement_of(*rounds)
    measurement = replace(measurement, topology=replace(measurement.topology, kind=kind))
    gates = [gate(f"contention_rate_{name}", 0.01, Bound.MAX, marker="contention") for name in detectors]
    verdicts = tuple(judge(gate, measurement, looks=1) for gate in gates)
    return Record(test="test", measurement=measurement, verdicts=verdicts)


def unstreamed(rounds):
    """The same without a first token: the whole answer arrives at its end."""

    def whole(run):
        return replace(run, requests=tuple(replace(request, streamed=False) for request in run.requests))

    return [
        replace(round_, solo=tuple(map(whole, round_.solo)), together=tuple(map(whole, round_.together)))
        for round_ in rounds
    ]


@pytest.mark.parametrize(
    ("detectors", "shown", "noted"),
    [
        (("throughput",), "0 of 5", True),
        (("ttft",), "5 of 5", False),
        ((), "5 of 5", False),
        (("throughput", "ttft"), "5 of 5", False),
    ],
)
@pytest.mark.parametrize("rounds", [LATE, unstreamed(LATE)], ids=["streamed", "unstreamed"])
def test_the_column_shows_what_the_gate_judged(rounds, detectors, shown: str, noted: bool) -> None:
    """In the terminal and in Markdown; a pass by one detector says what the other one found."""
    record = record_of(*detectors, rounds=rounds)
    row = next(line for line, _ in table([record]) if line.startswith("pair on single"))
    assert shown in row
    words = "detector 'ttft' found 5 of 5 rounds contended; the gate used detector 'throughput' (0 of 5)"
    assert any(words in line for line in notes([record])) is noted
    page = markdown.page(json.loads(as_text(document(Run(records=[record], settings=Settings())))))
    *_, figures = [line for line in page.splitlines() if line.startswith("| test: pair")]
    assert f"| {20 * int(shown[0])} % |" in figures
