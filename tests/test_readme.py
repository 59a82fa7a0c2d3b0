"""The README, executed: every block is run, loaded or compared with what a run prints."""

import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

# pytester forgets the modules that an inner run has imported; numpy loads once, and httpx keeps its classes.
import httpcore  # noqa: F401
import numpy as np  # noqa: F401
import pytest

from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.model import Settings
from pytest_llmperf.plugin.fixtures import FIXTURES
from pytest_llmperf.servers.backends import Backend, backend_factory
from pytest_llmperf.servers.processes.server_process import free_port
from tests.page_blocks import blocks, kinds

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
README = PAGE.read_text(encoding="utf-8")
FAST = (
    "--llmperf-backend=simulated",
    "--llmperf-script=decode_tok_s=800,ttft_ms=2,load_ms=1,jitter_pct=0.2",
    "--llmperf-baseline=embedded",
    "--llmperf-max-rounds=8",
    "-W",
    "default",
    "-p",
    "no:cacheprovider",
)


@pytest.fixture
def suites(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the project's suites, as a user has who copied them."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CI", raising=False)  # there, pytest does not cut the lines of its summary
    shutil.copytree(ROOT / "perf_suites", pytester.path / "perf_suites", ignore=shutil.ignore_patterns("__pycache__"))
    pytester.makeini("[pytest]\n")
    return pytester


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """A new kind of block needs a test here."""
    assert kinds(PAGE) == {"python", "sh", "text"}


def test_it_is_read_in_a_few_minutes() -> None:
    """Everything else is in docs/."""
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("code", blocks(PAGE, "python"), ids=lambda code: code.split("def ")[1].split("(")[0])
def test_python_blocks_pass(pytester: pytest.Pytester, code: str) -> None:
    """Each block is a whole test file; two rounds are enough without a gate."""
    pytester.makepyfile(code)
    few = () if "pytest.mark" in code else ("--llmperf-rounds=2", "--llmperf-max-rounds=2")
    pytester.runpytest_inprocess(*FAST, *few).assert_outcomes(passed=1)


def test_shell_blocks_work_in_order(suites: pytest.Pytester) -> None:
    """`make` targets and extras exist, every pytest command runs the suites, and all commands end with 0."""
    extras = metadata("pytest-llmperf").get_all("Provides-Extra") or []
    ran = 0
    for command in (line for text in blocks(PAGE, "sh") for line in text.splitlines()):
        words = shlex.split(command)
        if words[0] == "make":
            subprocess.run(["make", "--dry-run", words[1]], cwd=ROOT, check=True, capture_output=True)
        elif words[:2] == ["pip", "install"]:
            name, extra = re.fullmatch(r"([\w-]+)\[(\w+)\]", words[2]).groups()
            assert name == "pytest-llmperf"
            assert extra in extras
        elif words[0] == "pytest-llmperf":
            program = Path(sys.executable).parent / words[0]
            backend = ["--backend", "simulated"] if words[1] == "quick" else []
            subprocess.run([program, *words[1:], *backend], cwd=suites.path, check=True, capture_output=True)
        else:
            assert words[0] == "pytest"
            result = suites.runpytest_inprocess(*words[1:], *FAST)
            outcomes = result.parseoutcomes()
            assert outcomes.pop("deselected") > 0  # the other suites
            assert {kind: outcomes[kind] for kind in outcomes if kind != "warnings"} == {"passed": 3}
            assert result.ret == pytest.ExitCode.OK
            ran += 1
    assert ran == 4


def form(line: str) -> str:
    """A line without its figures, its spacing and the length of its rules."""
    line = re.sub(r" in [\d.]+s( \([\d:]+\))?", " in #s", line)
    line = re.sub(r"-?\d+(\.\d+)?", "#", line).replace(" and cube roots", "")  # whichever interval is wider
    return " ".join(re.sub(r"([=_])\1{2,}", r"\1\1\1", line).split())


def joined(lines: list[str]) -> list[str]:
    """Lines with those that continue them, wherever they were broken; without what only a busy machine has to say."""
    joined: list[str] = []
    for line in lines:
        if line.startswith("  ") and joined and not joined[-1].startswith(" "):
            joined[-1] = f"{joined[-1]} {line.strip()}"
        else:
            joined.append(line)
    return [re.sub(r" note: in \d+ of \d+ rounds an upper bound .*?(?= note:| next:)", "", line) for line in joined]


def as_embedded(printed: list[str], backend: Backend) -> list[str]:
    """What the scripted engine's run printed, as the embedded engine's run in a repository of git prints it."""
    lines = []
    for line in printed:
        if line.startswith(("SIMULATED:", "llmperf: SIMULATED")):
            continue
        if line.startswith("llmperf: simulated"):
            line = f"llmperf: {backend.kind}, model {backend.model}, {backend.where} ({backend.reason})"  # noqa: PLW2901
        line = re.sub("simulated, not a real engine; |; manifest lacks git_commit", "", line)  # noqa: PLW2901
        line = line.replace("SIMULATED, ", "").replace("simulated simulated:scripted", "embedded gemma3:270m")  # noqa: PLW2901
        lines.append(line.replace("rounds (evidence: simulated)", "rounds (evidence: publishable)"))
    return lines


SITUATION = re.compile(r"note: (?!the baseline sets |baseline )")
"""Lines that tell of a single run: work that differed, rounds that do not count. Another run has others."""


@pytest.mark.parametrize(
    ("shown", "options", "begins"),
    [
        (blocks(PAGE, "text")[0], (), "=== llmperf ==="),
        (blocks(PAGE, "text")[1], ("-k", "identical", "--llmperf-topology=single"), "gate efficiency:"),
    ],
    ids=["passing", "failing"],
)
def test_the_outputs_are_what_a_run_prints(
    suites: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, shown: str, options: tuple[str, ...], begins: str
) -> None:
    """All lines of the shown outputs, in their order, have the form that a run prints today, and none is missing.

    They are parts of recordings, 80 columns wide: of `pytest perf_suites -m multiagent -o addopts=` (our addopts hide
    the summary), and of that with the failing one's options.
    """
    monkeypatch.setattr(backend_factory, "USUAL_URLS", tuple(f"http://127.0.0.1:{free_port()}" for _ in "ab"))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        backend = backend_factory.choose(Settings())
    result = suites.runpytest_inprocess("perf_suites", "-m", "multiagent", *options, *FAST)
    printed, expected = (
        [form(line) for line in lines if line.strip() and not SITUATION.match(line)]
        for lines in (as_embedded(joined(result.outlines), backend), joined(shown.splitlines()))
    )
    start = next(index for index, line in enumerate(printed) if line.startswith(begins))
    assert printed[start : start + len(expected)] == expected


def test_the_table_of_markers_is_that_of_the_gate_kinds() -> None:
    """A row for each kind: all of its keywords, and when it fails."""
    rows = []
    for kind in GATE_KINDS.values():
        keywords = [
            f'{row.name}="{row.default}"' if isinstance(row.default, str) else f"{row.name}=" for row in kind.keywords
        ]
        page = f" ([{kind.page}]({kind.page}))" if kind.page else ""
        rows.append(f"| `{kind.name}({', '.join(keywords)})` | {kind.fails_if}{page} |")
    expected = "\n".join(("| marker | fails if |", "|---|---|", *rows))
    assert expected in README, f"the table of the README is to be:\n{expected}"


def test_the_table_of_fixtures_is_whole(pytester: pytest.Pytester) -> None:
    """Every fixture of ours as pytest lists them, and none besides."""
    page = (ROOT / "docs" / "writing-tests.md").read_text("utf-8")
    (section,) = re.findall(r"^## Fixtures\n(.*?)^## ", page, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"^\| `(\w+)", section, flags=re.MULTILINE))
    listed = pytester.runpytest_inprocess("--fixtures", "-p", "no:cacheprovider").stdout.str()
    ours = re.findall(r"^(\w+)(?: \[\w+ scope\])? -- .*pytest_llmperf/plugin", listed, flags=re.MULTILINE)
    assert named == FIXTURES.keys() == set(ours)


def test_named_options_markers_and_files_exist(pytester: pytest.Pytester) -> None:
    """Nothing that the README names is invented."""
    help_text = pytester.runpytest("--help").stdout.str()
    for option in set(re.findall(r"--llmperf-[\w-]+", README)):
        assert re.search(rf"{option}(?![\w-])", help_text)
    for target in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (ROOT / target).is_file()
