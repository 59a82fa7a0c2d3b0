"""Stored baselines in words: the contents of a file, and what an update changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.compared_metrics import compared_in
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.judge.stats.summary import reference_centre
from pytest_llmperf.model import Baseline, Stored
from pytest_llmperf.model.texts import counted
from pytest_llmperf.report.wording.amounts import amount


def centre_of(entry: Stored, metric: str) -> float | None:
    """The aggregate of a metric over stored sessions, or None if a session lacks it."""
    if not all(metric in session.rounds for session in entry.session):
        return None
    try:
        return reference_centre(metric_of(metric).aggregate, [session.rounds[metric] for session in entry.session])
    except MeasurementError:
        return None


def changes(before: Baseline, after: Baseline) -> tuple[str, ...]:
    """A line per measurement whose sessions were replaced: how many, and how its figures change."""
    lines = []
    for entry in after.stored:
        old = [stored for stored in before.stored if _what(stored) == _what(entry)]
        if entry in old:
            continue
        replaced = sum(len(stored.session) for stored in old)
        figures = [
            f"{metric} {_figure(old, metric)}{amount(centre_of(entry, metric), metric)}"
            for metric in compared_in(entry)
            if centre_of(entry, metric) is not None
        ]
        count = f"{counted(len(entry.session), 'session')} instead of {replaced}"
        lines.append(f"  {entry.test} ({entry.scenario} on {entry.topology}): {count}: {', '.join(figures)}")
    return tuple(lines)


def _what(entry: Stored) -> tuple[str, str, str]:
    return entry.test, entry.scenario, entry.topology


def _figure(old: Sequence[Stored], metric: str) -> str:
    """The old value with an arrow; empty if there was none."""
    values = [value for entry in old if (value := centre_of(entry, metric)) is not None]
    return f"{amount(values[-1], metric).split()[0]} -> " if values else ""


def aligned(rows: Iterable[Sequence[str]], *, left: int = 1) -> list[str]:
    """Rows of a table as lines: the first `left` columns left-aligned, the others right-aligned."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def described(baseline: Baseline) -> list[str]:
    """A baseline's stored sessions, a block per measurement."""
    lines: list[str] = []
    for entry in baseline.stored:
        newest = entry.session[-1]
        lines += ["", f"{entry.test}", f"  scenario {entry.scenario}, topology {entry.topology}, work {entry.workload}"]
        shown = compared_in(entry)
        rows = [["session", "rounds", *shown, "commit", "backend"]]
        rows += [
            [
                session.saved_at,
                str(max(map(len, session.rounds.values()))),
                *(_alone(entry, index, metric) for metric in shown),
                _commit(session.manifest),
                session.manifest.get("backend", "?"),
            ]
            for index, session in enumerate(entry.session)
        ]
        lines += [f"  {line}" for line in aligned(rows)]
        machine = [
            f"{key} {newest.manifest[key]}" for key in ("cpu", "gpu", "engine", "model") if key in newest.manifest
        ]
        lines.append(f"  newest session measured on: {', '.join(machine) or 'unknown'}")
    return lines


def _alone(entry: Stored, index: int, metric: str) -> str:
    """A metric's aggregate over one session."""
    values = entry.session[index].rounds.get(metric)
    if values is None:
        return "-"
    return amount(reference_centre(metric_of(metric).aggregate, [values]), metric)


def _commit(manifest: Mapping[str, str]) -> str:
    """The abbreviated commit, with a star if files were changed."""
    return manifest.get("git_commit", "-")[:9] + ("*" if manifest.get("git_dirty") == "yes" else "")
