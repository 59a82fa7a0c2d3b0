"""Graphs of agents in a test as a user writes it: the example of docs/graphs.md, gated, compared and reported."""

import json
import re
from pathlib import Path

import pytest

from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.report.html.timeline import timeline
from pytest_llmperf.report.wording.baseline_text import described
from tests.report.published_schema import PUBLISHED_SCHEMA

PAGE = Path(__file__).parents[2] / "docs" / "graphs.md"
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
FILES = ("--llmperf-json=run.json", "--llmperf-html=run.html", "--llmperf-markdown=run.md")


@pytest.fixture
def example(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with the page's example as its test."""
    pytester.makepyfile(test_review=EXAMPLE)
    return pytester


def test_the_example_of_the_page_passes(simulated, example: pytest.Pytester) -> None:
    """It is a whole test file; every report names the path."""
    result = simulated(*FILES)
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r".* makespan +graph *$", r"review on single_parallel +- +- .* 100\.0 +pass$"])
    result.stdout.re_match_lines([r"note: review on single_parallel: critical path: planner > \w+ > critic \(in "])
    content = json.loads((example.path / "run.json").read_text())
    PUBLISHED_SCHEMA.validate(content)
    (record,) = content["records"]
    path = record["critical_path"]
    assert (path["agents"][0], path["agents"][-1], path["inferred"]) == ("planner", "critic", False)
    assert sum(part["share"] for part in path["parts"]) == pytest.approx(1)
    for traced in path["traced"]:
        assert sorted(traced["edges"]) == [
            [0, 0, 1, 0],
            [0, 0, 2, 0],
            [0, 0, 3, 0],
            [1, 0, 4, 0],
            [2, 0, 4, 0],
            [3, 0, 4, 0],
        ]
        assert [agent for agent, _ in traced["critical"]][::2] == [0, 4]
    assert "efficiency_pct" not in record["figures"]
    drawn = timeline(record["measurement"], path["traced"])["rounds"]
    assert [round_["critical"] for round_ in drawn] == [traced["critical"] for traced in path["traced"]]
    markdown = (example.path / "run.md").read_text()
    assert "| makespan | graph efficiency |" in markdown
    assert "critical path: planner &gt; " in markdown
    assert 'class="edge critical"' in (example.path / "run.html").read_text()


def test_balance_of_a_graph_is_invalid_and_says_what_to_use(simulated, example: pytest.Pytester) -> None:
    """Never a silent pass."""
    (example.path / "conftest.py").write_text(
        "import pytest\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n"
        "        item.add_marker(pytest.mark.efficiency(min_pct=50))\n"
    )
    result = simulated()
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"gate efficiency could not be judged: .*efficiency_pct is undefined for a graph of agents",
            r"  next: use the gates makespan and critical_path",
        ]
    )


def test_a_graph_is_compared_by_its_makespan(simulated, example: pytest.Pytester) -> None:
    """With stored sessions: in place of balance and scaling; a server twice as slow is found, and the phase named."""
    for _ in range(4):
        simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    result = simulated("--llmperf-compare=mine", *FILES)
    result.assert_outcomes(passed=1)
    content = json.loads((example.path / "run.json").read_text())
    compared = {verdict["gate"]["metric"] for verdict in content["records"][0]["verdicts"] if verdict["gate"]["delta"]}
    assert compared == {"makespan_s", "graph_efficiency_pct", "system_tok_s", "ttft_ms"}
    shown = described(baseline_files.load(example.path / "baselines" / "mine.toml"))
    assert any("makespan_s  graph_efficiency_pct  system_tok_s" in line for line in shown)
    slow = simulated("--llmperf-compare=mine", "--llmperf-script=decode_tok_s=133,ttft_ms=30,load_ms=1,jitter_pct=0.2")
    slow.assert_outcomes(failed=1)
    slow.stdout.re_match_lines([r"gate regression \(makespan_s\): .* is worse than the baseline's"])
    slow.stdout.re_match_lines([r"  cause: decode of .* alone takes 2\.\d times as long as in baseline mine"])


def test_a_graph_is_compared_with_an_incumbent_by_its_makespan(simulated, example: pytest.Pytester) -> None:
    """Pair by pair."""
    (example.path / "llmperf.toml").write_text(
        '[deployments.old]\nbackend = "simulated"\n'
        "script = { decode_tok_s = 534, ttft_ms = 30, load_ms = 1, jitter_pct = 0.2 }\n"
    )
    result = simulated("--llmperf-against=old")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [r"gate regression against the incumbent \(makespan_s\): .* is worse than the incumbent's"]
    )


CONFIGURATION = (PAGE.parent / "configuration.md").read_text(encoding="utf-8")
(REVIEW,) = re.findall(r"^```toml\n(\[\[scenarios.*?)^```", CONFIGURATION, flags=re.MULTILINE | re.DOTALL)


def test_a_graph_in_toml_runs_by_its_name(simulated, pytester: pytest.Pytester) -> None:
    """In a test and in a matrix, as the page on the configuration has it: twice planner's successors."""
    (pytester.path / "llmperf.toml").write_text(REVIEW, encoding="utf-8")
    pytester.makepyfile(
        """
        import pytest

        def test_review(single_ollama, run_agents):
            record = run_agents("review", on=single_ollama)
            round_ = record.measurement.rounds[0]
            assert [len(run.requests) for run in round_.together] == [1, 4, 2]
            assert record.summary("makespan_s").mean > 2 * (0.5 + 0.2)

        def test_matrix(run_matrix):
            results = run_matrix(
                {"schema": 1, "scenario": "review", "rounds": 2, "axes": {"num_predict": [8, 16]}}, name="ours"
            )
            assert [record.measurement.scenario.graph for record in results.records] == [True, True]
        """
    )
    simulated().assert_outcomes(passed=2)


def test_a_name_that_nothing_has(simulated, pytester: pytest.Pytester) -> None:
    """The nearest and all are named, in a test and in a matrix."""
    (pytester.path / "llmperf.toml").write_text(REVIEW, encoding="utf-8")
    pytester.makepyfile(
        """
        def test_review(single_ollama, run_agents):
            run_agents("revue", on=single_ollama)

        def test_matrix(run_matrix):
            run_matrix({"schema": 1, "scenario": "revue"}, name="ours")
        """
    )
    result = simulated()
    result.assert_outcomes(failed=2)
    result.stdout.re_match_lines(
        [
            r".*run_agents: wanted a scenario .*got a text; scenarios with a name: .*, review; did you mean 'review'",
            r".*scenario: got 'revue', wanted one of .*, review",
        ]
    )
