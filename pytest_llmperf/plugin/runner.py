"""Runs the tests that use the plugin: measures, turns verdicts into outcomes, and cleans up."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.judge import default_scorer
from pytest_llmperf.judge.record import Record, as_plain
from pytest_llmperf.masking import known, secrets_of
from pytest_llmperf.model import ExternalAgent, Settings, TopologyKind
from pytest_llmperf.plugin.failures import fail_without_traceback
from pytest_llmperf.plugin.marker_table import SOAK
from pytest_llmperf.plugin.refusal_text import short_refusal
from pytest_llmperf.plugin.results.gate_outcomes import ConfigurationTransferWarning, GateWarning, decide
from pytest_llmperf.plugin.results.secret_scrubbing import scrub, scrub_warning
from pytest_llmperf.plugin.results.session_results import TOLD
from pytest_llmperf.plugin.stash import EXPLAINED, LINES, MATRIX, PROFILE, RECORDS, RUNTIME, SPECS, WARNINGS
from pytest_llmperf.report.figures import figures
from pytest_llmperf.report.terminal.progress_line import ProgressLine
from pytest_llmperf.session.measurement.answer_scores import DEFAULT_SCORER, Scorer
from pytest_llmperf.session.measurement.measurement_context import MeasurementPlan
from pytest_llmperf.session.session import Session
from pytest_llmperf.session.session_header import header

if TYPE_CHECKING:
    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Scenario
    from pytest_llmperf.plugin.deployment import Deployment
    from pytest_llmperf.plugin.matrix_runs import MatrixRuns
    from pytest_llmperf.recordings.recording_file import RecordingTarget
    from pytest_llmperf.study.sweeps.study_results import Results

__all__ = ["ConfigurationTransferWarning", "GateWarning", "Runner"]  # filters of warnings may name them here

_PROPERTY = "llmperf."
"""Prefix of the names of JUnit properties."""


class Runner:
    """Hooks for the tests that use the plugin; registered only if there are any.

    Args:
        config: pytest's.
        settings: resolved.
        markers_by_test: gate markers by the test's name.
        run_gates: number of gates that the run will judge.

    Attributes:
        session: measures.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        markers_by_test: Mapping[str, Sequence[Marker]],
        *,
        run_gates: int = 1,
    ) -> None:
        self._markers_by_test = markers_by_test
        self._faults: tuple[str, ...] = ()
        self._config = config
        self._unsaid = hasattr(config, "workerinput")  # a worker has no terminal: its first report takes it along
        workers = getattr(config, "workerinput", {}).get("workercount", 1)
        notes = (f"{workers - 1} other xdist workers were running at the same time",) if workers > 1 else ()
        reporter, capture = _terminal(config)
        self._live = ProgressLine(
            reporter,
            capture,
            rounds=(settings.min_rounds, settings.max_rounds),
            plain=reporter is None and config.get_verbosity() >= 0,
            steps=config.pluginmanager.has_plugin("terminalreporter"),
        )
        self.session = Session(settings, root=config.rootpath, listener=self._live, notes=notes, run_gates=run_gates)
        self._hand_on = workers > 1  # the machine is handed on after each test
        self._secrets: set[str] = set()  # among the words of commands
        self._matrix_runs: MatrixRuns | None = None

    def header(self) -> list[str]:
        """The header lines; the settings must have been checked."""
        return header(self.session, self._markers_by_test)

    def refuse(self, faults: Sequence[str]) -> None:
        """Fail every test that uses the plugin, for these reasons: in an xdist worker, which cannot end the run."""
        self._faults = tuple(faults)

    def benchmark_fixture(self, request: pytest.FixtureRequest) -> Any:
        """pytest-benchmark's fixture, if the test or the command line asks for it; else None."""
        if not self._config.pluginmanager.has_plugin("benchmark"):
            return None
        wanted = any(
            getattr(self._config.option, name, None)
            for name in ("benchmark_json", "benchmark_save", "benchmark_autosave")
        )
        return request.getfixturevalue("benchmark") if wanted or "benchmark" in request.fixturenames else None

    def measure(
        self, item: pytest.Item, scenario: Scenario, on: Deployment, benchmark: Any, record: RecordingTarget | None
    ) -> Record:
        """Measure and record; on an error of the plugin's own, fail the test with its text."""
        scenario = self.profiled(item, scenario)
        self._learn(scenario)

        plan = MeasurementPlan(
            scenario=scenario,
            kind=TopologyKind(on.kind),
            test=item.nodeid,
            specs=item.stash[SPECS],
            runtime=item.stash[RUNTIME],
            soak_s=self.session.settings.duration_s if item.get_closest_marker(SOAK) else 0.0,
            scorer=self._scorer(item),
            record=record,
        )
        work = partial(self.session.run, plan)
        records = item.stash.setdefault(RECORDS, [])
        # pytest-benchmark allows one timed call a test: the first measurement is its entry.
        once = benchmark is None or records
        measured: Record = fail_without_traceback(
            work if once else lambda: benchmark.pedantic(work, rounds=1), self._live
        )
        records.append(measured)
        if benchmark is not None:
            measurement = measured.measurement
            name = f"{measurement.scenario.name}.{measurement.topology.kind}"
            benchmark.extra_info[name] = figures(measured)
        return measured

    def _scorer(self, item: pytest.Item) -> Scorer:
        """Scores answers by the hooks that the test's folder sees."""
        hook = item.ihook.pytest_llmperf_score
        files = [Path(impl.plugin_name).name for impl in hook.get_hookimpls() if impl.plugin is not self]
        return Scorer(
            name=f"pytest_llmperf_score of {', '.join(files)}" if files else DEFAULT_SCORER.name,
            score=lambda prompt, response: hook(prompt=prompt, response=response),
        )

    @pytest.hookimpl(trylast=True)
    def pytest_llmperf_score(self, response: str) -> float:
        """The default scorer, used if no other hook has an opinion."""
        return default_scorer.score(response)

    def scenarios(self) -> dict[str, Scenario]:
        """The named scenarios: the report's scenarios and the scenarios of llmperf.toml."""
        from pytest_llmperf.config import scenarios_of

        return scenarios_of(self.session.settings.configuration)

    def profiled(self, item: pytest.Item, scenario: Scenario) -> Scenario:
        """The scenario with the options of the test's profile; a warning follows if that is for another mode."""
        name = item.stash[PROFILE]
        if not name:
            return scenario
        from pytest_llmperf.config import profile_of

        profile = profile_of(self.session.settings.configuration, name)
        for key, words in ((LINES, profile.in_words(name)), (WARNINGS, profile.transferred(name, scenario))):
            if words and words not in item.stash[key]:
                item.stash[key].append(words)
        return profile.over(scenario, name)

    def run_matrix(self, item: pytest.Item, matrix: str | Path | Mapping[str, Any], agents: Any, name: str) -> Results:
        """Run an experiment, record its cells, and have the summary print its findings."""
        from pytest_llmperf.plugin.matrix_runs import MatrixRuns

        if self._matrix_runs is None:
            self._matrix_runs = MatrixRuns(self.session, self._config, self._learn)
        work = partial(self._matrix_runs.run, item, matrix, agents, name)
        kept = "finished cells are kept, the same command goes on" if self.session.settings.resume else ""
        return fail_without_traceback(work, self._live, kept)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Reset what is kept with the test. In an xdist worker, faults of the run fail every test here."""
        item.stash[LINES], item.stash[WARNINGS] = [], []
        item.stash[RECORDS] = []  # a plugin may run the test again: what failed before is not of this attempt
        item.stash[EXPLAINED], item.stash[MATRIX] = False, False
        item.user_properties[:] = [
            (name, value) for name, value in item.user_properties if not name.startswith(_PROPERTY)
        ]
        if self._faults and SPECS in item.stash:
            pytest.fail(short_refusal(self._faults, item.nodeid), pytrace=False)
        if SPECS in item.stash and item.get_closest_marker(SOAK) and not self.session.settings.duration_s:
            pytest.skip("give the duration of the soak: --llmperf-duration=30m")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """After the body, let the gates decide the test's outcome."""
        result = yield
        if SPECS in item.stash:
            decide(item, self.session.settings)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the records to the report, which xdist sends to the controller, and to JUnit's properties."""
        if call.when == "call":
            for record in item.stash.get(RECORDS, ()):
                prefix = f"{_PROPERTY}{record.measurement.scenario.name}.{record.measurement.topology.kind}"
                item.user_properties += [(f"{prefix}.{name}", value) for name, value in figures(record).items()]
        report = yield
        scrub(report, self._all_secrets())
        report.llmperf_test = SPECS in item.stash  # type: ignore[attr-defined]
        records = item.stash.get(RECORDS, [])
        if call.when == "call" and records:
            worker = hasattr(item.config, "workerinput")
            report.llmperf = as_plain(records) if worker else list(records)  # type: ignore[attr-defined]
            report.llmperf_explained = item.stash.get(EXPLAINED, False)  # type: ignore[attr-defined]
        if call.when == "call" and item.stash.get(LINES, None):
            report.llmperf_lines = item.stash[LINES]  # type: ignore[attr-defined]
        if self._unsaid and SPECS in item.stash:
            self._unsaid = False
            report.llmperf_faults = list(self._faults)  # type: ignore[attr-defined]
            report.llmperf_header = [] if self._faults else self.header()  # type: ignore[attr-defined]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Mask the secrets in a warning before it is shown or passed on."""
        scrub_warning(warning_message, self._all_secrets())

    def _all_secrets(self) -> list[str]:
        return sorted({*known(), *self._secrets}, key=len, reverse=True)

    def _learn(self, scenario: Scenario) -> None:
        """Remember the secrets in the words of its commands."""
        for agent in scenario.agents:
            if isinstance(agent, ExternalAgent) and isinstance(agent.run, tuple):
                self._secrets |= set(secrets_of(agent.run))

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Free the machine for another xdist worker."""
        if self._hand_on and SPECS in item.stash:
            self.session.close()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Close the session; results are reported even if that fails.

        What could not be restored on attached servers is reported, and fails nothing.
        """
        told: list[tuple[str, bool]] = []
        try:
            self.session.close()
        except LlmperfError as error:
            told.append((f"{type(error).__name__}: {error}", True))
        told += [(text, False) for text in dict.fromkeys(self.session.unrestored)]
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[TOLD] = told
        elif (results := self._config.pluginmanager.get_plugin("llmperf-results")) is not None:
            for text, failed in told:
                results.tell(session, text, failed=failed)

    def pytest_unconfigure(self) -> None:
        """Close the session if pytest ended without finishing it."""
        with suppress(LlmperfError):
            self.session.close()


def _terminal(config: pytest.Config) -> tuple[Any, Any]:
    """The terminal's writer if it can show a progress line (else None), and the capture manager."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or hasattr(config, "workerinput") or config.get_verbosity() < 0 or not reporter.isatty:
        return None, capture
    return reporter, capture
