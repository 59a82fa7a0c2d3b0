"""One measurement, from opened servers to a record with verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.diagnosis.phase_findings import PhaseRegression
from pytest_llmperf.judge.diagnosis.phase_regressions import than_incumbent
from pytest_llmperf.judge.diagnosis.triage import Answer
from pytest_llmperf.judge.evidence import graded
from pytest_llmperf.judge.gates.incumbent import incumbent_of
from pytest_llmperf.judge.gates.quality_gate import answer_gates, judge_answers
from pytest_llmperf.judge.gates.robust.betting_gates import as_asked, notes_of
from pytest_llmperf.judge.gates.target import option_limit
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.soak import Soak, exceeded_levels
from pytest_llmperf.judge.stats.numpy_on_demand import importing
from pytest_llmperf.measure.replayed_requests import REPLAY_NOTE, difference_note
from pytest_llmperf.measure.rounds import EXTERNAL_NOTE
from pytest_llmperf.model import Gate, Measurement, RequestTiming, Verdict
from pytest_llmperf.session.measurement.agent_recording import AgentRecording
from pytest_llmperf.session.measurement.arm import Arm
from pytest_llmperf.session.measurement.measurement_context import MeasurementContext, MeasurementPlan
from pytest_llmperf.session.measurement.round_loop import RoundLoop
from pytest_llmperf.session.measurement.server_checks import triage
from pytest_llmperf.session.measurement.soak_loop import soak
from pytest_llmperf.session.server_lease import ServerLease
from pytest_llmperf.session.server_pool import naming


class MeasurementRun:
    """Runs one measurement.

    Args:
        plan: what to measure.
        context: what the session's measurements share.
    """

    def __init__(self, plan: MeasurementPlan, context: MeasurementContext) -> None:
        self._plan = plan
        self._context = context
        self._settings = context.settings
        self._listener = context.listener
        self._recording: AgentRecording | None = None

    def run(self) -> Record:
        """Warm up, run rounds until every gate is decided (or the maximum is reached), and judge.

        Raises:
            LlmperfError: see `Session.measure`.
        """
        plan, pool = self._plan, self._context.pool
        if plan.soak_s and pool.incumbent is not None:
            raise UsageError(
                f"{plan.test}: a soak cannot be compared with an incumbent ({self._settings.against})",
                next_step="leave --llmperf-against out, or the tests marked soak: -m 'not soak'",
            )
        asked = [
            (spec, as_asked(answer_gates(spec, option_limit(spec.name, self._settings)), self._settings))
            for spec in plan.specs
            if spec.kind.judged == "answers"
        ]
        try:
            loop, gates = self._prepare([spec for spec in plan.specs if spec.kind.judged != "answers"])
            candidate, incumbent = loop.candidate, loop.incumbent
            soaked = self._soak(candidate) if plan.soak_s else None
            verdicts = loop.until_decided(
                gates, self._settings, run_gates=self._context.run_gates, as_it_is=soaked is not None
            )
            for spec, quality_gates in asked:
                candidate.add_note(*notes_of(quality_gates))
                verdicts += self._judge_quality(spec, quality_gates, candidate)
            pool.check_ours()
            slower, triaged = self._look_back(candidate.measurement, incumbent)
        finally:
            self._listener.done()
        agents, rounds = candidate.measurement.scenario.agents, candidate.measurement.rounds
        if rounds and (note := difference_note(agents, rounds[0].together)):
            candidate.add_note(note)
        candidate.add_note(*pool.fired_faults(), *(self._recording.notes if self._recording else ()))
        if soaked is None and candidate.measurement.telemetry is not None and candidate.measurement.telemetry.gpus:
            levels, _ = self._context.baselines.soak_levels(candidate.measurement)
            candidate.add_note(*exceeded_levels(candidate.measurement, levels, gates))
        measurement = candidate.measurement
        return Record(
            test=plan.test,
            measurement=measurement,
            verdicts=graded(verdicts, measurement),
            differences=self._context.baselines.differences(gates, measurement, plan.test),
            incumbent=None if incumbent is None else incumbent_of(incumbent.name, incumbent.measurement, measurement),
            soak=soaked,
            phase_regressions=slower,
            triage=triaged,
        )

    def _prepare(self, specs: Sequence[Marker]) -> tuple[RoundLoop, tuple[Gate, ...]]:
        """Open the servers, load the models, resolve the gates and warm up."""
        context, plan, warmups = self._context, self._plan, self._settings.warmups
        judges = bool(specs or self._settings.compare or self._settings.against)
        library = importing() if judges else None  # while servers start and load
        candidate, incumbent = self._arm(context.pool.candidate), None
        loop = RoundLoop(candidate, self._listener)
        if context.pool.incumbent is not None:
            incumbent = self._arm(context.pool.incumbent, name=self._settings.against)
            candidate.add_note(*context.pool.compare(candidate.measurement.topology, incumbent.measurement.topology))
        candidate.load()
        gates, notes = context.baselines.gates(specs, candidate.measurement, plan.test)
        candidate.add_note(*notes)
        candidate.check_observable(gates)
        measurement = candidate.measurement
        if library is not None:
            library.join()
        self._listener.say(f"{measurement.scenario.name} on {measurement.topology.kind}: warming up")
        answers = candidate.warm_up(warmups)
        if self._settings.calibrate and plan.calibrate:
            self._calibrate(candidate, answers)
        if incumbent is not None:
            loop.add_incumbent(incumbent, warmups)
        return loop, gates

    def _arm(self, lease: ServerLease, *, name: str = "") -> Arm:
        """A deployment with its servers open, ready to load the model and to run the scenario.

        Args:
            lease: its servers.
            name: the name of the incumbent; empty for the candidate.
        """
        context, plan = self._context, self._plan
        scenario = context.baselines.scaled(plan.scenario)
        clients = context.clients.runtime(plan.runtime or self._settings.runtime)
        if scenario.external or plan.record:
            context.clients.check_external(clients.name)
        with naming(name):
            topology = lease.open(plan.kind, len(scenario.agents))
        sampler = context.samplers.sampler(topology, lease.pids)
        notes = [*lease.degradation, *context.clients.lost, lease.backend.passed_over]
        if not name:
            notes += [*context.notes, EXTERNAL_NOTE if scenario.external else "", *context.samplers.missing]
            notes.append(REPLAY_NOTE if scenario.recording else "")
        measurement = Measurement(
            scenario=scenario,
            topology=topology,
            rounds=(),
            warmups=self._settings.warmups,
            started_at=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            notes=tuple(filter(None, notes)),
        )
        if not name and plan.record is not None:
            self._recording = AgentRecording(plan.record, scenario, topology)
        return Arm(
            lease,
            context.rounds(scenario, topology, clients, None if name else self._recording),
            measurement,
            partial(
                context.manifest,
                topology,
                "tap" if scenario.external or plan.record else clients.name,
                plan.test,
                scenario.recording,
            ),
            name=name,
            sampler=sampler,
        )

    def _calibrate(self, arm: Arm, answers: Sequence[RequestTiming]) -> None:
        """Measure what the harness itself costs at the rate of these answers."""
        self._listener.say("measuring what the harness itself costs")
        measurement, clients = arm.measurement, self._context.clients
        runtime = clients.runtime(measurement.manifest.facts["runtime"])
        try:
            arm.add_calibration(clients.calibration(runtime, answers, len(measurement.scenario.agents)))
        except MeasurementError as error:  # the servers' own figures are valid without it
            arm.add_note(f"the harness could not be calibrated: {error.args[0]}")

    def _soak(self, candidate: Arm) -> Soak:
        """Run rounds for the requested time while watching the levels."""
        levels, notes = self._context.baselines.soak_levels(candidate.measurement)
        return soak(candidate, levels, self._plan.soak_s, listener=self._listener, notes=notes)

    def _judge_quality(self, spec: Marker, gates: tuple[Gate, ...], arm: Arm) -> tuple[Verdict, ...]:
        """Judge whether agents answer as well together as alone, after the rounds."""
        self._listener.say("comparing answers, alone and together")
        quality = arm.compare_answers(spec["samples"], self._plan.scorer)
        return judge_answers(quality, gates, run_gates=self._context.run_gates)

    def _look_back(
        self, measurement: Measurement, incumbent: Arm | None
    ) -> tuple[tuple[PhaseRegression, ...], tuple[Answer, ...]]:
        """Phases that have become slower; and, with `--llmperf-diagnose`, the triage."""
        slower, compared = self._context.baselines.slower_phases(measurement, self._plan.test)
        if incumbent is not None:
            slower += than_incumbent(measurement, incumbent.measurement, incumbent.name)
        if not self._settings.diagnose:
            return slower, ()
        self._listener.say("asking the servers how they are")
        taking_turns = incumbent is not None
        compared_with = (compared, f"incumbent {incumbent.name}'s" if incumbent is not None else "")
        held = " and ".join(filter(None, compared_with))
        return slower, triage(measurement, slower, held, taking_turns=taking_turns)
