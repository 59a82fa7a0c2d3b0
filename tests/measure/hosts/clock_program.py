"""`python -m tests.measure.hosts.clock_program serve|relay|measure JSON`: what runs on a host in namespaces.

It prints one line of JSON when it is ready, or when it is done, and ends with its standard input.
"""

import heapq
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.hosts.clock_offset import estimate, line
from pytest_llmperf.measure.hosts.clock_probe import ClockProber, Clocks, ClockServer
from pytest_llmperf.measure.wire.arrival import Ancillary, hold_kernel_time, stamp_ns

KEY = b"sixteen bytes 16"


def drifting(ppm: int, since_ns: int) -> Callable[[], int]:
    """This host's monotonic clock, but fast by `ppm` since `since_ns`, plus the steps in STEP_NS."""

    def read_ns() -> int:
        now_ns = time.monotonic_ns()
        return now_ns + (now_ns - since_ns) * ppm // 1_000_000 + STEP_NS[0]

    return read_ns


STEP_NS = [0]


def clocks_of(ppm: int, since_ns: int, wall_ns: int) -> Clocks:
    """A host's clocks whose wall clock, with the kernel's stamps on it, is ahead by `wall_ns`."""

    def stamp(ancillary: Ancillary) -> int | None:
        stamped_ns = stamp_ns(ancillary)
        return None if stamped_ns is None else stamped_ns + wall_ns

    return Clocks(monotonic=drifting(ppm, since_ns), wall=lambda: time.time_ns() + wall_ns, stamp=stamp)


def say(words: Any) -> None:
    print(json.dumps(words), flush=True)


def serve(host: str, ppm: int, wall_ns: int) -> None:
    """A ClockServer; a line on standard input steps the clock by that many ns."""
    since_ns = time.monotonic_ns()
    hold = hold_kernel_time()
    server = ClockServer(host, KEY, clocks=clocks_of(ppm, since_ns, wall_ns))
    say({"port": server.address[1], "since_ns": since_ns})
    for told in sys.stdin:
        STEP_NS[0] += int(told)
        say(STEP_NS[0])
    server.close()
    assert hold is not None
    hold.close()


def relay(target: list[Any], delay_s: float, jitter_s: float, seed: int) -> None:
    """Hands datagrams on, each way later by `delay_s` and up to `jitter_s` more; they may overtake each other."""
    draw = random.Random(seed)
    inner, outer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    inner.bind(("127.0.0.1", 0))
    outer.connect(tuple(target))
    due: list[tuple[float, int, bytes, Any]] = []
    changed, peers = threading.Condition(), list[Any]()

    def take(sock: socket.socket, to: Callable[[bytes], None]) -> None:
        while True:
            data, peer = sock.recvfrom(2048)
            if sock is inner:
                peers[:] = [peer]
            with changed:
                at_s = time.monotonic() + delay_s + draw.random() * jitter_s
                heapq.heappush(due, (at_s, draw.getrandbits(60), data, to))
                changed.notify()

    def hand_on() -> None:
        with changed:
            while True:
                if due and (wait_s := due[0][0] - time.monotonic()) <= 0:
                    _, _, data, to = heapq.heappop(due)
                    to(data)
                else:
                    changed.wait(wait_s if due else None)

    for work in (
        lambda: take(inner, outer.send),
        lambda: take(outer, lambda data: inner.sendto(data, peers[0])),
        hand_on,
    ):
        threading.Thread(target=work, daemon=True).start()
    say({"port": inner.getsockname()[1]})
    sys.stdin.read()


def measure(hosts: list[dict[str, Any]], estimates: int, probes: int) -> None:
    """Estimates of every host, in turn, each with its truth; then a step of each, which has to be found.

    A host has an `address`, `ahead_ns` (of the time namespace), `ppm` and `since_ns` of its drift.
    """
    hold = hold_kernel_time()
    probers = [ClockProber((host["address"], host["port"]), KEY) for host in hosts]
    history: list[list[Any]] = [[] for _ in hosts]
    rows = []
    for index in range(estimates):
        for number, (host, prober) in enumerate(zip(hosts, probers, strict=True)):
            try:
                clock = estimate(prober.probe(probes))
                history[number] = [*history[number][-3:], clock]
                if index:
                    line(history[number])
            except MeasurementError as error:
                rows.append({"host": number, "error": str(error)})
                history[number].clear()
                continue
            true_ns = host["ahead_ns"] + (clock.at_ns + host["ahead_ns"] - host["since_ns"]) * host["ppm"] / 1e6
            rows.append({"host": number, "error_ns": clock.offset_ns - true_ns, "bound_ns": clock.bound_ns})
    say(rows)
    for told in sys.stdin:  # the clock of that host was stepped
        number = int(told)
        try:
            history[number].append(probers[number].estimate())
            line(history[number])
        except MeasurementError as error:
            say({"error": str(error)})
        else:
            say({"error": ""})
    assert hold is not None
    hold.close()


if __name__ == "__main__":
    {"serve": serve, "relay": relay, "measure": measure}[sys.argv[1]](*json.loads(sys.argv[2]))
