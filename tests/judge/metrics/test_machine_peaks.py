"""Peaks of the machine by round, and what could not be observed."""

from dataclasses import replace

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import machine_peaks as facts
from pytest_llmperf.model import GpuSample, Measurement, Sample, Used
from tests.judge.build import gate, gpus, observed, sample


def test_peaks() -> None:
    """The largest value of each round, of the fullest GPU, hottest GPU, and largest instance."""
    two = (
        GpuSample(memory_used_mib=2048.0, temperature_c=70.0),
        GpuSample(memory_used_mib=3072.0, temperature_c=60.0),
        GpuSample(),
    )
    measurement = observed(
        sample(0, gpus=gpus(memory_used_mib=1024.0, temperature_c=50.0), servers_s={"a": 0}, cpu_c=40.0),
        sample(1, gpus=two, servers_s={"a": 0, "b": 0}, cpu_c=45.0),
        sample(2, gpus=gpus(memory_used_mib=1024.0, temperature_c=55.0), servers_s={"a": 0}, cpu_c=42.0),
    )
    assert facts.peaks(measurement, "vram_gib") == (3.0,)
    assert facts.peaks(measurement, "gpu_temperature_c") == (70.0,)
    assert facts.peaks(measurement, "cpu_temperature_c") == (45.0,)
    assert facts.peaks(measurement, "server_rss_gib") == (100 / 1024,)


def test_peaks_of_rounds_without_a_sample() -> None:
    """Have the last value before them; a round that was looked at and does not tell has none, nor the first one."""
    measurement = observed(
        sample(0, cpu_c=40.0), sample(1, cpu_c=44.0), sample(2, cpu_c=42.0), sample(8, index=2, cpu_c=60.0), rounds=4
    )
    assert facts.peaks(measurement, "cpu_temperature_c") == (44.0, 42.0, 60.0, 60.0)
    silent = observed(sample(0, cpu_c=40.0), sample(1, index=1), sample(2, index=2, cpu_c=40.0), rounds=3)
    with pytest.raises(MeasurementError, match="cpu_temperature_c was not observed"):
        facts.peaks(silent, "cpu_temperature_c")
    late = observed(sample(1, index=1, cpu_c=40.0), rounds=2)
    with pytest.raises(MeasurementError, match="cpu_temperature_c was not observed"):
        facts.peaks(late, "cpu_temperature_c")


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        (observed(sample(0), notes=("no GPU",)), "vram_gib was not observed: no GPU"),
        (observed(sample(0)), "vram_gib was not observed"),
        (replace(observed(sample(0)), telemetry=None), "vram_gib was not observed: the telemetry is off"),
    ],
    ids=["said", "not said", "off"],
)
def test_what_was_not_observed_is_an_error(measured: Measurement, why: str) -> None:
    """That says why, and where to read on."""
    with pytest.raises(MeasurementError, match=why) as caught:
        facts.peaks(measured, "vram_gib")
    assert "docs/telemetry.md" in str(caught.value)


def test_memory_at_equal_distances() -> None:
    """The memory of the harness and of each instance at its last observation; unknown values are absent."""

    def held(at_s: float, rss_mib: float) -> Sample:
        servers = {"a": Used(cpu_s=0.0, rss_mib=rss_mib)}
        return replace(sample(at_s), client=Used(cpu_s=0.0, rss_mib=50 + at_s), servers=servers)

    telemetry = observed(held(0, 100), held(1, 110), held(4, 140), held(4.5, 145)).telemetry
    assert facts.memory_mib(telemetry, 2.0) == [
        {"harness": 50, "instance a": 100},
        {"harness": 54, "instance a": 140},
        {"harness": 54, "instance a": 140},
    ]
    assert facts.memory_mib(observed(sample(0)).telemetry, 2.0) == [{"harness": 50}]


@pytest.mark.parametrize(
    ("metric", "seen", "words"),
    [
        ("vram_gib", sample(0, gpus=gpus(memory_used_mib=1024.0)), ""),
        ("vram_gib", sample(0), "vram_gib cannot be observed here: no GPU"),
        ("vram_gib", None, "vram_gib cannot be observed here: no GPU"),
        ("cpu_temperature_c", sample(0, cpu_c=40.0), ""),
        ("efficiency_pct", None, ""),
    ],
)
def test_what_a_gate_needs_to_see(metric: str, seen: Sample | None, words: str) -> None:
    """Is known before anything is timed."""
    telemetry = observed(sample(0), notes=("no GPU",)).telemetry
    assert facts.unobservable_reason(gate(metric), seen, telemetry) == words
