"""Whether agents answer as well together as alone.

Two verdicts. If the engine repeats itself (every prompt had the same answer twice while its agent was alone), an
answer that differs together is a fault, and no statistics are needed. And scores must not fall significantly by more
than the limit in points; that also works for engines that sample.

Source: TR109 (quality down 6.9 % under another configuration), report, E.2 #5, R10.
"""

from __future__ import annotations

import traceback
from statistics import fmean
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.gates.evaluate import invalid, judge_values
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.stats.confidence_intervals import CONFIDENCE_PCT
from pytest_llmperf.model import Bound, Gate, Outcome, Verdict

if TYPE_CHECKING:
    from pytest_llmperf.judge.markers import Marker
    from pytest_llmperf.model import Answered, Quality

DEFAULT_MAX_DROP_PP = 5.0
"""The default limit; the change that TR109 calls a loss is 6.9 %."""

CHANGED, DROP = "changed_answers_rate", "quality_drop_pp"


def answer_gates(marker: Marker, bare: float | None) -> tuple[Gate, ...]:
    """The gates that the marker asks for: same answers (unless it says otherwise), and the drop of the score.

    Args:
        marker: a marker of the kind `quality`.
        bare: the limit that the command line or ini gives for it, if any.
    """
    by_default = DEFAULT_MAX_DROP_PP, f"marker {marker}, default"
    limit, source = marker.stated(marker.limits[0], bare) or by_default
    drop = Gate(marker=marker.name, metric=DROP, bound=Bound.MAX, limit=limit, source=source)
    same = Gate(marker=marker.name, metric=CHANGED, bound=Bound.MAX, limit=0.0, source=f"marker {marker}")
    return (same, drop) if marker["same"] else (drop,)


def judge_answers(quality: Quality, gates: tuple[Gate, ...], *, run_gates: int = 1) -> tuple[Verdict, ...]:
    """One verdict per gate; none for equality if the engine does not repeat itself alone (see `in_words`).

    Args:
        quality: scored.
        gates: the number of gates of `answer_gates`.
        run_gates: gates of the run, which share the error of `fail`.
    """
    verdicts = []
    for gate in gates:
        if gate.metric == DROP:
            drops = [drop for answer in quality.answered if (drop := _drop_pp(answer)) is not None]
            if drops:
                verdicts.append(judge_values(gate, drops, looks=1, gates=run_gates))
            else:
                verdicts.append(invalid(gate, len(quality.answered), "no scorer returned a score"))
        elif quality.repeatable:
            verdicts.append(_same(quality, gate))
    return tuple(verdicts)


def in_words(quality: Quality) -> str:
    """How answers and scores compare, for the reader."""
    total, changed = len(quality.answered), len(quality.changed)
    repeats = sum(answer.alone == answer.again for answer in quality.answered)
    alone = [
        score for answer in quality.answered for score in (answer.alone_score, answer.again_score) if score is not None
    ]
    together = [answer.together_score for answer in quality.answered if answer.together_score is not None]
    scores = f"; mean score {fmean(alone):.3f} alone, {fmean(together):.3f} together" if alone and together else ""
    uncompared = "" if quality.repeatable else "; only scores were compared"
    same = f"; together {total - changed} of {total} equal the answer alone" if quality.repeatable else ""
    return f"quality: {repeats} of {total} answers repeat alone{uncompared}{same}{scores}, by {quality.scorer}"


def scorer_raised(scorer: str, error: Exception) -> UsageError:
    """The error for a scorer that raises instead of scoring.

    Args:
        scorer: the scorer in words.
        error: what it raised.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return UsageError(
        f"{scorer} raised {type(error).__name__}: {error}{where}",
        next_step="have the hook return a number from 0 to 1 for every text, or None; see docs/quality.md",
    )


def checked(score: object, scorer: str) -> float | None:
    """A scorer's answer.

    Raises:
        UsageError: it is neither None nor a number from 0 to 1.
    """
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise UsageError(
            f"{scorer} returned {score!r}, wanted a number from 0 (bad) to 1, or None",
            next_step="correct the hook; see docs/quality.md",
        )
    return float(score)


def _drop_pp(answer: Answered) -> float | None:
    """How many points the score together is below the score alone; None if a score is missing."""
    if answer.alone_score is None or answer.again_score is None or answer.together_score is None:
        return None
    return 100 * ((answer.alone_score + answer.again_score) / 2 - answer.together_score)


def _same(quality: Quality, gate: Gate) -> Verdict:
    """The verdict on equality, which needs no estimate."""
    total, changed = len(quality.answered), quality.changed
    reason = f"all {total} answers equal the answers alone"
    if changed:
        first = changed[0]
        reason = (
            f"{len(changed)} of {total} answers differ from the answers alone, which repeat: {first.agent} said "
            f"{_short(first.together)} instead of {_short(first.alone)}"
        )
    rate = len(changed) / total
    return Verdict(
        gate=gate,
        outcome=Outcome.FAIL if changed else Outcome.PASS,
        value=rate,
        low=None,
        high=None,
        confidence_pct=CONFIDENCE_PCT,
        rounds=total,
        grade=grade(total),
        reason=reason,
    )


def _short(text: str) -> str:
    """The beginning of an answer, on one line."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
