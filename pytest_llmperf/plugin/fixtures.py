"""The fixtures. Servers start when the first scenario runs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytest_llmperf.judge.record import Record
    from pytest_llmperf.model import Baseline, Scenario
    from pytest_llmperf.plugin.deployment import Deployment
    from pytest_llmperf.plugin.fixture_types import DecideClaims, Economics, RunAgents, RunMatrix, WarmUp, WriteRecord
    from pytest_llmperf.plugin.runner import Runner
    from pytest_llmperf.session.session import Session
    from pytest_llmperf.study.claims.claim_decisions import Decided
    from pytest_llmperf.study.claims.claim_findings import Finding
    from pytest_llmperf.study.economics.deployment_cost import Economy
    from pytest_llmperf.study.sweeps.study_results import Results


_HOW = (
    "run_agents([agent, async_function, ['python', 'critic.py']], on=dual_ollama): agents, async functions, "
    "lists of words (commands)"
)


FIXTURES: dict[str, str] = {}
"""Every fixture with the first line of its docstring, which states its call and its value or effect."""


def _fixture(scope: Literal["session", "function"] = "function") -> Callable[[Callable[..., Any]], Any]:
    """Declare a fixture and add it to FIXTURES."""

    def declare(function: Callable[..., Any]) -> Any:
        FIXTURES[function.__name__] = str(function.__doc__).partition("\n")[0]
        return pytest.fixture(scope=scope)(function)

    return declare


def _runner(config: pytest.Config) -> Runner:
    runner: Runner | None = config.pluginmanager.get_plugin("llmperf-runner")
    if runner is None:
        raise pytest.UsageError("pytest-llmperf: ask for its fixtures as arguments of the test or of its fixtures")
    return runner


def _deployment(session: Session, kind: str) -> Deployment:
    from pytest_llmperf.plugin.deployment import Deployment

    return Deployment(session, kind)


@_fixture()
def dual_ollama(llmperf: Session) -> Deployment:
    """Two instances, one per agent."""
    return _deployment(llmperf, "dual")


@_fixture()
def single_ollama(llmperf: Session) -> Deployment:
    """One instance with one slot, shared by all agents."""
    return _deployment(llmperf, "single")


@_fixture()
def single_parallel_ollama(llmperf: Session) -> Deployment:
    """One instance with a slot per agent."""
    return _deployment(llmperf, "single_parallel")


@_fixture()
def ollama_fleet(llmperf: Session) -> Deployment:
    """One instance per agent, for any number of agents."""
    return _deployment(llmperf, "fleet")


@_fixture()
def run_agents(request: pytest.FixtureRequest) -> RunAgents:
    """`run_agents(scenario, on=...)`: runs warm-up and rounds, judges the gates, returns a Record."""
    from pytest_llmperf.errors import did_you_mean
    from pytest_llmperf.model import Scenario, scenario_of
    from pytest_llmperf.plugin.deployment import Deployment
    from pytest_llmperf.recordings.recording_file import RecordingTarget

    runner = _runner(request.config)
    benchmark: Any = runner.benchmark_fixture(request)

    def run(scenario: Any, *, on: Deployment, name: str = "", record: Any = "") -> Record:
        failure = names = ""
        if isinstance(scenario, str):
            known = runner.scenarios()
            names = f"; scenarios with a name: {', '.join(known)}{did_you_mean(scenario, known)}"
            scenario = known.get(scenario, scenario)
        target = record if isinstance(record, RecordingTarget) or not record else RecordingTarget(file=record)
        if not isinstance(scenario, Scenario):
            try:
                scenario = scenario_of(scenario, name=name or getattr(request.node, "originalname", request.node.name))
            except ValueError as error:
                failure = f"UsageError: run_agents: {error}{names}\n  next: {_HOW}"
        if not isinstance(on, Deployment):
            failure = (
                f"UsageError: run_agents(..., on={on!r}): wanted one of the server fixtures\n"
                "  next: pass dual_ollama, single_ollama, single_parallel_ollama or ollama_fleet"
            )
        if failure:
            pytest.fail(failure, pytrace=False)
        return runner.measure(request.node, scenario, on, benchmark, target or None)

    return run


@_fixture()
def run_matrix(request: pytest.FixtureRequest) -> RunMatrix:
    """`run_matrix("x.toml")`: measures every cell of a matrix, can be resumed, see docs/experiments.md."""
    runner = _runner(request.config)

    def run(matrix: str | Path | Mapping[str, Any], *, agents: Any = None, name: str = "") -> Results:
        return runner.run_matrix(request.node, matrix, agents, name)

    return run


@_fixture()
def economics(request: pytest.FixtureRequest, llmperf: Session) -> Economics:
    """`economics(record, ...)`: capacity and cost of deployments at given prices, see docs/economics.md."""
    from pytest_llmperf.plugin.failures import fail_without_traceback
    from pytest_llmperf.plugin.stash import LINES
    from pytest_llmperf.study.economics.cost_table import compared

    def look(*records: Record) -> tuple[Economy, ...]:
        economies, _, lines = fail_without_traceback(lambda: compared(records, llmperf.settings.configuration.prices))
        request.node.stash[LINES].extend(lines)
        return economies

    return look


@_fixture()
def decide_claims(request: pytest.FixtureRequest) -> DecideClaims:
    """`decide_claims(findings, {"C2": "..."})`: verdict and grade of each claim, see docs/claims.md.

    Findings `C2.part` are the parts of claim C2.
    """
    from pytest_llmperf.plugin.failures import fail_without_traceback
    from pytest_llmperf.plugin.stash import LINES
    from pytest_llmperf.study.claims import claim_decisions

    def look(findings: Sequence[Finding], claims: Mapping[str, str]) -> tuple[Mapping[str, Decided], str]:
        decided = fail_without_traceback(lambda: claim_decisions.decide(findings, claims))
        request.node.stash[LINES].extend(claim_decisions.lines(decided))
        return {claim.id: claim for claim in decided}, claim_decisions.markdown(decided)

    return look


@_fixture()
def write_record(request: pytest.FixtureRequest, llmperf: Session) -> WriteRecord:
    """`write_record("validation", record, ...)`: writes a record of appendix S, see docs/predeploy.md."""
    from pytest_llmperf.plugin.failures import fail_without_traceback
    from pytest_llmperf.plugin.options.output_files import shown
    from pytest_llmperf.plugin.stash import LINES
    from pytest_llmperf.study.records.filled_record import fill

    def write(kind: str, *records: Record, also: str = "") -> Path:
        path = fail_without_traceback(lambda: fill(kind, records, llmperf.settings, llmperf.root, also=also))
        request.node.stash[LINES].append(f"wrote {shown(path, request.config)}")
        return path

    return write


@_fixture()
def ollama_warmup(request: pytest.FixtureRequest, llmperf: Session) -> WarmUp:
    """`ollama_warmup(scenario, on=..., times=3)`: more warm-up than the usual one request."""
    from pytest_llmperf.plugin.failures import without_our_frames

    def warm_up(scenario: Scenario, *, on: Deployment, times: int = 1) -> None:
        scenario = _runner(request.config).profiled(request.node, scenario)
        topology = on.open(len(scenario.agents))
        without_our_frames(lambda: llmperf.warm_up(scenario, topology, times))

    return warm_up


@_fixture(scope="session")
def llmperf(pytestconfig: pytest.Config) -> Session:
    """The session: its settings, backend and baseline, `open` and `measure`, see docs/scripting.md."""
    return _runner(pytestconfig).session


@_fixture()
def llmperf_baseline(llmperf: Session) -> Baseline:
    """The baseline in force, see docs/baselines.md."""
    from pytest_llmperf.plugin.failures import without_our_frames

    return without_our_frames(lambda: llmperf.baseline)


@_fixture()
def llmperf_manifest(llmperf: Session) -> Mapping[str, str]:
    """Facts of the running deployment, by key; starts `dual` if nothing runs yet."""
    from pytest_llmperf.plugin.failures import without_our_frames

    return without_our_frames(llmperf.facts)
