"""Which part of which agent's work takes longer than in stored sessions, or than on the incumbent; and since when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.judge.baselines.comparability import is_like
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.trend import commit_of
from pytest_llmperf.judge.metrics.time_breakdown import COUNTS, PARTS, STORED_PARTS, TIMED, Times, more, times_of
from pytest_llmperf.judge.stats.changepoints import breaks
from pytest_llmperf.model import Outcome

if TYPE_CHECKING:
    from pytest_llmperf.model import Baseline, Measurement, StoredSession, Verdict

_KEYS = (*TIMED, *COUNTS)

_LEAST_SHARE, _LEAST_OF_ALL = 0.1, 0.01
"""Longer by less than this share of the part, or of the whole run, is not worth a word."""

_STEADILY = 0.8
"""Of pairs with an incumbent, so many agree."""

_ERROR = 0.01
"""How often a part that did not change may be said to have changed at some session."""

_MOST_SESSIONS = 40
"""The newest of them are looked at."""

_BEFORE_TOKENS = ("client", "queue", "load", "prefill", "tokens", "rest")
_EXPLAINS = {
    "ttft_ms": _BEFORE_TOKENS,
    "ttft_ratio": _BEFORE_TOKENS,
    "queue_ms": ("queue",),
    "decode_tok_s": ("decode",),
}
"""Parts that a metric is made of; of every other metric, all."""

_NAMES = {
    "client": "the client's own time",
    "queue": "waiting for a slot",
    "load": "waiting for the model",
    "prefill": "prefill",
    "decode": "decode",
    "tokens": "reading and writing more tokens",
    "rest": "what no server's times hold",
}


TO_LOOK_AT = {
    "client": "the client's machine and its Python",
    "queue": "slots and other clients of the server",
    "load": "the memory that is left for the model, keep_alive",
    "prefill": "prompts, num_ctx, num_batch, the server's version",
    "decode": "model and quantization, num_thread, num_gpu, clocks of the device, the server's version",
    "tokens": "num_predict and the prompts",
    "rest": "the network, the server's version",
}
"""What makes a part longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slower:
    """A part of an agent's work that takes longer than it did.

    Attributes:
        part: one of PARTS.
        where: `alone`; or `together`, without what is longer alone, too.
        agent, instance: whose.
        before_ms: what it took, for as many tokens as now, ms: median of stored sessions, or of the incumbent's rounds.
        now_ms: what it takes, ms: median of the rounds.
        baseline: whose sessions it is compared with; empty: none.
        incumbent: or which incumbent.
        count: of sessions, or of pairs of rounds.
        since: the session after which it was so, by commit and day; empty: not known, or the commit is this one.
        commit: of that session; empty where not known, or where files were changed.
    """

    part: str
    where: str
    agent: str
    instance: str
    before_ms: float
    now_ms: float
    baseline: str = ""
    incumbent: str = ""
    count: int
    since: str = ""
    commit: str = ""

    @property
    def more_ms(self) -> float:
        """By how much longer it takes."""
        return self.now_ms - self.before_ms


def parts_of(measurement: Measurement) -> dict[str, tuple[float, ...]]:
    """What a stored session keeps of the parts; see `StoredSession.parts`. Empty where an agent did not run alone."""
    columns = _columns(measurement)
    typical = [_typical(column) for column in columns]
    if not columns:
        return {}
    return {name: tuple(round(one[key], 4) for one in typical) for name, key in zip(STORED_PARTS, _KEYS, strict=True)}


def than_stored(measurement: Measurement, key: Key, baseline: Baseline) -> tuple[Slower, ...]:
    """What takes longer than in a baseline's sessions of this measurement, the largest first; empty: none has parts.

    A part counts that is further above all sessions than they lie apart, or that has changed its level among them.
    """
    columns, facts = _columns(measurement), measurement.manifest.facts
    sessions = _comparable(columns, facts, key, baseline)
    if not sessions:
        return ()
    now = [_typical(column) for column in columns]
    old = [[_stored(one, at) for at in range(len(now))] for one in sessions]
    usual = [_typical([session[at] for session in old]) for at in range(len(now))]
    grown = [[more(one, base) for one, base in zip(session, usual, strict=True)] for session in (*old, now)]
    found = []
    for which in _each(measurement):
        values = [which.of(one) for one in grown]
        before, since = _moved(values, sessions)
        if since is None or not which.matters(values[-1] - before, now):
            continue
        known = "" if since.manifest.get("git_commit") == facts.get("git_commit") else commit_of(since.manifest)
        found.append(
            which.slower(
                values[-1] - before,
                now,
                baseline=baseline.name,
                count=len(sessions),
                since=f"{known} of {since.saved_at[:10]}" if known else since.saved_at[:16].replace("T", " "),
                commit="" if known.endswith("*") else known,
            )
        )
    return _largest_first(found)


def held_in_words(measurement: Measurement, key: Key, baseline: Baseline) -> str:
    """What `than_stored` compares with, in words; empty where there is nothing."""
    count = len(_comparable(_columns(measurement), measurement.manifest.facts, key, baseline))
    return _sessions(baseline.name, count) if count else ""


def than_incumbent(measurement: Measurement, incumbent: Measurement, name: str) -> tuple[Slower, ...]:
    """What takes longer than on the incumbent that took turns, the largest first."""
    columns, others = _columns(measurement), _columns(incumbent)
    if not columns or len(columns) != len(others):
        return ()
    pairs = [
        [more(one, other) for one, other in zip(new, old, strict=True)]
        for new, old in zip(zip(*columns, strict=True), zip(*others, strict=True), strict=False)
    ]
    now = [_typical(column) for column in columns]
    found = []
    for which in _each(measurement):
        values = [which.of(pair) for pair in pairs]
        agree = sum(value > 0 for value in values) >= _STEADILY * len(values)
        if agree and which.matters(median(values), now):
            found.append(which.slower(median(values), now, incumbent=name, count=len(pairs)))
    return _largest_first(found)


def explaining(found: Sequence[Slower], verdicts: Iterable[Verdict]) -> tuple[Slower, ...]:
    """What explains failing comparisons: the largest that their metrics are made of, of every agent that has it."""
    for verdict in verdicts:
        gate = verdict.gate
        if verdict.outcome is not Outcome.FAIL or gate.delta is None:
            continue
        parts = _EXPLAINS.get(gate.metric, PARTS)
        fit = [one for one in found if one.part in parts and (one.baseline, one.incumbent) == _against(verdict)]
        if fit:
            return tuple(one for one in fit if (one.part, one.where) == (fit[0].part, fit[0].where))
    return ()


def in_words(found: Sequence[Slower]) -> str:
    """One part of one agent or more, with the figures of the first."""
    worst = found[0]
    agents = " and ".join(dict.fromkeys(one.agent for one in found))
    against = f"in baseline {worst.baseline}" if worst.baseline else f"on incumbent {worst.incumbent}"
    count = f"{_counted(worst.count)}, " if worst.baseline else ""
    figures = f"({count}{worst.before_ms:.0f} -> {worst.now_ms:.0f} ms)"
    took = (
        f"{worst.now_ms / worst.before_ms:.1f} times as long as {against}"
        if worst.before_ms >= 1
        else f"{worst.more_ms:.0f} ms more than {against}"
    )
    since = f", since {worst.since}" if worst.since else ""
    return f"{_NAMES[worst.part]} of {agents} {worst.where} takes {took} {figures}{since}"


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
    ) -> Slower:
        """As a value."""
        takes_ms = self._takes_ms(now)
        return Slower(
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
    """What it was before, and the session after which it grew; None where it did not.

    Args:
        values: of the sessions, and last that of now.
        sessions: oldest first.
    """
    if risen := [one for one in breaks(values, _ERROR) if one.after > one.before]:
        largest = max(risen, key=lambda one: one.after - one.before)
        return largest.before, sessions[largest.start]
    *stored, now = values
    beyond = now > max(stored) + (max(stored) - min(stored))
    return median(stored), sessions[-1] if beyond else None


def _columns(measurement: Measurement) -> list[list[Times]]:
    """Of each agent alone, then of each together: times in ms and counts, round by round; empty: not all are there."""
    agents = [one.agent for one in measurement.rounds[0].together] if measurement.rounds else []
    if not agents or any([run.agent for run in one.solo] != agents for one in measurement.rounds):
        return []
    runs = ((*one.solo, *one.together) for one in measurement.rounds)
    return [[_in_ms(times_of(run)) for run in column] for column in zip(*runs, strict=True)]


def _in_ms(times: Times) -> Times:
    return {key: value if key in COUNTS else value / 1e6 for key, value in times.items()}


def _typical(column: Sequence[Times]) -> Times:
    """The median of each."""
    return {key: median(one[key] for one in column) for key in _KEYS}


def _stored(session: StoredSession, at: int) -> Times:
    """What a session has stored of one of its runs."""
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
    return f"baseline {name}'s {_counted(count)}"


def _counted(sessions: int) -> str:
    return f"{sessions} session{'' if sessions == 1 else 's'}"


def _has(session: StoredSession, columns: int) -> bool:
    """Whether a session has the parts of so many runs."""
    return all(len(session.parts.get(name, ())) == columns for name in STORED_PARTS)


def _against(verdict: Verdict) -> tuple[str, str]:
    gate = verdict.gate
    return ("", gate.incumbent) if gate.incumbent else (gate.baseline, "")


def _largest_first(found: Iterable[Slower]) -> tuple[Slower, ...]:
    return tuple(sorted(found, key=lambda one: -one.more_ms))
