"""The target of gates: a measurement, its machine, and the limits from options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.gate_kinds import COMPARED_METRICS, GATE_KINDS
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.model import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A measurement that is to be judged.

    Attributes:
        key: the key of the measurement.
        facts: the facts of its manifest.
        settings: the settings of the session.
        compared: the metrics that are compared unless a marker names others, see `compared_metrics`.
    """

    key: Key
    facts: Mapping[str, str]
    settings: Settings = field(default_factory=Settings)
    compared: tuple[str, ...] = COMPARED_METRICS

    def option_limit(self, name: str) -> float | None:
        """The limit that the command line or ini gives for a gate kind; raises as `option_limit` does."""
        return option_limit(name, self.settings)


def named_metrics(marker: Marker, compared: tuple[str, ...]) -> tuple[str, ...]:
    """The metrics of a `regression` marker; those compared by default, if it names none."""
    metrics: tuple[str, ...] = marker["metrics"]
    return compared if metrics == COMPARED_METRICS else metrics


def option_limit(name: str, settings: Settings) -> float | None:
    """The limit that the command line or ini gives for a gate kind, or None.

    Raises:
        UsageError: the kind's marker would refuse it.
    """
    if name not in settings.limits:
        return None
    kind, limit = GATE_KINDS[name], settings.limits[name]
    try:
        kind.checked(kind.limits[0], limit)
    except (TypeError, ValueError) as error:
        text = f"--llmperf-limit {name}={limit!r}: {error}"
        raise UsageError(text, next_step=f"give --llmperf-limit {name}=VALUE with a value in range") from error
    return limit
