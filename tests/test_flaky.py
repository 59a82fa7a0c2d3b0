"""The repeater of tests and the shuffler, from outside."""

import json

import pytest

pytestmark = pytest.mark.slow

TESTS = """
    import time
    from pathlib import Path

    def test_pure():
        Path("pure").open("a").write("x")

    def test_sleeps():
        time.sleep(0)
        Path("sleeps").open("a").write("x")

    def test_fails_now_and_then():
        time.sleep(0)
        Path("runs").open("a").write("x")
        assert len(Path("runs").read_text()) != 7
"""


@pytest.fixture
def repeated(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Runs TESTS with the plugin: the result, and the journal by the test's name."""
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    monkeypatch.setenv("LLMPERF_NEIGHBOURS", "1")
    pytester.makepyfile(test_it=TESTS)

    def run() -> tuple[pytest.RunResult, dict[str, dict]]:
        result = pytester.runpytest_subprocess("-p", "tests.flaky")
        journal = pytester.path / ".flaky.jsonl"
        entries = map(json.loads, journal.read_text().splitlines() if journal.exists() else ())
        return result, {entry["test"].partition("::")[2]: entry for entry in entries}

    return run


def test_what_touches_the_machine_is_repeated_until_it_fails(repeated, pytester: pytest.Pytester) -> None:
    """A pure test runs once; the others 50 times or to the first failure, which a second run tries again alone."""
    result, journal = repeated()
    result.assert_outcomes(passed=2, failed=1)
    assert {name: (entry["runs"], entry["failed"]) for name, entry in journal.items()} == {
        "test_pure": (1, False),
        "test_sleeps": (50, False),
        "test_fails_now_and_then": (7, True),
    }
    assert len((pytester.path / "sleeps").read_text()) == 50
    result.stdout.fnmatch_lines(
        [
            "*: 2 tests use sockets, processes or sleeps; 1 ran 50 times, 0 ran 10 times",
            "failed in run 7: test_it.py::*",
        ]
    )
    result, journal = repeated()
    result.assert_outcomes(passed=1, deselected=2)
    assert not journal["test_fails_now_and_then"]["failed"]


def test_each_file_is_in_one_shard(repeated, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shards together run everything once."""
    pytester.makepyfile(test_it="def test_pure():\n    pass\n")
    passed = 0
    for shard in ("1/2", "2/2"):
        monkeypatch.setenv("LLMPERF_SHARD", shard)
        passed += repeated()[0].parseoutcomes().get("passed", 0)
    assert passed == 1


def test_an_order_can_be_had_again(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request) -> None:
    """The header names the seed; the same seed gives the same order, another one another order."""
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    pytester.makepyfile("import pytest\n\n@pytest.mark.parametrize('n', range(20))\ndef test_pure(n):\n    pass\n")

    def order(seed: str) -> list[str]:
        monkeypatch.setenv("LLMPERF_SHUFFLE", seed)
        result = pytester.runpytest_subprocess("-p", "tests.shuffled", "-v")
        result.stdout.fnmatch_lines([f"shuffled: LLMPERF_SHUFFLE={seed}"])
        return [line for line in result.outlines if "test_pure[" in line]

    first = order("1")
    assert len(first) == 20
    assert [line.split()[0] for line in order("1")] == [line.split()[0] for line in first]
    assert [line.split()[0] for line in order("2")] != [line.split()[0] for line in first]
