"""Whether stored figures may be compared with figures from here.

Ratios can be compared between machines, but never between a real engine and a simulated one. A machine-bound figure
(tok/s, ms) is compared only if the manifest's identity agrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.judge.metrics.catalogue import MetricClass, metric_of
from pytest_llmperf.model import IDENTITY
from pytest_llmperf.model.manifest import same_fact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llmperf.model import StoredSession


def differences(stated: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    """Identity keys that a baseline states and that are not the same here, each `key: baseline X, here Y`.

    Keys that the baseline does not state are not compared; a key that is absent here counts as differing.
    """
    return tuple(
        f"{key}: baseline {stated[key]}, here {here.get(key, 'not known')}"
        for key in IDENTITY
        if key in stated and not same_fact(key, stated[key], here.get(key))
    )


def other_machine(stated: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Why a machine-bound figure cannot be compared, or nothing."""
    if not any(key in IDENTITY for key in stated):
        return "the baseline states no machine"
    return "; ".join(differences(stated, here))


def is_like(session: StoredSession, facts: Mapping[str, str], metric: str) -> bool:
    """Whether a stored session's figures of a metric may be compared with those from where these facts hold."""
    return not unlike(session, facts, machine=metric_of(metric).kind is MetricClass.MACHINE)


def unlike(session: StoredSession, facts: Mapping[str, str], *, machine: bool) -> str:
    """Why a stored session cannot be compared with here, or nothing."""
    if machine:
        # Both are whole manifests: what only one of them knows (a GPU that was added) differs as well.
        unknown = {key: "not known" for key in IDENTITY if key in facts and key not in session.manifest}
        return other_machine({**session.manifest, **unknown}, facts) if session.manifest else other_machine({}, facts)
    stated, here = session.manifest.get("backend"), facts.get("backend")
    if stated != here and "simulated" in (stated, here):
        return f"backend: baseline {stated or 'not known'}, here {here or 'not known'}"
    return ""
