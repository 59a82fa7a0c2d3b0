"""How a baseline's stored sessions change: added to, replaced, trimmed, renamed, removed. Values in, values out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import BaselineError
from pytest_llmperf.judge.baselines.lookup import Key, nearest
from pytest_llmperf.judge.baselines.mergeable_format import time_s
from pytest_llmperf.model import Stored, StoredSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_llmperf.model import Baseline

Saved = tuple[Key, StoredSession]

_Listed = tuple[Stored, StoredSession]


def with_sessions(baseline: Baseline, saved: Sequence[Saved]) -> Baseline:
    """Sessions added, each after those that are stored under its key.

    Measurements of one key in one call are one session, their rounds one after the other: what one run measures
    twice tells nothing of the spread between sessions.
    """
    return _added(baseline, _merged(saved))


def with_replaced(baseline: Baseline, saved: Sequence[Saved]) -> Baseline:
    """Sessions in place of all that is stored of the same tests, scenarios and topologies, whatever their work was."""
    again = {(key.test, key.scenario, key.topology) for key, _ in saved}
    kept = tuple(entry for entry in baseline.stored if (entry.test, entry.scenario, entry.topology) not in again)
    return _added(replace(baseline, stored=kept), _merged(saved))


def trimmed(baseline: Baseline, keep: int) -> Baseline:
    """The newest sessions of each measurement only.

    Args:
        baseline: any.
        keep: how many, 1 or more.
    """
    return replace(baseline, stored=tuple(replace(entry, session=entry.session[-keep:]) for entry in baseline.stored))


def renamed(baseline: Baseline, old: str, new: str) -> Baseline:
    """A test under another name, or all tests of a file, where the names have no `::`.

    Where the new name is there already, the sessions come together, the oldest first.

    Raises:
        BaselineError: there is no such test; says which is nearest.
    """
    names = {name: _moved(name, old, new) for name in {entry.test for entry in baseline.stored}}
    if not any(moved is not None for moved in names.values()):
        raise _no_test(baseline, old)
    entries = (replace(entry, test=names[entry.test] or entry.test) for entry in baseline.stored)
    return replace(baseline, stored=_joined(entries))


def without(baseline: Baseline, test: str) -> Baseline:
    """A test, or all tests of a file, taken out.

    Raises:
        BaselineError: there is no such test; says which is nearest.
    """
    kept = tuple(entry for entry in baseline.stored if _moved(entry.test, test, test) is None)
    if len(kept) == len(baseline.stored):
        raise _no_test(baseline, test)
    return replace(baseline, stored=kept)


def without_session(baseline: Baseline, test: str, saved_at: str) -> Baseline:
    """One session of a test, or of the tests of a file, taken out; the last session of a measurement takes it along.

    Args:
        baseline: any.
        test: node id, or a file.
        saved_at: the session's time as it is stored, or the beginning of it.

    Raises:
        BaselineError: there is no such test, no such session, or there are several; lists those that there are.
    """
    sessions = [
        (entry, session)
        for entry in baseline.stored
        if _moved(entry.test, test, test) is not None
        for session in entry.session
    ]
    if not sessions:
        raise _no_test(baseline, test)
    matching = [pair for pair in sessions if pair[1].saved_at == saved_at]
    matching = matching or [pair for pair in sessions if saved_at and pair[1].saved_at.startswith(saved_at)]
    if len(matching) != 1:
        raise _no_single_session(baseline, f"saved at {saved_at!r} of {test}", matching, sessions)
    ((changed, removed),) = matching
    left = tuple(session for session in changed.session if session is not removed)
    entries = (replace(entry, session=left) if entry is changed else entry for entry in baseline.stored)
    return replace(baseline, stored=tuple(entry for entry in entries if entry.session))


def _moved(name: str, old: str, new: str) -> str | None:
    """A test's name after a renaming; None if it does not change."""
    if name == old:
        return new
    if "::" not in old and name.startswith(f"{old}::"):
        return new + name.removeprefix(old)
    return None


def _no_test(baseline: Baseline, test: str) -> BaselineError:
    names = {entry.test for entry in baseline.stored}
    like = nearest(test, names)
    return BaselineError(
        f"baseline {baseline.name} has no session of test {test!r}" + (f"; most like it is {like!r}" if like else ""),
        next_step=f"list its tests: pytest-llmperf show {baseline.name}",
    )


def _no_single_session(
    baseline: Baseline, wanted: str, matching: Sequence[_Listed], sessions: Sequence[_Listed]
) -> BaselineError:
    """The error for a time that no session has, or several; lists those, or all sessions of the test."""
    listed = "".join(
        f"\n  {session.saved_at}: {entry.test}, scenario {entry.scenario}, topology {entry.topology}, "
        f"work {entry.workload}"
        for entry, session in matching or sessions
    )
    if not matching:
        text, step = f"baseline {baseline.name} has no session {wanted}; it has:{listed}", "give one of these times"
    elif len({session.saved_at for _, session in matching}) > 1:
        text = f"baseline {baseline.name} has {len(matching)} sessions {wanted}:{listed}"
        step = "give the whole time of one of these"
    else:
        text = f"baseline {baseline.name} has {len(matching)} sessions {wanted}:{listed}"
        step = "delete the lines of the one you mean from the file: they begin with session.ID, and saved_at is one"
    return BaselineError(text, next_step=step)


def _merged(saved: Sequence[Saved]) -> list[Saved]:
    """One session a key."""
    sessions: dict[Key, StoredSession] = {}
    for key, session in saved:
        first = sessions.get(key)
        if first is not None:
            both = [metric for metric in first.rounds if metric in session.rounds]
            session = replace(first, rounds={name: (*first.rounds[name], *session.rounds[name]) for name in both})  # noqa: PLW2901 - the merged one takes its place
        sessions[key] = session
    return list(sessions.items())


def _added(baseline: Baseline, saved: Sequence[Saved]) -> Baseline:
    new = (
        Stored(test=key.test, scenario=key.scenario, topology=key.topology, workload=key.workload, session=(session,))
        for key, session in saved
    )
    return replace(baseline, stored=_joined((*baseline.stored, *new), ordered=False))


def _joined(entries: Iterable[Stored], *, ordered: bool = True) -> tuple[Stored, ...]:
    """Entries of one key as one; `ordered`: the sessions of several are put in the order of their time."""
    joined: dict[Key, Stored] = {}
    for entry in entries:
        key = Key.of(entry)
        if key in joined:
            sessions = (*joined[key].session, *entry.session)
            entry = replace(  # noqa: PLW2901 - the joined one takes its place
                entry, session=tuple(sorted(sessions, key=_time_s)) if ordered else sessions
            )
        joined[key] = entry
    return tuple(joined.values())


def _time_s(session: StoredSession) -> float:
    return time_s(session.saved_at)
