"""Random kills of pytest, its servers, their supervisors and its clients: nothing is left, and the next run is green.

`LLMPERF_KILLS` says how many (200), `LLMPERF_KILLS_SEED` which (printed).
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
import uuid
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.plugin.conftest import CACHE, FAST, PAIR, Aftermath

KILLS = int(os.environ.get("LLMPERF_KILLS", "200"))
LONGEST_S = 240.0
"""More than any run takes on a busy machine: a run that is not over by then hangs."""

TEST = """
from pair import PAIR

def test_pair(dual_ollama, run_agents):
    run_agents(PAIR, on=dual_ollama)
"""
WAYS = ((), (), ("--llmperf-runtime=processes",), ("--llmperf-runtime=asyncio",), ("-n", "1"))
NUMBERS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
WRITES = ("--llmperf-json=run.json", "--llmperf-save=mine")


class Run:
    """An inner pytest from its start to its end.

    Args:
        folder: the inner project.
        environment: with the mark and the temporary folder.
        options: options of the inner pytest.
    """

    def __init__(self, folder: Path, environment: dict[str, str], *options: str) -> None:
        self._output = folder.parent / "output"
        with self._output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *FAST, f"--basetemp={folder.parent / 'pytest'}", *options],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text("utf-8", "replace")

    def ends(self) -> int:
        """Its exit code; fails where it hangs."""
        try:
            return self.process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"it hangs; so far: {self.output()}")


def strike(run: Run, aftermath: Aftermath, chance: random.Random) -> str:
    """Kills pytest itself or some process that it started, and returns its name; empty if no process was left."""
    if run.process.poll() is not None:
        return ""
    others = [process for process in aftermath.processes() if process.pid != run.process.pid]
    victim = psutil.Process(run.process.pid) if chance.random() < 0.4 or not others else chance.choice(others)
    with contextlib.suppress(psutil.NoSuchProcess):
        words = " ".join(victim.cmdline())
        if run.process.poll() is not None or not words:
            return ""
        number = chance.choice(NUMBERS) if victim.pid == run.process.pid else signal.SIGKILL
        victim.send_signal(number)
        who = (
            "pytest"
            if victim.pid == run.process.pid
            else next((name for name in ("supervisor", "serve", "worker", "execnet") if name in words), "another")
        )
        return f"{who}, {signal.Signals(number).name}"
    return ""


def assert_no_torn_file(folder: Path) -> None:
    """What was written is whole."""
    for file in folder.glob("*.json"):
        assert json.loads(file.read_text())["tests"]
    for file in folder.glob("baselines/*.toml"):
        tomllib.loads(file.read_text())


@pytest.mark.long
def test_random_kills(tmp_path: Path) -> None:
    """Whoever dies, whenever: no orphan, no port, no lock, no torn file, no hanging run; the next run is green."""
    seed = int(os.environ.get("LLMPERF_KILLS_SEED", time.time_ns() % 10**6))
    chance, struck, codes, spans = random.Random(seed), Counter(), Counter(), [4.0]
    mark, temp, folder = uuid.uuid4().hex, tmp_path / "temp", tmp_path / "project"
    temp.mkdir()
    folder.mkdir()
    (folder / "pair.py").write_text(PAIR)
    (folder / "test_it.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    folders = {"TMPDIR": str(temp), "LLMPERF_LOCK_DIR": str(temp), "XDG_CACHE_HOME": CACHE}
    environment = {**os.environ, "LLMPERF_TEST_MARK": mark, **folders}
    aftermath = Aftermath(mark, temp, folder)
    while struck.total() < KILLS:
        began_s = time.monotonic()
        with contextlib.ExitStack() as stack:
            run = Run(folder, environment, *chance.choice(WAYS), *WRITES)
            stack.callback(lambda run=run: run.process.poll() is None and run.process.kill())
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(chance.uniform(0, max(spans)))
            who = strike(run, aftermath, chance)
            code = run.ends()
            if who:
                struck[who] += 1
                codes[code] += 1
            else:
                spans.append(time.monotonic() - began_s)  # it ended first: how long a run takes here
                del spans[0]
            if who.startswith("pytest") or code in (0, 1, 2):
                aftermath.assert_nothing_left()
            else:
                pytest.fail(f"seed {seed}, {who}: exit code {code}: {run.output()}")
            assert_no_torn_file(folder)
            green = Run(folder, environment, "--llmperf-rounds=1", "--llmperf-max-rounds=1", *WRITES)
            assert green.ends() == 0, f"seed {seed}, after {who}: {green.output()}"
            aftermath.assert_nothing_left()
            assert_no_torn_file(folder)
            if who and struck.total() % 20 == 0:
                print(f"{struck.total()} of {KILLS} kills", flush=True)
            (folder / "run.json").unlink()
            for file in folder.glob("baselines/*"):
                if struck.total() % 10 == 0:
                    file.unlink()
    print(f"\n{struck.total()} kills (seed {seed}): {dict(struck)}; exit codes {dict(codes)}; nothing left, all green")
