"""The heartbeat: what its beats say of a client."""

import pytest

from pytest_llmperf.measure.wire.scheduling_lag import BEAT_NS, Pulse

MS = 1_000_000


def lag_ms(*late_ms: float) -> float:
    """The lag of a pulse whose beats were late by `late_ms`, on a clock of its own."""
    moments = [0]
    for delay_ms in late_ms:
        moments.append(moments[-1] + BEAT_NS + round(delay_ms * MS))
    pulse = Pulse(clock=iter(moments).__next__)
    pulse.start()
    for _ in late_ms:
        pulse.beat()
    return pulse.lag_ns() / MS


@pytest.mark.parametrize(
    ("late_ms", "lag"),
    [
        ([], 0),
        ([0.1] * 20, 0.1),
        ([0] * 9 + [15] * 2, 15),  # a tenth of the beats and more: not the median
        ([0] * 10 + [15], 0),  # one of eleven is less
        ([0] * 9 + [190], 90),  # 190, 140, 90, 40 ms: the beats that could not come
        ([0] * 20 + [900], 700),  # two seconds, in one of which it hardly ran
        ([0] * 40 + [200], 0),  # once a fifth of a second in two
    ],
)
def test_the_lag_is_that_of_a_tenth_of_the_time(late_ms: list[float], lag: float) -> None:
    """A late beat counts for all beats that were due meanwhile."""
    assert lag_ms(*late_ms) == lag


def test_a_beat_before_its_time_says_nothing() -> None:
    """The last one of a part comes when the part is over; late ones count there, too."""
    moments = iter([0, 5 * MS, 6 * MS + BEAT_NS, 0])
    pulse = Pulse(clock=moments.__next__)
    pulse.start()
    pulse.beat()
    assert pulse.lag_ns() == 0
    pulse.beat()
    assert pulse.lag_ns() == MS
    pulse.start()
    assert (pulse.lag_ns(), pulse.due_ns) == (0, BEAT_NS)
