"""A session's result as plain data: the JSON file contains it, every other file is made from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.judge.baselines.trend import Trend, trends
from pytest_llmperf.judge.diagnosis.diagnose import diagnose, loss_of
from pytest_llmperf.judge.evidence import evidence_of
from pytest_llmperf.judge.gates.verdict_policy import action, in_words
from pytest_llmperf.judge.metrics.series import all_series, observed_series
from pytest_llmperf.judge.record import Record, as_plain
from pytest_llmperf.masking import known, masked
from pytest_llmperf.model import Baseline, Outcome, Settings, Verdict
from pytest_llmperf.report.external_figures import external_figures
from pytest_llmperf.report.figures import SHOWN, figures, value_of
from pytest_llmperf.report.session_outcomes import Ending, Tested
from pytest_llmperf.report.wording.amounts import amount
from pytest_llmperf.report.wording.baseline_history import history_of
from pytest_llmperf.report.wording.client_cost import client_lines
from pytest_llmperf.report.wording.critical_path_text import traced_path
from pytest_llmperf.report.wording.footnotes import notes_of
from pytest_llmperf.report.wording.soak_text import soak_failures, soak_lines, soak_warnings
from pytest_llmperf.report.wording.verdict_text import explain, limit_words, one_line

Document = dict[str, Any]
"""Plain data as described by `llmperf.schema.json` in this package, which `make schema` writes."""

VERSION = 2
"""Version of the layout; rises if a reader of the old layout could misread the new one, not for added keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The results of a session.

    Attributes:
        records: the records of the whole run.
        settings: the settings of the session.
        accepted: the records whose test passed.
        tests: the tests that use the plugin, with their outcomes; some may have no record.
        stored: the baseline whose sessions are the history of the measurements, if any.
        inside: the path of pytest's root folder in its repository, empty for its top; files are relative to it.
    """

    records: Sequence[Record]
    settings: Settings
    accepted: Sequence[Record] = ()
    tests: Sequence[Tested] = ()
    stored: Baseline | None = None
    inside: str = ""


def document(run: Run) -> Document:
    """The whole document of a session."""
    history = trends(run.stored) if run.stored is not None else ()
    plain: Document = {
        "schema": VERSION,
        "plugin_version": version("pytest-llmperf"),
        "written_at": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        "settings": asdict(run.settings),
        "root_in_repository": run.inside,
        "policy": list(in_words(run.settings)),
        "tests": [asdict(test) for test in run.tests],
        "records": [_record(record, run, history) for record in run.records],
    }
    clean: Document = storable(plain, known())
    return clean


def storable(value: Any, secrets: Sequence[str]) -> Any:
    """Plain data without secrets and without characters that UTF-8 cannot encode.

    Args:
        value: dicts, lists, strings and numbers.
        secrets: see `masked`.
    """
    if isinstance(value, str):
        return masked(value, secrets).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {storable(key, secrets): storable(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item, secrets) for item in value]
    return value


def as_text(content: Document) -> str:
    """The document as JSON.

    Raises:
        LlmperfError: a figure is not a finite number.
    """
    try:
        return json.dumps(content, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        raise LlmperfError(str(error), next_step="report this bug: a figure is not a finite number") from error


def _record(record: Record, run: Run, history: Sequence[Trend]) -> Document:
    diagnosis = diagnose(record.measurement)
    explained = any(verdict.outcome is not Outcome.PASS for verdict in record.verdicts)
    plain: Document = {
        **as_plain([record])[0],
        "passed": record in run.accepted,
        "evidence": asdict(evidence_of(record, run.records)),
        "figures": figures(record, run.records),
        "series": {
            name: list(values)
            for name, values in (all_series(record.measurement) | observed_series(record.measurement)).items()
        },
        "notes": [*notes_of(record, None if explained else diagnosis), *client_lines([record], calibrated=False)],
        "remarks": [{"level": level, "text": text} for level, text in remarks(record)],
        "judged": [_judged(record, verdict, run) for verdict in record.verdicts],
    }
    if loss := loss_of(record.measurement):
        plain["loss"] = asdict(loss)
    if (path := traced_path(record.measurement)) is not None:
        plain["critical_path"] = asdict(path)
    if external := external_figures(record.measurement):
        plain["external_agents"] = [asdict(each) for each in external]
    if diagnosis is not None:
        plain["diagnosis"] = {**asdict(diagnosis), "facts": list(diagnosis.facts)}
    if run.stored is not None and (past := history_of(record, run.stored.name, history)):
        plain["history"] = past
    for test in run.tests:
        if test.test == record.test:
            plain["location"] = {"file": test.file, "line": test.line}
    return plain


def _judged(record: Record, verdict: Verdict, run: Run) -> Document:
    """A verdict in words, and its effect on the test."""
    passed = verdict.outcome is Outcome.PASS
    return {
        "gate": verdict.gate.marker,
        "metric": verdict.gate.metric,
        "outcome": str(verdict.outcome),
        "action": action(verdict, record.verdicts, run.settings),
        "limit": limit_words(verdict),
        "text": one_line(record, verdict) if passed else explain(record, (verdict,)),
    }


def remarks(record: Record) -> Iterator[tuple[str, str]]:
    """Remarks besides verdicts: `fail`, `warn` or `note`, and the text."""
    if record.soak is not None:
        yield from (("fail", text) for text in soak_failures(record))
        yield from (("warn", text) for text in soak_warnings(record))
        yield "note", "\n".join(soak_lines(record))
    if record.incumbent is not None:
        incumbent = Record(test=record.test, measurement=record.incumbent.measurement)
        values = ", ".join(
            f"{metric} {amount(value, metric)}"
            for metric in SHOWN
            if (value := value_of(incumbent, metric)) is not None
        )
        yield "note", f"incumbent {record.incumbent.name}, measured in alternation: {values}"
    yield from (("note", str(incident)) for incident in record.measurement.incidents)


def headline(content: Document) -> str:
    """The result of a session in one sentence.

    Args:
        content: the session's document.
    """
    endings = Counter(test["ending"] for test in content["tests"])
    failed, passed = endings.pop(Ending.FAILED, 0), endings.pop(Ending.PASSED, 0)
    simulated = sum(record["figures"]["simulated"] for record in content["records"])
    real = "" if not simulated else " (SIMULATED)" if simulated == len(content["records"]) else " (some SIMULATED)"
    tests = content["tests"] if failed else range(passed)
    count = f"{len(tests)} test{'' if len(tests) == 1 else 's'}"
    others = "".join(f", {number} {ending}" for ending, number in sorted(endings.items()))
    return f"{failed} of {count} failed{others}{real}" if failed else f"{count} passed{others}{real}"


def endings_of(content: Document) -> dict[str, str]:
    """The outcome of each test."""
    return {test["test"]: test["ending"] for test in content["tests"]}


def failing_remark(record: Mapping[str, Any]) -> str:
    """A record's failure other than a gate (a soak's alarm), in one line; empty if there is none."""
    return next((remark["text"].partition("\n")[0] for remark in record["remarks"] if remark["level"] == "fail"), "")


def unexplained(content: Document) -> list[Document]:
    """The tests that failed for a reason other than their gates."""
    return [test for test in content["tests"] if test["ending"] == Ending.FAILED and test["text"]]
