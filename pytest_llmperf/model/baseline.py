"""The content of a baseline file: thresholds, reference results, stored measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmperf.model.verdict import Bound
from pytest_llmperf.model.workload.scenario import Workload

SCHEMA = 3
"""Version of the TOML layout that this release writes; it reads all from 1 on (see `judge.baselines.toml_format`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A limit that the baseline sets.

    Attributes:
        metric: the metric's name in the catalogue, or the name of a figure that is not measured yet (e.g. `vram_gib`).
        level: `validation` (used by gates), `warning`, `critical`, or another word from the source.
        bound: `min` or `max`.
        value: the limit, in `unit`.
        unit: e.g. `%`, `ratio`, `ms`, `tok/s`, `x`, `GiB`.
        source: the report and section that state it.
        topology, scenario: the topology and scenario that it applies to; empty = all. The most specific match wins.
        note: a remark for the reader.
    """

    metric: str
    level: str
    bound: Bound
    value: float
    unit: str
    source: str
    topology: str = ""
    scenario: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A result from the report, to compare with and to cite; it is never a gate.

    Attributes:
        report: e.g. `TR114_v2`.
        metric: short name, e.g. `efficiency_pct`.
        statistic: `mean`, `best`, `worst`, `sd`, `cv`, `rate`, `count`, `delta`, `ratio`, `value`, ...
        value: the value in `unit`.
        unit: as in Threshold.
        source: section of the report.
        context: configuration, scenario, language, model ... in words.
        text: the figure as the report prints it, if a number alone would lose something (`~95 %`, `<2 %`).
    """

    report: str
    metric: str
    statistic: str
    value: float
    unit: str
    source: str
    context: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A condition under which the baseline is valid, or a change that invalidates it.

    Attributes:
        text: the condition in the source's words, shortened.
        source: section of the report.
        keys: manifest keys that show it.
    """

    text: str
    source: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """One saved session of one measurement.

    Attributes:
        saved_at: time of the measurement, ISO 8601 with the zone.
        manifest: facts by key, including the commit (`git_commit`, `git_dirty`) and the plugin's version.
        rounds: one value for each round, by the metric's name.
        parts: breakdown of the agents' time, medians over rounds: `client_ms`, `queue_ms`, `load_ms`, `prefill_ms`,
            `decode_ms`, `rest_ms`, and tokens `read` and `written`; one value for each agent alone, then one for each
            together, in the scenario's order. Empty: saved by an older release, or agents did not run alone.
    """

    saved_at: str
    manifest: Mapping[str, str]
    rounds: Mapping[str, tuple[float, ...]]
    parts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The saved sessions of one measurement of one test.

    Attributes:
        test: node id.
        scenario, topology: names, which must match to compare.
        workload: fingerprint of the scenario as it ran (prompts and options); must match to compare.
        session: at least one session, oldest first.
    """

    test: str
    scenario: str
    topology: str
    workload: str
    session: tuple[StoredSession, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One TOML file.

    Attributes:
        schema: layout version of the file that it was read from.
        name: the file's stem.
        description: what it is.
        workload: options for every scenario, or None.
        manifest: identity for which the machine-bound thresholds are valid; empty = not known.
        threshold, reference, valid_under, invalidated_by, stored: the tables, in the file's order.
    """

    schema: int
    name: str
    description: str = ""
    workload: Workload | None = None
    manifest: Mapping[str, str] = field(default_factory=dict)
    threshold: tuple[Threshold, ...] = ()
    reference: tuple[Reference, ...] = ()
    valid_under: tuple[Boundary, ...] = ()
    invalidated_by: tuple[Boundary, ...] = ()
    stored: tuple[Stored, ...] = ()
