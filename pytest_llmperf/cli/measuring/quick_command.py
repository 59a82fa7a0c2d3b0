"""`quick [URL...]`: how agents run together here, without a test."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_llmperf.cli.measuring.server_choice import diarist, settings_of
from pytest_llmperf.errors import LlmperfError, MeasurementError, UsageError, clean
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Measurement, Scenario, Settings, TopologyKind, Verdict
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.session_outcomes import Ending, Tested
from pytest_llmperf.report.terminal.progress_line import ProgressLine
from pytest_llmperf.report.terminal.summary_table import SummaryStyle, table
from pytest_llmperf.report.terminal.wrapping import width, wrapped
from pytest_llmperf.report.wording.next_steps import round_s
from pytest_llmperf.report.wording.together_text import together_text
from pytest_llmperf.report.wording.verdict_text import explain_nothing
from pytest_llmperf.session.session import Session
from pytest_llmperf.session.session_header import header

NAME = "quick"
"""The name of the scenario, and that under which it is recorded."""

ROUNDS = 5
"""The minimum number of rounds for a gate."""


class _TimeUpError(Exception):
    """The time is over; the rounds so far are with the listener."""


class QuickLook(ProgressLine):
    """Writes the progress to stderr, keeps the rounds, and stops when the next one would end too late.

    Args:
        seconds: time for everything, from now.
        clock: monotonic seconds.

    Attributes:
        measurement: the measurement with the rounds so far; None: no round has ended.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(None, None, rounds=(ROUNDS, ROUNDS), plain=True, clock=clock, steps=True)
        self.measurement: Measurement | None = None
        self._now = clock
        self._end_s = clock() + seconds

    def round_done(
        self, measurement: Measurement, verdicts: Sequence[Verdict], *, gates: int | None = None, of: str = ""
    ) -> None:
        """Keeps and shows the rounds so far; raises _TimeUpError if there is no time for another one."""
        self.measurement = measurement  # first: who reads that the round has ended may press Ctrl-C at once
        super().round_done(measurement, verdicts, gates=gates, of=of)
        if len(measurement.rounds) < ROUNDS and self._now() + round_s(measurement) > self._end_s:
            raise _TimeUpError


def quick(given: Namespace) -> int:
    """Measures, and prints the table, a sentence and the next step; returns 2 if it was interrupted."""
    settings = settings_of(given, min_rounds=ROUNDS, max_rounds=ROUNDS)
    look, record, end = QuickLook(given.seconds), None, ""
    with Session(settings, root=Path.cwd(), listener=look) as session:
        agents = _agents(given.agent_count, session.backend.urls)
        session.check()
        for line in header(session, {}):
            print(clean(wrapped(line, width())), file=sys.stderr if given.json else sys.stdout, flush=True)
        try:
            record = session.measure(_scenario(agents), _kind(session.backend.urls, agents), test=NAME)
        except _TimeUpError:
            end = f"stopped at the end of --seconds {given.seconds:g}"
        except KeyboardInterrupt:
            end = "interrupted"
    for text in dict.fromkeys(session.unrestored):
        print(clean(text), file=sys.stderr)
    if record is None and look.measurement is not None:
        record = Record(test=NAME, measurement=look.measurement)
    if record is None:
        raise LlmperfError("interrupted before a round had ended: nothing was measured")
    _print(record, settings, f"{end} after {len(record.measurement.rounds)} of {ROUNDS} rounds" if end else "", given)
    return 2 if end == "interrupted" else 0


def _agents(wanted: int | None, urls: Sequence[str]) -> int:
    """The number of agents: one per server, two if there is one server or none that runs.

    Raises:
        UsageError: several servers, and not one per agent.
    """
    if len(urls) > 1 and wanted not in (None, len(urls)):
        raise UsageError(
            f"{wanted} agents for {len(urls)} servers: {', '.join(urls)}",
            next_step="give one address per agent, or a single one that all agents share",
        )
    return wanted or max(len(urls), 2)


def _kind(urls: Sequence[str], agents: int) -> TopologyKind:
    """All agents on the only running server, else a server per agent."""
    if len(urls) == 1:
        return TopologyKind.SINGLE
    return TopologyKind.DUAL if agents == 2 else TopologyKind.FLEET


def _scenario(agents: int) -> Scenario:
    """Agents that do the same work at once: a short prompt, an answer of 64 tokens."""
    names = [f"agent{number}" for number in range(1, agents + 1)]
    return Scenario(name=NAME, agents=tuple(map(diarist, names)))


def _print(record: Record, settings: Settings, end: str, given: Namespace) -> None:
    """The table as pytest prints it, the sentence and the next step; with --json, the document.

    Raises:
        MeasurementError: no round counts.
    """
    if problem := explain_nothing(record):
        message, _, step = problem.partition("\n  next: ")
        raise MeasurementError(message, next_step=step)
    if given.json:
        tested = Tested(test=NAME, ending=Ending.PASSED)
        print(as_text(document(Run(records=[record], settings=settings, accepted=[record], tests=[tested]))), end="")
        return
    sentence, step = together_text(record)
    print()
    for line, _ in table([record], SummaryStyle(settings=settings, columns=width(), explained=(NAME,))):
        print(clean(line))
    print()
    print(clean(wrapped(f"{end}; {sentence}" if end else sentence, width())))
    print(clean(f"  next: {step}"))
