"""From verdicts to the outcome of a test."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.errors import clean
from pytest_llmperf.judge.gates.verdict_policy import action
from pytest_llmperf.plugin.stash import EXPLAINED, LINES, MATRIX, RECORDS, SPECS, WARNINGS
from pytest_llmperf.report.terminal.wrapping import width, wrapped
from pytest_llmperf.report.wording.soak_text import soak_failures, soak_lines, soak_warnings
from pytest_llmperf.report.wording.verdict_text import explain, explain_nothing, gate_name, name_of, one_line

if TYPE_CHECKING:
    from pytest_llmperf.judge.record import Record
    from pytest_llmperf.model import Settings, Verdict


class GateWarning(pytest.PytestWarning):
    """A gate that could not be decided, if the settings turn that into a warning."""


class ConfigurationTransferWarning(pytest.PytestWarning):
    """A profile of one deployment mode is used in another."""


def decide(item: pytest.Item, settings: Settings) -> None:
    """Turn the verdicts of a test into its outcome.

    Raises:
        pytest.fail.Exception: a gate failed, could not be decided, or had nothing to judge.
        pytest.skip.Exception: a limit is of another machine, and the settings say to skip.
    """
    records = item.stash.get(RECORDS, [])
    _check_judged(item, records, settings)
    failures, undecided, skips = [], [], []
    for record in records:
        if record.soak is not None:
            item.stash[LINES].extend(soak_lines(record))
            failures += soak_failures(record)
            undecided += soak_warnings(record)
        by_action: dict[str, list[Verdict]] = {}
        for verdict in record.verdicts:
            by_action.setdefault(action(verdict, record.verdicts, settings), []).append(verdict)
        if failed := by_action.get("fail"):
            failures.append(explain(record, failed))
        if warned := by_action.get("warn"):
            names = ", ".join(map(gate_name, warned))
            undecided.append(f"{name_of(record)}: not decided: {names} (see the summary of llmperf)")
        skips += [one_line(record, verdict) for verdict in by_action.get("skip", ())]
    failures += _without_rounds(item, records)
    if failures:  # first: if warnings are errors, a warning must not take a failure's place
        item.stash[EXPLAINED] = True
        pytest.fail(clean(wrapped("\n".join(failures), width())), pytrace=False)
    for text in item.stash.get(WARNINGS, []):
        warnings.warn_explicit(ConfigurationTransferWarning(text), None, *_place_of(item))
    for line in undecided:
        _warn(clean(line), *_place_of(item))
    if skips:
        pytest.skip("; ".join(skips))


def _check_judged(item: pytest.Item, records: list[Record], settings: Settings) -> None:
    """Fail a test with gates that measured nothing; with `--llmperf-require-gates`, one that no gate judged."""
    if item.stash[SPECS] and not records:
        names = ", ".join(spec.name for spec in item.stash[SPECS])
        pytest.fail(
            f"gate {names}: the test recorded no run, so there is nothing to judge\n"
            "  next: call run_agents(scenario, on=...) in the test, or drop the marker",
            pytrace=False,
        )
    judged = any(record.verdicts or record.soak is not None for record in records)
    if settings.require_gates and records and not (item.stash[SPECS] or judged):
        pytest.fail(
            "llmperf_require_gates: the test measured, and no gate judged what it measured\n"
            "  next: add a marker such as @pytest.mark.efficiency (see pytest --markers) or --llmperf-compare",
            pytrace=False,
        )


def _without_rounds(item: pytest.Item, records: list[Record]) -> list[str]:
    """Explain the measurements that have neither a round that counts nor a verdict.

    A matrix may have such cells, which its results name; it fails if it has no other cell.
    """
    empty = [record for record in records if not record.measurement.rounds and not record.verdicts]
    if item.stash.get(MATRIX, False) and len(empty) < len(records):
        return []
    return [text for record in empty if (text := explain_nothing(record))]


def _place_of(item: pytest.Item) -> tuple[str, int]:
    """The file and line of a test, for a warning about it."""
    path, line, _ = item.reportinfo()
    return str(path), (line or 0) + 1


def _warn(text: str, path: str, line: int) -> None:
    """Issue a warning; if warnings are errors, fail with its text instead."""
    try:
        warnings.warn_explicit(GateWarning(text), None, path, line)
    except GateWarning:
        category = f"{GateWarning.__module__}.{GateWarning.__name__}"
        text = f"{text}\n  next: warnings are errors here; these are not with -W 'default::{category}'"
    else:
        return
    pytest.fail(text, pytrace=False)
