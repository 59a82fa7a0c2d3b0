"""The parts of an agent's work that take longer than in stored sessions, or than on the incumbent, and since when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.judge.baselines.comparability import is_like
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.trend import commit_of
from pytest_llmperf.judge.diagnosis.phase_findings import PhaseRegression, sessions_words
from pytest_llmperf.judge.metrics.time_breakdown import COUNTS, PARTS, STORED_PARTS, TIMED, Times, more, times_of
from pytest_llmperf.judge.stats.changepoints import breaks

if TYPE_CHECKING:
    from pytest_llmperf.model import Baseline, Measurement, StoredSession

_KEYS = (*TIMED, *COUNTS)

_LEAST_SHARE, _LEAST_OF_ALL = 0.1, 0.01
"""Longer by less than this share of the part, or of the whole run, is not worth a word."""

_STEADILY = 0.8
"""The share of pairs with an incumbent that must agree."""

_ERROR = 0.01
"""How often a part that did not change may be said to have changed at some session."""

_MOST_SESSIONS = 40
"""The newest of them are looked at."""


def parts_of(measurement: Measurement) -> dict[str, tuple[float, ...]]:
    """What a stored session keeps of the parts; see `StoredSession.parts`. Empty where an agent did not run alone."""
    columns = _columns(measurement)
    typical = [_typical(column) for column in columns]
    if not columns:
        return {}
    return {
        name: tuple(round(times[key], 4) for times in typical) for name, key in zip(STORED_PARTS, _KEYS, strict=True)
    }


def than_stored(measurement: Measurement, key: Key, baseline: Baseline) -> tuple[PhaseRegression, ...]:
    """The parts that take longer than in a baseline's sessions, the largest first; empty if no session has parts.

    A part counts that is further above all sessions than they lie apart, or that has changed its level among them.
    """
    columns, facts = _columns(measurement), measurement.manifest.facts
    sessions = _comparable(columns, facts, key, baseline)
    if not sessions:
        return ()
    now = [_typical(column) for column in columns]
    old = [[_stored(session, at) for at in range(len(now))] for session in sessions]
    usual = [_typical([session[at] for session in old]) for at in range(len(now))]
    grown = [[more(times, base) for times, base in zip(session, usual, strict=True)] for session in (*old, now)]
    slower = []
    for phase in _each(measurement):
        values = [phase.of(growth) for growth in grown]
        before, since = _moved(values, sessions)
        if since is None or not phase.matters(values[-1] - before, now):
            continue
        known = "" if since.manifest.get("git_commit") == facts.get("git_commit") else commit_of(since.manifest)
        slower.append(
            phase.slower(
                values[-1] - before,
                now,
                baseline=baseline.name,
                count=len(sessions),
                since=f"{known} of {since.saved_at[:10]}" if known else since.saved_at[:16].replace("T", " "),
                commit="" if known.endswith("*") else known,
            )
        )
    return _largest_first(slower)


def held_in_words(measurement: Measurement, key: Key, baseline: Baseline) -> str:
    """The sessions that `than_stored` compares with, in words; empty if there are none."""
    count = len(_comparable(_columns(measurement), measurement.manifest.facts, key, baseline))
    return _sessions(baseline.name, count) if count else ""


def than_incumbent(measurement: Measurement, incumbent: Measurement, name: str) -> tuple[PhaseRegression, ...]:
    """The parts that take longer than on the incumbent that took turns, the largest first."""
    columns, others = _columns(measurement), _columns(incumbent)
    if not columns or len(columns) != len(others):
        return ()
    pairs = [
        [more(times, base) for times, base in zip(new, old, strict=True)]
        for new, old in zip(zip(*columns, strict=True), zip(*others, strict=True), strict=False)
    ]
    now = [_typical(column) for column in columns]
    slower = []
    for phase in _each(measurement):
        values = [phase.of(pair) for pair in pairs]
        agree = sum(value > 0 for value in values) >= _STEADILY * len(values)
        if agree and phase.matters(median(values), now):
            slower.append(phase.slower(median(values), now, incumbent=name, count=len(pairs)))
    return _largest_first(slower)


@dataclass(frozen=True, slots=True)
class _Which:
    """A part of an agent's work; `alone` and `together` are places among the runs, None: company is not meant."""

    part: str
    agent: str
    instance: str
    alone: int
    together: int | None

    def of(self, grown: Sequence[Mapping[str, float]]) -> float:
        """By how much it has grown, ms."""
        alone = grown[self.alone][self.part]
        return alone if self.together is None else grown[self.together][self.part] - alone

    def matters(self, longer_ms: float, now: Sequence[Times]) -> bool:
        """Whether that is worth a word."""
        run = now[self.alone if self.together is None else self.together]
        before_ms = self._takes_ms(now) - longer_ms
        whole_ms = sum(run[part] for part in TIMED) - longer_ms
        return longer_ms > max(_LEAST_SHARE * before_ms, _LEAST_OF_ALL * whole_ms)

    def slower(
        self,
        longer_ms: float,
        now: Sequence[Times],
        *,
        count: int,
        baseline: str = "",
        incumbent: str = "",
        since: str = "",
        commit: str = "",
    ) -> PhaseRegression:
        """The finding as a value."""
        takes_ms = self._takes_ms(now)
        return PhaseRegression(
            part=self.part,
            where="alone" if self.together is None else "together",
            agent=self.agent,
            instance=self.instance,
            before_ms=max(takes_ms - longer_ms, 0.0),
            now_ms=takes_ms,
            baseline=baseline,
            incumbent=incumbent,
            count=count,
            since=since,
            commit=commit,
        )

    def _takes_ms(self, now: Sequence[Times]) -> float:
        run = now[self.alone if self.together is None else self.together]
        return run["prefill"] + run["decode"] if self.part == "tokens" else run[self.part]


def _each(measurement: Measurement) -> Iterable[_Which]:
    runs = measurement.rounds[0].solo
    for place, run in enumerate(runs):
        for part in PARTS:
            yield _Which(part, run.agent, run.instance, place, None)
            yield _Which(part, run.agent, run.instance, place, len(runs) + place)


def _moved(values: Sequence[float], sessions: Sequence[StoredSession]) -> tuple[float, StoredSession | None]:
    """The former value, and the session after which the value grew; None if it did not grow.

    Args:
        values: the values of the sessions, followed by the present value.
        sessions: the sessions, oldest first.
    """
    if risen := [change for change in breaks(values, _ERROR) if change.after > change.before]:
        largest = max(risen, key=lambda change: change.after - change.before)
        return largest.before, sessions[largest.start]
    *stored, now = values
    beyond = now > max(stored) + (max(stored) - min(stored))
    return median(stored), sessions[-1] if beyond else None


def _columns(measurement: Measurement) -> list[list[Times]]:
    """Times in ms and counts by round, for each agent alone, then for each together; empty if a run is missing."""
    agents = [run.agent for run in measurement.rounds[0].together] if measurement.rounds else []
    if not agents or any([run.agent for run in round_.solo] != agents for round_ in measurement.rounds):
        return []
    runs = ((*round_.solo, *round_.together) for round_ in measurement.rounds)
    return [[_in_ms(times_of(run)) for run in column] for column in zip(*runs, strict=True)]


def _in_ms(times: Times) -> Times:
    return {key: value if key in COUNTS else value / 1e6 for key, value in times.items()}


def _typical(column: Sequence[Times]) -> Times:
    """The median of each."""
    return {key: median(times[key] for times in column) for key in _KEYS}


def _stored(session: StoredSession, at: int) -> Times:
    """The stored parts of one of a session's runs."""
    return {key: session.parts[name][at] for name, key in zip(STORED_PARTS, _KEYS, strict=True)}


def _comparable(
    columns: Sequence[Sequence[Times]], facts: Mapping[str, str], key: Key, baseline: Baseline
) -> list[StoredSession]:
    """The newest sessions of this measurement that hold parts and are of this machine."""
    return [
        session
        for entry in baseline.stored
        if Key.of(entry) == key
        for session in entry.session
        if columns and _has(session, len(columns)) and is_like(session, facts, "ttft_ms")
    ][-_MOST_SESSIONS:]


def _sessions(name: str, count: int) -> str:
    return f"baseline {name}'s {sessions_words(count)}"


def _has(session: StoredSession, columns: int) -> bool:
    """Whether a session has the parts of this many runs."""
    return all(len(session.parts.get(name, ())) == columns for name in STORED_PARTS)


def _largest_first(phases: Iterable[PhaseRegression]) -> tuple[PhaseRegression, ...]:
    return tuple(sorted(phases, key=lambda phase: -phase.more_ms))
