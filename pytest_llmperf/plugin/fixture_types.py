"""The types of the fixtures' values, for annotations in tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import AnyAgent, AsyncAgent, Cell, ExternalTeam, Scenario
from pytest_llmperf.plugin.deployment import Deployment
from pytest_llmperf.recordings.recording_file import RecordingTarget
from pytest_llmperf.study.claims.claim_decisions import Decided
from pytest_llmperf.study.claims.claim_findings import Finding
from pytest_llmperf.study.economics.deployment_cost import Economy
from pytest_llmperf.study.sweeps.study_results import Results

ManyAgents = Sequence[AnyAgent | ExternalTeam | AsyncAgent | Sequence[str]]
"""Agents in place of a scenario."""


class RunAgents(Protocol):
    """Runs a scenario and judges it by the test's gates."""

    def __call__(
        self,
        scenario: Scenario | str | ManyAgents,
        *,
        on: Deployment,
        name: str = "",
        record: str | Path | RecordingTarget = "",
    ) -> Record:
        """Warm up, run rounds and judge them; a failing gate fails the test after its body.

        `scenario` may also be the name of a scenario in `llmperf.toml`, or a list of agents: built-in agents, async
        callables that take a base address, and commands (lists of words). Callables and commands are named after their
        functions, scripts and programs, and the scenario is named `name`, or else after the test. If `record` is given,
        the agents' requests in the first round are written to this file.
        """


class Economics(Protocol):
    """Computes the cost of measured deployments."""

    def __call__(self, *records: Record) -> tuple[Economy, ...]:
        """One economy per record, at the prices of `llmperf.toml`; the summary compares them with the first."""


class RunMatrix(Protocol):
    """Measures every cell of a matrix."""

    def __call__(
        self,
        matrix: str | Path | Mapping[str, Any],
        *,
        agents: Callable[[Cell], Scenario | Sequence[AnyAgent | ExternalTeam | AsyncAgent | Sequence[str]]]
        | None = None,
        name: str = "",
    ) -> Results:
        """Run the matrix of a TOML file (a path relative to the test's file), write its rows, and check its claims.

        `matrix` may also be a mapping with the file's tables. If the matrix does not define agents, the function
        `agents` makes the agents of a cell; its argument maps each axis to its value. `name` names the experiment; the
        default is the name of the file or the test. Each cell is judged by the test's gate markers.
        """


class WriteRecord(Protocol):
    """Fills a record of appendix S."""

    def __call__(self, kind: str, *records: Record, also: str = "") -> Path:
        """Writes `decision`, `validation` or `change` as `KIND-record.md` to the results folder; appends `also`."""


class DecideClaims(Protocol):
    """Decides claims from findings."""

    def __call__(self, findings: Sequence[Finding], claims: Mapping[str, str]) -> tuple[Mapping[str, Decided], str]:
        """The decision on each claim by its id, and a Markdown table of the decisions, which the summary prints."""


class WarmUp(Protocol):
    """Sends requests that are not timed."""

    def __call__(self, scenario: Scenario, *, on: Deployment, times: int = 1) -> None:
        """Load the model and send each agent's first request `times` times."""
