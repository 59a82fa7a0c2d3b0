"""Stored entries of tests that are gone: full runs fail, others do not; renamed tests are helped."""

from pathlib import Path

import pytest

from pytest_llmperf.judge.baselines import store
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.model import StoredSession

TESTS = """
    def test_pair():
        pass

    def test_other():
        pass
"""


def save(folder: Path, *tests: str) -> None:
    session = StoredSession(saved_at="2026-01-01", manifest={}, rounds={"speedup": (1.9, 1.9)})
    keys = [Key(test=test, scenario="s", topology="dual", workload="w") for test in tests]
    store.save("main", folder, [(key, session) for key in keys])


@pytest.fixture
def run(pytester: pytest.Pytester):
    """`run(*options)`: two tests, a baseline that knows one of them and `test_pear`, which is gone."""
    pytester.mkdir("perf")
    (pytester.path / "perf" / "test_team.py").write_text("def test_pair(): pass\n\ndef test_other(): pass\n")
    save(pytester.path / "baselines", "perf/test_team.py::test_other", "perf/test_team.py::test_pear")

    def start(*options: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return start


def test_a_full_run_fails_and_helps(run) -> None:
    """The tests pass, the run does not; the likely new name and the commands stand there."""
    result = run("--llmperf-compare=main")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    old = "perf/test_team.py::test_pear"
    result.stdout.fnmatch_lines(
        [
            "baseline main holds 1 test that no longer exists:",
            f"  {old}",
            f"    if it was renamed: pytest-llmperf rename main {old} perf/test_team.py::test_pair",
            f"    if it is gone: pytest-llmperf remove main {old}",
        ]
    )


@pytest.mark.parametrize("option", ["--llmperf-save=main", "--llmperf-update=main"])
def test_so_does_a_run_that_saves(run, option: str) -> None:
    """What is added to must be in order, too."""
    result = run(option)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["baseline main holds 1 test that no longer exists:"])


def test_so_does_a_baseline_named_in_the_ini_file(run, pytester: pytest.Pytester) -> None:
    """Even if no remaining test uses the plugin; the plugin prints only that line then."""
    pytester.makeini("[pytest]\nllmperf_compare = main\n")
    result = run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["baseline main holds 1 test that no longer exists:"])


@pytest.mark.parametrize("options", [["perf"], ["--rootdir=.", "perf/test_team.py"], ["-x"], ["-n2"]])
def test_paths_that_hold_the_entry_are_full(run, options: list[str]) -> None:
    """Asked for the folder or file that the test would be in, it is missed; under xdist as well."""
    result = run("--llmperf-compare=main", *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["baseline main holds 1 test that no longer exists:"])


@pytest.mark.parametrize("options", [["-k", "pair"], ["-m", "not slow"]])
def test_a_selection_is_told_and_does_not_fail(run, options: list[str]) -> None:
    """All tests were collected, so that it is certain; but only a full run fails."""
    result = run("--llmperf-compare=main", *options)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*only a full run fails*"])


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--llmperf-compare=main", "perf/test_team.py::test_pair"],
        ["--llmperf-compare=main", "--deselect=perf/test_team.py::test_other"],
        ["--llmperf-compare=main", "--ignore=elsewhere"],
        ["--llmperf-compare=main", "-n2", "-k", "pair"],
        ["--llmperf-compare=main", "--collect-only"],
    ],
)
def test_what_was_not_looked_for_is_not_missed(run, options: list[str]) -> None:
    """No baseline, a test by its name, left out by options, deselected in workers, or nothing run: not a word."""
    result = run(*options)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*no longer there*")


def test_other_folders_are_not_missed(run, pytester: pytest.Pytester) -> None:
    """`pytest unit` says nothing of tests in perf."""
    pytester.mkdir("unit")
    (pytester.path / "unit" / "test_unit.py").write_text("def test_it(): pass\n")
    result = run("--llmperf-compare=main", "unit")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*no longer there*")


def test_modules_that_fail_or_skip_hide_their_tests(run, pytester: pytest.Pytester) -> None:
    """An import that is missing is no reason to drop a baseline."""
    module = pytester.path / "perf" / "test_team.py"
    module.write_text("import pytest\npytest.importorskip('nonsense')\n")
    run("--llmperf-compare=main").stdout.no_fnmatch_line("*no longer there*")
    module.write_text("import nonsense\n")
    result = run("--llmperf-compare=main")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.no_fnmatch_line("*no longer there*")


def test_a_file_that_is_gone_and_a_script(run, pytester: pytest.Pytester) -> None:
    """Tests of a deleted file are gone; what a script saved under a name of its own is not pytest's to judge."""
    save(pytester.path / "baselines", "perf/test_old.py::test_x[a b]", "nightly")
    result = run("--llmperf-compare=main")
    result.stdout.fnmatch_lines(
        [
            "baseline main holds 2 tests that no longer exist:",
            "    if it is gone: pytest-llmperf remove main 'perf/test_old.py::test_x*a b*'",
        ]
    )
    result.stdout.no_fnmatch_line("*nightly*")


def test_the_users_folder_stands_in_the_commands(run, pytester: pytest.Pytester) -> None:
    """Commands can be copied as they are."""
    (pytester.path / "baselines").rename(pytester.path / "held")
    result = run("--llmperf-compare=main", "--llmperf-baselines-dir=held")
    result.stdout.fnmatch_lines(["    if it is gone: pytest-llmperf remove main *test_pear --dir held"])


def test_a_baseline_in_order_says_nothing(run, pytester: pytest.Pytester) -> None:
    """No entry is stale: the run passes."""
    (pytester.path / "baselines" / "main.toml").unlink()
    save(pytester.path / "baselines", "perf/test_team.py::test_pair")
    result = run("--llmperf-compare=main")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*no longer there*")
