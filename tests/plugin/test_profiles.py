"""The marker `profile`: options by deployment mode, and a warning where the mode is another."""

import json

import pytest

from tests.plugin.conftest import Aftermath, assert_clear

SUITE = """
    import pytest
    from pair import PAIR

    @pytest.mark.profile({profile})
    def test_pair(dual_ollama, ollama_warmup, run_agents):
        ollama_warmup(PAIR, on=dual_ollama)
        run_agents(PAIR, on=dual_ollama)
"""


def test_a_profile_is_used_and_said(simulated, pytester: pytest.Pytester, aftermath: Aftermath) -> None:
    """Every agent has the profile's options; the summary names the profile once."""
    pytester.makepyfile(SUITE.format(profile="'multi_agent'"))
    result = simulated("--llmperf-rounds=1", "--llmperf-json=run.json")
    result.assert_outcomes(passed=1)
    assert (
        result.stdout.str().count("profile multi_agent (multi_agent): num_ctx=2048, temperature=1.0, num_gpu=80") == 1
    )
    (record,) = json.loads((pytester.path / "run.json").read_text("utf-8"))["records"]
    scenario = record["measurement"]["scenario"]
    assert [agent["options"]["num_ctx"] for agent in scenario["agents"]] == [2048, 2048]
    assert "profile multi_agent" in scenario["source"]


def test_a_profile_of_another_mode_warns(simulated, pytester: pytest.Pytester, aftermath: Aftermath) -> None:
    """Where warnings are errors, the test fails with the words."""
    pytester.makepyfile(SUITE.format(profile="'single_inference'"))
    result = simulated("--llmperf-rounds=1", "-W", "default")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*ConfigurationTransferWarning: configuration transfer: profile single_inference is *"]
    )
    result = simulated("--llmperf-rounds=1")
    result.assert_outcomes(failed=1)


MATRIX = """
    schema = 1
    topology = "dual"
    scenario = "chimera_homo"
    profile = "ours"
    options = { num_predict = 8 }
    rounds = 1
    axes = { num_ctx = [512, 1024] }
"""

SWEEP = """
    import pytest

    {marker}
    def test_sweep(run_matrix):
        results = run_matrix("m.toml")
        assert [(row.num_ctx, row.temperature) for row in results.rows] == [(512, {temperature}), (1024, {temperature})]
"""


def test_a_matrix_names_a_profile(simulated, pytester: pytest.Pytester) -> None:
    """Its options are the cells' where these say nothing; used in another mode it is warned of once, not by cell."""
    pytester.makefile(".toml", m=MATRIX, llmperf="[profiles.ours]\nmode = 'agent_workflow'\noptions.temperature = 0.25")
    pytester.makepyfile(SWEEP.format(marker="", temperature=0.25))
    result = simulated("-W", "default")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "*ConfigurationTransferWarning: *: profile ours is for agent_workflow, and matrix m is multi_agent: *",
            "  profile ours (agent_workflow): temperature=0.25",
        ]
    )
    pytester.makepyfile(SWEEP.format(marker="@pytest.mark.profile('multi_agent')", temperature=1.0))
    result = simulated()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  profile multi_agent (multi_agent): num_ctx=2048, *"])


def test_a_matrix_names_a_profile_that_is_none(simulated, pytester: pytest.Pytester) -> None:
    """One screen, before anything starts."""
    pytester.makefile(".toml", m=MATRIX)
    pytester.makepyfile(SWEEP.format(marker="", temperature=1))
    assert_clear(
        simulated(), pytest.ExitCode.TESTS_FAILED, "UsageError: no profile 'ours', wanted one of single_inference, *"
    )


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("'multi_agnt'", "no profile 'multi_agnt', wanted one of *did you mean 'multi_agent'*"),
        ("", "marker profile(): wanted the name of one profile"),
        ("name='x'", "marker profile(name='x'): wanted the name of one profile"),
    ],
)
def test_a_wrong_name_is_found_at_collection(simulated, pytester: pytest.Pytester, argument: str, words: str) -> None:
    """A usage error, before anything starts."""
    pytester.makepyfile(SUITE.format(profile=argument))
    result = simulated()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words}"])
