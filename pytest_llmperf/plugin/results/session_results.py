"""Collects the records of all tests (under xdist, in the controller), prints and writes them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.plugin.options import option_table

if TYPE_CHECKING:
    from pytest_llmperf.judge.record import Record
    from pytest_llmperf.model import Settings
    from pytest_llmperf.plugin.results.orphaned_entries import Collected
    from pytest_llmperf.report.session_outcomes import Tested

_MOST_LETTERS = 4000
"""Maximum length of a failure's text in reports: an assertion may show whole answers."""


TOLD = "llmperf_told"
"""Key of an xdist worker's output: messages, and whether each is a failure."""


class Results:
    """Hooks that collect, print and write results.

    Args:
        config: pytest's.
        collected: knows which tests there are, if the run names a stored baseline.
    """

    def __init__(self, config: pytest.Config, collected: Collected | None) -> None:
        self._config = config
        self._records: list[Record] = []
        self._tests: dict[str, Tested] = {}  # that use the plugin, as they ended
        self._accepted: dict[str, list[Record]] = {}  # by test: from its last attempt, if all phases passed
        self._lines: list[str] = []  # what tests have to say, besides their records
        self._said: dict[str, None] = {}  # headers of xdist workers: each line once
        self._faults: dict[str, None] = {}  # and what they could not start for
        self._explained: set[str] = set()  # tests whose failure text holds their failing gates
        self._messages: list[tuple[str, bool]] = []  # and whether it tells of a failure
        self._of_workers: list[tuple[str, bool]] = []
        self._commands: tuple[str, ...] = ()  # that the CI system reads
        self._collected = collected

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the records of a test's report; a failed phase or attempt removes what was accepted."""
        if report.when == "call" or report.failed:
            self._accepted.pop(report.nodeid, None)
        if getattr(report, "llmperf_test", False) and (report.when != "teardown" or report.failed):
            self._tests[report.nodeid] = _tested(report)
        self._said |= dict.fromkeys(getattr(report, "llmperf_header", ()))
        self._lines += getattr(report, "llmperf_lines", ())
        self._faults |= dict.fromkeys(getattr(report, "llmperf_faults", ()))
        if getattr(report, "llmperf_explained", False) and getattr(self._config.option, "tbstyle", "") != "no":
            self._explained.add(report.nodeid)
        data = getattr(report, "llmperf", None)
        if data is None:
            return
        from pytest_llmperf.judge.record import from_plain

        records = from_plain(data) if isinstance(data[0], dict) else data  # plain where it crossed processes
        self._records += records
        if report.passed:
            self._accepted[report.nodeid] = records

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Collect the messages of an xdist worker that ends; one that crashed has none."""
        self._of_workers += getattr(node, "workeroutput", {}).get(TOLD, ())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the reports and the saved baseline; a failure to write, or an orphaned entry, fails the session.

        Faults that kept xdist workers from measuring are a usage error, as they are without xdist.
        """
        for message, failed in dict(self._of_workers).items():
            self.tell(session, message, failed=failed)
        if self._faults and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if self._faults and not self._records:
            return
        refused = session.exitstatus == pytest.ExitCode.USAGE_ERROR and not self._records
        if self._config.option.collectonly or refused:
            return
        if session.exitstatus == pytest.ExitCode.INTERRUPTED and not (self._records or self._failed()):
            return  # whoever interrupts knows that nothing was measured
        if self._records or self._failed() or option_table.given(self._config):
            self._write(session)
        if self._collected is not None:
            self._find_stale(session, self._collected)

    def _settings(self) -> Settings:
        """The settings of the run."""
        from pytest_llmperf.plugin.options.resolved_settings import resolve

        return resolve(self._config)

    def _failed(self) -> bool:
        """Whether a test that uses the plugin failed."""
        if not self._tests:
            return False
        from pytest_llmperf.report.session_outcomes import any_failed

        return any_failed(self._tests.values())

    def _write(self, session: pytest.Session) -> None:
        """Write the requested files, the saved baseline, and the commands for a GitHub Actions job."""
        from pytest_llmperf.files.special_files import descriptor_of
        from pytest_llmperf.plugin.options.output_files import OUTPUTS
        from pytest_llmperf.report.document import Run
        from pytest_llmperf.report.files.session_outputs import write_all

        accepted = [record for records in self._accepted.values() for record in records]
        settings, root = self._settings(), self._config.rootpath
        if not (self._records or option_table.types_save(self._config)):
            settings = replace(settings, save="", update="")  # from the ini file or `addopts`, for all runs
        if session.exitstatus == pytest.ExitCode.INTERRUPTED and not accepted:
            settings = replace(settings, save="", update="")  # the interruption says that nothing was saved
        tests = tuple(self._tests.values())
        if any(descriptor_of(path) in (1, 2) for output in OUTPUTS if (path := output.path(settings, root))):
            _end_line(self._config.pluginmanager.get_plugin("terminalreporter"))
        run = Run(records=self._records, settings=settings, accepted=accepted, tests=tests)
        written = write_all(run, root, os.environ, OUTPUTS)
        for message, failed in written.messages:
            self.tell(session, message, failed=failed)
        self._commands = written.commands

    def _find_stale(self, session: pytest.Session, collected: Collected) -> None:
        """Report orphaned entries; after the save, so that what it added counts."""
        stale, full = collected.stale(self._settings())
        if stale and not full:
            stale += "\n  (a part of the tests was asked for: only a full run fails)"
        self.tell(session, stale, failed=bool(stale) and full)

    def tell(self, session: pytest.Session, message: str, *, failed: bool) -> None:
        """Keep a message for the summary; a failure turns a passing session into a failed one."""
        if message:
            self._messages.append((message, failed))
        if failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the headers of xdist workers, the table of scenarios, then what was written."""
        if not (self._records or self._messages or self._said or self._faults):
            return
        from pytest_llmperf.report.terminal.summary_table import SummaryStyle, table
        from pytest_llmperf.report.terminal.wrapping import width, wrapped

        columns = width()
        terminalreporter.ensure_newline()
        terminalreporter.section("llmperf")
        for line in self._said:
            _write(terminalreporter, wrapped(line, columns))
        if self._faults:
            from pytest_llmperf.plugin.refusal_text import refusal

            _write(terminalreporter, refusal(self._faults), red=True)
        if self._records or not self._faults:
            manner = SummaryStyle(
                settings=self._settings(),
                columns=columns,
                verbosity=self._config.get_verbosity(),
                explained=self._explained,
            )
            for line, markup in table(self._records, manner):
                _write(terminalreporter, line, **markup)
        for line in self._lines:
            _write(terminalreporter, line)
        for message, failed in self._messages:
            _write(terminalreporter, message, red=failed)
        for command in self._commands:
            _write(terminalreporter, command)


def _end_line(reporter: pytest.TerminalReporter | None) -> None:
    """End and flush the line that pytest has begun, before a report is written to the same stream."""
    if reporter is None:
        return
    reporter.ensure_newline()
    if reporter._tw.width_of_current_line:  # progress at `-q`, of which the reporter itself does not know
        reporter._tw.line()
    reporter.flush()


def _tested(report: pytest.TestReport) -> Tested:
    """The outcome of a phase of a test."""
    from pytest_llmperf.report.session_outcomes import Ending, Tested

    file, line, _ = report.location
    expected = hasattr(report, "wasxfail")
    ending = Ending.PASSED if report.passed else Ending.FAILED  # also of an attempt that is repeated
    if report.skipped:
        ending = Ending.XFAILED if expected else Ending.SKIPPED
    return Tested(test=report.nodeid, ending=ending, text=_why(report), file=file, line=(line or 0) + 1)


def _why(report: pytest.TestReport) -> str:
    """Why a phase failed or was skipped; empty if the gates' text says it."""
    if report.passed or getattr(report, "llmperf_explained", False):
        return ""
    from pytest_llmperf.errors import clean

    shown = report.longrepr
    crash = getattr(shown, "reprcrash", None)
    text = str(shown[-1] if isinstance(shown, (tuple, list)) else crash.message if crash else shown)
    text = text.removeprefix("Failed: ").removeprefix("Skipped: ")  # of pytest.fail and pytest.skip: `ending` says it
    return clean(text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ...")


def _write(terminalreporter: pytest.TerminalReporter, line: str, **markup: bool) -> None:
    """Write a line of the summary, without control characters, in characters that the terminal can encode."""
    from pytest_llmperf.errors import clean
    from pytest_llmperf.report.terminal.wrapping import encodable

    terminalreporter.write_line(encodable(clean(line), terminalreporter._tw._file), **markup)
