"""Two stored baselines compared: the sessions of the candidate are judged by the sessions of the standard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.judge.baselines.comparability import is_like
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.compared_metrics import compared_in
from pytest_llmperf.judge.gates.change_verdicts import judge_sessions
from pytest_llmperf.judge.gates.comparison_gates import compare_gates
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.gates.target import Target
from pytest_llmperf.model import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import Baseline, Gate, Stored, StoredSession, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A measurement that both baselines hold.

    Attributes:
        key: the key of the measurement.
        old: what the standard holds.
        new: what is judged by it.
        verdicts: one a metric that both hold.
        lacking: metrics of the standard that the candidate has no comparable rounds of.
    """

    key: Key
    old: Stored
    new: Stored
    verdicts: tuple[Verdict, ...]
    lacking: tuple[str, ...] = ()


def compare_stored(
    standard: Baseline,
    candidate: Baseline,
    *,
    settings: Settings | None = None,
    metrics: tuple[str, ...] = (),
) -> tuple[Compared, ...]:
    """Judge a baseline by another, as `--llmperf-compare` would judge its rounds.

    The candidate's sessions of its newest session's deployment are compared by the means of sessions. If they are too
    few for that, all their rounds count together; the error allowed for is then that of a single session, which is
    more than that of several.

    Args:
        standard: what to hold to.
        candidate: what is judged.
        settings: the settings, with the limit of `regression` if there is one; None: the defaults.
        metrics: the metrics to compare; empty: the defaults. Metrics that a session of the standard lacks are left out.

    Returns:
        One for each measurement (test, scenario, topology, work) that both hold, in the standard's order.

    Raises:
        BaselineError: the standard holds none of the metrics of a measurement.
    """
    theirs = {Key.of(entry): entry for entry in candidate.stored}
    both = [(key, old) for old in standard.stored if (key := Key.of(old)) in theirs]
    gates = {
        key: compare_gates(
            standard,
            Target(key=key, facts=theirs[key].session[-1].manifest, settings=settings or Settings()),
            metrics=metrics or compared_in(old),
        )
        for key, old in both
    }
    count = sum(map(len, gates.values()))  # they share the error of a fail
    return tuple(_compared(key, old, theirs[key], gates[key], count) for key, old in both)


def only_in(baseline: Baseline, reference: Baseline) -> tuple[Key, ...]:
    """Measurements that only the first holds."""
    theirs = {Key.of(entry) for entry in reference.stored}
    return tuple(key for entry in baseline.stored if (key := Key.of(entry)) not in theirs)


def _compared(key: Key, old: Stored, new: Stored, gates: Sequence[Gate], count: int) -> Compared:
    """One measurement, judged by its gates; `count` gates share the error."""
    facts = new.session[-1].manifest
    verdicts, lacking = [], []
    for gate in gates:
        sessions = _sessions([session for session in new.session if is_like(session, facts, gate.metric)], gate.metric)
        if sessions:
            verdict = judge_values(gate, [value for session in sessions for value in session], looks=1, gates=count)
            verdicts.append(judge_sessions(verdict, sessions, count))
        else:
            lacking.append(gate.metric)
    return Compared(key=key, old=old, new=new, verdicts=tuple(verdicts), lacking=tuple(lacking))


def _sessions(sessions: Sequence[StoredSession], metric: str) -> list[tuple[float, ...]]:
    """The metric's values in each session that has some."""
    return [tuple(session.rounds[metric]) for session in sessions if session.rounds.get(metric)]
