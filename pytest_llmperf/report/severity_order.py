"""The order of verdicts and their explanations in every report: the worst first, next steps last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from pytest_llmperf.model import Outcome, Verdict

WORST_FIRST = (Outcome.FAIL, Outcome.INVALID, Outcome.INCONCLUSIVE, Outcome.NOT_COMPARABLE, Outcome.PASS)

_LABELS = ("  cause: ", "  seen: ", "  note: ", "  next: ")
"""Lines that come after all others, in this order."""


def severity(outcome: str, delta: float | None, worse_by: float | None) -> tuple[int, float]:
    """A sort key, the worst first: by outcome, then by the change as a multiple of delta."""
    change = -(worse_by / delta) if delta and worse_by is not None else 0.0
    return [str(known) for known in WORST_FIRST].index(str(outcome)), change


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts of a measurement, the worst first."""
    return sorted(verdicts, key=lambda verdict: severity(verdict.outcome, verdict.gate.delta, verdict.worse_by))


def merged(texts: Sequence[str]) -> str:
    """Merges the failure texts of a measurement: first lines, common context, causes, notes, next steps.

    Each line appears once. The first cause of every text precedes any second one.

    Args:
        texts: the worst first.
    """
    split = [text.split("\n") for text in texts]
    context = chain.from_iterable(lines[1:] for lines in split)
    lines = [line for line in context if not line.startswith(_LABELS)]
    for label in _LABELS:
        columns = zip_longest(*([line for line in text[1:] if line.startswith(label)] for text in split))
        lines += filter(None, chain.from_iterable(columns))
    return "\n".join([*(text[0] for text in split), *dict.fromkeys(lines)])
