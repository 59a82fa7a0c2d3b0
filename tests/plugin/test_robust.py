"""The distribution-free option in a pytest run."""

import json

import pytest

TEST = """
    import pytest
    from pair import PAIR

    @pytest.mark.efficiency(min_pct=70{robust})
    @pytest.mark.throughput(min_tok_s=1)
    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""


def test_the_option(simulated, pytester: pytest.Pytester) -> None:
    """The header says what it will cost, a note which gate keeps its rule, the JSON which rule judged."""
    pytester.makepyfile(TEST.format(robust=""))
    result = simulated("--llmperf-robust", "--llmperf-json=out.json", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "llmperf: efficiency minimum 70 %, by betting: needs about ?? rounds to pass if *",
            "llmperf: --llmperf-robust does not apply to throughput (decode_tok_s has no known upper bound): *",
            "note: *--llmperf-robust does not apply to throughput*judged by the usual rule",
        ]
    )
    (record,) = json.loads((pytester.path / "out.json").read_text())["records"]
    verdicts = {verdict["gate"]["marker"]: verdict for verdict in record["verdicts"]}
    assert verdicts["efficiency"]["rule"] == "betting 1"
    assert verdicts["throughput"]["rule"] == "interval 2"


def test_one_gate(simulated, pytester: pytest.Pytester) -> None:
    """The marker's keyword is for its own gate; others are judged as ever, without a note."""
    pytester.makepyfile(TEST.format(robust=", robust=True"))
    result = simulated()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["llmperf: efficiency minimum 70 %, by betting: needs about ?? rounds to pass if *"])
    result.stdout.no_fnmatch_line("*does not apply*")


def test_a_gate_that_cannot(simulated, pytester: pytest.Pytester) -> None:
    """Before anything starts: which gates can."""
    pytester.makepyfile(TEST.format(robust=")\n    @pytest.mark.speedup(robust=True").replace("min_tok_s=1", ""))
    result = simulated()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*speedup has no keyword 'robust' (only efficiency, contention, ttft, itl, tpot, e2e, goodput do: *"]
    )
