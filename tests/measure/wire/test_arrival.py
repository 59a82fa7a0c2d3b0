"""The kernel's receive time on the monotonic clock, and the fallback without it."""

import select
import socket
import struct
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.measure.wire import arrival
from pytest_llmperf.measure.wire.arrival import (
    ANCILLARY_BYTES,
    KERNEL,
    READ,
    STEP_NS,
    Raw,
    ask_for_kernel_time,
    settle,
    wall_offset_ns,
)
from tests.measure.scripted import kernel_stamps

linux = pytest.mark.skipif(sys.platform != "linux", reason="kernel receive times are Linux's")


def stamped(read_ns: int, stamp_ns: int, data: bytes = b"x") -> Raw:
    """A read with a kernel stamp of the wall clock."""
    stamp = struct.pack("@ll", *divmod(stamp_ns, 1_000_000_000))
    return Raw(read_ns, [(socket.SOL_SOCKET, 35, stamp)], data)


@linux
def test_a_stamp_becomes_a_moment_of_the_monotonic_clock() -> None:
    """The offset is taken off; the empty read at the end is no piece."""
    pieces, source = settle([stamped(2000, 1_000_001_500), Raw(3000, [], b"")], 1_000_000_000, 1_000_000_000)
    assert source == KERNEL
    assert pieces == ((1500, 2000, b"x"),)


@linux
def test_no_arrival_is_later_than_its_read() -> None:
    """A stamp that would lie after the read (the offset is off by a little) is cut at the read."""
    pieces, _ = settle([stamped(2000, 2100)], 0, 0)
    assert pieces[0].arrival_ns == 2000


@linux
def test_of_two_offsets_the_one_that_is_never_early_counts() -> None:
    """The smaller offset makes the later arrival."""
    pieces, source = settle([stamped(9000, 5000)], 40, 10)
    assert (pieces[0].arrival_ns, source) == (4990, KERNEL)


@linux
def test_a_stepped_wall_clock_gives_the_time_of_the_read() -> None:
    """Where the wall clock jumped between the two offsets, its stamps mean nothing."""
    pieces, source = settle([stamped(2000, 1500)], 0, STEP_NS + 1)
    assert (pieces[0].arrival_ns, source) == (2000, READ)


def test_one_read_without_a_stamp_makes_all_of_them_reads() -> None:
    """An answer has one source of time, never two."""
    pieces, source = settle([stamped(2000, 1500), Raw(3000, [], b"y")], 0, 0)
    assert [piece.arrival_ns for piece in pieces] == [2000, 3000]
    assert source == READ


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1))
def test_arrivals_never_run_backwards(moments: list[tuple[int, int]]) -> None:
    """Whatever the stamps say, arrivals are in order and none is later than the latest read so far."""
    reads = sorted(read for read, _ in moments)
    raw = [stamped(read, stamp) for read, (_, stamp) in zip(reads, moments, strict=True)]
    pieces, _ = settle(raw, 0, 0)
    arrivals = [piece.arrival_ns for piece in pieces]
    assert arrivals == sorted(arrivals)
    assert all(piece.arrival_ns <= piece.read_ns for piece in pieces)


def test_the_offset_is_that_of_the_quickest_sample() -> None:
    """A sample that was interrupted is not believed."""
    clock = iter([0, 1000, *(value for index in range(15) for value in (2000 + index * 10, 2004 + index * 10))])
    wall = iter([777_777, *(100_002 + 2000 + index * 10 for index in range(15))])
    assert wall_offset_ns(clock=clock.__next__, wall=wall.__next__) == 100_000


def test_elsewhere_there_is_no_kernel_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without the option, or a socket that refuses it, is detected; it is no error."""
    with socket.socket() as sock:
        monkeypatch.setattr(arrival, "_SO_TIMESTAMPNS", 9999)
        assert not ask_for_kernel_time(sock)
        monkeypatch.setattr(arrival, "_SO_TIMESTAMPNS", None)
        assert not ask_for_kernel_time(sock)


@linux
def test_the_kernels_time_does_not_wait_for_the_reader() -> None:
    """Bytes read after they came are stamped with the moment they came: before they could be read."""
    with (
        kernel_stamps(),
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as peer,
    ):
        assert ask_for_kernel_time(client)
        before_ns = wall_offset_ns()
        sent_ns = time.monotonic_ns()
        peer.sendall(b"x")
        select.select([client], [], [])
        readable_ns = time.monotonic_ns()
        time.sleep(0.01)  # more than the two clocks' offset may err
        data, ancillary, _, _ = client.recvmsg(16, ANCILLARY_BYTES)
        raw = Raw(time.monotonic_ns(), ancillary, data)
        pieces, source = settle([raw], before_ns, wall_offset_ns())
    assert source == KERNEL
    assert sent_ns - STEP_NS <= pieces[0].arrival_ns <= readable_ns + STEP_NS < pieces[0].read_ns
