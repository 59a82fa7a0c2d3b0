"""Under xdist: tests that time never overlap, results and baselines come from the controller, once."""

import json
import re

import pytest

from pytest_llmperf.judge.baselines import baseline_files
from tests.plugin.conftest import GATED, PAIR

pytestmark = pytest.mark.slow

TWO_FILES = {"test_one": GATED.format(fixture="dual_ollama"), "test_two": GATED.format(fixture="dual_ollama")}


def spans(document: dict) -> list[tuple[int, int]]:
    """Begin and end of each record's timed work, on the machine's monotonic clock."""
    spans = []
    for record in document["records"]:
        runs = [run for round_ in record["measurement"]["rounds"] for run in (*round_["solo"], *round_["together"])]
        spans.append((min(run["start_ns"] for run in runs), max(run["requests"][-1]["done_ns"] for run in runs)))
    return sorted(spans)


@pytest.mark.parametrize(
    "options",
    [
        ("-n", "2"),
        ("-n", "2", "--dist", "loadgroup"),
        ("-n", "0"),
        ("-p", "no:xdist"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("real_time")
def test_measurements_never_overlap(simulated, pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    """However tests are spread, one measurement ends before the next begins, and all are reported and saved once.

    All gates of the run share the error of a fail, wherever they are judged.
    """
    pytester.makepyfile(**TWO_FILES)
    result = simulated(*options, "--llmperf-json=run.json", "--llmperf-save=mine", own_process=True)
    result.assert_outcomes(passed=2)
    document = json.loads((pytester.path / "run.json").read_text())
    (_, first_end), (second_begin, _) = spans(document)
    assert first_end < second_begin
    assert {verdict["gates"] for record in document["records"] for verdict in record["verdicts"]} == {4}
    stored = baseline_files.load(pytester.path / "baselines" / "mine.toml").stored
    assert [len(entry.session) for entry in stored] == [1, 1]
    assert {entry.test for entry in stored} == {"test_one.py::test_pair", "test_two.py::test_pair"}
    assert sum(line.startswith(("pair on ", "  pair on ")) for line in result.stdout.lines) == 2
    header = [line for line in result.stdout.lines if line.startswith("llmperf: ")]
    assert [line for line in header if "simulated, model simulated:scripted" in line] == header[:1]
    assert header.count("llmperf: baseline decision_card") == 1


NOT_THERE = {
    "baseline": ("simulated", "golden", "there is no baseline 'golden'"),
    "compare": ("simulated", "golden", "there is no baseline 'golden'"),
    "update": ("simulated", "embedded", "'embedded' names a baseline that comes with"),
    "ollama-bin": ("ollama", "/nowhere/ollama", "backend ollama: no binary '/nowhere/ollama'"),
}


@pytest.fixture
def project(pytester: pytest.Pytester):
    """Two tests of ours, one of others; `project(*options)` runs them with two workers."""
    pytester.makepyfile(pair=PAIR, **TWO_FILES, test_other="def test_other(): pass")

    def run(*options: str, ini: str = "") -> pytest.RunResult:
        pytester.makeini(f"[pytest]\n{ini}")
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2", *options)

    return run


@pytest.mark.parametrize(("name", "case"), NOT_THERE.items(), ids=NOT_THERE)
def test_what_typed_options_name_is_not_there(project, name: str, case: tuple[str, str, str]) -> None:
    """The controller looks, before any worker starts: one usage error, as without xdist."""
    backend, value, words = case
    result = project(f"--llmperf-backend={backend}", f"--llmperf-{name}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: pytest-llmperf: usage errors, no server was started:", f"*{words}*", "*next: *"]
    )
    assert len(result.stderr.lines + result.stdout.lines) < 10


@pytest.mark.parametrize(
    ("ini", "words"),
    [
        ("llmperf_backend = simulated\nllmperf_compare = golden", "  there is no baseline 'golden'"),
        ("addopts = --llmperf-backend=simulated --llmperf-baseline=golden", "  there is no baseline 'golden'"),
        ("llmperf_rounds = none\nllmperf_save = mine", "  llmperf_rounds in "),
    ],
    ids=["ini", "addopts", "wrong value"],
)
def test_what_the_ini_file_names_is_not_there(project, ini: str, words: str) -> None:
    """Only workers know that a test uses the plugin: they fail briefly, the reason is printed once, same exit code."""
    result = project(ini=ini)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(errors=2, passed=1)
    assert sum(line.startswith(words) for line in result.stdout.lines) == 1
    assert "INTERNALERROR" not in result.stdout.str()
    assert not re.search("Traceback|^E  ", result.stdout.str(), re.MULTILINE)


def test_a_run_of_other_tests_looks_for_nothing(project) -> None:
    """The ini file is for all runs of a project; one without tests of ours needs no backend and no baseline."""
    result = project("test_other.py", ini="llmperf_backend = attach\naddopts = --llmperf-compare=golden")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert "llmperf: " not in result.stdout.str()
