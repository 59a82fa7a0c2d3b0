"""The pages of docs/how-to and docs/writing-tests.md, executed: every block of Python and every command of ours."""

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# pytester forgets the modules that an inner run has imported; numpy loads once, and httpx keeps its classes.
import httpcore  # noqa: F401
import numpy as np  # noqa: F401
import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.model import Script
from tests.lent import known
from tests.page_blocks import blocks, kinds
from tests.started import simulated_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs" / "how-to").glob("*.md")), ROOT / "docs" / "writing-tests.md"]
SCRIPT = {"decode_tok_s": 800.0, "ttft_ms": 2.0, "load_ms": 1.0}
SIMULATED = (
    "--llmperf-backend=simulated",
    f"--llmperf-script={','.join(f'{key}={value}' for key, value in SCRIPT.items())}",
    "--llmperf-baseline=embedded",
)
USUAL = ("-W", "default", "-p", "no:cacheprovider")
FEW = ("--llmperf-rounds=2", "--llmperf-max-rounds=2")

SUITE = """
import pytest
from pytest_llmperf import Agent, GenerationOptions, Scenario

SHORT = GenerationOptions(num_predict=8, seed=1)
PAIR = Scenario(name="pair", agents=tuple(Agent(name=name, prompts=("x",), options=SHORT) for name in "xy"))

@pytest.mark.multiagent
@pytest.mark.ttft(max_ms=1000)
def test_pair(single_parallel_ollama, run_agents):
    run_agents(PAIR, on=single_parallel_ollama)
"""

AGENT = """
import json, os, urllib.request
body = {"model": os.environ["LLMPERF_MODEL"], "prompt": "x", "options": {"num_predict": 4}}
urllib.request.urlopen(os.environ["OLLAMA_HOST"] + "/api/generate", json.dumps(body).encode()).read()
"""

OTHERS = ("git", "pip", "ollama", "vllm")
"""Programs of others, which a page may show."""


def python_blocks() -> Iterator[tuple[str, str]]:
    """Those that need no framework; `make frameworks` runs the others."""
    for page in PAGES:
        yield from ((page.stem, code) for code in blocks(page, "python") if "langgraph" not in code)


@pytest.mark.parametrize(("page", "code"), list(python_blocks()), ids=lambda text: text if "\n" not in text else "")
def test_python_blocks_pass(pytester: pytest.Pytester, page: str, code: str) -> None:
    """Each is a whole test file."""
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(code)
    few = () if "pytest.mark" in code else FEW
    pytester.runpytest_inprocess(*SIMULATED, *few, *USUAL).assert_outcomes(passed=1)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=lambda page: page.stem)
def test_commands_work_in_order(page: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two servers in place of the addresses that the page shows; all end with 0."""
    pytester.makeini("[pytest]\n")
    (pytester.path / "perf").mkdir()
    (pytester.path / "perf" / "test_pair.py").write_text(SUITE)
    (pytester.path / "team.py").write_text(AGENT)
    monkeypatch.chdir(pytester.path)
    with ExitStack() as stack:
        first, second = (stack.enter_context(simulated_server("--slots", "8", **SCRIPT)) for _ in range(2))
        for url in (first, second):
            stack.enter_context(known(url, Script(**SCRIPT), slots=8))
        places = {"http://127.0.0.1:11434": first, "http://127.0.0.1:8000": first, "http://127.0.0.1:11435": second}
        for line in "".join(blocks(page, "sh")).splitlines():
            command = re.sub("|".join(places), lambda match: places[match[0]], line)
            program, *words = shlex.split(command)
            if program == "pytest":
                target = () if "perf" in words else ("perf",)
                chosen = () if any("llmperf-urls" in word for word in words) else SIMULATED
                pytester.runpytest_inprocess(*words, *target, *chosen, *USUAL).assert_outcomes(passed=1)
            elif program == "pytest-llmperf":
                if words[0] == "record-agents":
                    words[1:1] = ["--backend", "simulated"]
                assert main(words) == 0, line
            else:
                assert program in OTHERS, line


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=lambda page: page.stem)
def test_toml_blocks_load(page: Path, tmp_path: Path) -> None:
    """Each is a whole baseline."""
    for text in blocks(page, "toml"):
        (tmp_path / "ours.toml").write_text(text, encoding="utf-8")
        assert baseline_files.load(tmp_path / "ours.toml").threshold


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """A new kind of block needs a test here."""
    for page in PAGES:
        assert kinds(page) <= {"python", "sh", "toml"}, page


def test_every_job_has_a_page() -> None:
    """The README leads to each."""
    readme = (ROOT / "README.md").read_text("utf-8")
    for page in (ROOT / "docs" / "how-to").glob("*.md"):
        assert f"(docs/how-to/{page.name})" in readme
