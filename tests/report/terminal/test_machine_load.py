"""The report's lines about the machine."""

from dataclasses import replace

from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import GpuSample
from pytest_llmperf.report.terminal.machine_load import machine_lines
from pytest_llmperf.report.terminal.summary_table import SummaryStyle, table
from tests.judge.build import measurement_of, observed, sample

GPU = (GpuSample(memory_used_mib=3072.0, temperature_c=61.0),)
SEEN = observed(
    sample(0, servers_s={"a": 0, "b": 0}, gpus=GPU),
    sample(2, busy_s=3, client_s=0.2, servers_s={"a": 1, "b": 0.8}, gpus=GPU, cpu_c=55.0),
    notes=("instance c is on another machine, which is not sampled",),
    cost_s=0.003,
    dearest_ms=0.42,
)


def test_who_used_it_and_what_looking_cost() -> None:
    """A line for each measurement, then once what was not seen, and the cost."""
    record = Record(test="t", measurement=SEEN)
    words = (
        "machine: pair on dual: 1.50 of 2 cores busy (client 0.10, others 0.50); resident MiB: client 50, a 100, "
        "b 100; GPU memory 3.00 GiB, GPU 61 C, processor 55 C"
    )
    assert machine_lines([record, record]) == [
        words,
        words,
        "  not observed: instance c is on another machine, which is not sampled",
        "  telemetry: 4 samples, at most 1 s apart in a round; overhead 0.0015 of a core, at most 0.4 ms per sample",
    ]


def test_what_is_not_known_is_not_said() -> None:
    """Rounds that are too short, instances that are not known, nothing sampled, no telemetry."""
    unknown = observed(sample(0), sample(1, busy_s=1), complete=False)
    short, empty = observed(sample(0), sample(0.01)), observed()
    lines = [machine_lines([Record(test="t", measurement=measurement)]) for measurement in (unknown, short, empty)]
    assert lines[0][0] == "machine: pair on dual: 1.00 of 2 cores busy (client 0.00); resident MiB: client 50"
    words = "machine: pair on dual: too short to observe who used the processors"
    assert [shown[0] for shown in lines[1:]] == [f"{words}; resident MiB: client 50", words]
    assert "overhead 0.0000 of a core" in lines[2][-1]
    assert machine_lines([Record(test="t", measurement=measurement_of())]) == []


def test_it_stands_below_the_table_on_demand() -> None:
    """At -v."""
    record = Record(test="t", measurement=replace(SEEN, topology=replace(SEEN.topology, backend="attach")))
    said = {v: [line for line, _ in table([record], SummaryStyle(verbosity=v))] for v in (-1, 0, 1)}
    assert [any(line.startswith("machine:") for line in said[v]) for v in (-1, 0, 1)] == [False, False, True]
