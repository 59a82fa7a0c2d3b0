"""The environment for an `ollama serve` that the plugin starts: which variables it keeps, records and drops."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_PLACES = ("OLLAMA_MODELS", "OLLAMA_DEBUG", "OLLAMA_LIBRARY_PATH")
"""Kept, but not recorded as a fact of a measurement."""

_COMPUTING = (
    "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_FLASH_ATTENTION",
    "OLLAMA_GO_TEMPLATE",
    "OLLAMA_GPU_OVERHEAD",
    "OLLAMA_IGPU_ENABLE",
    "OLLAMA_INTEL_GPU",  # of older versions, as the other three that 0.33 does not list
    "OLLAMA_KV_CACHE_TYPE",
    "OLLAMA_LLAMA_CPP_COMPAT",
    "OLLAMA_LLM_LIBRARY",
    "OLLAMA_LOAD_TIMEOUT",
    "OLLAMA_MAX_VRAM",
    "OLLAMA_MULTIUSER_CACHE",
    "OLLAMA_NEW_ENGINE",
    "OLLAMA_SCHED_SPREAD",
    "OLLAMA_VULKAN",
    "LLAMA_ARG_FIT",
    "LLAMA_ARG_FIT_TARGET",
)
"""Settings that decide where and how Ollama computes, with the llama.cpp settings that it lists as its own."""

_DEVICES = (
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "HIP_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION",
    "ROCR_VISIBLE_DEVICES",
)
"""Driver settings that do so, besides all `GGML_*`; every server that the plugin starts gets them."""

_DROPPED = ("OLLAMA_", "LLAMA_ARG_")
"""Variables with these prefixes would reach the server or its runner; those not listed above are dropped."""


def environment(home: Path, port: int, slots: int, *, gpu: str = "", store: Path | None = None) -> dict[str, str]:
    """The environment of an instance: the user's, without what would leak into the server or its runner.

    Args:
        home: an own folder; `serve` writes a key there.
        port: the port on loopback.
        slots: requests that it serves at once.
        gpu: the only one that it sees, by number or UUID; -1 = none, empty = as the environment says.
        store: the folder of its models; None = the user's.
    """
    clean = {name: value for name, value in os.environ.items() if _kept(name)}
    user_home = Path(os.environ.get("HOME") or Path.home())
    models = str(store or clean.get("OLLAMA_MODELS") or user_home / ".ollama" / "models")
    ours = {
        "HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": models,
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NUM_PARALLEL": str(slots),
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NO_CLOUD": "1",
    }
    return {**clean, **ours, **({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})}


def recorded(env: Mapping[str, str], *, ollama: bool) -> tuple[str, ...]:
    """The variables of a server's environment that decide where and how it computes, as `NAME=value`.

    Args:
        env: the server's environment.
        ollama: whether it is an Ollama; the emulator does not read Ollama's settings.
    """
    names = _DEVICES + (_COMPUTING if ollama else ())
    return tuple(
        f"{name}={value}"
        for name, value in sorted(env.items())
        if value and (name in names or name.startswith("GGML_"))
    )


def dropped(env: Mapping[str, str]) -> tuple[str, ...]:
    """A note about the user's settings that the server does not get, or gets with another value.

    Args:
        env: the server's environment.
    """
    names = [
        name
        for name, value in sorted(os.environ.items())
        if value and name.startswith(_DROPPED) and env.get(name) != value and name != "OLLAMA_MODELS"
    ]
    if not names:
        return ()
    return (f"the servers do not get {', '.join(names)} from the environment: see docs/servers.md for what they get",)


def _kept(name: str) -> bool:
    return not name.startswith(_DROPPED) or name in _PLACES or name in _COMPUTING
