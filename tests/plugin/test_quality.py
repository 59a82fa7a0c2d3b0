"""The marker `quality` and its hook, end to end on the scripted server."""

import json

import pytest

from tests.plugin.conftest import Aftermath

SUITE = """
    import pytest
    from pair import PAIR

    @pytest.mark.quality(samples=3)
    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""
SCORER = """
    calls = []

    def pytest_llmperf_score(prompt, response):
        assert prompt == "tell me more"
        calls.append(response)
        return {score}
"""


def test_answers_together_are_those_alone(simulated, pytester: pytest.Pytester, aftermath: Aftermath) -> None:
    """Both gates pass; the JSON holds the prompts without their beginnings, and three answers each that are alike."""
    pytester.makepyfile(SUITE)
    result = simulated("--llmperf-rounds=1", "--llmperf-json=run.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["note: pair on dual: quality: 6 of 6 answers repeat alone; together 6 of 6 *default*"])
    (record,) = json.loads((pytester.path / "run.json").read_text("utf-8"))["records"]
    answered = record["measurement"]["quality"]["answered"]
    assert [(answer["agent"], answer["prompt"]) for answer in answered] == [
        ("x", "tell me more"),
        ("y", "tell me more"),
    ] * 3
    assert all(answer["alone"] == answer["again"] == answer["together"] for answer in answered)
    assert len({answer["alone"] for answer in answered}) == 6
    assert [verdict["gate"]["metric"] for verdict in record["verdicts"]] == ["changed_answers_rate", "quality_drop_pp"]


def test_a_scorer_of_the_project_decides(simulated, pytester: pytest.Pytester, aftermath: Aftermath) -> None:
    """Every third opinion, that of an answer together, is worse: the gate fails, and names the scorer's file."""
    pytester.makepyfile(SUITE)
    pytester.makeconftest(SCORER.format(score="0.5 if len(calls) % 3 == 0 else 0.9"))
    result = simulated("--llmperf-rounds=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "gate quality (quality_drop_pp): 40.0 pp * is above the maximum 5.0 pp "
            "(marker quality(samples=3), default)",
            "*next: *",
        ]
    )
    result.stdout.fnmatch_lines(
        ["note: *mean score 0.900 alone, 0.500 together, by pytest_llmperf_score of conftest.py"]
    )


def test_a_scorer_that_gives_no_share_is_named(simulated, pytester: pytest.Pytester, aftermath: Aftermath) -> None:
    """A clear screen instead of a traceback."""
    pytester.makepyfile(SUITE)
    pytester.makeconftest(SCORER.format(score="7"))
    result = simulated("--llmperf-rounds=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["UsageError: pytest_llmperf_score of conftest.py returned 7, wanted a number from 0*"])


@pytest.mark.parametrize("statement", ["raise ValueError('no such word')", "return response[10**9]"])
def test_a_scorer_that_raises_is_named(
    simulated, pytester: pytest.Pytester, aftermath: Aftermath, statement: str
) -> None:
    """Which hook, what it raised and where, on a screen instead of a traceback."""
    pytester.makepyfile(SUITE)
    pytester.makeconftest(f"def pytest_llmperf_score(prompt, response):\n    {statement}\n")
    result = simulated("--llmperf-rounds=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "UsageError: pytest_llmperf_score of conftest.py raised *Error: * (*conftest.py, line 2)",
            "*next: have the hook*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
