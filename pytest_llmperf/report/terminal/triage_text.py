"""The triage in lines: of one measurement all of it, what is as it should be in one; of several what was found."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.judge.diagnosis.triage import State
from pytest_llmperf.judge.record import Record
from pytest_llmperf.report.wording.verdict_text import name_of

_MOST_LINES = 24
"""More do not fit a screen beside the rest."""


def triage_lines(records: Sequence[Record], *, verbosity: int = 0) -> list[str]:
    """What a triage found, a line a question; empty where there was none.

    Args:
        records: of the run.
        verbosity: pytest's; above 0 each question of a single measurement has its line.
    """
    asked = [record for record in records if record.triage]
    lines: list[str] = []
    for record in asked:
        found = [one for one in record.triage if one.state is State.FOUND]
        alone = len(asked) == 1
        fine = [one.question for one in record.triage if one.state is State.OK] if alone and verbosity <= 0 else []
        shown = [one for one in record.triage if one.question not in fine] if alone else found
        count = f"{len(found)} of {len(record.triage)} questions found something" if found else "nothing was found"
        lines.append(f"triage of {name_of(record)}: {count}")
        lines += [f"  {one.state:<9}  {one.question:<8}  {one.said}" for one in shown]
        if fine:
            lines.append(f"  {State.OK:<9}  {', '.join(fine)}")
    if len(lines) > _MOST_LINES:
        rest = len(lines) - _MOST_LINES
        lines = [*lines[:_MOST_LINES], f"  and {rest} lines more: --llmperf-json, --llmperf-html"]
    return lines
