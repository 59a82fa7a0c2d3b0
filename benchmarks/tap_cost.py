"""What the wire tap adds to a chunk, beside no tap and beside a plain forwarder: two agents at a stated pace, in turn.

    python -m benchmarks.tap_cost [--tok-s 115] [--tokens 115] [--repetitions 20] [--limit 2] [--ordinary]

A server of known truth (`calibration_server`) answers two clients at once; the arrival of each chunk at a client is the
kernel's. A chunk's delay is its arrival minus the moment the server sent it. What the tap adds is counted twice: as the
difference between the delays behind the tap and those without it, and, chunk by chunk, as arrival at the client minus
arrival at the tap. The limit is one of the delay behind the tap over that behind a forwarder of ten lines
(`benchmarks/forwarder.py`): the 95th percentile of each repetition, and of these the lower quartile, since what else
the machine does only ever adds to them, and does so again and again.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.rows import Row, show
from pytest_llmperf.measure.calibrate import arrivals_of, paced_server, truths
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.tap.http_exchanges import exchanges_of
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.wire.arrival import KERNEL
from pytest_llmperf.measure.wire.prepared_request import prepare

AGENTS = 2
TOK_S, TOKENS, TIMES = 115.0, 115, 4
SIDES = ("direct", "tapped", "forwarded")

MOST = 2.0
"""Delay behind the tap over that behind the forwarder, which runs in the same class of the scheduler if it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TapCost:
    """The figures.

    Attributes:
        delays_ns: delays of the chunks to their clients in each repetition, by side: `direct`, `tapped`, `forwarded`.
        passage_ns: times from a chunk's arrival at the tap to its arrival at the client, for the chunks of `tapped`.
        cpu_us: CPU time of the tap for a chunk, microseconds.
        exact: whether all arrivals were the kernel's.
    """

    delays_ns: dict[str, list[list[int]]]
    passage_ns: list[int]
    cpu_us: float
    exact: bool

    def calm_ms(self, side: str) -> float:
        """The 95th percentile of the delays, in a repetition that is calmer than three quarters of them."""
        high = sorted(sorted(delays)[int(0.95 * (len(delays) - 1))] for delays in self.delays_ns[side])
        return high[len(high) // 4] / 1e6

    def all_ms(self, side: str) -> tuple[float, float]:
        """Median and 99th percentile of the delays of all repetitions."""
        return _figures_ms([delay_ns for delays in self.delays_ns[side] for delay_ns in delays])

    @property
    def ratio(self) -> float:
        """Behind the tap over behind the forwarder."""
        return self.calm_ms("tapped") / self.calm_ms("forwarded")


@contextlib.contextmanager
def forwarder(url: str) -> Iterator[str]:
    """The address of a plain forwarder to this one."""
    command = [sys.executable, "-m", "benchmarks.forwarder", url.rpartition(":")[2]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def tap_cost(*, tok_s: float = TOK_S, tokens: int = TOKENS, repetitions: int = 20, realtime: bool = True) -> TapCost:
    """Measures; takes about `3 * (repetitions + 1) * tokens / tok_s` seconds.

    Args:
        tok_s: pace of each of the two agents.
        tokens: chunks of each answer.
        repetitions: how often each side is measured.
        realtime: whether the tap may use the real-time class if the system allows it.
    """
    delays_ns: dict[str, list[list[int]]] = {side: [] for side in SIDES}
    passage_ns, cpu_ns, sources = list[int](), 0, set[str]()
    labels = [f"agent {index}" for index in range(AGENTS)]
    threads, tap = runtime_of("threads"), Tap(realtime=realtime)
    with (
        contextlib.closing(tap),
        paced_server(ttft_ms=50, tok_s=tok_s, tokens=tokens) as url,
        forwarder(url) as forwarding,
    ):
        for repetition in range(repetitions + 1):  # the first is a warm-up
            for turn in range(len(SIDES)):
                side = SIDES[(repetition + turn) % len(SIDES)]
                urls = [forwarding if side == "forwarded" else url] * AGENTS
                urls = list(tap.open(urls, labels)) if side == "tapped" else urls
                requests = [[prepare(address, "/api/generate", b"{}", label=address)] for address in urls]
                exchanges = [client[0] for client in threads.run(requests, timeout_s=120).exchanges]
                capture = tap.take() if side == "tapped" else None
                truth = truths(url)
                if not repetition:
                    continue
                sources |= {exchange.source for exchange in exchanges}
                at_client = {number: arrivals for arrivals, _, number in map(arrivals_of, exchanges)}
                delays_ns[side].append(
                    [
                        arrival - sent
                        for number, arrivals in at_client.items()
                        for arrival, sent in zip(arrivals, truth[number].sent_ns, strict=True)
                    ]
                )
                if capture is not None:
                    cpu_ns += capture.cpu_ns(capture.end_ns)
                    for carried in (connection for agent in capture.agents for connection in agent):
                        (request,) = exchanges_of(carried, capture, label="")
                        at_tap, _, number = arrivals_of(request.exchange)
                        passage_ns += [a - b for a, b in zip(at_client[number], at_tap, strict=True)]
    return TapCost(
        delays_ns=delays_ns,
        passage_ns=passage_ns,
        cpu_us=cpu_ns / len(passage_ns) / 1e3,
        exact=sources == {KERNEL},
    )


def rows(repetitions: int, *, most: float = MOST, **more: object) -> list[Row]:
    """The figures, the first with its limit; four short repetitions for each one asked for."""
    cost = tap_cost(repetitions=TIMES * repetitions, **more)  # type: ignore[arg-type]
    direct, tapped, passage = cost.all_ms("direct"), cost.all_ms("tapped"), _figures_ms(cost.passage_ns)
    best = f"{cost.calm_ms('tapped'):.3f} of {cost.calm_ms('forwarded'):.3f} ms"
    return [
        Row(
            "delay of a chunk behind the tap, p95: over a plain forwarder",
            cost.ratio,
            "x",
            most=most,
            beside=f"{best}, direct {cost.calm_ms('direct'):.3f}; {AGENTS} agents, {len(cost.passage_ns)} chunks"
            + ("" if cost.exact else "; NOT the kernel's times"),
        ),
        Row(
            "the tap adds to a chunk, p99", tapped[1] - direct[1], "ms", beside=f"median {tapped[0] - direct[0]:.3f} ms"
        ),
        Row(
            "from a chunk's arrival at the tap to the client's, p99",
            passage[1],
            "ms",
            beside=f"median {passage[0]:.3f} ms; {cost.cpu_us:.0f} us of CPU a chunk",
        ),
    ]


def _figures_ms(values_ns: list[int]) -> tuple[float, float]:
    return statistics.median(values_ns) / 1e6, statistics.quantiles(values_ns, n=100)[98] / 1e6


def main() -> int:
    """Measures and prints a row a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tok-s", type=float, default=TOK_S)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--limit", type=float, default=MOST)
    parser.add_argument("--ordinary", action="store_true", help="without the real-time class, as where it is forbidden")
    given = parser.parse_args()
    return show(
        rows(
            max(1, given.repetitions // TIMES),
            most=given.limit,
            tok_s=given.tok_s,
            tokens=given.tokens,
            realtime=not given.ordinary,
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
