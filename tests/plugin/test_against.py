"""`--llmperf-against` through the plugin: incumbent and candidate by turns, in every output."""

import json
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.plugin.conftest import FAST, PAIR, Aftermath, assert_clear
from tests.plugin.test_lifecycle import Inner

DEPLOYMENTS = """
[deployments.good]
backend = "simulated"
script = { decode_tok_s = 267, ttft_ms = 30, load_ms = 1, jitter_pct = 0.2 }

[deployments.slow]
backend = "simulated"
script = { decode_tok_s = 67, ttft_ms = 30, load_ms = 1, jitter_pct = 0.2 }

[deployments.dying]
backend = "simulated"
faults = "die.toml"
"""

PLAIN = """
    from pair import PAIR

    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""

SHORT = ("--llmperf-max-rounds=5", "--llmperf-on-inconclusive-regression=warn", "-W", "default")


@pytest.fixture
def deployments(pytester: pytest.Pytester) -> Path:
    """An inner project with deployments by name, and a test without gates."""
    (pytester.path / "llmperf.toml").write_text(DEPLOYMENTS)
    (pytester.path / "die.toml").write_text('[[fault]]\nkind = "die"\ninstance = "a"\nrequests = 5\n')
    pytester.makepyfile(PLAIN, pair=PAIR)
    return pytester.path


def test_a_deployment_against_another_of_its_kind(simulated, deployments: Path) -> None:
    """Passes, and table, JSON, JUnit and header show both sides."""
    result = simulated(
        "--llmperf-against=good", "--llmperf-json=run.json", "--junitxml=junit.xml", "-o", "junit_family=xunit1", *SHORT
    )
    result.assert_outcomes(passed=1, warnings=result.parseoutcomes().get("warnings", 0))
    result.stdout.fnmatch_lines(
        [
            "llmperf: rounds alternate with the incumbent good: simulated, *",
            "measured *",
            "pair on dual *",
            "  incumbent good * of 5 *-",
            "SIMULATED: all rows *",
            "pair on dual: gate regression against the incumbent (system_tok_s) * the incumbent's * tok/s: "
            "against incumbent good: * by * % (95 % CI *), the mean of 5 pairs*",
        ]
    )
    (record,) = json.loads((deployments / "run.json").read_text())["records"]
    assert len(record["incumbent"]["measurement"]["rounds"]) == len(record["measurement"]["rounds"]) == 5
    assert record["figures"]["incumbent"] == "good"
    assert record["figures"]["incumbent.system_tok_s"] > 0
    names = {entry.get("name") for entry in ElementTree.parse(deployments / "junit.xml").iter("property")}
    assert {"llmperf.pair.dual.incumbent.efficiency_pct", "llmperf.pair.dual.verdict.against.ttft_ms"} <= names


def test_a_slower_deployment_fails(simulated, deployments: Path, pytester: pytest.Pytester) -> None:
    """By the metrics that its marker names; beside a stored baseline both are judged."""
    pytester.makepyfile(
        """
        import pytest
        from pair import PAIR

        @pytest.mark.regression(metrics=("system_tok_s",), delta=5)
        def test_pair(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)
        """
    )
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    slow = "--llmperf-script=decode_tok_s=67,ttft_ms=30,load_ms=1,jitter_pct=0.2"
    result = simulated("--llmperf-against=good", slow, "--llmperf-compare=mine", "--llmperf-max-rounds=6", "-v")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines_random(  # both are about equally bad: either may come first
        [
            "gate regression (system_tok_s): * is worse than the baseline's * tok/s *",
            "gate regression against the incumbent (system_tok_s): * is worse than the incumbent's * tok/s: "
            "against incumbent good: worse by *",
        ]
    )
    result.stdout.fnmatch_lines(
        [
            "*next: inspect the raw timings of both arms*",
            "policy: *; against an incumbent it fails its test *",
        ]
    )
    lines = result.outlines
    for gate in ("gate regression (", "gate regression against the incumbent ("):
        assert sum(line.startswith(gate) for line in lines) == 1


MISUSES = {
    "unknown": (("--llmperf-against=goot",), "*no deployment 'goot'; *has good, slow, dying; did you mean 'good'?*"),
    "address": (("--llmperf-against=ftp://h:1",), "*'ftp://h:1' is not an address, wanted http://*"),
    "same": (
        (
            "--llmperf-backend=attach",
            "--llmperf-urls=http://127.0.0.1:9,http://127.0.0.1:10",
            "--llmperf-against=localhost:10,localhost:9/",
        ),
        "*the incumbent localhost:10,localhost:9/ is the measured deployment itself: *",
    ),
}


@pytest.mark.parametrize(("options", "words"), MISUSES.values(), ids=MISUSES)
def test_what_cannot_be_an_incumbent(simulated, deployments: Path, options: tuple[str, ...], words: str) -> None:
    """One clear usage error before anything starts."""
    assert_clear(simulated(*options), pytest.ExitCode.USAGE_ERROR, words)


def test_an_incumbent_that_dies(simulated, deployments: Path) -> None:
    """The test fails with the name of whose server it was, without a traceback."""
    result = simulated("--llmperf-against=dying", *SHORT)
    assert_clear(result, pytest.ExitCode.TESTS_FAILED, "*Error: incumbent dying: instance a*")


def test_an_incumbent_that_nobody_has_started(simulated, deployments: Path) -> None:
    """Its address and whose it is."""
    result = simulated("--llmperf-against=http://127.0.0.1:9,http://127.0.0.1:10")
    assert_clear(result, pytest.ExitCode.USAGE_ERROR, "*incumbent http://127.0.0.1:9,*127.0.0.1:9*")


def test_ctrl_c(deployments: Path, aftermath: Aftermath) -> None:
    """While the incumbent's round runs: both deployments' servers end, and the machine's lock is free."""
    with Inner(deployments, *FAST, "--llmperf-against=good", "--llmperf-rounds=1000") as inner:
        inner.wait_for("incumbent good: round 2")
        assert len(aftermath.servers()) == 4
        assert aftermath.locked()
        inner.signal(signal.SIGINT)
        assert inner.ends() == pytest.ExitCode.INTERRUPTED, inner.output()
    aftermath.assert_nothing_left()
