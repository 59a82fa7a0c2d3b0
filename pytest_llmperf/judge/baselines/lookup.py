"""What a baseline has stored of a measurement, and whether its figures may be compared with those from here.

Ratios travel between machines, though never between a real engine and a simulated one. A machine-bound figure
(tok/s, ms) is compared only where the manifest's identity agrees.
"""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.errors import BaselineError, MeasurementError, UsageError
from pytest_llmperf.judge.baselines.packaged_baselines import to_save
from pytest_llmperf.judge.metrics.catalogue import MetricClass, metric_of
from pytest_llmperf.judge.stats.summary import Aggregate, reference_centre
from pytest_llmperf.model import IDENTITY, Gate
from pytest_llmperf.model.manifest import same_fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_llmperf.model import Baseline, Stored, StoredSession


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """The measurement that is to be judged: which, and on what machine.

    Attributes:
        key: of the measurement.
        facts: of its manifest.
    """

    key: Key
    facts: Mapping[str, str]


def regression_gate(
    metric: str, *, marker: str, delta: float | None, stored: Baseline, here: Here, demanded: bool
) -> Gate:
    """A gate against the stored sessions; of a machine-bound metric, against those of this machine.

    Args:
        metric: a continuous metric.
        marker: that asks for it.
        delta: smallest change that matters; None: the metric's own.
        stored: the baseline with the sessions.
        here: the measurement that will be compared.
        demanded: whether a marker asks for it.

    Raises:
        UsageError: the metric is unknown, or a rate or a CV.
        BaselineError: the measurement is not stored, or a stored session lacks the metric.
    """
    found, entry = metric_of(metric), entry_of(stored, here.key)
    if found.aggregate not in (Aggregate.MEAN, Aggregate.MEDIAN):
        raise UsageError(f"{metric} has no regression gate", next_step="use the contention or consistency marker")
    again = f"save it anew under another name: pytest --llmperf-save NAME, with {metric} defined"
    lacking = [session.saved_at for session in entry.session if metric not in session.rounds]
    if lacking:
        raise BaselineError(
            f"baseline {stored.name} has no {metric} of {here.key} in the session saved at {lacking[0]}",
            next_step=f"{again}, or name other metrics: regression(metrics=(...))",
        )
    machine = found.kind is MetricClass.MACHINE
    faults = [_unlike(session, here.facts, machine=machine) for session in entry.session]
    alike = [session for session, fault in zip(entry.session, faults, strict=True) if not fault]
    # With none to compare with, all are kept for the centre that is shown; the newest says why there is no verdict.
    sessions, why = (alike, "") if alike else (list(entry.session), faults[-1])
    reference = tuple(tuple(session.rounds[metric]) for session in sessions)
    try:
        centre = reference_centre(found.aggregate, reference)
    except MeasurementError as error:
        raise BaselineError(
            f"baseline {stored.name}, {metric} of {here.key}: {error.args[0]}", next_step=again
        ) from error
    count = f"{len(sessions)} session{'' if len(sessions) == 1 else 's'}"
    return Gate(
        marker=marker,
        metric=metric,
        bound=found.good,
        limit=centre,
        source=f"baseline {stored.name}, {count}, the newest of {sessions[-1].saved_at}",
        delta=found.delta if delta is None else delta,
        reference=reference,
        not_comparable=why,
        demanded=demanded,
        baseline=stored.name,
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
        held = "; ".join(f"scenario {e.scenario}, topology {e.topology}, workload {e.workload}" for e in same_test)
        save = f"if scenario, prompts or options changed on purpose, {save}"
    raise BaselineError(f"baseline {stored.name} has no stored session of {key}; it has {held}", next_step=save)


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that is most like it, when one is; else nothing."""
    return next(iter(difflib.get_close_matches(name, sorted(set(names)), n=1, cutoff=0.6)), "")


def _what(key: Key) -> tuple[str, str, str]:
    """A key without its test."""
    return key.scenario, key.topology, key.workload


def differences(stated: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    """Identity keys that a baseline states and that are not the same here, each `key: baseline X, here Y`.

    Keys that the baseline does not state are not compared; a key that is absent here counts as differing.
    """
    return tuple(
        f"{key}: baseline {stated[key]}, here {here.get(key, 'not known')}"
        for key in IDENTITY
        if key in stated and not same_fact(key, stated[key], here.get(key))
    )


def other_machine(stated: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Why a machine-bound figure cannot be compared, or nothing."""
    if not any(key in IDENTITY for key in stated):
        return "the baseline states no machine"
    return "; ".join(differences(stated, here))


def is_like(session: StoredSession, facts: Mapping[str, str], metric: str) -> bool:
    """Whether a stored session's figures of a metric may be compared with those from where these facts hold."""
    return not _unlike(session, facts, machine=metric_of(metric).kind is MetricClass.MACHINE)


def _unlike(session: StoredSession, facts: Mapping[str, str], *, machine: bool) -> str:
    """Why a stored session cannot be compared with here, or nothing."""
    if machine:
        # Both are whole manifests: what only one of them knows (a GPU that was added) differs as well.
        unknown = {key: "not known" for key in IDENTITY if key in facts and key not in session.manifest}
        return other_machine({**session.manifest, **unknown}, facts) if session.manifest else other_machine({}, facts)
    stated, here = session.manifest.get("backend"), facts.get("backend")
    if stated != here and "simulated" in (stated, here):
        return f"backend: baseline {stated or 'not known'}, here {here or 'not known'}"
    return ""
