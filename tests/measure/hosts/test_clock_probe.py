"""Probes over loopback, and the times of packets on scripted clocks."""

import itertools
import socket
import time
from collections.abc import Iterator

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.hosts.clock_probe import ClockProber, Clocks, ClockServer, PacketTimes

KEY = bytes(range(16))
AHEAD_NS = 1_000_000_000_000


def later_ns() -> int:
    return time.monotonic_ns() + AHEAD_NS


@pytest.fixture
def server() -> Iterator[ClockServer]:
    """Its clock is 1,000 s ahead; its kernel's stamps map to that."""
    started = ClockServer("127.0.0.1", KEY, clocks=Clocks(monotonic=later_ns))
    yield started
    started.close()


def test_the_offset_of_a_server_is_within_its_bound(server: ClockServer) -> None:
    """Truth is known: both read the same clock."""
    prober = ClockProber(server.address, KEY)
    offset = prober.estimate()
    prober.close()
    assert abs(offset.offset_ns - AHEAD_NS) <= offset.bound_ns


def test_datagrams_of_strangers_are_not_answered(server: ClockServer) -> None:
    """Those without the key, or of another length, even an empty one, before a good one that is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for words in (b"", b"x" * 24, b"x" * 500):
            stranger.sendto(words, server.address)
        prober = ClockProber(server.address, KEY)
        assert len(prober.probe(3, timeout_s=60)) == 3  # the server has read the stranger's by then
        prober.close()
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(100)


def test_answers_of_strangers_and_late_ones_are_not_taken() -> None:
    """Only the answer with the key and the probe's number is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        prober = ClockProber(peer.getsockname(), KEY)
        host, port = prober._sock.getsockname()
        number = (1).to_bytes(8)
        times = bytes(16)
        for answer in (b"", bytes(16) + number + times, KEY + bytes(8) + times, KEY + number + times):
            peer.sendto(answer, (host, port))
        (probe,) = prober.probe(1, timeout_s=60)
        prober.close()
    assert (probe.received_ns, probe.answered_ns) == (0, 0)


def test_nobody_there_is_an_error_that_names_the_host(server: ClockServer) -> None:
    """Closed twice, it answers no more."""
    server.close()
    server.close()
    prober = ClockProber(server.address, KEY)
    with pytest.raises(MeasurementError, match=r"the clock of host 127\.0\.0\.1 cannot be read") as caught:
        prober.probe(3, timeout_s=0.01)
    prober.close()
    assert "firewall" in caught.value.next_step


def packet_times(wall_ns: Iterator[int], stamps: Iterator[int | None]) -> PacketTimes:
    """A monotonic clock that counts its reads, in µs."""
    reads = itertools.count(1_000, 1_000)
    return PacketTimes(Clocks(monotonic=lambda: next(reads), wall=lambda: next(wall_ns), stamp=lambda _: next(stamps)))


def test_a_stamp_becomes_a_moment_of_the_monotonic_clock() -> None:
    """By the packet's age; the first packet, and one without a stamp, have the time of their read."""
    wall_ns = itertools.chain.from_iterable(
        [50_000 + 9_000 * packet + 2_000 * at for at in range(4)] for packet in range(3)
    )
    times = packet_times(wall_ns, iter([50_000, 55_000, None]))
    first_read_ns, second_read_ns, third_read_ns = 1_000, 10_000, 19_000
    assert times.arrived_ns([]) == first_read_ns
    # the wall clock is 50,000 where the monotonic one is at most 3,000: 47,000 ahead, and 55,000 is 8,000 there
    assert times.arrived_ns([]) == 8_000 < second_read_ns
    assert times.arrived_ns([]) == third_read_ns


def test_after_a_step_of_the_wall_clock_the_read_counts() -> None:
    """Its stamps cannot be mapped; those after it can again."""
    starts = (50_000, 59_000 + 1_000_000, 68_000 + 1_000_000)
    wall_ns = itertools.chain.from_iterable([start + 2_000 * at for at in range(4)] for start in starts)
    times = packet_times(wall_ns, iter([50_000, 55_000, 1_064_000]))
    assert [times.arrived_ns([]) for _ in range(3)] == [1_000, 10_000, 17_000]
