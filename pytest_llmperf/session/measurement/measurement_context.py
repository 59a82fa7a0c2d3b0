"""The objects that the measurements of a session share, and the arguments of a single measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import UsageError
from pytest_llmperf.files.atomic_write import is_file
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.measure.client_pool import Clients
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.measure.runtimes import Runtime
from pytest_llmperf.measure.wire.arrival import expected_source
from pytest_llmperf.model import Manifest, Scenario, Settings, Topology, TopologyKind
from pytest_llmperf.model.node_id import file_of
from pytest_llmperf.recordings.recording_file import RecordingTarget
from pytest_llmperf.servers.probes.deployment_facts import manifest
from pytest_llmperf.session.baselines_in_force import BaselinesInForce
from pytest_llmperf.session.measurement.agent_recording import AgentRecording
from pytest_llmperf.session.measurement.answer_scores import DEFAULT_SCORER, Scorer
from pytest_llmperf.session.measurement.sampler_factory import SamplerFactory
from pytest_llmperf.session.progress_listener import ProgressListener
from pytest_llmperf.session.server_pool import ServerPool


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementContext:
    """The objects that the measurements of a session share.

    Attributes:
        settings: the settings of the session.
        root: folder that relative paths start from.
        listener: receives the progress.
        notes: for the reader of every measurement.
        run_gates: number of gates of the whole run, which share the error probability of `fail`.
        pool: the servers.
        baselines: where limits come from.
        clients: run the agents.
        samplers: sample the machine.
    """

    settings: Settings
    root: Path
    listener: ProgressListener
    notes: tuple[str, ...]
    run_gates: int
    pool: ServerPool
    baselines: BaselinesInForce
    clients: Clients
    samplers: SamplerFactory

    def manifest(self, topology: Topology, runtime: str, test: str = "", recording: str = "") -> Manifest:
        """The facts of a running deployment, and what is replayed on it.

        The commit is that of the repository that holds the test's file; of the root, if the name is no file's.
        """
        file = self.root / file_of(test)
        sources = {expected_source(instance.url) for instance in topology.instances}
        folder = file.parent if is_file(file) else self.root
        return manifest(
            topology,
            runtime=runtime,
            timing_source=", ".join(sorted(sources)),
            folder=folder,
            more={"recording": recording, "hosts": self.clients.hosts(runtime)},
        )

    def rounds(
        self, scenario: Scenario, topology: Topology, runtime: Runtime, recording: AgentRecording | None = None
    ) -> Rounds:
        """The rounds of a scenario on running servers, the first of them recorded if there is a recording to write.

        Raises:
            UsageError: the scenario does not fit the servers.
        """
        try:
            return Rounds(
                scenario,
                topology,
                runtime=runtime,
                timeout_s=self.settings.timeout_s,
                tap=self.clients.tap if scenario.external or recording else None,
                record=recording.keep if recording else None,
            )
        except ValueError as error:
            raise UsageError(str(error), next_step="use a topology with an instance an agent") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementPlan:
    """The arguments of one measurement.

    Attributes:
        scenario: what to run, not scaled yet.
        kind: topology to run it on.
        test: the name under which it is recorded.
        specs: gate markers.
        runtime: one of RUNTIMES; empty: that of the settings.
        soak_s: run rounds for this long, watched, instead of until every gate is decided; 0: no soak.
        scorer: scores answers for the gate `quality`.
        calibrate: measure what the harness itself costs, if the settings say so, too.
        record: where the agents' requests of the first round are recorded to; None: nowhere.
    """

    scenario: Scenario
    kind: TopologyKind
    test: str
    specs: Sequence[Marker] = ()
    runtime: str = ""
    soak_s: float = 0.0
    scorer: Scorer = DEFAULT_SCORER
    calibrate: bool = True
    record: RecordingTarget | None = None
