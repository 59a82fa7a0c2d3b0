"""What a baseline has stored of a measurement."""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.errors import BaselineError
from pytest_llmperf.judge.baselines.packaged_baselines import to_save

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llmperf.model import Baseline, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What must be equal for a measurement and a stored one to be of the same thing.

    Attributes:
        test: node id.
        scenario: its name.
        topology: its kind.
        workload: fingerprint of the scenario as it runs, see `baselines.fingerprint`.
    """

    test: str
    scenario: str
    topology: str
    workload: str

    @classmethod
    def of(cls, entry: Stored) -> Key:
        """That of a stored measurement."""
        return cls(test=entry.test, scenario=entry.scenario, topology=entry.topology, workload=entry.workload)

    def __str__(self) -> str:
        return f"{self.test} (scenario {self.scenario}, topology {self.topology}, workload {self.workload})"


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
        held = "; ".join(f"scenario {e.scenario}, topology {e.topology}, workload {e.workload}" for e in same_test)
        save = f"if scenario, prompts or options changed on purpose, {save}"
    raise BaselineError(f"baseline {stored.name} has no stored session of {key}; it has {held}", next_step=save)


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that is most like it, when one is; else nothing."""
    return next(iter(difflib.get_close_matches(name, sorted(set(names)), n=1, cutoff=0.6)), "")


def _what(key: Key) -> tuple[str, str, str]:
    """A key without its test."""
    return key.scenario, key.topology, key.workload
