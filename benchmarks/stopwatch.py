"""How little the stopwatch disturbs, and how exact it is: a row a figure; exit code 1 where one falls short.

    python -m benchmarks.stopwatch [--repetitions 5] [--only cpu|arrival|efficiency|tap|telemetry|gate|look]

Everything is timed against a paced server that writes down when each chunk really left (`calibration_server`). Clients
that are compared run in turn in the same process against the same server. Figures are medians over the repetitions,
or, for errors, the best repetition of each side: what else the machine does only ever adds to them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks import clients, gate_cost, look_cost, tap_cost, telemetry_cost
from benchmarks.rows import Row, show
from pytest_llmperf.measure.calibrate import Truth, arrivals_of, paced_server, truths
from pytest_llmperf.measure.runtimes import Part, Runtime, runtime_of
from pytest_llmperf.measure.runtimes.loop_runtime import LoopRuntime
from pytest_llmperf.measure.wire.prepared_request import prepare
from pytest_llmperf.model import RUNTIMES

TTFT_MS = 50.0

CPU_LOADS = ((2, 115, 230), (2, 1000, 2000))
EFFICIENCY_LOADS = ((2, 115, 230), (2, 1000, 2000), (16, 1000, 1000))
BLOCKED_LOAD, MANY_LOAD = (16, 115, 115), (64, 250, 250)
"""Agents, tok/s of each, tokens of each."""

MOST_BLOCKED = 0.25
"""Error of an arrival over that of its own read while the loop is blocked, p90: 1 if the kernel's time is not used."""

MOST_OF_PLAIN = 0.25
"""Median error of an arrival over that of a plain reader; by the times of our own reads it would be 1 or more."""

LEAST_OF_TRUE = 0.9995
"""Efficiency that is read over the server's own: a client that works for a thousandth of the time falls short."""


def main() -> int:
    """Runs the requested parts and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5, help="of each figure (default 5)")
    parts: dict[str, Callable[[int], list[Row]]] = {
        "cpu": cpu_rows,
        "arrival": arrival_rows,
        "efficiency": efficiency_rows,
        "tap": tap_cost.rows,
        "telemetry": telemetry_cost.rows,
        "gate": gate_cost.rows,
        "look": look_cost.rows,
    }
    parser.add_argument("--only", choices=parts, action="append", help="run these parts only")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only or parts:
        print(f"== measuring: {name}", flush=True)
        rows += parts[name](arguments.repetitions)
    return show(rows)


def play(runtime: Runtime, url: str, agents: int) -> Part:
    """One paced answer for each of `agents` clients."""
    requests = [[prepare(url, "/api/generate", b'{"model": "paced"}', label=f"client {n}")] for n in range(agents)]
    return runtime.run(requests, timeout_s=120)


def cpu_rows(repetitions: int) -> list[Row]:
    """CPU time of one token, ours against theirs, in the same run."""
    rows = []
    for agents, tok_s, tokens in CPU_LOADS:
        runtimes = {name: runtime_of(name) for name in RUNTIMES}
        sides: dict[str, Callable[[str, int], int]] = {
            **{name: lambda url, n, way=way: sum(play(way, url, n).cpu_ns) for name, way in runtimes.items()},
            "ollama": clients.ollama_client,
            "httpx": clients.httpx_lines,
            "aiohttp": clients.aiohttp_bare,
        }
        with paced_server(ttft_ms=TTFT_MS, tok_s=tok_s, tokens=tokens) as url:
            for side in sides.values():
                side(url, 1)  # imports, connections, first use
            times: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(repetitions):
                for name, side in sides.items():
                    times[name].append(side(url, agents) / 1e3 / agents / tokens)
        for runtime in runtimes.values():
            runtime.close()
        us = {name: statistics.median(values) for name, values in times.items()}
        default = us[RUNTIMES[0]]
        load = f"{agents} x {tok_s} tok/s"
        beside = ", ".join(f"{name} {value:.0f} us" for name, value in us.items())
        rows += [
            Row(f"CPU a token, {load}: ours over ollama's", default / us["ollama"], "x", most=0.25, beside=beside),
            Row(f"CPU a token, {load}: ours over bare aiohttp's", default / us["aiohttp"], "x", most=0.6),
            Row(f"CPU a token, {load}: ours over httpx's", default / us["httpx"], "x"),
        ]
    return rows


class Errors(NamedTuple):
    """Arrival minus truth over many tokens, ms; sorted.

    Attributes:
        kernel: errors by the kernel's time, as reported.
        read: errors by the time of the read, as without kernel times.
        ttft: errors of the times to first token, by the kernel's time.
        read_ttft: errors of the times to first token, by the time of the read.
        merged: share of tokens that were read together with later ones.
    """

    kernel: list[float]
    read: list[float]
    ttft: list[float]
    read_ttft: list[float]
    merged: float


def errors_of(part: Part, truth: Mapping[int, Truth]) -> Errors:
    """The errors of all tokens of a part."""
    kernel, read, ttft, read_ttft, merged = [], [], [], [], 0
    for (exchange,) in part.exchanges:
        arrivals, together, number = arrivals_of(exchange)
        known = truth[number]
        reads = [piece.read_ns for piece in exchange.pieces for _ in range(piece.data.count(b'"done": '))]
        kernel += [(at - sent) / 1e6 for at, sent in zip(arrivals, known.sent_ns, strict=True)]
        read += [(at - sent) / 1e6 for at, sent in zip(reads, known.sent_ns, strict=True)]
        true_ns = known.sent_ns[0] - known.arrived_ns
        ttft.append((arrivals[0] - exchange.sent_ns - true_ns) / 1e6)
        read_ttft.append((reads[0] - exchange.sent_ns - true_ns) / 1e6)
        merged += together
    return Errors(sorted(kernel), sorted(read), sorted(ttft), sorted(read_ttft), merged / len(kernel))


def best(errors: Iterable[Sequence[float]], rank: float) -> float:
    """The least, over the repetitions, of this quantile of their sorted values."""
    return min(ordered[int(rank * (len(ordered) - 1))] for ordered in errors)


def p99(errors: Iterable[Sequence[float]]) -> float:
    """The median, over the repetitions, of the 99th percentile of their sorted values."""
    return statistics.median(ordered[int(0.99 * (len(ordered) - 1))] for ordered in errors)


def blocked_loop() -> asyncio.AbstractEventLoop:
    """An event loop that is blocked for 5 ms again and again, at random moments."""
    loop = asyncio.new_event_loop()

    def block() -> None:
        time.sleep(0.005)
        loop.call_later(random.uniform(0.005, 0.03), block)

    loop.call_later(0.02, block)
    return loop


def arrival_rows(repetitions: int) -> list[Row]:
    """Errors against the truth, with the client's event loop blocked on purpose, and at many streams."""
    blocked, many = LoopRuntime("asyncio", blocked_loop), runtime_of(RUNTIMES[0])
    return [
        *_arrival_rows(blocked, BLOCKED_LOAD, repetitions, rank=0.9, more=", loop blocked"),
        *_arrival_rows(many, MANY_LOAD, repetitions, rank=0.5, plain=clients.plain_reader),
    ]


def _arrival_rows(
    runtime: Runtime,
    load: tuple[int, int, int],
    repetitions: int,
    *,
    rank: float,
    plain: Callable[[str, int], Part] | None = None,
    more: str = "",
) -> list[Row]:
    """The plugin's errors over the errors of its own read times, or over another client's errors in the same run."""
    agents, tok_s, tokens = load
    ours, theirs = list[Errors](), list[Errors]()
    with paced_server(ttft_ms=TTFT_MS, tok_s=tok_s, tokens=tokens) as url:
        play(runtime, url, agents)
        truths(url)
        for _ in range(repetitions):
            # the argument on the left is evaluated first: it plays, then the server is asked
            ours.append(errors_of(play(runtime, url, agents), truths(url)))
            theirs.append(errors_of(plain(url, agents), truths(url)) if plain else ours[-1])
    whose, most = ("a plain reader's", MOST_OF_PLAIN) if plain else ("its read's", MOST_BLOCKED)
    name, quantile = f"{agents} x {tok_s} tok/s{more}", f"p{rank * 100:.0f}"
    rows = []
    for figure, mine, reads in (
        ("arrival error", [run.kernel for run in ours], [run.read for run in theirs]),
        ("TTFT error", [run.ttft for run in ours], [run.read_ttft for run in theirs]),
    ):
        beside = (
            f"{runtime.name}; {best(mine, rank):.3f} of {best(reads, rank):.3f} ms at the best; p99 {p99(mine):.3f} of "
            f"{p99(reads):.3f} ms, worst {max(map(max, mine)):.3f} of {max(map(max, reads)):.3f} ms"
        )
        ratio = best(mine, rank) / best(reads, rank)
        rows.append(Row(f"{figure} {quantile}, {name}: over {whose}", ratio, "x", most=most, beside=beside))
    errors = [error for run in ours for error in (*run.kernel, *run.ttft)]
    early = sum(error < 0 for error in errors) / len(errors)
    rows.append(Row(f"arrivals before their truth, {name}: of all", early, "x", most=0, beside=f"{min(errors):.4f} ms"))
    merged = 100 * statistics.median(run.merged for run in ours)
    return [*rows, Row(f"read with later ones, {name}", merged, "%")]


def efficiency_rows(repetitions: int) -> list[Row]:
    """What the harness reads where the truth is 100 %, over what the server's own times give."""
    rows = []
    for agents, tok_s, tokens in EFFICIENCY_LOADS:
        runtime = runtime_of(RUNTIMES[0])
        read, true = [], []
        with paced_server(ttft_ms=TTFT_MS, tok_s=tok_s, tokens=tokens) as url:
            play(runtime, url, agents)
            truths(url)
            for _ in range(repetitions):
                part, known = play(runtime, url, agents), truths(url)
                ends = [exchange.pieces[-1].arrival_ns - part.start_ns for (exchange,) in part.exchanges]
                read.append(100 * sum(ends) / (agents * max(ends)))
                spans = [answer.sent_ns[-1] - answer.arrived_ns for answer in known.values()]
                true.append(100 * sum(spans) / (agents * max(spans)))
        rows.append(
            Row(
                f"efficiency of ideal agents, {agents} x {tok_s} tok/s: over the server's own",
                statistics.median(ours / own for ours, own in zip(read, true, strict=True)),
                "x",
                least=LEAST_OF_TRUE,
                beside=f"{statistics.median(read):.3f} of {statistics.median(true):.3f} %; worst {min(read):.3f} %",
            )
        )
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
