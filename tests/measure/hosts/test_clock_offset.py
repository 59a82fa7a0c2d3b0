"""Estimates of another clock, with scripted times."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.hosts.clock_offset import (
    WANDER_PPM,
    ClockLine,
    ClockOffset,
    Probe,
    estimate,
    line,
)

AHEAD_NS = 1_000_000_000_000
SECOND_NS = 1_000_000_000

delays = st.integers(0, 5_000_000)


def probe(sent_ns: int, there_ns: int, busy_ns: int, back_ns: int, *, ahead_ns: int = AHEAD_NS, ppm: int = 0) -> Probe:
    """The probe of a clock that is exactly `ahead_ns` ahead at 0 and runs fast by `ppm`."""

    def theirs(at_ns: int) -> int:
        return at_ns + ahead_ns + at_ns * ppm // 1_000_000

    arrived_ns = sent_ns + there_ns + busy_ns + back_ns
    return Probe(
        sent_ns=sent_ns,
        received_ns=theirs(sent_ns + there_ns),
        answered_ns=theirs(sent_ns + there_ns + busy_ns),
        arrived_ns=arrived_ns,
    )


def offset(at_s: float, offset_ns: int, bound_ns: int = 10) -> ClockOffset:
    return ClockOffset(at_ns=round(at_s * SECOND_NS), offset_ns=offset_ns, bound_ns=bound_ns)


def test_equal_ways_give_the_offset_itself() -> None:
    """The error is half the difference of the two ways."""
    clock = estimate([probe(5, 1_000, 77, 1_000)])
    assert (clock.offset_ns, clock.at_ns, clock.bound_ns) == (AHEAD_NS, 5 + 2_077 // 2, 1_000 + 3)


def test_a_way_of_no_length_is_the_worst_case() -> None:
    """All the time went one way: the error is the bound, but for the allowance for drift."""
    assert estimate([probe(0, 2_000, 0, 0)]).offset_ns == AHEAD_NS + 1_000
    assert estimate([probe(0, 0, 0, 2_000)]).offset_ns == AHEAD_NS - 1_000


def test_the_probe_with_the_least_round_trip_counts() -> None:
    """Those that waited in a queue tell less."""
    probes = [probe(0, 900_000, 0, 100), probe(2_000_000, 400, 0, 400), probe(4_000_000, 100, 0, 700_000)]
    assert estimate(probes) == estimate(probes[1:2])


@given(
    st.lists(st.tuples(delays, delays, delays), min_size=1, max_size=12),
    st.integers(-(10**15), 10**15),
    st.integers(-100, 100),
)
def test_the_true_offset_is_within_the_bound(ways: list[tuple[int, int, int]], ahead_ns: int, ppm: int) -> None:
    """However unequal the ways are, whatever the offset, with drift."""
    probes, at_ns = [], 0
    for there_ns, busy_ns, back_ns in ways:
        probes.append(probe(at_ns, there_ns, busy_ns, back_ns, ahead_ns=ahead_ns, ppm=ppm))
        at_ns = probes[-1].arrived_ns + 1
    clock = estimate(probes)
    true_ns = ahead_ns + Fraction(clock.at_ns * ppm, 1_000_000)
    assert abs(clock.offset_ns - true_ns) <= clock.bound_ns + 2  # the scripted clock itself counts whole nanoseconds


@given(st.integers(20_000, 10**12), st.sampled_from((1, -1)), st.integers(1, 7))
def test_a_step_within_a_burst_is_found(step_ns: int, sign: int, at: int) -> None:
    """Probes before and after it allow no common offset."""
    probes = [
        probe(index * 10_000, 1_000, 0, 1_000, ahead_ns=AHEAD_NS + (sign * step_ns if index >= at else 0))
        for index in range(8)
    ]
    with pytest.raises(MeasurementError, match="was stepped: its answers to probes contradict each other"):
        estimate(probes)


def test_an_answer_from_before_its_question_is_a_step() -> None:
    """The clock went back between the two times of one probe, or ours did."""
    with pytest.raises(MeasurementError, match="was stepped"):
        estimate([Probe(sent_ns=0, received_ns=AHEAD_NS, answered_ns=AHEAD_NS + 5_000, arrived_ns=2_000)])


@given(st.integers(-500, 500), st.integers(-(10**12), 10**12), st.floats(0, 1))
def test_a_line_follows_drift_exactly(ppm: int, ahead_ns: int, share: float) -> None:
    """Between two right estimates, a steady drift leaves the error of rounding only, in both directions."""
    drift_ns = ppm * 1_000 * 60
    clock = line([offset(0, ahead_ns), offset(60, ahead_ns + drift_ns)])
    at_ns = round(share * 60 * SECOND_NS)
    assert abs(clock.theirs_ns(at_ns) - (at_ns + ahead_ns + Fraction(at_ns * ppm, 1_000_000))) <= 1
    assert abs(clock.ours_ns(clock.theirs_ns(at_ns)) - at_ns) <= 2


@given(st.integers(-WANDER_PPM, WANDER_PPM), st.floats(0, 1), st.floats(0.001, 1_000))
def test_a_rate_that_wanders_stays_within_the_bound(ppm: int, share: float, long_s: float) -> None:
    """The clock runs fast by `ppm` up to a moment, then slow: at that moment it is furthest from the line."""
    long_ns = round(long_s * SECOND_NS)
    turn_ns = long_ns // 2

    def true_ns(at_ns: int) -> Fraction:
        return Fraction(ppm * min(at_ns, 2 * turn_ns - at_ns), 1_000_000)

    clock = line([offset(0, 0), ClockOffset(at_ns=long_ns, offset_ns=round(true_ns(long_ns)), bound_ns=10)])
    at_ns = round(share * long_ns)
    assert abs(clock.offset_ns(at_ns) - true_ns(at_ns)) <= clock.bound_ns


def test_the_bound_of_a_line_is_the_wider_one_and_drift() -> None:
    """Ten millionths of the time to the nearer estimate."""
    assert line([offset(0, 0, 300), offset(2, 100, 700)]).bound_ns == 700 + 10_000


def test_one_moment_has_no_rate() -> None:
    """Two estimates at the same moment: the first holds."""
    clock = ClockLine(before=offset(1, 50), after=offset(1, 60))
    assert clock.theirs_ns(7) == 57
    assert clock.ours_ns(57) == 7


@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_between_two_estimates_is_found(sign: int) -> None:
    """1,000 ppm is more than two clocks drift apart; without a history that is the limit."""
    line([offset(0, 0), offset(1, sign * 1_000_020)])
    with pytest.raises(MeasurementError, match=r"was stepped: it moved by -?1.000 ms in 1.0 s"):
        line([offset(0, 0), offset(1, sign * 1_000_021)])


@pytest.mark.parametrize("ppm", [-50, 0, 50])
@pytest.mark.parametrize("sign", [1, -1])
def test_with_a_history_a_small_step_is_found(ppm: int, sign: int) -> None:
    """Its rate so far says where the clock should be, within microseconds: here 20 of wander, 0.04 of bounds."""
    estimates = [offset(at, ppm * 1_000 * at) for at in range(4)]
    line(estimates)
    for step_ns, too_far in ((20_000, False), (25_000 + 20_000, True)):
        stepped = [*estimates[:-1], offset(3, estimates[-1].offset_ns + sign * step_ns)]
        if too_far:
            with pytest.raises(MeasurementError, match="were expected"):
                line(stepped)
        else:
            line(stepped)
