"""Composes the rooms: opens servers, asks for a round, asks whether it is decided, again or reports.

Knows nothing of pytest; a script can use it as well as the plugin does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

from pytest_llmperf.config import incumbent_of as incumbent_settings
from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.files.atomic_write import is_file
from pytest_llmperf.judge.baselines import store
from pytest_llmperf.judge.baselines.manifest_diff import differences_for
from pytest_llmperf.judge.diagnosis.phase_regressions import Slower, held_in_words, than_incumbent, than_stored
from pytest_llmperf.judge.diagnosis.triage import Answer
from pytest_llmperf.judge.evidence import graded
from pytest_llmperf.judge.gate_kinds import Judged
from pytest_llmperf.judge.gates import default_scorer
from pytest_llmperf.judge.gates.comparison_gates import compare_gates, without_regression
from pytest_llmperf.judge.gates.incumbent import against_gates, incumbent_of
from pytest_llmperf.judge.gates.quality_gate import gates_of, judged
from pytest_llmperf.judge.gates.resolve import Baselines, resolve
from pytest_llmperf.judge.gates.target import Target, option_limit
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.soak import Level, Soak, crossed, levels_for
from pytest_llmperf.measure.agent_requests import keep_alive_s
from pytest_llmperf.measure.client_pool import Clients
from pytest_llmperf.measure.rounds import EXTERNAL_NOTE, Rounds
from pytest_llmperf.measure.runtimes import Runtime, runtime_of
from pytest_llmperf.measure.wire.arrival import expected_source
from pytest_llmperf.model import (
    Baseline,
    Gate,
    Manifest,
    Measurement,
    RequestTiming,
    Scenario,
    Settings,
    Topology,
    TopologyKind,
    Verdict,
    Workload,
)
from pytest_llmperf.model.model_names import full_name
from pytest_llmperf.model.node_id import file_of
from pytest_llmperf.servers.addresses import may_be_same_servers, same_addresses, same_servers
from pytest_llmperf.servers.backends import Backend, unused
from pytest_llmperf.servers.probes.deployment_facts import gpu_here, manifest
from pytest_llmperf.session.lock.machine_lock import MachineLock
from pytest_llmperf.session.measurement.arm import Arm, Score, named
from pytest_llmperf.session.measurement.round_loop import RoundLoop
from pytest_llmperf.session.measurement.sampler_factory import SamplerFactory
from pytest_llmperf.session.measurement.server_checks import triage
from pytest_llmperf.session.measurement.soak_loop import soak
from pytest_llmperf.session.progress_listener import ProgressListener, SilentListener, step
from pytest_llmperf.session.server_lease import ServerLease


class Session:
    """One run of the harness.

    Args:
        settings: what was asked for.
        root: folder that relative paths of the settings start from.
        listener: is told what happens.
        notes: for the reader of every measurement.
        undone: see there; of another session, which this one adds to.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        root: Path,
        listener: ProgressListener | None = None,
        notes: tuple[str, ...] = (),
        undone: list[str] | None = None,
    ) -> None:
        self.settings = settings
        self.root = root
        self.listener: ProgressListener = listener or SilentListener()
        self.gates = 1
        """Gates of the whole run, which share the error of `fail`; the plugin counts them when tests are collected."""
        self.score: Score = lambda _, response: default_scorer.score(response)
        """Scores answers for the gate `quality`; the plugin asks its hook."""
        self.scorer = default_scorer.NAME
        self.undone: list[str] = [] if undone is None else undone
        """What could not be put back on servers that were found, in words; known when they are closed."""
        self._notes = notes
        self._clients = Clients()
        self._observing = SamplerFactory(settings.telemetry_s)
        lock, incumbent = MachineLock(), incumbent_settings(settings)
        self._servers = ServerLease(settings, self._say, step=self._step, lock=lock, undone=self.undone)
        self._incumbent = (
            None
            if incumbent is None
            else ServerLease(incumbent, self._say, step=self._step, lock=lock, undone=self.undone)
        )

    @property
    def incumbent(self) -> Backend | None:
        """The backend of the deployment that takes turns, where there is one; raises as `backend` does."""
        return None if self._incumbent is None else self._incumbent.backend

    def variant(self, settings: Settings, listener: ProgressListener) -> Session:
        """A session with other settings and another listener, and nothing open; close this one before it opens any."""
        other = Session(settings, root=self.root, listener=listener, notes=self._notes, undone=self.undone)
        other.gates = self.gates
        return other

    @property
    def backend(self) -> Backend:
        """The backend in force; chosen once, nothing started.

        Raises:
            ServerError: none can be had; says what to install or start.
        """
        return self._servers.backend

    @cached_property
    def baseline(self) -> Baseline:
        """The baseline in force.

        Raises:
            BaselineError: it is missing or torn.
        """
        name = self.settings.baseline or ("embedded" if self.backend.kind == "embedded" else "decision_card")
        return self._named(name)

    @cached_property
    def stored(self) -> Baseline | None:
        """The baseline of `--llmperf-compare`, if given.

        Raises:
            BaselineError: it is missing or torn.
        """
        name = self.settings.compare
        return self._named(name) if name else None

    def check(self, runtimes: Iterable[str] = ()) -> None:
        """Chooses the backend, loads the baselines: what cannot work fails here, before anything starts.

        Args:
            runtimes: that tests ask for, besides that of the settings.

        Raises:
            LlmperfError: no backend, or one whose servers or model file are not there; a runtime is not installed; a
                baseline is missing or torn, or could not be saved; the incumbent is what is measured.
        """
        _ = self.backend, self.baseline, self.stored
        for name in dict.fromkeys((self.settings.runtime, *runtimes)):
            runtime_of(name).close()  # of a package that is not installed
        if self._incumbent is not None:
            self._check_incumbent(self._incumbent)
        self.backend.check()
        if self._incumbent is not None:
            with named(self.settings.against):
                self._incumbent.backend.check()
        self.check_save()

    def check_save(self) -> None:
        """Whether `--llmperf-save` or `--llmperf-update` will be able to write; a measurement is too dear to lose.

        Raises:
            UsageError: the name is that of a packaged baseline.
            BaselineError: the file is there and cannot be added to, its folder cannot be written, or there is none to
                update.
        """
        name, folder = self.settings.save or self.settings.update, self.root / self.settings.baselines_dir
        if name:
            store.check_editable(store.target_of(name, folder), must_exist=bool(self.settings.update))

    def facts(self) -> Mapping[str, str]:
        """The manifest's facts of the running deployment; starts `dual` if nothing runs yet (`single` on one server).

        Raises:
            ServerError: it could not be started.
        """
        alone = len(self.backend.urls) == 1
        topology = self._servers.topology or self.open(TopologyKind.SINGLE if alone else TopologyKind.DUAL)
        return self._manifest(topology, self.settings.runtime).facts

    def open(self, kind: TopologyKind, agents: int = 2) -> Topology:
        """Running servers for that many agents; reused while the same topology is asked for.

        Raises:
            ServerError: they could not be found, started or loaded.
        """
        return self._servers.open(kind, agents)

    def has_gpu(self) -> bool:
        """Whether this machine has a GPU that we know of."""
        return gpu_here()

    def vram_mb(self) -> float | None:
        """VRAM that the loaded model holds on all open instances, by their `/api/ps`, MB; None where it holds none."""
        return self._servers.vram_mb()

    def close(self) -> None:
        """Leaves the servers as they were found, and frees the machine for other sessions."""
        with ExitStack() as stack:
            stack.callback(self._servers.close)
            if self._incumbent is not None:
                stack.callback(self._incumbent.close)
            stack.callback(self._observing.close)
            self._clients.close()

    def warm_up(self, scenario: Scenario, topology: Topology, times: int) -> None:
        """Loads the model on each instance and sends each agent's first request `times` times, untimed."""
        scenario = self._scaled(scenario)
        rounds = self._rounds(scenario, topology, self._clients.runtime(self.settings.runtime))
        try:
            self._servers.load(scenario, topology, keep_alive_s=keep_alive_s(self.settings.timeout_s))
            self._servers.timed(partial(rounds.warm_up, times))
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
        soak_s: float = 0,
    ) -> Record:
        """Warms up, runs rounds until every gate is decided (or the maximum is reached), and judges.

        Args:
            scenario: what to run; scaled by the baseline in force.
            kind: topology to run it on.
            test: the name under which it is recorded.
            specs: gate markers (`judge.markers`).
            runtime: one of RUNTIMES, in place of that of the settings.
            soak_s: rounds for so long, watched, in place of until every gate is decided; 0: no soak.

        Raises:
            ServerError: the servers could not be had, or one of them died.
            MissingExtraError: the runtime is not installed.
            MeasurementError: a timed request failed.
            UsageError: a gate has no limit, or the scenario does not fit the topology.
        """
        if soak_s and self._incumbent is not None:
            raise UsageError(
                f"{test}: a soak takes no turns with an incumbent ({self.settings.against})",
                next_step="leave --llmperf-against out, or the tests marked soak: -m 'not soak'",
            )
        scenario = self._scaled(scenario)
        asked = [
            (spec, gates_of(spec, option_limit(spec.name, self.settings)))
            for spec in specs
            if spec.kind.judged is Judged.ANSWERS
        ]
        specs = [spec for spec in specs if spec.kind.judged is not Judged.ANSWERS]
        try:
            clients = self._clients.runtime(runtime or self.settings.runtime)
            turns = RoundLoop(self._arm(self._servers, scenario, kind, clients, test), self.listener)
            candidate, incumbent = turns.candidate, None
            if self._incumbent is not None:
                incumbent = self._arm(self._incumbent, scenario, kind, clients, test)
                self._check_other(candidate, incumbent)
            candidate.load()
            gates = self._gates(specs, candidate, test)
            candidate.check_sight(gates)
            self.listener.say(f"{scenario.name} on {candidate.measurement.topology.kind}: warming up")
            warm = candidate.warm_up(self.settings.warmups)
            if self.settings.calibrate:
                self._calibrate(candidate, warm)
            if incumbent is not None:
                turns.meet(incumbent, self.settings.warmups)
            soaked = self._soak(candidate, soak_s) if soak_s else None
            verdicts = turns.until_decided(gates, self.settings, run_gates=self.gates, as_it_is=soaked is not None)
            for spec, answer_gates in asked:
                verdicts += self._judge_quality(spec, answer_gates, candidate)
            self._check_ours()
            slower, triaged = self._look_back(test, candidate, incumbent)
        finally:
            self.listener.done()
        measurement = candidate.measurement
        measurement = replace(measurement, notes=(*measurement.notes, *self._fired()))
        if soaked is None and measurement.telemetry is not None and measurement.telemetry.gpus:
            notes = (*measurement.notes, *crossed(measurement, self._levels(candidate)[0], gates))
            measurement = replace(measurement, notes=notes)
        key = store.key_of(test, measurement)
        differences = differences_for(gates, self.baseline, self.stored, key, measurement.manifest.facts)
        return Record(
            test=test,
            measurement=measurement,
            verdicts=graded(verdicts, measurement),
            differences=differences,
            incumbent=None if incumbent is None else incumbent_of(incumbent.name, incumbent.measurement, measurement),
            soak=soaked,
            slower=slower,
            triage=triaged,
        )

    def _check_ours(self) -> None:
        """Whether what was measured is what we started, to the end. Raises ServerError."""
        self._servers.check_ours()
        if self._incumbent is not None:
            with named(self.settings.against):
                self._incumbent.check_ours()

    def _look_back(
        self, test: str, candidate: Arm, incumbent: Arm | None
    ) -> tuple[tuple[Slower, ...], tuple[Answer, ...]]:
        """What takes longer than it did; and, where that was asked for, the triage."""
        measurement = candidate.measurement
        key, baseline = store.key_of(test, measurement), self.stored or self.baseline
        slower = than_stored(measurement, key, baseline)
        if incumbent is not None:
            slower += than_incumbent(measurement, incumbent.measurement, incumbent.name)
        if not self.settings.diagnose:
            return slower, ()
        self.listener.say("asking the servers how they are")
        other = f"incumbent {incumbent.name}'s" if incumbent is not None else ""
        held = " and ".join(filter(None, (held_in_words(measurement, key, baseline), other)))
        return slower, triage(measurement, slower, held, taking_turns=incumbent is not None)

    def _judge_quality(self, spec: Marker, gates: tuple[Gate, ...], arm: Arm) -> tuple[Verdict, ...]:
        """Whether agents answer as well together as alone, after the rounds."""
        self.listener.say("comparing answers, alone and together")
        arm.answer(spec["samples"], self.score, self.scorer)
        quality = arm.measurement.quality
        assert quality is not None
        return judged(quality, gates, run_gates=self.gates)

    def _soak(self, candidate: Arm, asked_s: float) -> Soak:
        """Rounds for so long, held to the levels of the baseline in force or of the decision card."""
        watched, notes = self._levels(candidate)
        return soak(candidate, watched, asked_s, listener=self.listener, notes=notes)

    def _levels(self, candidate: Arm) -> tuple[tuple[Level, ...], tuple[str, ...]]:
        """What is watched in a long run, and what is not."""
        facts = candidate.measurement.manifest.facts
        return levels_for(self.baseline, store.load_named("decision_card", ()), facts)

    @property
    def unused(self) -> str:
        """Which given options the backend in force does not use, in words. Raises as `backend` does."""
        return unused(self.settings, self.backend.kind)

    def _arm(self, lease: ServerLease, scenario: Scenario, kind: TopologyKind, clients: Runtime, test: str) -> Arm:
        """A deployment with its servers open, ready to load the model and to run the scenario."""
        judged = lease is self._servers
        name = "" if judged else self.settings.against
        with named(name):
            topology = lease.open(kind, len(scenario.agents))
        sampler = self._observing.sampler(topology, lease.pids)
        measurement = Measurement(
            scenario=scenario,
            topology=topology,
            rounds=(),
            warmups=self.settings.warmups,
            started_at=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            notes=(
                *lease.lost,
                *filter(None, (lease.backend.passed_over,)),
                *(self._notes if judged else ()),
                *((EXTERNAL_NOTE,) if scenario.external and judged else ()),
                *(self._observing.missing if judged else ()),
            ),
        )
        return Arm(
            lease,
            self._rounds(scenario, topology, clients),
            measurement,
            partial(self._manifest, topology, "tap" if scenario.external else clients.name, test),
            name=name,
            sampler=sampler,
        )

    def _calibrate(self, arm: Arm, warm: Sequence[RequestTiming]) -> None:
        """What the harness itself costs at the rate of these answers, beside the measurement."""
        self.listener.say("measuring what the harness itself costs")
        measurement = arm.measurement
        timing = self._clients.runtime(measurement.manifest.facts["runtime"])
        try:
            calibration = self._clients.calibration(timing, warm, len(measurement.scenario.agents))
            arm.measurement = replace(measurement, calibration=calibration)
        except MeasurementError as error:  # no reason not to measure the servers, whose own figures stand
            failed = f"the harness could not be calibrated: {error.args[0]}"
            arm.measurement = replace(measurement, notes=(*measurement.notes, failed))

    def _check_incumbent(self, incumbent: ServerLease) -> None:
        """Chooses its backend, and compares what is known of it before anything runs; see `check`."""
        both = self.settings, incumbent.settings
        alike = len({(full_name(one.model), one.force_topology) for one in both}) == 1
        if same_addresses(self.backend.urls, incumbent.backend.urls) and alike and not self.settings.against_itself:
            raise _itself(self.settings, ", ".join(incumbent.backend.urls))

    def _check_other(self, candidate: Arm, incumbent: Arm) -> None:
        """Raises UsageError where the incumbent is what is measured, unless that was asked for; or only one is real."""
        here, there = candidate.measurement.topology, incumbent.measurement.topology
        if here.simulated != there.simulated:
            raise UsageError(
                f"of candidate and incumbent {self.settings.against} one is simulated: nothing real is judged by that",
                next_step="compare two simulated deployments, or two real ones",
            )
        if same_servers(here, there) and not self.settings.against_itself:
            raise _itself(self.settings, f"{there.kind}, {there.model} at {_urls(there)}")
        if may_be_same_servers(here, there):
            note = (
                "whether candidate and incumbent are different servers cannot be determined: "
                f"{_urls(here)} and {_urls(there)} are names of one address"
            )
            candidate.measurement = replace(candidate.measurement, notes=(*candidate.measurement.notes, note))

    def _gates(self, specs: Sequence[Marker], candidate: Arm, test: str) -> tuple[Gate, ...]:
        """The gates with their limits, before anything is timed."""
        settings, name = self.settings, self.settings.against
        left = [spec for spec in specs if self.stored is not None or not (name and spec.compares)]
        stored_specs, note = without_regression(left, settings, self.baseline, self.stored)
        candidate.measurement = replace(candidate.measurement, notes=(*candidate.measurement.notes, *note))
        measurement, baselines = candidate.measurement, Baselines(in_force=self.baseline, compared=self.stored)
        target = Target(key=store.key_of(test, measurement), facts=measurement.manifest.facts, settings=settings)
        gates = tuple(gate for spec in stored_specs for gate in resolve(spec, target, baselines))
        if self.stored is not None and not any(gate.delta is not None for gate in gates):
            gates += compare_gates(self.stored, target)
        return gates + (against_gates(specs, name=name, settings=settings) if name else ())

    def _fired(self) -> Iterable[str]:
        """Which faults of the fault plans in force have fired."""
        theirs = () if self._incumbent is None else self._incumbent.fired()
        return (*self._servers.fired(), *(f"incumbent {self.settings.against}: {one}" for one in theirs))

    def _say(self, text: str) -> None:
        """Tells whoever watches now."""
        self.listener.say(text)

    def _step(self, text: str) -> None:
        """Tells whoever watches now of something that may take long."""
        step(self.listener, text)

    def _named(self, name: str) -> Baseline:
        """The baseline of a name, or of a `.toml` file."""
        path = str(self.root / name) if name.endswith(".toml") else name
        return store.load_named(path, (self.root / self.settings.baselines_dir,))

    def _scaled(self, scenario: Scenario) -> Scenario:
        """The scenario as the baseline in force scales it, with the threads asked for.

        Servers that are not our own take their number of threads from each request only.
        """
        scenario = scenario.scaled(self.baseline.workload)
        if self.settings.threads and self.backend.kind in ("attach", "ollama"):
            scenario = scenario.scaled(Workload(reason="--llmperf-threads", num_thread=self.settings.threads))
        return scenario

    def _manifest(self, topology: Topology, runtime: str, test: str = "") -> Manifest:
        """The facts; the commit is that of the test's file, or of the root where its name is no file's."""
        file = self.root / file_of(test)
        sources = {expected_source(instance.url) for instance in topology.instances}
        folder = file.parent if is_file(file) else self.root
        return manifest(topology, runtime=runtime, timing_source=", ".join(sorted(sources)), folder=folder)

    def _rounds(self, scenario: Scenario, topology: Topology, runtime: Runtime) -> Rounds:
        try:
            return Rounds(
                scenario,
                topology,
                runtime=runtime,
                timeout_s=self.settings.timeout_s,
                tap=self._clients.tap if scenario.external else None,
            )
        except ValueError as error:
            raise UsageError(str(error), next_step="use a topology with an instance an agent") from error


def _itself(settings: Settings, what: str) -> UsageError:
    """The error of a comparison that compares nothing."""
    return UsageError(
        f"the incumbent {settings.against} is what is measured: {what}",
        next_step="name another deployment with --llmperf-against, or say --llmperf-against-itself=on",
    )


def _urls(topology: Topology) -> str:
    return ", ".join(one.url for one in topology.instances)
