"""Verdicts on the real embedded engine: the same thing compared with itself, and regressions that were put in.

`python -m benchmarks.real_engine` (`make proofs-engine`) prints a line a comparison while it runs, then a row a figure
with its limit, and exits 1 where one falls short. It wants a machine with nothing else to do; `--same 4 --injected 1
--sessions 4` tries it out.

Every comparison is a session of its own, with servers started for it, as a CI job would be:

- the same thing: judged by a baseline of several stored sessions, or by turns with a second deployment that is alike;
- `one_instance`: both agents are sent to one instance, by turns with a deployment that has two;
- `neighbour`: a process keeps one core busy while the rounds run, judged by the stored sessions;
- `long_prompt`: agents whose prompts have become twice as long without anybody saying so, judged by the TTFT that their
  stored sessions had.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import httpx

from benchmarks.rows import Row, show
from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.judge.markers import Marker, build
from pytest_llmperf.judge.record import Record
from pytest_llmperf.measure.wire.unique_prefix import prefixes
from pytest_llmperf.model import (
    Agent,
    ExternalAgent,
    GenerationOptions,
    NamedDeployment,
    Outcome,
    Scenario,
    Settings,
    TopologyKind,
)
from pytest_llmperf.report.files.output_formats import save_baseline
from pytest_llmperf.session.session import Session

PROMPT = "The old lighthouse keeper wrote every evening into his log what the sea had brought him that day. "
OPTIONS = GenerationOptions(num_ctx=512, num_predict=16, seed=1, temperature=0.0, num_gpu=0)
TEAM = Scenario(
    name="team", agents=tuple(Agent(name=name, prompts=(2 * PROMPT,), options=OPTIONS) for name in ("x", "y"))
)
NO_LIMITS = 'schema = 1\ndescription = "No limits and no scaled work: what is compared is all that counts."\n'
TTFT = (build("regression", kwargs={"metrics": ("ttft_ms",)}),)


class Stranger:
    """An agent that we did not write: it sends a prompt of its own, whose length nobody tells us."""

    repeats = 4
    _fresh = prefixes()

    async def ask(self, url: str) -> None:
        """One streamed answer; no prompt begins as another."""
        prompt = next(self._fresh) + self.repeats * PROMPT
        body = {"model": await _model(url), "prompt": prompt, "options": OPTIONS.as_request(), "stream": True}
        async with (
            httpx.AsyncClient(trust_env=False, timeout=120) as client,
            client.stream("POST", f"{url}/api/generate", json=body) as answer,
        ):
            async for _ in answer.aiter_bytes():
                pass


async def _model(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return str((await client.get(f"{url}/api/tags")).json()["models"][0]["name"])


STRANGER = Stranger()
STRANGERS = Scenario(name="strangers", agents=tuple(ExternalAgent(name=name, run=STRANGER.ask) for name in ("x", "y")))


@dataclass
class Proof:
    """Where stored sessions lie, how long a comparison may get, and what came out.

    Attributes:
        root: a folder of its own.
        rounds: most rounds of a comparison.
        outcomes: the outcomes of the comparisons so far, by kind: the worst verdict of each, and its seconds.
    """

    root: Path
    rounds: int
    outcomes: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def settings(self, **more: object) -> Settings:
        """The settings of one session."""
        common = Settings(
            backend="embedded",
            baseline="no_limits",
            baselines_dir=str(self.root),
            calibrate=False,
            max_rounds=self.rounds,
        )
        return replace(common, **more)  # type: ignore[arg-type]

    def save(self, scenario: Scenario, sessions: int) -> None:
        """Stores `sessions` healthy sessions."""
        for number in range(1, sessions + 1):
            began_s = time.monotonic()
            settings = self.settings(save=scenario.name, max_rounds=5)
            record = _measured(settings, scenario)
            save_baseline([record], settings, self.root, [record])
            print(f"stored session {number} of {scenario.name}: {time.monotonic() - began_s:.0f} s", flush=True)

    def compare(self, kind: str, settings: Settings, scenario: Scenario = TEAM, specs: Sequence[Marker] = ()) -> None:
        """One comparison, its outcome kept under its kind."""
        began_s = time.monotonic()
        try:
            record = _measured(settings, scenario, specs)
            outcome, words = _worst(record), ", ".join(map(_said, record.verdicts))
        except LlmperfError as error:
            outcome, words = Outcome.INVALID.value, str(error)
        took_s = time.monotonic() - began_s
        of_kind = self.outcomes.setdefault(kind, [])
        of_kind.append((outcome, took_s))
        print(f"{kind} {len(of_kind)}: {outcome} in {took_s:.0f} s: {words}", flush=True)

    def counted(self, kind: str, *outcomes: Outcome) -> int:
        """How many comparisons of a kind came to one of these."""
        return sum(outcome in outcomes for outcome, _ in self.outcomes.get(kind, ()))


def _measured(settings: Settings, scenario: Scenario, specs: Sequence[Marker] = ()) -> Record:
    session = Session(settings, root=Path(settings.baselines_dir))
    try:
        return session.measure(scenario, TopologyKind.DUAL, test=scenario.name, specs=specs)
    finally:
        session.close()


def _worst(record: Record) -> str:
    """The outcome that a test would have after a comparison with several gates."""
    order = (Outcome.FAIL, Outcome.INVALID, Outcome.NOT_COMPARABLE, Outcome.INCONCLUSIVE, Outcome.PASS)
    outcomes = {verdict.outcome for verdict in record.verdicts}
    return next(outcome.value for outcome in order if outcome in outcomes)


def _said(verdict: object) -> str:
    return f"{verdict.gate.metric} {verdict.outcome} ({verdict.rounds} rounds: {verdict.reason})"


@contextmanager
def busy_core() -> Iterator[None]:
    """A process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        yield
    finally:
        process.kill()
        process.wait()


def one_instance(proof: Proof) -> None:
    """Both agents on one instance, by turns with two."""
    two = NamedDeployment(backend="embedded", topology="dual")
    proof.compare("one_instance", proof.settings(against="two", incumbent=two, force_topology="single"))


def neighbour(proof: Proof) -> None:
    """Beside a busy process."""
    with busy_core():
        proof.compare("neighbour", proof.settings(compare=TEAM.name))


def long_prompt(proof: Proof) -> None:
    """Prompts twice as long."""
    Stranger.repeats *= 2
    try:
        proof.compare("long_prompt", proof.settings(compare=STRANGERS.name), STRANGERS, TTFT)
    finally:
        Stranger.repeats //= 2


def same_stored(proof: Proof) -> None:
    """A healthy session against stored ones."""
    proof.compare("same_stored", proof.settings(compare=TEAM.name))


def same_by_turns(proof: Proof) -> None:
    """Two deployments that are alike."""
    proof.compare("same_by_turns", proof.settings(against="itself", incumbent=NamedDeployment(backend="embedded")))


SAME = (same_stored, same_by_turns)
INJECTED = (one_instance, neighbour, long_prompt)


def rows(proof: Proof, took_s: float) -> list[Row]:
    """Every figure with its limit."""
    same = [kind.__name__ for kind in SAME]
    ran = sum(len(proof.outcomes.get(kind, ())) for kind in same)
    good = sum(proof.counted(kind, Outcome.PASS, Outcome.INCONCLUSIVE) for kind in same)
    rows = [
        Row("the same thing: comparisons neither passed nor undecided", ran - good, f"of {ran}", most=1.0),
        *(
            Row(f"  {kind}: passed", proof.counted(kind, Outcome.PASS), f"of {len(proof.outcomes[kind])}")
            for kind in same
            if kind in proof.outcomes
        ),
    ]
    for injected in INJECTED:
        kind = injected.__name__
        if total := len(proof.outcomes.get(kind, ())):
            rows.append(Row(f"{kind}: caught", proof.counted(kind, Outcome.FAIL), f"of {total}", least=float(total)))
    spent = [f"{kind} {sum(s for _, s in ends) / len(ends):.0f} s each" for kind, ends in proof.outcomes.items()]
    rows.append(Row("time for the whole", took_s / 60, "min", beside=", ".join(spent)))
    return rows


def main() -> int:
    """Stored sessions, then comparisons of all kinds by turns, so that drift of the machine meets all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--same", type=int, default=30, help="comparisons of the same thing, half of each way (30)")
    parser.add_argument("--injected", type=int, default=10, help="regressions of each kind (10)")
    parser.add_argument("--sessions", type=int, default=8, help="stored sessions (8)")
    parser.add_argument("--max-rounds", type=int, default=12, help="most rounds of a comparison (12)")
    asked = parser.parse_args()
    plan: list[tuple[Callable[[Proof], None], int]] = [
        (SAME[0], (asked.same + 1) // 2),
        (SAME[1], asked.same // 2),
        *((kind, asked.injected) for kind in INJECTED),
    ]
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llmperf-proof-") as folder:
        proof = Proof(root=Path(folder), rounds=asked.max_rounds)
        (proof.root / "no_limits.toml").write_text(NO_LIMITS, encoding="utf-8")
        for scenario in (TEAM, STRANGERS):
            proof.save(scenario, asked.sessions)
        for turn in count():
            due = [kind for kind, wanted in plan if turn < wanted]
            if not due:
                break
            for kind in due:
                kind(proof)
    return show(rows(proof, time.monotonic() - began_s))


if __name__ == "__main__":
    sys.exit(main())
