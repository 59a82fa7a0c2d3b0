"""The example with LangGraph of docs/how-to, run as printed: in one environment with the plugin, as a user has it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.frameworks.catalogue import LANGGRAPH
from tests.page_blocks import blocks

pytestmark = pytest.mark.frameworks

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "langgraph.md"
OPTIONS = ("--llmperf-backend=simulated", "--llmperf-baseline=embedded", "--llmperf-rounds=2", "--llmperf-max-rounds=2")


def test_the_example_with_langgraph_passes(tmp_path: Path) -> None:
    """Two agents, alone and together."""
    if LANGGRAPH.problem:
        pytest.skip(f"LangGraph: {LANGGRAPH.problem}")
    (code,) = (block for block in blocks(PAGE, "python") if "langgraph" in block)
    (tmp_path / "test_langgraph.py").write_text(code, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "LLMPERF_"))}
    done = subprocess.run(
        [LANGGRAPH.folder / "bin" / "python", "-m", "pytest", "-p", "no:cacheprovider", *OPTIONS],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "langgraph_team" in done.stdout
