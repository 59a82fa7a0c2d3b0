"""What the wire tap adds to a chunk: two agents at a stated pace, in turn directly and behind the tap.

    python -m benchmarks.tap_cost [--tok-s 115] [--tokens 460] [--pairs 5] [--limit-ms 0.15] [--ordinary]

A server of known truth (`measure/paced.py`) answers two clients at once; the arrival of each chunk at a client is the
kernel's. A chunk's delay is its arrival minus the moment the server sent it. What the tap adds is counted twice: as the
difference between the delays behind the tap and those without it, and, chunk by chunk, as arrival at the client minus
arrival at the tap. Exits 1 where the difference exceeds the limit at the 99th percentile.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from dataclasses import dataclass

from benchmarks.rows import Row
from pytest_llmperf.measure.arrival import KERNEL
from pytest_llmperf.measure.calibrate import arrivals_of, paced_server, truths
from pytest_llmperf.measure.request import prepare
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.tap.framing import spoken
from pytest_llmperf.measure.tap.process import Tap

AGENTS = 2
TOK_S, TOKENS = 115.0, 460
LIMIT_MS = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class TapCost:
    """The figures, in ms; each a pair of the median and the 99th percentile.

    Attributes:
        direct: delay of a chunk to a client.
        tapped: delay of a chunk to a client behind the tap.
        passage: from a chunk's arrival at the tap to its arrival at the client, the same chunks.
        cpu_us: CPU time of the tap for a chunk, microseconds.
        chunks: how many on each side.
        exact: whether all arrivals were the kernel's.
    """

    direct: tuple[float, float]
    tapped: tuple[float, float]
    passage: tuple[float, float]
    cpu_us: float
    chunks: int
    exact: bool

    @property
    def added_ms(self) -> tuple[float, float]:
        """Delay behind the tap minus delay without it, at the median and at the 99th percentile."""
        return self.tapped[0] - self.direct[0], self.tapped[1] - self.direct[1]


def tap_cost(*, tok_s: float = TOK_S, tokens: int = TOKENS, pairs: int = 5, realtime: bool = True) -> TapCost:
    """Measures; takes about `2 * (pairs + 1) * tokens / tok_s` seconds.

    Args:
        tok_s: pace of each of the two agents.
        tokens: chunks of each answer.
        pairs: how often both sides are measured.
        realtime: whether the tap may use the real-time class, where it is allowed to.
    """
    direct: list[int] = []
    tapped: list[int] = []
    passage: list[int] = []
    cpu_ns, sources = 0, set[str]()
    threads, tap = runtime_of("threads"), Tap(realtime=realtime)
    with contextlib.closing(tap), paced_server(ttft_ms=50, tok_s=tok_s, tokens=tokens) as url:
        for pair in range(pairs + 1):  # the first is a warm-up
            for sides in ("direct", "tapped") if pair % 2 else ("tapped", "direct"):
                labels = [f"agent {index}" for index in range(AGENTS)]
                urls = [url] * AGENTS if sides == "direct" else tap.open([url] * AGENTS, labels)
                requests = [[prepare(one, "/api/generate", b"{}", label=one)] for one in urls]
                exchanges = [client[0] for client in threads.run(requests, timeout_s=120).exchanges]
                taken = tap.take() if sides == "tapped" else None
                truth = truths(url)
                if not pair:
                    continue
                sources |= {one.source for one in exchanges}
                at_client = {number: arrivals for arrivals, _, number in map(arrivals_of, exchanges)}
                for number, arrivals in at_client.items():
                    delays = [a - b for a, b in zip(arrivals, truth[number].sent_ns, strict=True)]
                    (direct if taken is None else tapped).extend(delays)
                if taken is not None:
                    cpu_ns += taken.cpu_ns
                    for carried in (one for agent in taken.agents for one in agent):
                        (request,) = spoken(carried, taken, label="")
                        at_tap, _, number = arrivals_of(request.exchange)
                        passage += [a - b for a, b in zip(at_client[number], at_tap, strict=True)]
    return TapCost(
        direct=_figures_ms(direct),
        tapped=_figures_ms(tapped),
        passage=_figures_ms(passage),
        cpu_us=cpu_ns / len(tapped) / 1e3,
        chunks=len(tapped),
        exact=sources == {KERNEL},
    )


def rows(repetitions: int) -> list[Row]:
    """The figures with their limit, for the project's benchmark."""
    cost = tap_cost(pairs=repetitions, tokens=TOKENS)
    beside = f"median {cost.added_ms[0]:.3f} ms; {AGENTS} x {TOK_S:g} tok/s, {cost.chunks} chunks"
    passage = f"median {cost.passage[0]:.3f} ms; {cost.cpu_us:.0f} us of CPU a chunk"
    return [
        Row("the tap adds to a chunk, p99", cost.added_ms[1], "ms", most=LIMIT_MS, beside=beside),
        Row("from a chunk's arrival at the tap to the client's, p99", cost.passage[1], "ms", beside=passage),
    ]


def _figures_ms(values_ns: list[int]) -> tuple[float, float]:
    return statistics.median(values_ns) / 1e6, statistics.quantiles(values_ns, n=100)[98] / 1e6


def main() -> int:
    """Measures and prints a row a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tok-s", type=float, default=TOK_S)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--limit-ms", type=float, default=LIMIT_MS)
    parser.add_argument("--ordinary", action="store_true", help="without the real-time class, as where it is forbidden")
    arguments = parser.parse_args()
    cost = tap_cost(
        tok_s=arguments.tok_s, tokens=arguments.tokens, pairs=arguments.pairs, realtime=not arguments.ordinary
    )
    print(f"{AGENTS} agents at {arguments.tok_s:g} tok/s, {cost.chunks} chunks a side, ms   p50      p99")
    for name, (middle, high) in {
        "delay of a chunk, direct": cost.direct,
        "delay of a chunk, behind the tap": cost.tapped,
        "the tap adds (difference)": cost.added_ms,
        "the tap adds (the same chunks)": cost.passage,
    }.items():
        print(f"{name:<52} {middle:8.3f} {high:8.3f}")
    holds = cost.added_ms[1] <= arguments.limit_ms and cost.exact
    print(f"CPU of the tap for a chunk: {cost.cpu_us:.0f} us; arrivals are {'' if cost.exact else 'NOT '}the kernel's")
    print(f"limit {arguments.limit_ms:g} ms at p99: {'holds' if holds else 'EXCEEDED'}")
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
