"""What a baseline has stored of a measurement."""

from __future__ import annotations

import difflib
import hashlib
import json
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llmperf.errors import BaselineError
from pytest_llmperf.judge.baselines.baseline_files import to_save
from pytest_llmperf.model import Agent, RecordedAgent, team_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llmperf.model import AnyAgent, Baseline, Measurement, Scenario, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The key that a measurement must share with a stored measurement to be compared with it.

    Attributes:
        test: the test's node id.
        scenario: the scenario's name.
        topology: the topology's kind.
        workload: fingerprint of the scenario as it runs, see `baselines.fingerprint`.
        recording: the replayed recording in words, for messages; it is part of the workload.
    """

    test: str
    scenario: str
    topology: str
    workload: str
    recording: str = field(default="", compare=False)

    @classmethod
    def of(cls, entry: Stored) -> Key:
        """The key of a stored measurement."""
        return cls(
            test=entry.test,
            scenario=entry.scenario,
            topology=entry.topology,
            workload=entry.workload,
            recording=entry.session[-1].manifest.get("recording", ""),
        )

    def __str__(self) -> str:
        return f"{self.test} ({self.work})"

    @property
    def work(self) -> str:
        """Scenario, topology and workload, in words."""
        recording = f", recording {self.recording}" if self.recording else ""
        return f"scenario {self.scenario}, topology {self.topology}, workload {self.workload}{recording}"


def fingerprint(scenario: Scenario) -> str:
    """A short SHA-256 (16 hex digits) of what the agents do, in their order.

    It covers, for built-in agents: name, prompts, options and, if set, `think`; for recorded agents: name and the hash
    of their requests; for external agents: name and command, or the callable's qualified name; for all, if set: the
    agents before them, loops and pauses.
    """
    work = list(map(_work, scenario.agents))
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:16]


def _work(agent: AnyAgent) -> list[object]:
    """The work of an agent, and the agents and pauses that it waits for, if any."""
    waits: dict[str, object] = {"after": agent.after}
    if isinstance(agent, Agent):
        work: list[object] = [agent.name, list(agent.prompts), agent.options.as_request()]
        work += [] if agent.think is None else [agent.think]
        loop = [agent.loop.back_to, agent.loop.times] if agent.loop else []
        waits |= {"loop": loop, "think_s": agent.think_s, "tool_s": agent.tool_s}
    else:
        kind = "recorded" if isinstance(agent, RecordedAgent) else "external"
        work = [agent.name, kind, agent.stored]
        waits["team"] = team_of(agent)
    given = {name: value for name, value in waits.items() if value}
    return [*work, given] if given else work


def key_of(test: str, measurement: Measurement) -> Key:
    """The key under which a measurement is stored.

    Args:
        test: node id, or a script's own name for it.
        measurement: the measurement as it ran.
    """
    return Key(
        test=test,
        scenario=measurement.scenario.name,
        topology=str(measurement.topology.kind),
        workload=fingerprint(measurement.scenario),
        recording=measurement.scenario.recording,
    )


def entry_of(stored: Baseline, key: Key) -> Stored:
    """What a baseline has stored of a measurement.

    Raises:
        BaselineError: nothing; the text says what it has of the same test.
    """
    save = f"save it first: {to_save(stored.name)}"
    same_test = [entry for entry in stored.stored if entry.test == key.test]
    for entry in same_test:
        if (entry.scenario, entry.topology, entry.workload) == _what(key):
            return entry
    held = "nothing of this test"
    twins = [e.test for e in stored.stored if (e.scenario, e.topology, e.workload) == _what(key)]
    if not same_test and (old := nearest(key.test, twins)):
        held = f"the same scenario, topology and workload of test {old}"
        names = " ".join(map(shlex.quote, (stored.name, old, key.test)))
        save = f"if the test was renamed: pytest-llmperf rename {names}; else {save}"
    if same_test:
        held = "; ".join(Key.of(entry).work for entry in same_test)
        save = f"if scenario, prompts or options changed on purpose, {save}"
        if key.recording and any(_is_of_other_requests(entry, key) for entry in same_test):
            held += ": the recording was changed, so this is other work, not a slower server"
            save = f"if the agents were changed on purpose, {save.rpartition(', ')[2]}; else replay the old recording"
    raise BaselineError(f"baseline {stored.name} has no stored session of {key}; it has {held}", next_step=save)


def _is_of_other_requests(entry: Stored, key: Key) -> bool:
    """Whether it is stored of another recording for the same scenario."""
    stored = Key.of(entry)
    return bool(stored.recording) and (stored.scenario, stored.topology) == (key.scenario, key.topology)


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that is most like it, when one is; else nothing."""
    return next(iter(difflib.get_close_matches(name, sorted(set(names)), n=1, cutoff=0.6)), "")


def _what(key: Key) -> tuple[str, str, str]:
    """A key without its test."""
    return key.scenario, key.topology, key.workload
