"""A session without pytest: opens servers, measures scenarios on them and judges the rounds; see docs/scripting.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.judge.record import Record
from pytest_llmperf.measure.agent_requests import keep_alive_s
from pytest_llmperf.measure.client_pool import Clients
from pytest_llmperf.measure.hosts.ray_plan import RayPlan
from pytest_llmperf.measure.interrupts import no_interrupt_lost
from pytest_llmperf.model import Baseline, Scenario, Settings, Topology, TopologyKind
from pytest_llmperf.recordings.recording_file import RecordingTarget
from pytest_llmperf.servers.backends import Backend, unused
from pytest_llmperf.servers.probes.deployment_facts import gpu_here
from pytest_llmperf.servers.processes.local_ray import LocalRay
from pytest_llmperf.session.baselines_in_force import BaselinesInForce
from pytest_llmperf.session.capacity_run import CapacityPlan, CapacityRun
from pytest_llmperf.session.measurement.answer_scores import DEFAULT_SCORER, Scorer
from pytest_llmperf.session.measurement.measurement_context import MeasurementContext, MeasurementPlan
from pytest_llmperf.session.measurement.measurement_run import MeasurementRun
from pytest_llmperf.session.measurement.recording_run import Recorded, record_agents
from pytest_llmperf.session.measurement.sampler_factory import SamplerFactory
from pytest_llmperf.session.progress_listener import ProgressListener, SilentListener
from pytest_llmperf.session.server_pool import ServerPool


class Session:
    """One run of the harness. As a context manager, it closes itself.

    Args:
        settings: options of the session.
        root: folder that relative paths of the settings start from.
        listener: receives the progress.
        notes: notes for the reader of every measurement.
        run_gates: number of gates of the whole run, which share the error probability of `fail`.
        unrestored: the list of another session, which this session extends; see the attribute.

    Attributes:
        unrestored: texts that say what could not be restored on servers that the session did not start; complete once
            the session is closed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        root: Path,
        listener: ProgressListener | None = None,
        notes: tuple[str, ...] = (),
        run_gates: int = 1,
        unrestored: list[str] | None = None,
    ) -> None:
        listener = listener or SilentListener()
        self.unrestored: list[str] = [] if unrestored is None else unrestored
        pool = ServerPool(settings, listener=listener, unrestored=self.unrestored)
        self._context = MeasurementContext(
            settings=settings,
            root=root,
            listener=listener,
            notes=notes,
            run_gates=run_gates,
            pool=pool,
            baselines=BaselinesInForce(settings, root, backend_kind=lambda: pool.backend.kind),
            clients=Clients(
                RayPlan(
                    address=settings.ray_address,
                    labels=settings.configuration.hosts,
                    start=partial(LocalRay, timeout_s=settings.start_timeout_s),
                )
            ),
            samplers=SamplerFactory(settings.telemetry_s),
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """The given settings."""
        return self._context.settings

    @property
    def root(self) -> Path:
        """The given root folder."""
        return self._context.root

    @property
    def listener(self) -> ProgressListener:
        """The given listener; without one, a silent listener."""
        return self._context.listener

    @property
    def backend(self) -> Backend:
        """The backend in force. It is chosen on first use; nothing is started.

        Raises:
            ServerError: no backend is available; the message says what to install or start.
        """
        return self._context.pool.backend

    @property
    def incumbent(self) -> Backend | None:
        """The backend of the incumbent, if there is one; raises as `backend` does."""
        lease = self._context.pool.incumbent
        return None if lease is None else lease.backend

    @property
    def baseline(self) -> Baseline:
        """The baseline that limits come from. Raises BaselineError if it is missing or malformed."""
        return self._context.baselines.baseline

    @property
    def stored(self) -> Baseline | None:
        """The baseline of `--llmperf-compare`, if given. Raises BaselineError if it is missing or malformed."""
        return self._context.baselines.stored

    @property
    def unused(self) -> str:
        """The given options that the backend in force does not use, in words. Raises as `backend` does."""
        return unused(self.settings, self.backend.kind)

    def variant(self, settings: Settings, listener: ProgressListener, *, more_gates: int = 0) -> Session:
        """A session with other settings and another listener. Close this one before it opens any servers.

        Args:
            settings: settings of the new session.
            listener: listener of the new session.
            more_gates: the number of gates of the run in addition to this session's gates.
        """
        return Session(
            settings,
            root=self.root,
            listener=listener,
            notes=self._context.notes,
            run_gates=self._context.run_gates + more_gates,
            unrestored=self.unrestored,
        )

    def check(self, runtimes: Iterable[str] = ()) -> None:
        """Choose the backend and load the baselines, so that faults are found before anything is started.

        Args:
            runtimes: the runtimes that tests require in addition to the runtime of the settings.

        Raises:
            LlmperfError: there is no backend, or its servers or model file are missing; a runtime is not installed; a
                baseline is missing or malformed, or could not be saved; the incumbent is the candidate.
        """
        _ = self.backend, self.baseline, self.stored
        for name in dict.fromkeys((self.settings.runtime, *runtimes)):
            self._context.clients.check(name)
        self._context.pool.check()
        self._context.baselines.check_save()

    @no_interrupt_lost()
    def facts(self) -> Mapping[str, str]:
        """The manifest's facts of the running deployment; starts `dual` (`single` on one server) if nothing runs yet.

        Raises:
            ServerError: the deployment could not be started.
        """
        alone = len(self.backend.urls) == 1
        running = self._context.pool.candidate.topology
        topology = running or self.open(TopologyKind.SINGLE if alone else TopologyKind.DUAL)
        return self._context.manifest(topology, self.settings.runtime).facts

    @no_interrupt_lost()
    def open(self, kind: TopologyKind, agents: int = 2) -> Topology:
        """Running servers for `agents` agents; reused while callers request the same topology.

        Raises:
            ServerError: the servers could not be found, started or loaded.
        """
        return self._context.pool.candidate.open(kind, agents)

    def has_gpu(self) -> bool:
        """Whether a GPU was detected on this machine."""
        return gpu_here()

    def vram_mb(self) -> float | None:
        """VRAM that the loaded model uses on all open instances, from their `/api/ps`, MB; None if it uses none."""
        return self._context.pool.candidate.vram_mb()

    def close(self) -> None:
        """Stop the servers that the session started, restore the others, and free the machine for other sessions."""
        with ExitStack() as stack:
            stack.callback(self._context.pool.close)
            stack.callback(self._context.samplers.close)
            self._context.clients.close()

    @no_interrupt_lost()
    def warm_up(self, scenario: Scenario, topology: Topology, times: int) -> None:
        """Load the model on each instance and send each agent's first request `times` times, untimed."""
        context, lease = self._context, self._context.pool.candidate
        scenario = context.baselines.scaled(scenario)
        rounds = context.rounds(scenario, topology, context.clients.runtime(self.settings.runtime))
        try:
            lease.load(scenario, topology, keep_alive_s=keep_alive_s(self.settings.timeout_s))
            lease.timed(partial(rounds.warm_up, times))
        finally:
            self.listener.done()

    def measure(
        self,
        scenario: Scenario,
        kind: TopologyKind,
        *,
        test: str,
        specs: Sequence[Marker] = (),
        runtime: str = "",
        scorer: Scorer = DEFAULT_SCORER,
        calibrate: bool = True,
    ) -> Record:
        """Warm up, run rounds until every gate is decided (or the maximum is reached), and judge.

        Args:
            scenario: the scenario to run; the baseline in force may scale it.
            kind: the topology to run it on.
            test: the name under which it is recorded.
            specs: gate markers (`judge.markers`).
            runtime: one of RUNTIMES; empty: the runtime of the settings.
            scorer: scores answers for the gate `quality`.
            calibrate: whether to measure the cost of the harness itself; the settings must allow it, too.

        Raises:
            ServerError: the servers could not be opened, or one of them died.
            MissingExtraError: the runtime is not installed.
            MeasurementError: a timed request failed.
            UsageError: a gate has no limit, or the scenario does not fit the topology.
        """
        return self.run(
            MeasurementPlan(
                scenario=scenario,
                kind=kind,
                test=test,
                specs=specs,
                runtime=runtime,
                scorer=scorer,
                calibrate=calibrate,
            )
        )

    def soak(
        self,
        scenario: Scenario,
        kind: TopologyKind,
        *,
        test: str,
        duration_s: float,
        specs: Sequence[Marker] = (),
        runtime: str = "",
        scorer: Scorer = DEFAULT_SCORER,
    ) -> Record:
        """Warm up, run rounds for `duration_s` while watching for drift and critical levels, and judge.

        The other arguments are as for `measure`; raises as `measure` does.
        """
        return self.run(
            MeasurementPlan(
                scenario=scenario,
                kind=kind,
                test=test,
                specs=specs,
                runtime=runtime,
                soak_s=duration_s,
                scorer=scorer,
            )
        )

    @no_interrupt_lost()
    def run(self, plan: MeasurementPlan) -> Record:
        """Carry out a measurement plan; raises as `measure` does."""
        return MeasurementRun(plan, self._context).run()

    def capacity(self, plan: CapacityPlan) -> CapacityRun:
        """A search for the number of agents that the servers carry; call its `run`, which raises as `measure` does."""
        return CapacityRun(plan, self._context)

    @no_interrupt_lost()
    def record(self, scenario: Scenario, kind: TopologyKind, target: RecordingTarget) -> Recorded:
        """Run external agents once and write their requests to a file; see docs/recordings.md.

        Requests sent before an agent failed, or before Ctrl-C, are written, too.

        Raises:
            UsageError: an agent is not external, or the file cannot be written.
            LlmperfError: the servers cannot be used.
        """
        return record_agents(scenario, kind, target, self._context)
