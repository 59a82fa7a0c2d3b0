"""Probes of another host's monotonic clock over UDP, with the kernel's receive times on both sides.

The kernel stamps on the wall clock. Each side maps a stamp to its own monotonic clock by the age that the packet has
when it is read, so that it matters neither how far the wall clocks are apart nor how late a process reads.
"""

from __future__ import annotations

import hmac
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.hosts.clock_offset import ClockOffset, Probe, estimate
from pytest_llmperf.measure.wire.arrival import ANCILLARY_BYTES, Ancillary, Clock, ask_for_kernel_time, stamp_ns

KEY_BYTES = 16
"""A key that both sides know: datagrams without it are not answered, nor taken for an answer."""

PROBES = 24
"""Probes of an estimate."""

_QUESTION = struct.Struct("!16sQ")
_ANSWER = struct.Struct("!16sQqq")
_STEPPED_NS = 2_000  # wall against monotonic clock from one packet to the next; above it the time of the read is used
_SAMPLES = 4


class Clocks(NamedTuple):
    """A host's clocks, ns.

    Attributes:
        monotonic: the clock of its moments.
        wall: the clock with which its kernel stamps packets.
        stamp: the kernel's stamp of a packet, on `wall`, from what `recvmsg` gave; None if it has none.
    """

    monotonic: Clock = time.monotonic_ns
    wall: Clock = time.time_ns
    stamp: Callable[[Ancillary], int | None] = stamp_ns


HERE = Clocks()
"""The clocks of the host on which this runs."""


class PacketTimes:
    """When packets came to a socket, on the monotonic clock; never before they came.

    Args:
        clocks: the clocks of this host.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._ahead_ns: int | None = None

    def arrived_ns(self, ancillary: Ancillary) -> int:
        """When a packet came that has just been read.

        It is the time of the read if the packet has no stamp, or if the wall clock was stepped since the last packet.
        """
        read_ns = self._clocks.monotonic()
        samples = []
        for _ in range(_SAMPLES):
            before_ns, wall_ns, after_ns = self._clocks.monotonic(), self._clocks.wall(), self._clocks.monotonic()
            samples.append((after_ns - before_ns, after_ns, wall_ns))
        _, after_ns, wall_ns = min(samples)
        last_ns, self._ahead_ns = self._ahead_ns, wall_ns - after_ns
        stamped_ns = self._clocks.stamp(ancillary)
        if stamped_ns is None or last_ns is None or abs(self._ahead_ns - last_ns) > _STEPPED_NS:
            return read_ns
        return min(read_ns, stamped_ns - self._ahead_ns)


class ClockServer:
    """Answers probes, in a thread of its own, until it is closed.

    Args:
        host: the address of this host on which it listens.
        key: see KEY_BYTES.
        clocks: the clocks of this host.

    Attributes:
        address: its host and port.
    """

    def __init__(self, host: str, key: bytes, *, clocks: Clocks = HERE) -> None:
        self._sock = _udp(host)
        self._sock.bind((host, 0))
        self.address: tuple[str, int] = self._sock.getsockname()[:2]
        self._key = key
        self._clocks = clocks
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="llmperf-clock", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; idempotent."""
        if not self._closed:
            self._closed = True
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # wakes the thread on Linux, although the socket has no peer
            with suppress(OSError), socket.socket(self._sock.family, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", self.address)  # and elsewhere
            self._thread.join()
            self._sock.close()

    def _serve(self) -> None:
        times = PacketTimes(self._clocks)
        while True:
            try:
                data, ancillary, _, peer = self._sock.recvmsg(_QUESTION.size + 1, ANCILLARY_BYTES)
            except OSError:
                return
            if self._closed:
                return
            received_ns = times.arrived_ns(ancillary)
            if len(data) != _QUESTION.size:
                continue
            key, number = _QUESTION.unpack(data)
            if hmac.compare_digest(key, self._key):
                with suppress(OSError):  # its asker may be gone
                    self._sock.sendto(_ANSWER.pack(key, number, received_ns, self._clocks.monotonic()), peer)


class ClockProber:
    """Asks one host's ClockServer.

    Args:
        address: the address of the server.
        key: see KEY_BYTES.
        clocks: the clocks of this host.
    """

    def __init__(self, address: tuple[str, int], key: bytes, *, clocks: Clocks = HERE) -> None:
        self._address, self._key, self._clocks = address, key, clocks
        self._sock = _udp(address[0])
        self._sock.connect(address)
        self._times = PacketTimes(clocks)
        self._number = 0

    def probe(self, count: int = PROBES, *, timeout_s: float = 1.0) -> list[Probe]:
        """The probes that were answered.

        Args:
            count: the wanted number of answers.
            timeout_s: time limit for each answer; lost probes are sent again, up to `count` times in total.

        Raises:
            MeasurementError: no probe was answered.
        """
        probes, lost = list[Probe](), 0
        while len(probes) < count and lost < count:
            answer = self._ask(timeout_s)
            if answer is None:
                lost += 1
                if not probes and lost >= _TRIES:
                    break
            else:
                probes.append(answer)
        if not probes:
            host, port = self._address
            raise MeasurementError(
                f"the clock of host {host} cannot be read: nothing answers UDP on port {port}",
                next_step="is the host up, and does a firewall let UDP through between the hosts?",
            )
        return probes

    def estimate(self) -> ClockOffset:
        """The offset now; see `clock_offset.estimate`."""
        return estimate(self.probe())

    def close(self) -> None:
        """Gives the socket back; idempotent."""
        self._sock.close()

    def _ask(self, timeout_s: float) -> Probe | None:
        self._number += 1
        question = _QUESTION.pack(self._key, self._number)
        sent_ns = self._clocks.monotonic()
        until_s = time.monotonic() + timeout_s
        try:
            self._sock.send(question)
            while (rest_s := until_s - time.monotonic()) > 0:
                self._sock.settimeout(rest_s)
                data, ancillary, _, _ = self._sock.recvmsg(_ANSWER.size + 1, ANCILLARY_BYTES)
                arrived_ns = self._times.arrived_ns(ancillary)
                if len(data) != _ANSWER.size:
                    continue
                key, number, received_ns, answered_ns = _ANSWER.unpack(data)
                if number == self._number and hmac.compare_digest(key, self._key):
                    return Probe(
                        sent_ns=sent_ns, received_ns=received_ns, answered_ns=answered_ns, arrived_ns=arrived_ns
                    )
        except OSError:  # no answer in time, or nobody listens
            return None
        return None


_TRIES = 5  # without any answer


def _udp(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    ask_for_kernel_time(sock)
    return sock
