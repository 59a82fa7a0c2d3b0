"""The README, executed: every block is run, loaded or compared with what a run prints."""

import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

from pytest_llmperf.judge import baselines

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
FAST = (
    "--llmperf-backend=simulated",
    "--llmperf-script=decode_tok_s=800,ttft_ms=2,load_ms=1,jitter_pct=0.2",
    "--llmperf-baseline=embedded",
    "-W",
    "default",
    "-p",
    "no:cacheprovider",
)


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


@pytest.fixture
def suites(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with the project's suites, as a user has who copied them."""
    shutil.copytree(ROOT / "perf_suites", pytester.path / "perf_suites", ignore=shutil.ignore_patterns("__pycache__"))
    pytester.makeini("[pytest]\n")
    return pytester


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """A new kind of block needs a test here."""
    assert {kind for kind, _ in BLOCKS} == {"python", "sh", "text", "toml"}


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("def ")[1].split("(")[0])
def test_python_blocks_pass(pytester: pytest.Pytester, code: str) -> None:
    """Each is a whole test file."""
    pytester.makepyfile(code)
    pytester.runpytest_inprocess(*FAST).assert_outcomes(passed=1)


def test_shell_blocks_work_in_order(suites: pytest.Pytester) -> None:
    """`make` targets and extras exist, every pytest command runs the suites, and all commands end with 0."""
    extras = metadata("pytest-llmperf").get_all("Provides-Extra") or []
    ran = 0
    for command in (line for text in blocks("sh") for line in text.splitlines()):
        words = shlex.split(command)
        if words[0] == "make":
            subprocess.run(["make", "--dry-run", words[1]], cwd=ROOT, check=True, capture_output=True)
        elif words[:2] == ["pip", "install"]:
            name, extra = re.fullmatch(r"([\w-]+)\[(\w+)\]", words[2]).groups()
            assert name == "pytest-llmperf"
            assert extra in extras
        elif words[0] == "pytest-llmperf":
            program = Path(sys.executable).parent / words[0]
            subprocess.run([program, *words[1:]], cwd=suites.path, check=True, capture_output=True)
        else:
            assert words[0] == "pytest"
            result = suites.runpytest_inprocess(*words[1:], *FAST)
            result.assert_outcomes(passed=3, deselected=2)
            assert result.ret == pytest.ExitCode.OK
            ran += 1
    assert ran == 5


def skeleton(line: str) -> str:
    """A line without its figures and its spacing."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", line).split())


def test_the_outputs_are_what_a_run_prints(suites: pytest.Pytester) -> None:
    """Table and gate texts of the shown outputs have the form that runs print today, figures apart."""
    passing, failing = blocks("text")
    good = suites.runpytest_inprocess("perf_suites", "-m", "multiagent", *FAST).outlines
    bad = suites.runpytest_inprocess(
        "perf_suites", "-m", "multiagent", "-k", "identical", "--llmperf-topology=single", *FAST
    ).outlines
    for shown, printed in ((passing, good), (failing, bad)):
        forms = {skeleton(line) for line in printed}
        lines = [
            line for line in shown.splitlines() if line.startswith(("scenario", "gate", "  seen", "  next", "chimera"))
        ]
        assert len(lines) > 2
        missing = [line for line in lines if skeleton(line) not in forms]
        assert not missing


def test_toml_blocks_load(tmp_path: Path) -> None:
    """Each is a whole baseline."""
    for text in blocks("toml"):
        path = tmp_path / "ours.toml"
        path.write_text(text, encoding="utf-8")
        assert baselines.load(path).threshold


def test_named_options_markers_and_files_exist(pytester: pytest.Pytester) -> None:
    """Nothing that the README names is invented."""
    help_text = pytester.runpytest("--help").stdout.str()
    for option in set(re.findall(r"--llmperf-[\w-]+", README)):
        assert f"{option} " in help_text or f"{option}=" in help_text
    for target in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / target).is_file()
