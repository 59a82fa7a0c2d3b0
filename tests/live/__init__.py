"""Against a real, unmodified Ollama: the `ollama` on PATH, with the packaged Gemma 3 270M (or `LLMPERF_LIVE_MODEL`)."""

import os
import shutil

import pytest

from pytest_llmperf.model import Settings
from pytest_llmperf.servers.emulator.model_files import assemble_packaged

PATIENCE_S = 900.0
"""How long a test waits before it fails, s: no test here is about speed, and the machine may do other work."""

KEEPS_UP = ("-p", "tests.keeps_up")
"""For runs in processes of their own: no round is set aside."""

IMPORTED = "gemma3-270m:packaged"
"""The name under which the packaged file is imported: it is not what the registry has as gemma3:270m."""


def live_settings() -> Settings:
    """Settings that start the `ollama` on PATH; skips with the reason if there is none."""
    if shutil.which("ollama") is None:
        pytest.skip("no real Ollama: no `ollama` on PATH")
    if model := os.environ.get("LLMPERF_LIVE_MODEL"):
        return Settings(backend="ollama", model=model, start_timeout_s=PATIENCE_S)
    return Settings(
        backend="ollama",
        model=IMPORTED,
        gguf=str(assemble_packaged()),
        start_timeout_s=PATIENCE_S,
        timeout_s=PATIENCE_S,
    )
