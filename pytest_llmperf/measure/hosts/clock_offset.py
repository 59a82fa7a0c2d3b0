"""How far another host's monotonic clock is ahead of this host's: estimates with a guaranteed bound, no sockets.

A probe leaves this host at `sent_ns` and arrives at the other at `received_ns`; its answer leaves there at
`answered_ns` and arrives here at `arrived_ns`, each by the host's own clock. Nothing arrives before it is sent, so the
offset (the other clock minus this one) is at most `received_ns - sent_ns` and at least `answered_ns - arrived_ns`,
however unequal the two directions are. The estimate is the middle of the two (RFC 5905, section 8), its bound half the
round trip. The probe with the shortest round trip counts, because it waited least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import MeasurementError

WANDER_PPM = 10
"""Between two estimates the offset is a line; the rate of a clock may change by this much meanwhile."""

RATE_PPM = 1_000
"""Clocks whose rates differ by more are not both right: an NTP daemon slews each by 500 ppm at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The four timestamps of a probe, ns; see the module's text.

    Each is on the safe side: `sent_ns` and `answered_ns` not after the packet left, the others not before it came.
    """

    sent_ns: int
    received_ns: int
    answered_ns: int
    arrived_ns: int

    @property
    def least_ns(self) -> int:
        """The least offset that these timestamps allow, ns."""
        return self.answered_ns - self.arrived_ns

    @property
    def most_ns(self) -> int:
        """The largest offset that they allow, ns."""
        return self.received_ns - self.sent_ns

    @property
    def round_trip_ns(self) -> int:
        """Time under way, both ways together, ns."""
        return self.most_ns - self.least_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """An estimate.

    Attributes:
        at_ns: the moment of the estimate, on this host's clock.
        offset_ns: the other clock minus this host's clock.
        bound_ns: the true offset is at most this far from `offset_ns`.
    """

    at_ns: int
    offset_ns: int
    bound_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockLine:
    """Their clock during a part of a round: a line between the estimates before and after it.

    Attributes:
        before, after: the estimates.
    """

    before: ClockOffset
    after: ClockOffset

    @property
    def bound_ns(self) -> int:
        """The maximum error of any moment between the estimates, ns: half the shortest round trip plus drift."""
        half_ns = (self.after.at_ns - self.before.at_ns + 1) // 2
        return max(self.before.bound_ns, self.after.bound_ns) + _parts(half_ns, WANDER_PPM)

    def offset_ns(self, at_ns: int) -> int:
        """The other clock minus this host's clock at a moment of this clock, ns."""
        return self.before.offset_ns + self._drift_ns(at_ns - self.before.at_ns, self._elapsed_ns)

    def theirs_ns(self, ours_ns: int) -> int:
        """The moment on their clock."""
        return ours_ns + self.offset_ns(ours_ns)

    def ours_ns(self, theirs_ns: int) -> int:
        """A moment of the other clock on this host's clock."""
        since_ns = theirs_ns - self.before.at_ns - self.before.offset_ns
        return theirs_ns - self.before.offset_ns - self._drift_ns(since_ns, self._elapsed_ns + self._change_ns)

    @property
    def _elapsed_ns(self) -> int:
        return self.after.at_ns - self.before.at_ns

    @property
    def _change_ns(self) -> int:
        return self.after.offset_ns - self.before.offset_ns

    def _drift_ns(self, since_ns: int, elapsed_ns: int) -> int:
        return self._change_ns * since_ns // elapsed_ns if self._elapsed_ns > 0 else 0


def estimate(probes: Sequence[Probe]) -> ClockOffset:
    """The estimate of the probe with the least round trip.

    Args:
        probes: the probes of one burst, in the order sent; at least one.

    Raises:
        MeasurementError: they contradict each other or themselves: a clock was stepped meanwhile.
    """
    best = min(probes, key=_bound_ns)
    for probe in probes:
        allowed_ns = _parts(max(probe.arrived_ns, best.arrived_ns) - min(probe.sent_ns, best.sent_ns), RATE_PPM) + 1
        apart_ns = max(probe.least_ns - best.most_ns, best.least_ns - probe.most_ns, -probe.round_trip_ns)
        if apart_ns > allowed_ns:
            raise _stepped("its answers to probes contradict each other")
    return ClockOffset(
        at_ns=(best.sent_ns + best.arrived_ns) // 2,
        offset_ns=(best.least_ns + best.most_ns) // 2,
        bound_ns=_bound_ns(best),
    )


def _bound_ns(probe: Probe) -> int:
    """Half the round trip, and how far the clocks may have drifted apart meanwhile."""
    return (probe.round_trip_ns + 1) // 2 + _parts(probe.arrived_ns - probe.sent_ns, RATE_PPM)


def line(estimates: Sequence[ClockOffset]) -> ClockLine:
    """The clock between the last two estimates.

    Args:
        estimates: at least two estimates of one host, in the order made; all but the last two give the clock's rate.

    Raises:
        MeasurementError: the clock was stepped between the last two estimates: it moved further than clocks drift, or
            further than it did before.
    """
    *earlier, before, after = estimates
    elapsed_ns, moved_ns = after.at_ns - before.at_ns, after.offset_ns - before.offset_ns
    unsure_ns = before.bound_ns + after.bound_ns
    if abs(moved_ns) > unsure_ns + _parts(elapsed_ns, RATE_PPM):
        raise _stepped(f"it moved by {moved_ns / 1e6:.3f} ms in {elapsed_ns / 1e9:.1f} s")
    for start in earlier:
        since_ns = before.at_ns - start.at_ns
        if since_ns <= 0:
            continue
        expected_ns = (before.offset_ns - start.offset_ns) * elapsed_ns // since_ns
        rate_unsure_ns = (before.bound_ns + start.bound_ns) * elapsed_ns // since_ns
        wander_ns = _parts(elapsed_ns + since_ns, WANDER_PPM)
        if abs(moved_ns - expected_ns) > unsure_ns + rate_unsure_ns + wander_ns:
            raise _stepped(f"it moved by {moved_ns / 1e6:.3f} ms, {expected_ns / 1e6:.3f} ms were expected")
    return ClockLine(before=before, after=after)


def _parts(duration_ns: int, ppm: int) -> int:
    """`ppm` millionths of a duration, rounded up."""
    return -(-duration_ns * ppm // 1_000_000)


def _stepped(what_happened: str) -> MeasurementError:
    return MeasurementError(
        f"the monotonic clock of a host was stepped: {what_happened}",
        next_step="was that host suspended or moved meanwhile? measure again",
    )
