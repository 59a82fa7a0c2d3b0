"""A part on another host, with a clock that is ahead and runs fast."""

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.measure.hosts.clock_offset import ClockLine, ClockOffset
from pytest_llmperf.measure.hosts.part_times import on_our_clock
from pytest_llmperf.measure.runtimes import Part
from pytest_llmperf.measure.wire.arrival import KERNEL, Piece
from pytest_llmperf.measure.wire.exchange import Exchange

AHEAD_NS = 1_000_000_000_000
LONG_NS = 60_000_000_000


def exchange(sent_ns: int) -> Exchange:
    """Two pieces, 30 and 50 ms after the request was sent."""
    return Exchange(
        connect_ns=sent_ns - 2_000_000,
        connected_ns=sent_ns - 1_000_000,
        sent_ns=sent_ns,
        pieces=tuple(Piece(sent_ns + after_ns, sent_ns + after_ns + 9, b"x") for after_ns in (30_000_000, 50_000_000)),
        source=KERNEL,
        label="a",
        ended_ns=sent_ns + 51_000_000,
    )


@given(st.integers(-500, 500), st.integers(0, LONG_NS))
def test_a_part_is_moved_to_our_clock(ppm: int, sent_ns: int) -> None:
    """Its moments are on this host's clock, but each request's own times are exactly as measured by the other host."""
    drift_ns = LONG_NS * ppm // 1_000_000
    clock = ClockLine(
        before=ClockOffset(at_ns=0, offset_ns=AHEAD_NS, bound_ns=0),
        after=ClockOffset(at_ns=LONG_NS, offset_ns=AHEAD_NS + drift_ns, bound_ns=0),
    )
    theirs_ns = clock.theirs_ns(sent_ns)
    part = Part(start_ns=clock.theirs_ns(7), exchanges=((exchange(theirs_ns),),), cpu_ns=(5,), lag_ns=(3,))
    ours = on_our_clock(part, clock)
    ((moved,),) = ours.exchanges
    assert abs(ours.start_ns - 7) <= 2
    assert abs(moved.sent_ns - sent_ns) <= 2
    assert moved == exchange(moved.sent_ns)
    assert (ours.cpu_ns, ours.lag_ns) == ((5,), (3,))
