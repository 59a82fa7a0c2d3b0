"""One measurement of one test with the verdicts of its gates: the value that is reported, sent and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import cattrs

from pytest_llmperf.judge.baselines.manifest_diff import Difference
from pytest_llmperf.judge.diagnosis.phase_findings import PhaseRegression
from pytest_llmperf.judge.diagnosis.triage import Answer
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.soak import Soak
from pytest_llmperf.judge.stats.summary import Summary, summarise
from pytest_llmperf.model import ExternalAgent, Measurement, Pauses, RecordedAgent, Think, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """The deployment that took turns with the candidate.

    Attributes:
        name: the name of the deployment, or its addresses.
        measurement: its rounds; each was run next to the candidate's round of the same index.
        differences: the differences between the two manifests, the incumbent's fact first.
    """

    name: str
    measurement: Measurement
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The outcome of one `run_agents` call.

    Attributes:
        test: the test's node id, or the name that a script gave.
        measurement: the measurement with its rounds.
        verdicts: one verdict for each gate.
        differences: differences between this manifest and the manifests of the baselines that its gates use.
        incumbent: the incumbent of `--llmperf-against`; None without that option.
        soak: the result of a soak; None for other runs.
        phase_regressions: phases that take longer than in the stored sessions, or on the incumbent; the largest first.
        triage: the questions of `--llmperf-diagnose` with their answers; empty without that option.
    """

    test: str
    measurement: Measurement
    verdicts: tuple[Verdict, ...] = ()
    differences: tuple[Difference, ...] = ()
    incumbent: Incumbent | None = None
    soak: Soak | None = None
    phase_regressions: tuple[PhaseRegression, ...] = ()
    triage: tuple[Answer, ...] = ()

    def series(self, metric: str) -> tuple[float, ...]:
        """One value per round, in the metric's unit; for names see `judge.metrics.catalogue.CATALOGUE`.

        Raises:
            UsageError: there is no metric of that name.
            MeasurementError: the metric is not defined for these rounds.
        """
        return series(self.measurement, metric)

    def summary(self, metric: str) -> Summary:
        """Mean, median, standard deviation and the rest over the rounds; raises as `series` does."""
        return summarise(self.series(metric))


_CONVERTER = cattrs.Converter()
_CONVERTER.register_unstructure_hook(StrEnum, lambda member: member.value)
_CONVERTER.register_unstructure_hook(
    ExternalAgent,
    lambda agent: {"name": agent.name, "run": agent.stored, "after": list(agent.after), "team": agent.team},
)
_CONVERTER.register_unstructure_hook(
    RecordedAgent,
    lambda agent: {
        field.name: _CONVERTER.unstructure(getattr(agent, field.name))
        for field in fields(agent)
        if field.metadata.get("stored", True)
    },
)
_CONVERTER.register_structure_hook(
    ExternalAgent,
    lambda data, _: ExternalAgent(
        name=data["name"],
        run=data["run"] if isinstance(data["run"], str) else tuple(data["run"]),
        after=tuple(data.get("after", ())),
        team=data.get("team", ""),
    ),
)


_CONVERTER.register_structure_hook_func(lambda kind: kind in (Think | None, Pauses), lambda value, _: value)


def as_plain(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Records as dicts, lists, texts and numbers only: for JSON, and for pytest-xdist's channel."""
    return [_CONVERTER.unstructure(record) for record in records]


def from_plain(data: Sequence[dict[str, Any]]) -> list[Record]:
    """Restores records from the result of `as_plain`, of this release or an older one."""
    return [_CONVERTER.structure(with_new_keys(record), Record) for record in data]


_NEW_KEYS = (
    (("slower",), "phase_regressions"),
    (("measurement", "incidents", "what"), "problem"),
    (("measurement", "incidents", "answer"), "handling"),
    (("incumbent", "measurement", "incidents", "what"), "problem"),
    (("incumbent", "measurement", "incidents", "answer"), "handling"),
    (("soak", "drifts", "what"), "name"),
    (("soak", "leaks", "what"), "name"),
)
"""Keys that were renamed in layout 2: the path in layout 1, and the new name."""


def with_new_keys(record: dict[str, Any]) -> dict[str, Any]:
    """A plain record of layout 1 with the keys of layout 2; a record of layout 2 as it is."""
    for path, key in _NEW_KEYS:
        record = _renamed(record, path, key)
    return record


def _renamed(value: Any, path: Sequence[str], key: str) -> Any:
    """The value with the key at the end of the path renamed, if it exists; for a list on the path, in each item."""
    if isinstance(value, list):
        return [_renamed(item, path, key) for item in value]
    old, *further = path
    if not isinstance(value, dict) or old not in value:
        return value
    if further:
        return {**value, old: _renamed(value[old], further, key)}
    return {key if name == old else name: item for name, item in value.items()}
