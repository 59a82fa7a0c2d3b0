"""The baselines of a session: the source of limits, and the stored baseline that `--llmperf-compare` names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from pytest_llmperf.errors import BaselineError
from pytest_llmperf.judge.baselines import baseline_files, lookup, store
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.baselines.manifest_diff import Difference, differences_for
from pytest_llmperf.judge.compared_metrics import compared_of
from pytest_llmperf.judge.diagnosis.outlying_session import outlying_session
from pytest_llmperf.judge.diagnosis.phase_findings import PhaseRegression
from pytest_llmperf.judge.diagnosis.phase_regressions import held_in_words, than_stored
from pytest_llmperf.judge.gates.comparison_gates import compare_gates, without_regression
from pytest_llmperf.judge.gates.incumbent import against_gates
from pytest_llmperf.judge.gates.limit_lookup import Baselines, resolve
from pytest_llmperf.judge.gates.robust.betting_gates import as_asked, notes_of
from pytest_llmperf.judge.gates.target import Target
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.judge.soak import Level, levels_for
from pytest_llmperf.model import Baseline, Gate, Measurement, Scenario, Settings, Workload


class BaselinesInForce:
    """Both baselines, each read when it is first needed.

    Args:
        settings: the settings that name them.
        root: folder that relative paths of the settings start from.
        backend_kind: returns the kind of the backend in force; raises ServerError.
    """

    def __init__(self, settings: Settings, root: Path, *, backend_kind: Callable[[], str]) -> None:
        self._settings = settings
        self._root = root
        self._backend_kind = backend_kind

    @cached_property
    def baseline(self) -> Baseline:
        """The baseline that limits come from. Raises BaselineError if it is missing or malformed."""
        name = self._settings.baseline
        if not name:
            name = "embedded" if self._backend_kind() == "embedded" else "decision_card"
        return self._load(name)

    @cached_property
    def stored(self) -> Baseline | None:
        """The baseline of `--llmperf-compare`, if given. Raises BaselineError if it is missing or malformed."""
        return self._load(self._settings.compare) if self._settings.compare else None

    def check_save(self) -> None:
        """Check that `--llmperf-save` or `--llmperf-update` will be able to write, before time is spent measuring.

        Raises:
            UsageError: the name is that of a packaged baseline.
            BaselineError: the file cannot be added to, its folder cannot be written, or there is none to update.
        """
        name, folder = self._settings.save or self._settings.update, self._root / self._settings.baselines_dir
        if name:
            store.check_editable(store.target_of(name, folder), must_exist=bool(self._settings.update))

    def scaled(self, scenario: Scenario) -> Scenario:
        """The scenario as the baseline in force scales it, with the requested number of threads.

        Servers that the session did not start take their number of threads only from each request.
        """
        scenario = scenario.scaled(self.baseline.workload)
        if self._settings.threads and self._backend_kind() in ("attach", "ollama"):
            scenario = scenario.scaled(Workload(reason="--llmperf-threads", num_thread=self._settings.threads))
        return scenario

    def gates(
        self, specs: Sequence[Marker], measurement: Measurement, test: str
    ) -> tuple[tuple[Gate, ...], tuple[str, ...]]:
        """The gates of a test with their limits, and notes about gates that are left out.

        Args:
            specs: the test's gate markers.
            measurement: the measurement with its manifest; it needs no rounds.
            test: its name.

        Raises:
            UsageError: a gate has no limit.
        """
        settings, incumbent = self._settings, self._settings.against
        compared = compared_of(measurement.scenario)
        target = Target(
            key=lookup.key_of(test, measurement),
            facts=measurement.manifest.facts,
            settings=settings,
            compared=compared,
        )
        stored, new = self._stored_of(target.key)
        left = [spec for spec in specs if stored is not None or not (incumbent and spec.compares)]
        limited, notes = without_regression(left, settings, self.baseline, stored)
        baselines = Baselines(in_force=self.baseline, compared=stored)
        gates = tuple(gate for spec in limited for gate in resolve(spec, target, baselines))
        if stored is not None and not any(gate.delta is not None for gate in gates):
            gates += compare_gates(stored, target)
        if incumbent:
            gates += against_gates(specs, name=incumbent, settings=settings, compared=compared)
        gates = as_asked(gates, settings)
        return gates, (*new, *notes, *notes_of(gates), *self._outlying(target.key, gates))

    def _stored_of(self, key: Key) -> tuple[Baseline | None, tuple[str, ...]]:
        """The stored baseline to compare a measurement with, and notes.

        None if the run saves to the very baseline that it compares with, which has nothing of this measurement yet.
        """
        if self.stored is None or self._settings.save != self._settings.compare:
            return self.stored, ()
        try:
            lookup.entry_of(self.stored, key)
        except BaselineError as error:
            return None, (f"not compared, but saved for the next run if it passes: {error.args[0]}",)
        return self.stored, ()

    def _outlying(self, key: Key, gates: Sequence[Gate]) -> tuple[str, ...]:
        """A note on an outlying stored session, if gates compare with the stored sessions."""
        compared = {gate.metric: None for gate in gates if gate.reference and gate.delta is not None}
        if self.stored is None or not compared:
            return ()
        outlying = outlying_session(lookup.entry_of(self.stored, key), tuple(compared))
        settings = self._settings
        return (outlying.advice(settings.compare, settings.baselines_dir),) if outlying is not None else ()

    def differences(self, gates: Sequence[Gate], measurement: Measurement, test: str) -> tuple[Difference, ...]:
        """Differences between the manifests of the baselines that limits come from and the measurement's."""
        key = lookup.key_of(test, measurement)
        return differences_for(gates, self.baseline, self.stored, key, measurement.manifest.facts)

    def slower_phases(self, measurement: Measurement, test: str) -> tuple[tuple[PhaseRegression, ...], str]:
        """Phases that take longer than in the stored sessions, and what they were compared with, in words."""
        key, baseline = lookup.key_of(test, measurement), self.stored or self.baseline
        return than_stored(measurement, key, baseline), held_in_words(measurement, key, baseline)

    def soak_levels(self, measurement: Measurement) -> tuple[tuple[Level, ...], tuple[str, ...]]:
        """The levels that a soak watches, by this baseline or the decision card, and what it cannot watch."""
        return levels_for(self.baseline, baseline_files.load_named("decision_card", ()), measurement.manifest.facts)

    def _load(self, name: str) -> Baseline:
        """The baseline of a name, or of a `.toml` file."""
        path = str(self._root / name) if name.endswith(".toml") else name
        return baseline_files.load_named(path, (self._root / self._settings.baselines_dir,))
