"""What samples say of the machine's health, from a few plain figures."""

from dataclasses import replace

import pytest

from pytest_llmperf.judge.diagnosis import machine_health as facts
from tests.judge.build import gpus, measurement_of, observed, sample


def test_what_others_used() -> None:
    """What is left of the machine's CPU time without client and servers, the median over rounds."""
    measurement = observed(
        sample(0, servers_s={"a": 0, "b": 0}),
        sample(1, busy_s=1, client_s=0.1, servers_s={"a": 0.3, "b": 0.4}),
        sample(2, busy_s=2.8, client_s=0.2, servers_s={"a": 0.6, "b": 0.8}),
        sample(5, index=1, busy_s=5, client_s=1, servers_s={"a": 1, "b": 1}),
        sample(6, index=1, busy_s=7, client_s=1.2, servers_s={"a": 1.2, "b": 1.5}),
        sample(8, index=2, busy_s=8, client_s=2, servers_s={"a": 2, "b": 2}),
        sample(9, index=2, busy_s=9, client_s=2.1, servers_s={"a": 2.4, "b": 2.4}),
        rounds=3,
    )
    assert facts.neighbour_cores(measurement) == pytest.approx(0.6)  # of 0.6, 1.1 and 0.1
    assert facts.busy_cores(measurement) == pytest.approx(1.4)
    assert facts.client_cores(measurement) == pytest.approx(0.1)


def test_others_never_use_less_than_nothing() -> None:
    """The system counts a machine's time more coarsely than a process's."""
    measurement = observed(sample(0, servers_s={"a": 0}), sample(1, busy_s=0.5, servers_s={"a": 0.6}))
    assert facts.neighbour_cores(measurement) == 0


def test_where_others_are_not_known() -> None:
    """Without telemetry, without a round that is long enough, and where an instance's processes are not known."""
    both = sample(0), sample(1, busy_s=1)
    assert facts.neighbour_cores(observed(*both)) == 1
    assert facts.neighbour_cores(observed(*both, complete=False)) is None
    assert facts.neighbour_cores(observed(sample(0), sample(0.05, busy_s=1))) is None
    assert facts.neighbour_cores(observed(sample(0))) is None
    assert facts.neighbour_cores(measurement_of()) is None


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
    """The reason counts if enough samples report it."""
    slow = gpus(slowed_by=("hardware thermal slowdown",), temperature_c=91.0)
    fine = gpus(temperature_c=80.0)
    often = observed(*(sample(at, gpus=slow if at < 2 else fine) for at in range(20)))
    seldom = observed(*(sample(at, gpus=slow if at < 1 else fine) for at in range(20)))
    assert facts.throttled(often) == ("GPU 0 (RTX) throttled in 2 of 20 samples: hardware thermal slowdown, up to 91 C")
    assert facts.throttled(seldom) == ""
    assert facts.throttled(observed(*(sample(at, gpus=gpus(slowed_by=("power brake",))) for at in range(3)))) == (
        "GPU 0 (RTX) throttled in 3 of 3 samples: power brake"
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
    """It counts as throttled, whatever reason it reports; an idle GPU does not."""
    states = zip(clocks, temperatures, strict=True)
    measurement = observed(
        *(
            sample(at, gpus=gpus(sm_clock_mhz=float(mhz), temperature_c=float(c), utilisation_pct=utilisation))
            for at, (mhz, c) in enumerate(states)
        )
    )
    assert words in facts.throttled(measurement)
    assert bool(words) == bool(facts.throttled(measurement))


def test_a_processor_whose_clock_sinks_as_it_warms() -> None:
    """The rule for GPUs applies; without a sensor nothing is reported."""
    sunk = [sample(at, cpu_mhz=4000.0 - 300 * at, cpu_c=60.0 + 5 * at) for at in range(6)]
    assert facts.throttled(observed(*sunk)) == (
        "the clock of the processor fell from 3850 to 2650 MHz as it went from 62 to 82 C"
    )
    assert facts.throttled(observed(*(replace(cool, cpu_c=None) for cool in sunk))) == ""
    assert facts.throttled(measurement_of()) == ""
