"""Composes the rooms: opens servers, asks for a round, asks whether it is decided, again or reports.

Knows nothing of pytest; a script can use it as well as the plugin does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge import baselines
from pytest_llmperf.judge.conditions import differences_for
from pytest_llmperf.judge.gates import invalid, judge, kept, rounds_may_decide
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.judge.record import Record
from pytest_llmperf.judge.resolve import compare_gates, resolve, without_regression
from pytest_llmperf.judge.validity import most_discarded, saturated, why
from pytest_llmperf.measure.clients import Clients
from pytest_llmperf.measure.rounds import EXTERNAL_NOTE, Rounds, keep_alive_s
from pytest_llmperf.measure.runtimes import Runtime
from pytest_llmperf.measure.wire import expected_source
from pytest_llmperf.model import (
    Baseline,
    Gate,
    Manifest,
    Measurement,
    Scenario,
    Settings,
    Topology,
    TopologyKind,
    Verdict,
    Workload,
)
from pytest_llmperf.servers.backends import Backend
from pytest_llmperf.servers.facts import manifest
from pytest_llmperf.session.held import Held
from pytest_llmperf.session.watcher import Silent, Watcher


class Session:
    """One run of the harness.

    Args:
        settings: what was asked for.
        root: folder that relative paths of the settings start from.
        watcher: is told what happens.
        notes: for the reader of every measurement.
    """

    def __init__(
        self, settings: Settings, *, root: Path, watcher: Watcher | None = None, notes: tuple[str, ...] = ()
    ) -> None:
        self.settings = settings
        self.root = root
        self.watcher: Watcher = watcher or Silent()
        self.gates = 1
        """Gates of the whole run, which share the error of `fail`; the plugin counts them when tests are collected."""
        self._notes = notes
        self._clients = Clients()
        self._servers = Held(settings, self._say)

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

    def check(self) -> None:
        """Chooses the backend, loads the baselines: what cannot work fails here, before anything starts.

        Raises:
            LlmperfError: no backend; a baseline is missing or torn, or could not be saved.
        """
        _ = self.backend, self.baseline, self.stored
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
            baselines.check_editable(baselines.target_of(name, folder), must_exist=bool(self.settings.update))

    def facts(self) -> Mapping[str, str]:
        """The manifest's facts of the running deployment; starts `dual` where nothing runs yet.

        Raises:
            ServerError: it could not be started.
        """
        topology = self._servers.topology or self.open(TopologyKind.DUAL)
        return self._manifest(topology, self.settings.runtime).facts

    def open(self, kind: TopologyKind, agents: int = 2) -> Topology:
        """Running servers for that many agents; reused while the same topology is asked for.

        Raises:
            ServerError: they could not be found, started or loaded.
        """
        return self._servers.open(kind, agents)

    def close(self) -> None:
        """Leaves the servers as they were found, and frees the machine for other sessions."""
        try:
            self._clients.close()
        finally:
            self._servers.close()

    def warm_up(self, scenario: Scenario, topology: Topology, times: int) -> None:
        """Loads the model on each instance and sends each agent's first request `times` times, untimed."""
        scenario = self._scaled(scenario)
        rounds = self._rounds(scenario, topology, self._clients.runtime(self.settings.runtime))
        try:
            self._load(scenario, topology)
            self._servers.timed(partial(rounds.warm_up, times))
        finally:
            self.watcher.done()

    def measure(
        self, scenario: Scenario, kind: TopologyKind, *, test: str, specs: Sequence[Marker] = (), runtime: str = ""
    ) -> Record:
        """Warms up, runs rounds until every gate is decided (or the maximum is reached), and judges.

        Args:
            scenario: what to run; scaled by the baseline in force.
            kind: topology to run it on.
            test: the name under which it is recorded.
            specs: gate markers (`judge.markers`).
            runtime: one of RUNTIMES, in place of that of the settings.

        Raises:
            ServerError: the servers could not be had, or one of them died.
            MissingExtraError: the runtime is not installed.
            MeasurementError: a timed request failed.
            UsageError: a gate has no limit, or the scenario does not fit the topology.
        """
        scenario = self._scaled(scenario)
        try:
            clients = self._clients.runtime(runtime or self.settings.runtime)
            topology = self.open(kind, len(scenario.agents))
            rounds = self._rounds(scenario, topology, clients)
            self._load(scenario, topology)  # before the manifest, which says where the model sits
            measurement = Measurement(
                scenario=scenario,
                topology=topology,
                rounds=(),
                manifest=self._manifest(topology, "tap" if scenario.external else clients.name),
                warmups=self.settings.warmups,
                started_at=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
                notes=self._notes + self._servers.notes + ((EXTERNAL_NOTE,) if scenario.external else ()),
            )
            specs, note = without_regression(specs, self.settings, self.baseline, self.stored)
            measurement = replace(measurement, notes=(*measurement.notes, *note))
            gates = self._gates(specs, measurement, test)
            self.watcher.say(f"{scenario.name} on {topology.kind}: warming up")
            warm = self._servers.timed(partial(rounds.warm_up, self.settings.warmups))
            if self.settings.calibrate:
                self.watcher.say("measuring what the harness itself costs")
                timing = self._clients.runtime(measurement.manifest.facts["runtime"])
                try:
                    calibration = self._clients.calibration(timing, warm, len(scenario.agents))
                    measurement = replace(measurement, calibration=calibration)
                except MeasurementError as error:  # no reason not to measure the servers, whose own figures stand
                    failed = f"the harness could not be calibrated: {error.args[0]}"
                    measurement = replace(measurement, notes=(*measurement.notes, failed))
            measurement, verdicts = self._until_decided(rounds, measurement, gates)
        finally:
            self.watcher.done()
        differences = differences_for(
            gates, self.baseline, self.stored, baselines.key_of(test, measurement), measurement.manifest.facts
        )
        return Record(test=test, measurement=measurement, verdicts=verdicts, differences=differences)

    def _until_decided(
        self, rounds: Rounds, measurement: Measurement, gates: Sequence[Gate]
    ) -> tuple[Measurement, tuple[Verdict, ...]]:
        """Rounds up to the minimum, then until every gate is decided or the maximum is reached.

        Rounds in which the client was saturated do not count; too many of them, and no gate is judged.
        """
        least, most = self.settings.min_rounds, self.settings.max_rounds
        looks = most - least + 1
        verdicts: tuple[Verdict, ...] = ()
        while len(measurement.rounds) < most:
            one = self._servers.timed(partial(rounds.run, len(measurement.rounds) + len(measurement.discarded)))
            if reason := saturated(one):
                self.watcher.say(f"a round does not count: {reason}")
                measurement = replace(measurement, discarded=(*measurement.discarded, one))
                if len(measurement.discarded) > most_discarded(least):
                    return measurement, tuple(
                        invalid(gate, len(measurement.rounds), why(measurement)) for gate in gates
                    )
                continue
            measurement = replace(measurement, rounds=(*measurement.rounds, one))
            count = len(measurement.rounds)
            if count >= least:
                last, run_gates = count == most, max(self.gates, len(gates))
                found = tuple(judge(gate, measurement, looks=looks, last=last, gates=run_gates) for gate in gates)
                verdicts = tuple(map(kept, verdicts, found)) if verdicts else found
            self.watcher.round_done(measurement, verdicts)
            if count >= least and not any(map(rounds_may_decide, verdicts)):
                break
        return measurement, verdicts

    def _gates(self, specs: Sequence[Marker], measurement: Measurement, test: str) -> tuple[Gate, ...]:
        """The gates with their limits, before anything is timed."""
        key = baselines.key_of(test, measurement)
        facts = measurement.manifest.facts
        gates = tuple(
            gate
            for spec in specs
            for gate in resolve(
                spec, settings=self.settings, baseline=self.baseline, stored=self.stored, key=key, facts=facts
            )
        )
        if self.stored is not None and not any(gate.delta is not None for gate in gates):
            gates += compare_gates(self.stored, key=key, facts=facts, settings=self.settings)
        return gates

    def _say(self, text: str) -> None:
        """Tells whoever watches now."""
        self.watcher.say(text)

    def _named(self, name: str) -> Baseline:
        """The baseline of a name, or of a `.toml` file."""
        path = str(self.root / name) if name.endswith(".toml") else name
        return baselines.load_named(path, (self.root / self.settings.baselines_dir,))

    def _scaled(self, scenario: Scenario) -> Scenario:
        """The scenario as the baseline in force scales it, with the threads asked for.

        Servers that are not our own take their number of threads from each request only.
        """
        scenario = scenario.scaled(self.baseline.workload)
        if self.settings.threads and self.backend.kind in ("attach", "ollama"):
            scenario = scenario.scaled(Workload(reason="--llmperf-threads", num_thread=self.settings.threads))
        return scenario

    def _manifest(self, topology: Topology, runtime: str) -> Manifest:
        sources = {expected_source(instance.url) for instance in topology.instances}
        return manifest(topology, runtime=runtime, timing_source=", ".join(sorted(sources)))

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

    def _load(self, scenario: Scenario, topology: Topology) -> None:
        self._servers.load(scenario, topology, keep_alive_s=keep_alive_s(self.settings.timeout_s))
