"""Performance regression tests for several LLM agents at once.

The names below are the public API. They are imported on first use, so that they do not slow down the start of pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llmperf.errors import (
        BaselineError,
        LlmperfError,
        MeasurementError,
        MissingExtraError,
        ModelMissingError,
        ServerError,
        UsageError,
    )
    from pytest_llmperf.judge.record import Record
    from pytest_llmperf.model import (
        BASELINE_VS_CHIMERA,
        CHIMERA_HETERO,
        CHIMERA_HOMO,
        CONVERSATION,
        Agent,
        ExternalAgent,
        ExternalTeam,
        GenerationOptions,
        Loop,
        Scenario,
        Settings,
        TopologyKind,
    )
    from pytest_llmperf.recordings.recording_file import RecordingTarget
    from pytest_llmperf.session.session import Session

_HOMES = {
    "pytest_llmperf.model": (
        "BASELINE_VS_CHIMERA",
        "CHIMERA_HETERO",
        "CHIMERA_HOMO",
        "CONVERSATION",
        "Agent",
        "ExternalAgent",
        "ExternalTeam",
        "GenerationOptions",
        "Loop",
        "Scenario",
        "Settings",
        "TopologyKind",
    ),
    "pytest_llmperf.errors": (
        "BaselineError",
        "LlmperfError",
        "MeasurementError",
        "MissingExtraError",
        "ModelMissingError",
        "ServerError",
        "UsageError",
    ),
    "pytest_llmperf.judge.record": ("Record",),
    "pytest_llmperf.recordings.recording_file": ("RecordingTarget",),
    "pytest_llmperf.session.session": ("Session",),
}

__all__ = [
    "BASELINE_VS_CHIMERA",
    "CHIMERA_HETERO",
    "CHIMERA_HOMO",
    "CONVERSATION",
    "Agent",
    "BaselineError",
    "ExternalAgent",
    "ExternalTeam",
    "GenerationOptions",
    "LlmperfError",
    "Loop",
    "MeasurementError",
    "MissingExtraError",
    "ModelMissingError",
    "Record",
    "RecordingTarget",
    "Scenario",
    "ServerError",
    "Session",
    "Settings",
    "TopologyKind",
    "UsageError",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
