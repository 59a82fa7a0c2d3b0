"""Frozen values that the rooms hand to each other."""

from pytest_llmperf.model.access import DIRECT, Access
from pytest_llmperf.model.baseline import (
    SCHEMA,
    Baseline,
    Boundary,
    Reference,
    Stored,
    StoredSession,
    Threshold,
)
from pytest_llmperf.model.endpoints import ENDPOINTS, Dialect, Endpoint
from pytest_llmperf.model.manifest import IDENTITY, KEYS, NOTED, Manifest
from pytest_llmperf.model.results.answer_quality import Answered, Quality
from pytest_llmperf.model.results.calibration import Calibration
from pytest_llmperf.model.results.external_work import ProcessUse, Workflow
from pytest_llmperf.model.results.machine_samples import GpuSample, Sample, Telemetry, Used
from pytest_llmperf.model.results.timing import UNTIMED, AgentRun, Incident, Measurement, RequestTiming, Round, Untimed
from pytest_llmperf.model.settings.configuration import BACKENDS, STARTED, Configuration, NamedDeployment, NamedScenario
from pytest_llmperf.model.settings.matrix import FIGURES, RELATIONS, STATISTICS, Cell, Claim, Matrix, Played, Value
from pytest_llmperf.model.settings.prices import Prices
from pytest_llmperf.model.settings.session_settings import CLIENT_RUNTIMES, RAY, RUNTIMES, SERIAL, Settings
from pytest_llmperf.model.verdict import Bound, Gate, Outcome, RequestLimit, Verdict
from pytest_llmperf.model.workload.agent import Agent, AsyncAgent, Command, ExternalAgent, Loop, Pauses
from pytest_llmperf.model.workload.generation_options import OLLAMA_ONLY, GenerationOptions, Think
from pytest_llmperf.model.workload.graph import AT_ONCE, LAST, AnyAgent, Place, Step, alone, steps_of
from pytest_llmperf.model.workload.profile import PROFILES, Mode, Profile, mode_of
from pytest_llmperf.model.workload.recorded_agent import RecordedAgent
from pytest_llmperf.model.workload.report_scenarios import (
    BASELINE_VS_CHIMERA,
    CHIMERA_HETERO,
    CHIMERA_HOMO,
    CONVERSATION,
    SCENARIOS,
)
from pytest_llmperf.model.workload.scenario import Scenario, Workload, scenario_of
from pytest_llmperf.model.workload.script import Script
from pytest_llmperf.model.workload.team import ExternalTeam, mates_of, team_of
from pytest_llmperf.model.workload.topology import Instance, Topology, TopologyKind

__all__ = [
    "AT_ONCE",
    "BACKENDS",
    "BASELINE_VS_CHIMERA",
    "CHIMERA_HETERO",
    "CHIMERA_HOMO",
    "CLIENT_RUNTIMES",
    "CONVERSATION",
    "DIRECT",
    "ENDPOINTS",
    "FIGURES",
    "IDENTITY",
    "KEYS",
    "LAST",
    "NOTED",
    "OLLAMA_ONLY",
    "PROFILES",
    "RAY",
    "RELATIONS",
    "RUNTIMES",
    "SCENARIOS",
    "SCHEMA",
    "SERIAL",
    "STARTED",
    "STATISTICS",
    "UNTIMED",
    "Access",
    "Agent",
    "AgentRun",
    "Answered",
    "AnyAgent",
    "AsyncAgent",
    "Baseline",
    "Bound",
    "Boundary",
    "Calibration",
    "Cell",
    "Claim",
    "Command",
    "Configuration",
    "Dialect",
    "Endpoint",
    "ExternalAgent",
    "ExternalTeam",
    "Gate",
    "GenerationOptions",
    "GpuSample",
    "Incident",
    "Instance",
    "Loop",
    "Manifest",
    "Matrix",
    "Measurement",
    "Mode",
    "NamedDeployment",
    "NamedScenario",
    "Outcome",
    "Pauses",
    "Place",
    "Played",
    "Prices",
    "ProcessUse",
    "Profile",
    "Quality",
    "RecordedAgent",
    "Reference",
    "RequestLimit",
    "RequestTiming",
    "Round",
    "Sample",
    "Scenario",
    "Script",
    "Settings",
    "Step",
    "Stored",
    "StoredSession",
    "Telemetry",
    "Think",
    "Threshold",
    "Topology",
    "TopologyKind",
    "Untimed",
    "Used",
    "Value",
    "Verdict",
    "Workflow",
    "Workload",
    "alone",
    "mates_of",
    "mode_of",
    "scenario_of",
    "steps_of",
    "team_of",
]
