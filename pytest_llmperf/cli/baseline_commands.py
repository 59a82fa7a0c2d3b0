"""`list`, `show`, `trim`, `rename`, `remove`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from pytest_llmperf.cli.recording_commands import SUFFIXES, print_recording
from pytest_llmperf.errors import BaselineError, UsageError
from pytest_llmperf.judge.baselines import baseline_files, store
from pytest_llmperf.judge.baselines.edits import renamed, trimmed, without, without_session
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.toml_format import LEVEL
from pytest_llmperf.model import Baseline
from pytest_llmperf.model.texts import counted
from pytest_llmperf.report.wording.baseline_text import aligned, described


def files_of(folder: Path) -> list[Path]:
    """The baseline files of a folder, by name."""
    return sorted(folder.glob("*.toml"))


def list_all(given: Namespace) -> int:
    """Prints a line per baseline."""
    rows = [["baseline", "tests", "sessions", "limits", "newest session", "where"]]
    for folder, where in ((given.dir, str(given.dir)), (baseline_files.builtin_dir(), "part of pytest-llmperf")):
        for path in files_of(folder):
            try:
                rows.append([path.stem, *_summary(baseline_files.load(path)), where])
            except BaselineError:
                rows.append([path.stem, "-", "-", "-", "unreadable: see doctor", where])
    print("\n".join(aligned(rows)))
    return 0


def show(given: Namespace) -> int:
    """Prints a baseline's limits and stored sessions, or a recording."""
    if given.name.endswith(SUFFIXES):
        return print_recording(given.name)
    baseline = baseline_files.load_named(given.name, (given.dir,))
    words = f": {baseline.description}" if baseline.description else ""
    print(f"baseline {baseline.name} (schema {baseline.schema}){words}")
    limits = [threshold for threshold in baseline.threshold if threshold.level == LEVEL]
    if limits:
        rows = [["limit", "bound", "value", "unit", "applies to", "source"]]
        rows += [
            [
                threshold.metric,
                threshold.bound.value,
                f"{threshold.value:g}",
                threshold.unit,
                ", ".join(filter(None, (threshold.scenario, threshold.topology))) or "everything",
                threshold.source,
            ]
            for threshold in limits
        ]
        print("\n" + "\n".join(aligned(rows, left=6)))
    if unused := len(baseline.threshold) - len(limits):
        print(f"and {counted(unused, 'threshold')} of other levels, which are not gates")
    print("\n".join(described(baseline)) if baseline.stored else "\nno stored sessions")
    return 0


def trim(given: Namespace) -> int:
    """Deletes all but the newest sessions."""
    if given.keep < 1:
        raise UsageError(f"--keep {given.keep}: wanted 1 or more")
    change = store.edit(_own(given), lambda baseline: trimmed(baseline, given.keep))
    before, after = _sessions(change.before), _sessions(change.after)
    print(f"{change.path}: deleted {before - after} of {counted(before, 'session')}")
    return 0


def rename(given: Namespace) -> int:
    """Moves stored sessions to another test."""
    change = store.edit(_own(given), lambda baseline: renamed(baseline, given.old, given.new))
    moved = sum(entry.test not in _tests(change.after) for entry in change.before.stored)
    joined = len(change.before.stored) - len(change.after.stored)
    together = f", {joined} of them merged with sessions already stored under the new name" if joined else ""
    print(f"{change.path}: {counted(moved, 'measurement')} moved from {given.old} to {given.new}{together}")
    return 0


def remove(given: Namespace) -> int:
    """Deletes the stored sessions of a test, or one of them."""
    if given.session is not None:
        return _remove_session(given)
    change = store.edit(_own(given), lambda baseline: without(baseline, given.test))
    dropped = _sessions(change.before) - _sessions(change.after)
    print(f"{change.path}: deleted {counted(dropped, 'session')} of {given.test}")
    return 0


def _remove_session(given: Namespace) -> int:
    change = store.edit(_own(given), lambda baseline: without_session(baseline, given.test, given.session))
    left = {Key.of(entry): entry.session for entry in change.after.stored}
    for entry in change.before.stored:
        sessions = left.get(Key.of(entry), ())
        if len(sessions) < len(entry.session):
            (removed,) = (session.saved_at for session in entry.session if session not in sessions)
            rest = f"{len(sessions)} left" if sessions else "it was the last one: the measurement is gone, too"
            print(f"{change.path}: deleted the session saved at {removed} of {entry.test}; {rest}")
    return 0


def _own(given: Namespace) -> Path:
    """The file of a user's baseline, by name or path.

    Raises:
        UsageError: the name belongs to a packaged baseline, or is not a file name.
    """
    if given.name.endswith(".toml"):
        return Path(given.name)
    path = store.path_of(given.name, given.dir)
    if given.name in baseline_files.builtin_names() and not (path.exists() and baseline_files.load(path).stored):
        raise UsageError(
            f"{path} does not exist: baseline {given.name!r} is part of pytest-llmperf and has no sessions of yours"
            if not path.exists()
            else f"baseline {given.name!r} is part of pytest-llmperf and has no sessions of yours",
            next_step="list your baselines: pytest-llmperf list",
        )
    return path


def _tests(baseline: Baseline) -> set[str]:
    return {entry.test for entry in baseline.stored}


def _sessions(baseline: Baseline) -> int:
    return sum(len(entry.session) for entry in baseline.stored)


def _summary(baseline: Baseline) -> list[str]:
    """The columns of `list`."""
    counts = sorted({len(entry.session) for entry in baseline.stored})
    newest = max((entry.session[-1].saved_at for entry in baseline.stored), default="-")
    return [
        str(len(_tests(baseline))),
        " to ".join(map(str, counts[:: max(len(counts) - 1, 1)])) or "-",
        str(sum(threshold.level == LEVEL for threshold in baseline.threshold)),
        newest,
    ]
