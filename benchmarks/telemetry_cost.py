"""What telemetry and live view cost, and whether they move what is measured: rounds with both and without, in turn.

    python -m benchmarks.telemetry_cost [--repetitions 5]

Two ideal agents, whose true efficiency is 100 %, run against a paced server. Two scripted servers run beside it, and
telemetry samples their processes as in a measurement. Each repetition is a round without both and a round with both.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr
from dataclasses import replace

from benchmarks.rows import Row, show
from pytest_llmperf.judge.diagnosis.machine_health import sampled_s
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.measure.calibrate import paced_server
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.model import RUNTIMES, Agent, Instance, Measurement, Scenario, Topology, TopologyKind
from pytest_llmperf.report.terminal.progress_line import ProgressLine
from pytest_llmperf.servers.processes.server_process import OwnServer
from pytest_llmperf.telemetry.machine_reader import Machine
from pytest_llmperf.telemetry.process_tree import process_of
from pytest_llmperf.telemetry.sampler import Sampler

TOK_S, TOKENS, TTFT_MS = 115, 345, 50.0
EVERY_S = 1.0
"""The default of `--llmperf-telemetry`."""

MOST_OF_CLIENT = 0.5
"""CPU of both over that of the clients, which read 230 tokens a second: 0.2 on machines quiet and busy."""

LEAST_OF_WITHOUT = 0.9995
"""Efficiency read with both over that without: as little as clients themselves may cost."""

MOST_OF_LOOP = 0.25
"""How long samples keep another thread waiting over what a loop of plain Python does; 0.02 to 0.07 here. A sample that
computes for milliseconds and never lets another thread in is such a loop."""

PAIR = Scenario(name="pair", agents=tuple(Agent(name=name, prompts=("tell me",)) for name in "xy"))


def rows(repetitions: int) -> list[Row]:
    """CPU of both, and the efficiency that is read with them and without."""
    read: dict[bool, list[float]] = {False: [], True: []}
    process_ns: dict[bool, list[float]] = {False: [], True: []}
    live_ns = round_ns = 0
    with ExitStack() as stack:
        url = stack.enter_context(paced_server(ttft_ms=TTFT_MS, tok_s=TOK_S, tokens=TOKENS))
        roots = {}
        for name in "ab":
            server = OwnServer(["--engine", "scripted"], label=f"instance {name}")
            stack.callback(server.stop)
            server.port(60)
            roots[name] = process_of(server.pid)
        topology = Topology(
            kind=TopologyKind.DUAL,
            instances=tuple(Instance(name=name, url=url) for name in "ab"),
            model="paced",
            backend="attach",
        )
        runtime = runtime_of(RUNTIMES[0])
        stack.callback(runtime.close)
        rounds = Rounds(PAIR, topology, runtime=runtime, timeout_s=120)
        sampler = Sampler(Machine(roots), every_s=EVERY_S, complete=True)
        live, measurement = (
            ProgressLine(None, None, plain=True),
            Measurement(scenario=PAIR, topology=topology, rounds=()),
        )
        rounds.warm_up(1)
        for index in range(2 * repetitions):
            both = bool(index % 2)
            began_ns, wall_ns = time.process_time_ns(), time.monotonic_ns()
            if both:
                with sampler.round(index):
                    round_ = rounds.run(index)
                shown_ns = time.thread_time_ns()
                measurement = replace(measurement, rounds=(*measurement.rounds, round_), telemetry=sampler.seen())
                with redirect_stderr(io.StringIO()):
                    live.round_done(measurement, ())
                live_ns += time.thread_time_ns() - shown_ns
                round_ns += time.monotonic_ns() - wall_ns
            else:
                round_ = rounds.run(index)
            process_ns[both].append((time.process_time_ns() - began_ns) / (time.monotonic_ns() - wall_ns))
            read[both] += series(replace(measurement, rounds=(round_,)), "efficiency_pct")
    seen = sampler.seen()
    telemetry, shown = seen.cost_s / sampled_s(seen), live_ns / round_ns
    alone, more = statistics.median(process_ns[False]), statistics.median(process_ns[True])
    with_, without = statistics.median(read[True]), statistics.median(read[False])
    held_ms, loop_ms = longest_holds_ms(Machine(roots))
    load = f"2 x {TOK_S} tok/s"
    return [
        Row(
            f"CPU of telemetry and live view, {load}: over the clients'",
            (telemetry + shown) / alone,
            "x",
            most=MOST_OF_CLIENT,
            beside=f"% of one core: telemetry {100 * telemetry:.3f}, live view {100 * shown:.3f}, clients "
            f"{100 * alone:.3f}; with minus without: {100 * (more - alone):+.3f}",
        ),
        Row(
            f"efficiency with both, {load}: over that without",
            with_ / without,
            "x",
            least=LEAST_OF_WITHOUT,
            beside=f"with {with_:.4f} %, without {without:.4f} %",
        ),
        Row("CPU of the dearest sample in a round", seen.dearest_ms, "ms"),
        Row(
            "samples keep another thread waiting, p99: over a plain loop",
            held_ms / loop_ms,
            "x",
            most=MOST_OF_LOOP,
            beside=f"200 samples on end {held_ms:.2f} ms, a loop of plain Python {loop_ms:.2f} ms",
        ),
    ]


def longest_holds_ms(machine: Machine) -> tuple[float, float]:
    """How long samples keep another thread waiting, and how long a loop does that only computes."""

    def samples() -> None:
        for index in range(200):
            machine.sample(index, 0, timed=True)

    def loop() -> None:
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            pass

    return late_ms(samples), late_ms(loop)


def late_ms(work: Callable[[], None]) -> float:
    """How late another thread is that wakes up every 0.2 ms, while this is done; the 99th percentile.

    The worst is whatever else the system does; what the work does is in each of them.
    """
    late_ns: list[int] = []
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            due_ns = time.monotonic_ns() + 200_000
            time.sleep(0.0002)
            late_ns.append(time.monotonic_ns() - due_ns)

    thread = threading.Thread(target=beat)
    thread.start()
    work()
    over.set()
    thread.join()
    return sorted(late_ns)[int(0.99 * (len(late_ns) - 1))] / 1e6


def main() -> int:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5, help="pairs of rounds (default 5)")
    return show(rows(parser.parse_args().repetitions))


if __name__ == "__main__":
    sys.exit(main())
