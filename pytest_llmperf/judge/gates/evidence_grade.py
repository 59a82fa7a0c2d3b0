"""The report's evidence grades: how far a number of rounds may be trusted, and what decision-grade asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.judge.stats.summary import MIN_ROUNDS
from pytest_llmperf.model import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llmperf.model import Manifest

_GPU_KEYS = frozenset({"gpu", "gpu_driver", "cuda"})
_DECISION_KEYS = (*IDENTITY, "os_build", "git_commit")


def grade(rounds: int, *, simulated: bool = False) -> str:
    """The decision card's evidence grade: `exploratory` (1 to 2), `directional` (3 to 4), `publishable` (5 or more).

    Rounds of a scripted server are no evidence, however many: `simulated`.
    """
    if simulated:
        return "simulated"
    if rounds < MIN_ROUNDS:
        return "exploratory"
    return "directional" if rounds < 5 else "publishable"


def decision_grade(
    *, rounds: int, cv_pct: float | None, boundaries: Sequence[str], alternatives: Sequence[str], manifest: Manifest
) -> tuple[str, ...]:
    """The unmet requirements of decision-grade evidence; empty if there are none (report, D, P.1).

    Args:
        rounds: the rounds of the primary metric.
        cv_pct: the CV of the primary metric; None when not known.
        boundaries: the measurement boundaries that are stated.
        alternatives: configurations that were tried besides this one.
        manifest: must hold every identity key (GPU keys only if there is a GPU), `os_build` and `git_commit`.

    Returns:
        One clause for each requirement that is not met.
    """
    lacks = []
    if rounds < MIN_ROUNDS:
        lacks.append(f"{rounds} rounds, wanted at least {MIN_ROUNDS}")
    if cv_pct is None or not cv_pct < 10:
        lacks.append(f"CV {'not known' if cv_pct is None else f'{cv_pct:.1f} %'}, wanted below 10 %")
    if not boundaries:
        lacks.append("no measurement boundary stated")
    if not alternatives:
        lacks.append("no alternative tried")
    optional = _GPU_KEYS if "gpu" not in manifest.facts else frozenset()
    missing = [key for key in _DECISION_KEYS if key not in manifest.facts and key not in optional]
    if missing:
        lacks.append(f"manifest lacks {', '.join(missing)}")
    return tuple(lacks)
