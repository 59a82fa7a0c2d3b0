"""Under xdist: tests that time never overlap, results and baselines come from the controller, once."""

import json
import tomllib

import pytest

from tests.plugin.conftest import GATED

TWO_FILES = {"test_one": GATED.format(fixture="dual_ollama"), "test_two": GATED.format(fixture="dual_ollama")}


def spans(document: dict) -> list[tuple[int, int]]:
    """Begin and end of each record's timed work, on the machine's monotonic clock."""
    found = []
    for record in document["records"]:
        runs = [run for one in record["measurement"]["rounds"] for run in (*one["solo"], *one["together"])]
        found.append((min(run["start_ns"] for run in runs), max(run["requests"][-1]["done_ns"] for run in runs)))
    return sorted(found)


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
    with (pytester.path / "baselines" / "mine.toml").open("rb") as file:
        stored = tomllib.load(file)["stored"]
    assert len(stored) == 2
    assert {len(entry["session"]) for entry in stored} == {1}
    tests = {entry["test"] for entry in stored}
    assert tests == {"test_one.py::test_pair", "test_two.py::test_pair"}
    assert sum(line.startswith("pair ") for line in result.stdout.lines) == 2
