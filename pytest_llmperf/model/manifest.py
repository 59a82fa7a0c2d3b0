"""The manifest: the facts that a number depends on, stored with every measurement and compared first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmperf.model.model_names import same_model


def same_fact(key: str, first: str | None, second: str | None) -> bool:
    """Whether two values of a key are the same fact: a model has several names."""
    return first == second or (
        key == "model" and first is not None and second is not None and same_model(first, second)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Facts by key, all text; an unknown fact is absent, never empty.

    Attributes:
        facts: e.g. `gpu`, `gpu_driver`, `cpu`, `model_digest`; every key is in `KEYS`.
    """

    facts: Mapping[str, str] = field(default_factory=dict)


IDENTITY = (
    "backend",
    "gpu",
    "gpu_driver",
    "cuda",
    "cpu",
    "cpu_count",
    "memory_gib",
    "os",
    "engine",
    "engine_version",
    "model",
    "model_digest",
    "quantization",
)
"""Keys that must be equal before machine-bound metrics (tok/s, ms) are compared."""

NOTED = (
    "os_build",
    "cpu_governor",
    "model_size_bytes",
    "server_settings",
    "recording",
    "runtime",
    "hosts",
    "timing_source",
    "python",
    "plugin_version",
    "git_commit",
    "git_dirty",
)
"""Keys that are stored, and shown if they differ, but do not prevent a comparison."""

KEYS = IDENTITY + NOTED
