"""Types of what the fixtures return, to annotate tests with."""

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

        Instead of a scenario, its name in `llmperf.toml` will do, or agents: our own, async callables that take a base
        address, and commands (lists of words), named after their functions, scripts and programs. The scenario is then
        called `name`, or as the test. What the agents ask in the first round is
        written to the file `record`, if it is given.
        """


class Economics(Protocol):
    """What measured deployments cost."""

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

        Its tables will do as well, where the test makes them. `agents` says what the agents of a cell do, where the
        matrix does not: it gets the cell, value by axis. `name` is the experiment's, in place of the file's or the
        test's. Each cell is judged by the test's gate markers.
        """


class WriteRecord(Protocol):
    """Fills a record of appendix S."""

    def __call__(self, kind: str, *records: Record, also: str = "") -> Path:
        """Writes `decision`, `validation` or `change` as `KIND-record.md` to the folder of results; `also` ends it."""


class DecideClaims(Protocol):
    """Brings findings together."""

    def __call__(self, findings: Sequence[Finding], claims: Mapping[str, str]) -> tuple[Mapping[str, Decided], str]:
        """The decision on each claim (id to words), by id, and a Markdown table of them, which the summary prints."""


class WarmUp(Protocol):
    """Sends requests that are not timed."""

    def __call__(self, scenario: Scenario, *, on: Deployment, times: int = 1) -> None:
        """Load the model and send each agent's first request `times` times."""
