"""The triage in lines: all checks of a single measurement, or the problems of several."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.diagnosis.triage import State
from pytest_llmperf.judge.record import Record
from pytest_llmperf.report.wording.verdict_text import name_of

_MOST_LINES = 24
"""More would not fit on one screen with the rest."""


def triage_lines(records: Sequence[Record], *, verbosity: int = 0) -> list[str]:
    """The results of the triage, a line per check; empty if there was none.

    Args:
        records: the records of the run.
        verbosity: pytest's; above 0 every check of a single measurement gets its own line.
    """
    triaged = [record for record in records if record.triage]
    lines: list[str] = []
    for record in triaged:
        problems = [answer for answer in record.triage if answer.state is State.FOUND]
        alone = len(triaged) == 1
        ok = (
            [answer.question for answer in record.triage if answer.state is State.OK]
            if alone and verbosity <= 0
            else []
        )
        shown = [answer for answer in record.triage if answer.question not in ok] if alone else problems
        count = f"{len(problems)} of {len(record.triage)} checks found a problem" if problems else "no problem found"
        lines.append(f"triage of {name_of(record)}: {count}")
        lines += [f"  {answer.state:<9}  {answer.question:<8}  {answer.said}" for answer in shown]
        if ok:
            lines.append(f"  {State.OK:<9}  {', '.join(ok)}")
    if len(lines) > _MOST_LINES:
        rest = len(lines) - _MOST_LINES
        lines = [*lines[:_MOST_LINES], f"  and {rest} more lines: see --llmperf-json or --llmperf-html"]
    return lines
