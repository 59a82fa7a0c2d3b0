"""The progress line: what is running, the estimates so far, and the time left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pytest_llmperf.errors import MeasurementError, clean
from pytest_llmperf.judge.metrics.series import CATALOGUE, series
from pytest_llmperf.judge.stats.confidence_intervals import interval
from pytest_llmperf.judge.stats.summary import aggregate_values
from pytest_llmperf.model import Measurement, Outcome, Verdict
from pytest_llmperf.report.terminal.wrapping import encodable, span_words
from pytest_llmperf.report.wording.next_steps import round_s

_LEAST_PP = 1.0
"""An interval that excludes less of the scale than this, such as 0.0 to 100.0 after three rounds, is not shown."""

_SHOWN = {"balance": "efficiency_pct", "scaling": "scaling_efficiency_pct"}


QUIET_S = 30.0
"""Without a terminal, the current step (a pull, a slow load) is written again after this long without output."""


class ProgressLine:
    """A progress listener that updates one line of the terminal; without a terminal, a line per round on stderr.

    Args:
        reporter: pytest's terminal reporter, or None to show nothing there.
        capture: pytest's capture manager, or None.
        rounds: minimum and maximum rounds of a measurement.
        plain: without a terminal, write lines to stderr.
        steps: without a terminal, write at least the steps that may take long to stderr.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        reporter: Any,
        capture: Any,
        *,
        rounds: tuple[int, int] = (5, 20),
        plain: bool = False,
        steps: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter = reporter
        self._capture = capture
        self._least, self._most = rounds
        self._plain = plain
        self._steps = reporter is None and (plain or steps)
        self._clock = clock
        self._wrote_s = clock()
        self._begun = False
        self._prefix: str | None = None
        self.interrupted = "interrupted; nothing was being measured"
        """Printed on Ctrl-C: what was running and what has been saved."""

    def say(self, text: str) -> None:
        """Shows a text after pytest's own output for the test, replacing the previous one."""
        self.interrupted = f"interrupted; {text}"
        self._show(text)
        if self._steps and self._clock() - self._wrote_s >= QUIET_S:
            self._write(text)

    def step(self, text: str) -> None:
        """Shows a text as `say` does; without a terminal, writes a line."""
        self._wrote_s = self._clock()  # so that `say` writes no second line
        self.say(text)
        if self._steps:
            self._write(text)

    def note(self, text: str) -> None:
        """Writes a line that stays."""
        if self._reporter is not None or self._plain:
            self._write(text)

    def done(self) -> None:
        """Clears the line and restores pytest's own output."""
        self._begun = False
        if self._prefix is None:
            return
        with self._uncaptured():
            self._reporter.rewrite(self._prefix, erase=True)
            self._reporter.rewrite(self._prefix)
        self._reporter._tw._current_line = self._prefix  # pytest counts its columns by it
        self._prefix = None

    def round_done(
        self, measurement: Measurement, verdicts: Sequence[Verdict], *, gates: int | None = None, of: str = ""
    ) -> None:
        """Shows the round just ended: the estimates and verdicts so far, and how long the rest may take."""
        name, count = of or f"{measurement.scenario.name} on {measurement.topology.kind}", len(measurement.rounds)
        done = f"({count} round{'' if count == 1 else 's'} done, not saved)"
        where = f"; {of}: in round {count + 1}" if of else f" in round {count + 1} of {name}"
        self.interrupted = f"interrupted{where} {done}"
        if self._reporter is None and not self._plain:
            return
        estimates, left = self._estimates(measurement), "" if of else self._left(measurement, verdicts, gates)
        each = ", ".join(f"{verdict.gate.marker} {verdict.outcome}" for verdict in verdicts)
        outcomes = Counter(str(verdict.outcome) for verdict in verdicts)
        counts = ", ".join(f"{many} {outcome}" for outcome, many in outcomes.items())
        known = _joined(*estimates, each)
        rests = (
            _joined(known, left),
            _joined(*estimates[:1], each, left),
            _joined(*estimates[:1], counts, left),
            _joined(*estimates[:1], counts, left.removeprefix("at most ")),
            *(("",) if of else ()),
        )
        head = f"{of}: round {count}" if of else f"round {count}"  # the progress of an experiment matters most
        shorter = [f"{head}: {rest}" if rest else head for rest in rests]
        text = shorter[0] if of else f"{name}: {shorter[0]}"
        self._show(text, *shorter)
        if self._plain:
            self._write(text)

    def _estimates(self, measurement: Measurement) -> list[str]:
        """The two efficiencies, if they are defined, with the interval of the first."""
        estimates: list[str] = []
        for word, name in _SHOWN.items():
            metric = CATALOGUE[name]
            try:
                values = series(measurement, name)
            except MeasurementError:
                continue
            looks = self._most - self._least + 1
            few = len(values) < 3
            ends = None if few else interval(metric.aggregate, values, looks=looks, shape=metric.shape)
            top = metric.ceiling or float("inf")
            low, high = (max(ends.low, 0), min(ends.high, top)) if ends else (0.0, top)
            excludes = low >= _LEAST_PP or high <= top - _LEAST_PP
            around = f" ({low:.1f} to {high:.1f})" if ends and excludes and not estimates else ""
            estimates.append(f"{word} {aggregate_values(metric.aggregate, values):.1f} %{around}")
        return estimates

    def _left(self, measurement: Measurement, verdicts: Sequence[Verdict], gates: int | None) -> str:
        """How long the rest may take; empty if no round is left."""
        count = len(measurement.rounds)
        if count < self._least and gates is not None:
            until = "to the first verdict" if gates else "left"
            return f"{span_words((self._least - count) * round_s(measurement))} {until}"
        inconclusive = [verdict for verdict in verdicts if verdict.outcome is Outcome.INCONCLUSIVE]
        if not inconclusive or count >= self._most:
            return ""
        return f"at most {span_words((self._most - count) * round_s(measurement))} left"

    def _show(self, *texts: str) -> None:
        """Shows the first text that fits on the terminal's line; the very first follows pytest's own output."""
        if self._reporter is None:
            return
        writer = self._reporter._tw
        if self._prefix is None:
            self._prefix = encodable(writer._current_line, writer._file)
        with self._uncaptured():
            room = writer.fullwidth - 4  # for the ^C that a terminal echoes
            lines = (f"{self._prefix} {texts[0]}", *texts)
            shown = [encodable(line, writer._file) for line in lines]
            line = next((line for line in shown if len(line) <= room), shown[-1][:room])
            self._reporter.rewrite(line, erase=True)
            self._reporter.rewrite(line)

    def _write(self, text: str) -> None:
        """Writes a line to stderr; the first one of a measurement starts with a line break."""
        with self._uncaptured():
            print("" if self._begun else "\n", f"llmperf: {clean(text)}", sep="", file=sys.stderr, flush=True)
        self._begun = True
        self._wrote_s = self._clock()

    def _uncaptured(self) -> AbstractContextManager[None]:
        """Suspends pytest's capturing."""
        if self._capture is None:
            return nullcontext()
        manager: AbstractContextManager[None] = self._capture.global_and_fixture_disabled()
        return manager


def _joined(*parts: str) -> str:
    """The parts that are not empty, joined."""
    return "; ".join(filter(None, parts))
