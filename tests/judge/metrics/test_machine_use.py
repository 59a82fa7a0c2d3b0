"""What samples of the machine say, from a few plain figures."""

from dataclasses import replace

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics import machine_use as facts
from pytest_llmperf.model import GpuSample, Measurement, Sample, Telemetry, Used
from tests.judge.build import gate, measurement_of, round_of

S = 1_000_000_000


def sample(at_s: float, *, index: int = 0, busy_s: float = 0.0, client_s: float = 0.0, **others) -> Sample:
    """A sample of a machine on which `servers_s` (by instance) and the client took so much."""
    servers = {name: Used(cpu_s=cpu_s, rss_mib=100.0) for name, cpu_s in others.pop("servers_s", {}).items()}
    return Sample(
        at_ns=int(at_s * S),
        round=index,
        busy_s=busy_s,
        client=Used(cpu_s=client_s, rss_mib=50.0),
        memory_used_mib=1000.0,
        memory_available_mib=3000.0,
        **{"servers": servers, **others},
    )


def observed(*samples: Sample, rounds: int = 1, **others) -> Measurement:
    """A measurement of so many rounds with these samples."""
    gpus = tuple("RTX" for _ in samples[0].gpus) if samples else ()
    telemetry = Telemetry(every_s=1.0, cores=2, samples=samples, **{"complete": True, "gpus": gpus, **others})
    measured = measurement_of(*(round_of([100, 100], [100, 100], index=index) for index in range(rounds)))
    return replace(measured, telemetry=telemetry)


def gpus(**values) -> tuple[GpuSample, ...]:
    """One GPU."""
    return (GpuSample(**values),)


def test_what_others_used() -> None:
    """What is left of the machine's CPU time without client and servers, the median over rounds."""
    found = observed(
        sample(0, servers_s={"a": 0, "b": 0}),
        sample(1, busy_s=1, client_s=0.1, servers_s={"a": 0.3, "b": 0.4}),
        sample(2, busy_s=2.8, client_s=0.2, servers_s={"a": 0.6, "b": 0.8}),
        sample(5, index=1, busy_s=5, client_s=1, servers_s={"a": 1, "b": 1}),
        sample(6, index=1, busy_s=7, client_s=1.2, servers_s={"a": 1.2, "b": 1.5}),
        sample(8, index=2, busy_s=8, client_s=2, servers_s={"a": 2, "b": 2}),
        sample(9, index=2, busy_s=9, client_s=2.1, servers_s={"a": 2.4, "b": 2.4}),
        rounds=3,
    )
    assert facts.neighbour_cores(found) == pytest.approx(0.6)  # of 0.6, 1.1 and 0.1
    assert facts.busy_cores(found) == pytest.approx(1.4)
    assert facts.client_cores(found) == pytest.approx(0.1)


def test_others_never_use_less_than_nothing() -> None:
    """The system counts a machine's time more coarsely than a process's."""
    found = observed(sample(0, servers_s={"a": 0}), sample(1, busy_s=0.5, servers_s={"a": 0.6}))
    assert facts.neighbour_cores(found) == 0


def test_where_others_are_not_known() -> None:
    """Without telemetry, without a round that is long enough, and where an instance's processes are not known."""
    both = sample(0), sample(1, busy_s=1)
    assert facts.neighbour_cores(observed(*both)) == 1
    assert facts.neighbour_cores(observed(*both, complete=False)) is None
    assert facts.neighbour_cores(observed(sample(0), sample(0.05, busy_s=1))) is None
    assert facts.neighbour_cores(observed(sample(0))) is None
    assert facts.neighbour_cores(measurement_of()) is None


def test_what_was_stolen() -> None:
    """By the hypervisor, during the rounds."""
    assert facts.stolen_cores(observed(sample(0), sample(2, stolen_s=0.5))) == 0.25
    assert facts.stolen_cores(measurement_of()) is None


def test_swapping() -> None:
    """What moved during the rounds, not between them; a machine that does not tell does not swap."""
    moved = (
        sample(0, swapped_mib=0.0),
        sample(2, swapped_mib=30.0),
        sample(4, index=1, swapped_mib=500.0),
        sample(6, index=1, swapped_mib=510.0),
    )
    words = "40 MiB moved between memory and swap during the rounds (10.0 MiB/s)"
    assert facts.swapping(observed(*moved, rounds=2)) == words
    assert facts.swapping(observed(sample(0, swapped_mib=0.0), sample(2, swapped_mib=1.0))) == ""
    assert facts.swapping(observed(sample(0), sample(2))) == ""
    assert facts.swapping(measurement_of()) == ""


def test_a_gpu_that_says_why_it_is_slow() -> None:
    """Where it says so often enough."""
    slow = gpus(slowed_by=("hardware thermal slowdown",), temperature_c=91.0)
    fine = gpus(temperature_c=80.0)
    often = observed(*(sample(at, gpus=slow if at < 2 else fine) for at in range(20)))
    seldom = observed(*(sample(at, gpus=slow if at < 1 else fine) for at in range(20)))
    assert facts.throttled(often) == (
        "GPU 0 (RTX) slowed itself down in 2 of 20 samples: hardware thermal slowdown, up to 91 C"
    )
    assert facts.throttled(seldom) == ""
    assert facts.throttled(observed(*(sample(at, gpus=gpus(slowed_by=("power brake",))) for at in range(3)))) == (
        "GPU 0 (RTX) slowed itself down in 3 of 3 samples: power brake"
    )


@pytest.mark.parametrize(
    ("clocks", "temperatures", "utilisation", "words"),
    [
        ([2000, 2000, 2000, 1900, 1500, 1400, 1400], [60, 60, 70, 80, 88, 88, 88], 99.0, "2000 to 1400 MHz"),
        ([2000] * 7, [60, 60, 70, 80, 88, 88, 88], 99.0, ""),
        ([2000, 2000, 2000, 1900, 1500, 1400, 1400], [60] * 7, 99.0, ""),
        ([2000, 2000, 2000, 1900, 1500, 1400, 1400], [60, 60, 70, 80, 88, 88, 88], 10.0, ""),
        ([2000, 1500], [60, 88], 99.0, ""),
    ],
    ids=["sinks and warms", "only warms", "only sinks", "idle", "too few"],
)
def test_a_gpu_whose_clock_sinks_as_it_warms(clocks, temperatures, utilisation: float, words: str) -> None:
    """It is throttled, whatever it says; not where it has nothing to do."""
    states = zip(clocks, temperatures, strict=True)
    found = observed(
        *(
            sample(at, gpus=gpus(sm_clock_mhz=float(mhz), temperature_c=float(c), utilisation_pct=utilisation))
            for at, (mhz, c) in enumerate(states)
        )
    )
    assert words in facts.throttled(found)
    assert bool(words) == bool(facts.throttled(found))


def test_a_processor_whose_clock_sinks_as_it_warms() -> None:
    """As of a GPU; without a sensor nothing is said."""
    sunk = [sample(at, cpu_mhz=4000.0 - 300 * at, cpu_c=60.0 + 5 * at) for at in range(6)]
    assert facts.throttled(observed(*sunk)) == (
        "the clock of the processor sank from 3850 to 2650 MHz as it went from 62 to 82 C"
    )
    assert facts.throttled(observed(*(replace(one, cpu_c=None) for one in sunk))) == ""
    assert facts.throttled(measurement_of()) == ""


def test_peaks() -> None:
    """The largest value of each round, of the fullest GPU, hottest GPU, and largest instance."""
    two = (
        GpuSample(memory_used_mib=2048.0, temperature_c=70.0),
        GpuSample(memory_used_mib=3072.0, temperature_c=60.0),
        GpuSample(),
    )
    found = observed(
        sample(0, gpus=gpus(memory_used_mib=1024.0, temperature_c=50.0), servers_s={"a": 0}, cpu_c=40.0),
        sample(1, gpus=two, servers_s={"a": 0, "b": 0}, cpu_c=45.0),
        sample(2, gpus=gpus(memory_used_mib=1024.0, temperature_c=55.0), servers_s={"a": 0}, cpu_c=42.0),
    )
    assert facts.peaks(found, "vram_gib") == (3.0,)
    assert facts.peaks(found, "gpu_temperature_c") == (70.0,)
    assert facts.peaks(found, "cpu_temperature_c") == (45.0,)
    assert facts.peaks(found, "server_rss_gib") == (100 / 1024,)


def test_peaks_of_rounds_without_a_sample() -> None:
    """Have the last value before them; a round that was looked at and does not tell has none, nor the first one."""
    found = observed(
        sample(0, cpu_c=40.0), sample(1, cpu_c=44.0), sample(2, cpu_c=42.0), sample(8, index=2, cpu_c=60.0), rounds=4
    )
    assert facts.peaks(found, "cpu_temperature_c") == (44.0, 42.0, 60.0, 60.0)
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
    with pytest.raises(MeasurementError, match=why) as found:
        facts.peaks(measured, "vram_gib")
    assert "docs/telemetry.md" in str(found.value)


def test_memory_at_equal_distances() -> None:
    """Of the harness and each instance, as it was last seen; what is not known is absent."""

    def held(at_s: float, rss_mib: float) -> Sample:
        servers = {"a": Used(cpu_s=0.0, rss_mib=rss_mib)}
        return replace(sample(at_s), client=Used(cpu_s=0.0, rss_mib=50 + at_s), servers=servers)

    found = observed(held(0, 100), held(1, 110), held(4, 140), held(4.5, 145)).telemetry
    assert facts.memory_mib(found, 2.0) == [
        {"harness": 50, "instance a": 100},
        {"harness": 54, "instance a": 140},
        {"harness": 54, "instance a": 140},
    ]
    assert facts.memory_mib(observed(sample(0)).telemetry, 2.0) == [{"harness": 50}]


@pytest.mark.parametrize(
    ("metric", "one", "words"),
    [
        ("vram_gib", sample(0, gpus=gpus(memory_used_mib=1024.0)), ""),
        ("vram_gib", sample(0), "vram_gib cannot be observed here: no GPU"),
        ("vram_gib", None, "vram_gib cannot be observed here: no GPU"),
        ("cpu_temperature_c", sample(0, cpu_c=40.0), ""),
        ("efficiency_pct", None, ""),
    ],
)
def test_what_a_gate_needs_to_see(metric: str, one: Sample | None, words: str) -> None:
    """Is known before anything is timed."""
    telemetry = observed(sample(0), notes=("no GPU",)).telemetry
    assert facts.blind(gate(metric), one, telemetry) == words
