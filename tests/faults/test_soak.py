"""A harness that runs for hours: its memory, descriptors, threads and children stay what they were after its warm-up.

`LLMPERF_SOAK_HOURS` (12) and `LLMPERF_SOAK_ROUNDS` (2000) say how long. Records are given away here: what is kept of
what was measured takes memory, by how much was measured.
"""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import pytest

from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Agent, GenerationOptions, Scenario, Settings, TopologyKind
from pytest_llmperf.session.session import Session

HOURS = float(os.environ.get("LLMPERF_SOAK_HOURS", "12"))
ROUNDS = int(os.environ.get("LLMPERF_SOAK_ROUNDS", "2000"))
MOST_GROWTH_MB = 5.0
EACH = 20


@dataclass(frozen=True)
class Sample:
    """What the harness takes at a moment."""

    done: float
    rss_mb: float
    descriptors: int
    threads: int
    children: int


def sample(done: float) -> Sample:
    """This process, now."""
    gc.collect()
    me = psutil.Process()
    return Sample(done, me.memory_info().rss / 1e6, me.num_fds(), me.num_threads(), len(me.children(recursive=True)))


def pair(tokens: int, **options) -> Scenario:
    """Two agents with little work, which no baseline makes more."""
    given = GenerationOptions(num_predict=tokens, seed=1, **options)
    agents = tuple(Agent(name=name, prompts=("Go on:",), options=given) for name in "xy")
    return Scenario(name="soak", agents=agents, fixed=("num_predict", *options))


def soak(session: Session, scenario: Scenario, goal: float, done_by: Callable[[Record], float]) -> list[Sample]:
    """Measures until `done_by` adds up to `goal`; takes a sample after each measurement."""
    samples, done = [], 0.0
    while done < goal:
        record = session.measure(scenario, TopologyKind.DUAL, test="soak")
        done += done_by(record)
        del record
        samples.append(sample(done))
        if len(samples) % 20 == 0:
            print(f"{samples[-1]} of {goal:g}", flush=True)
    return samples


def assert_flat(samples: list[Sample], scenario: str) -> None:
    """The last quarter of the samples is compared with the samples after the warm-up, which is the first tenth."""
    warm = samples[len(samples) // 10 :]
    quarter = max(1, len(warm) // 4)
    first, last = warm[:quarter], warm[-quarter:]
    begun_mb = median(sample.rss_mb for sample in first)
    growth_mb = median(sample.rss_mb for sample in last) - begun_mb
    print(
        f"\n{scenario}: {len(samples)} measurements; memory {begun_mb:.1f} MB after the warm-up, "
        f"{growth_mb:+.1f} MB at the end; descriptors {first[0].descriptors} and {last[-1].descriptors}, "
        f"threads {first[0].threads} and {last[-1].threads}, children {first[0].children} and {last[-1].children}"
    )
    assert growth_mb <= MOST_GROWTH_MB
    for name in ("descriptors", "threads", "children"):
        assert getattr(last[-1], name) <= max(getattr(sample, name) for sample in first), name


@pytest.mark.long
def test_twelve_hours_by_a_scripted_clock(tmp_path: Path) -> None:
    """Servers that report the seconds and do not take them: hours of measuring in minutes."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.faults.scripted_time"]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        urls = tuple(f"http://127.0.0.1:{port}" for port in json.loads(server.stdout.readline()))
        settings = Settings(backend="attach", urls=urls, min_rounds=EACH, max_rounds=EACH, calibrate=False)
        session = Session(settings, root=tmp_path)
        try:
            samples = soak(session, pair(16), HOURS * 3600, served_s)
        finally:
            session.close()
            server.stdin.close()
    assert_flat(samples, f"{samples[-1].done / 3600:.1f} hours by the servers' clock, {len(samples) * EACH} rounds")


def served_s(record: Record) -> float:
    """How long the record's rounds took by the servers' clock: one part after the other."""
    return sum(
        sum(request.total_duration_ns for run in part for request in run.requests) / len(part) / 1e9
        for round_ in record.measurement.rounds
        for part in (*((run,) for run in round_.solo), round_.together)
    )


@pytest.mark.long
def test_two_thousand_rounds_on_the_embedded_engine(tmp_path: Path) -> None:
    """Short ones, on a real engine in two processes."""
    settings = Settings(backend="embedded", min_rounds=EACH, max_rounds=EACH, calibrate=False, warmups=1)
    session = Session(settings, root=tmp_path)
    try:
        samples = soak(session, pair(2, num_ctx=256), ROUNDS, lambda record: len(record.measurement.rounds))
    finally:
        session.close()
    assert_flat(samples, f"{samples[-1].done:.0f} rounds on the embedded engine")
