"""The main job against the scripted server: verdicts decide the test item, its report, the exit code."""

import json
import re
import textwrap
from xml.etree import ElementTree

import pytest

from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.telemetry import gpu
from tests.plugin.conftest import GATED, PAIR
from tests.telemetry.nvml import Gpu, Nvml


def test_two_instances_pass(simulated, pytester: pytest.Pytester) -> None:
    """Exit code 0, the header says what ran, the table shows both efficiencies and that it is simulated."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    result = simulated()
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "llmperf: simulated, model simulated:scripted, *",
            "llmperf: baseline decision_card",
            "llmperf: SIMULATED: *",
            "* balance *scaling *contended *TTFT *system",
            "measured *% *% *rounds *ms *tok/s *verdict",
            "pair on dual * pass",
            "SIMULATED: all rows were measured on a scripted server*",
        ]
    )


def test_one_instance_fails_the_item(simulated, pytester: pytest.Pytester) -> None:
    """Both agents on one instance: exit code 1, red in JUnit, a text with gate, value, interval, limit, source."""
    pytester.makepyfile(GATED.format(fixture="single_ollama"))
    result = simulated("--junitxml=junit.xml")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "gate contention: 100 % (* is above the maximum 20 % (marker contention(max_rate=0.2))",
            "gate efficiency: 7?.? % (* % CI * to *) is below the minimum 85.0 % (marker efficiency(min_pct=85))",
            "  SIMULATED, scenario pair, topology single, *rounds (evidence: simulated); balance efficiency*",
            "  cause: requests wait for a slot*",
            "  next: run one instance per agent: use dual_ollama without --llmperf-topology",
        ]
    )
    case = ElementTree.parse(pytester.path / "junit.xml").getroot().find(".//testcase")
    assert case is not None
    assert "gate contention" in case.find("failure").get("message", "")
    properties = {entry.get("name"): entry.get("value") for entry in case.iter("property")}
    assert 70 < float(properties["llmperf.pair.single.efficiency_pct"]) < 80
    assert 45 < float(properties["llmperf.pair.single.scaling_efficiency_pct"]) < 55
    assert properties["llmperf.pair.single.verdict.efficiency.efficiency_pct"] == "fail"


# every gate

EVERY_GATE = {
    "efficiency": "min_pct=90",
    "scaling": "min_pct=70",
    "speedup": "min_x=1.8",
    "contention": "max_rate=0.1",
    "ttft": "max_ratio=3",
    "itl": "max_ms=6",
    "tpot": "max_ms=6",
    "e2e": "max_s=0.1",
    "goodput": "min_share=0.5, tpot_ms=6, e2e_s=1",
    "throughput": "min_tok_s=180",
    "consistency": "max_cv_pct=20, metric='ttft_ms'",
    "regression": "metrics=['decode_tok_s'], delta=30",
    "cost": "max_usd_per_1m=0.6",
    "quality": "samples=3",
    "memory": "max_vram_gib=11, max_rss_gib=4",
    "thermal": "max_gpu_c=85",
    "makespan": "max_s=0.1",
    "critical_path": "max_share=0.2, of='queue'",
}
PRICES = "[prices]\nusd_per_hour = 0.5\n"  # the limit of `cost` is 231 tok/s
WORSE = """
    calls = []

    def pytest_llmperf_score(response):
        calls.append(response)  # every third is of the agents together
        return 0.5 if len(calls) % 3 == 0 else 0.9
"""
BROKEN = {
    "nothing": ((), ()),
    "one instance": (
        ("--llmperf-topology=single",),
        ("efficiency", "scaling", "speedup", "contention", "ttft", "critical_path"),
    ),
    "slow": (
        ("--llmperf-script=decode_tok_s=100,ttft_ms=30,load_ms=1",),
        ("throughput", "regression", "cost", "makespan", "itl", "tpot", "e2e", "goodput"),
    ),
    "unsteady": (("--llmperf-script=decode_tok_s=267,ttft_ms=60,load_ms=1,jitter_pct=100",), ("consistency",)),
    "worse answers": (("-p", "worse"), ("quality",)),
    "a hot and full GPU": ((), ("memory", "thermal")),
}


def verdicts_of(pytester: pytest.Pytester) -> dict[str, str]:
    """The outcome of each gate from JUnit; for a gate with several metrics, the outcome that is not a pass."""
    case = ElementTree.parse(pytester.path / "junit.xml").getroot().find(".//testcase")
    assert case is not None
    entries = [(entry.get("name", "").split(".verdict."), entry.get("value", "")) for entry in case.iter("property")]
    outcomes = [(parts[1].split(".")[0], value) for parts, value in entries if len(parts) == 2]
    return dict(sorted(outcomes, key=lambda entry: entry[1] != "pass"))


@pytest.mark.parametrize(
    ("options", "failing"),
    [pytest.param(*how, id=name) for name, how in BROKEN.items()],
)
def test_every_gate_passes_and_fails(
    simulated,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    failing: tuple[str, ...],
) -> None:
    """All gates pass if nothing is broken; each fails, and names itself, if its metric is broken."""
    assert set(EVERY_GATE) == set(GATE_KINDS) == {name for _, names in BROKEN.values() for name in names}
    gates = failing or tuple(EVERY_GATE)
    scripted = Gpu(used_mib=11_500.0, temperature_c=91) if "thermal" in failing else Gpu()
    monkeypatch.setattr(gpu, "_library", lambda: Nvml(scripted))
    test = textwrap.dedent(GATED.format(fixture="dual_ollama"))
    plain = "\n".join(line for line in test.splitlines() if not line.startswith("@"))
    marks = ", ".join(f"pytest.mark.{name}({EVERY_GATE[name]})" for name in gates)
    pytester.makepyfile(test_it=f"{plain}\n\npytestmark = [{marks}]\n", worse=WORSE)
    pytester.syspathinsert()
    (pytester.path / "llmperf.toml").write_text(PRICES)
    if "regression" in gates:
        simulated("--llmperf-save=mine").assert_outcomes(passed=1)
        options = (*options, "--llmperf-compare=mine")
    result = simulated("--junitxml=junit.xml", *options)
    assert verdicts_of(pytester) == dict.fromkeys(gates, "fail" if failing else "pass")
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if failing else pytest.ExitCode.OK)
    for name in failing:
        result.stdout.re_match_lines([rf"gate {name}( \(\w+\))?: .* is (above|below|worse than) .* \(", "  next: ."])


CARD = """
    import pytest
    from pair import PAIR

    pytestmark = [pytest.mark.multiagent, pytest.mark.efficiency, pytest.mark.contention]

    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""
SHORTER = PAIR.replace("num_predict=16", "num_predict=8")
SEED = ("--llmperf-backend=simulated", "--llmperf-calibrate=off", "-p", "no:cacheprovider", "--junitxml=junit.xml")


def test_a_pair_at_the_reports_rate_passes_the_card(pytester: pytest.Pytester) -> None:
    """The default script (TR108: 102.85 tok/s) on two instances, by the card's own limits: exit code 0, two passes."""
    pytester.makepyfile(test_it=CARD, pair=SHORTER)
    result = pytester.runpytest_inprocess(*SEED)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["llmperf: baseline decision_card", "pair on dual * 0 of 5 * pass"])
    assert verdicts_of(pytester) == {"efficiency": "pass", "contention": "pass"}


def test_the_same_pair_on_one_instance_fails_the_card(pytester: pytest.Pytester) -> None:
    """Exit code 1, the item red in JUnit, and a text that names gate, value, interval, limit and its source."""
    pytester.makepyfile(test_it=CARD, pair=SHORTER)
    result = pytester.runpytest_inprocess(*SEED, "--llmperf-topology=single")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    case = ElementTree.parse(pytester.path / "junit.xml").getroot().find(".//testcase")
    assert case is not None
    text = case.find("failure").text
    assert re.search(
        r"gate efficiency: 7\d\.\d % \(95 % CI 7\d\.\d to 7\d\.\d\) is below the minimum 95\.0 % "
        r"\(baseline decision_card, E\.1 #6\)\n"
        r"gate contention: 100 % \(95 % CI \d\d\.\d to 100\) is above the maximum 1 % "
        r"\(baseline decision_card, E\.1 #7\)\n  SIMULATED, scenario pair, topology single",
        text,
    )
    assert text.count("  next: run one instance per agent: use dual_ollama without --llmperf-topology") == 1
    assert verdicts_of(pytester) == {"efficiency": "fail", "contention": "fail"}


def test_a_forced_topology_shows_what_would_happen(simulated, pytester: pytest.Pytester) -> None:
    """`--llmperf-topology=single` sends the agents of `dual_ollama` to one instance."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    simulated("--llmperf-topology=single").assert_outcomes(failed=1)


def test_strict_xfail_works(simulated, pytester: pytest.Pytester) -> None:
    """A known regression can be marked: the gate's failure is the test's."""
    pytester.makepyfile(
        GATED.format(fixture="single_ollama").replace("@pytest.mark.multiagent", "@pytest.mark.xfail(strict=True)")
    )
    simulated().assert_outcomes(xfailed=1)


def test_a_failure_in_the_body_wins(simulated, pytester: pytest.Pytester) -> None:
    """The test's own assertion is what is reported."""
    pytester.makepyfile(GATED.format(fixture="single_ollama") + "        assert False, 'mine'\n")
    result = simulated()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: mine*"])
    assert "gate efficiency:" not in result.stdout.str().split("llmperf ===")[0]


def test_limits_from_the_command_line(simulated, pytester: pytest.Pytester) -> None:
    """`--llmperf-limit` serves a marker without a value, and is named as the source."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama").replace("(min_pct=85)", ""))
    result = simulated("--llmperf-limit=efficiency=100", "--llmperf-max-rounds=5")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gate efficiency*100.0 % (*--llmperf-limit*"])


def test_a_limit_of_another_machine_is_not_comparable(simulated, pytester: pytest.Pytester) -> None:
    """The decision card's tok/s are of its machine: the test fails, names the keys; or warns, or skips."""
    pytester.makepyfile(
        """
        import pytest
        from pair import PAIR

        @pytest.mark.throughput
        def test_pair(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)
        """
    )
    once = ("--llmperf-rounds=1", "--llmperf-max-rounds=1")
    failed = simulated(*once)
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(
        ["gate throughput is not comparable here*decision_card*", "*next: set a limit for this machine*"]
    )
    warned = simulated("--llmperf-on-mismatch=warn", "-W", "default", *once)
    warned.assert_outcomes(passed=1, warnings=1)
    warned.stdout.fnmatch_lines(
        ["*GateWarning: pair on dual: not decided: throughput*", "*gate throughput is not comparable here*"]
    )
    simulated("--llmperf-on-mismatch=skip", *once).assert_outcomes(skipped=1)


def test_an_undecided_gate_fails_or_warns(simulated, pytester: pytest.Pytester) -> None:
    """One round is no evidence: undecided, and the setting says what that means."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    few = ("--llmperf-rounds=1", "--llmperf-max-rounds=1")
    failed = simulated(*few)
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["gate efficiency is inconclusive*", "*next: allow more rounds*"])
    warned = simulated(*few, "--llmperf-on-inconclusive=warn", "-W", "default")
    assert warned.ret == pytest.ExitCode.OK
    warned.stdout.fnmatch_lines(["*GateWarning: *not decided*", "*inconclusive*", "*is inconclusive*"])


def test_json_holds_every_raw_timing(simulated, pytester: pytest.Pytester) -> None:
    """Rounds, requests, arrivals, server durations, verdicts, manifest, settings."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    result = simulated("--llmperf-json=out/run.json")
    result.stdout.fnmatch_lines(["wrote *run.json"])
    document = json.loads((pytester.path / "out" / "run.json").read_text())
    (record,) = document["records"]
    rounds = record["measurement"]["rounds"]
    assert len(rounds) >= 5
    assert record["measurement"]["topology"]["backend"] == "simulated"
    for round_ in rounds:
        for run in (*round_["solo"], *round_["together"]):
            (request,) = run["requests"]
            assert request["eval_count"] == 16
            assert request["sent_ns"] < request["arrivals_ns"][0] < request["done_ns"]
            assert request["eval_duration_ns"] > 0
    assert {verdict["outcome"] for verdict in record["verdicts"]} <= {"pass", "inconclusive"}  # on a busy machine
    assert record["passed"] is True
    assert record["figures"]["simulated"] is True
    assert record["measurement"]["manifest"]["facts"]["timing_source"]
    assert not list((pytester.path / "out").glob("*.tmp"))


def test_a_json_that_cannot_be_written_fails_the_run(simulated, pytester: pytest.Pytester) -> None:
    """Green tests, exit code 1, one line that says why: what was in order at the start no longer is."""
    spoils = "        Path('out').rmdir()\n        Path('out').write_text('')\n"
    pytester.makepyfile("    from pathlib import Path\n" + GATED.format(fixture="dual_ollama") + spoils)
    pytester.mkdir("out")
    result = simulated("--llmperf-json=out/run.json")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["LlmperfError: cannot write *run.json*"])


def test_a_json_that_cannot_be_written_is_found_before_the_start(simulated, pytester: pytest.Pytester) -> None:
    """Exit code 4 instead of minutes of rounds whose figures are lost."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    pytester.path.joinpath("file").write_text("")
    result = simulated("--llmperf-json=file/run.json")
    result.assert_outcomes()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--llmperf-json: cannot write *run.json*", "*next: give another --llmperf-json"])


def test_without_a_gate_figures_are_shown_and_nothing_is_judged(simulated, pytester: pytest.Pytester) -> None:
    """A test may only measure, and use the figures itself."""
    pytester.makepyfile(
        """
        from pytest_llmperf import CONVERSATION

        def test_talk(dual_ollama, ollama_warmup, run_agents, llmperf_baseline, llmperf_manifest):
            ollama_warmup(CONVERSATION, on=dual_ollama, times=1)
            record = run_agents(CONVERSATION, on=dual_ollama)
            assert record.summary("efficiency_pct").mean > 80
            assert len(record.measurement.rounds[0].together[0].requests) == 3
            assert llmperf_baseline.name == "decision_card"
            assert llmperf_manifest["backend"] == "simulated"
            assert len(dual_ollama.urls) == 2
        """
    )
    result = simulated("--llmperf-rounds=2", "--llmperf-max-rounds=2")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["conversation *dual *no gate"])


def test_async_tests_can_run_agents(simulated, pytester: pytest.Pytester) -> None:
    """Inside a running event loop the rounds take a thread of their own."""
    pytester.makepyfile(
        """
        import asyncio
        from pair import PAIR

        def test_pair(dual_ollama, run_agents):
            async def body():
                return run_agents(PAIR, on=dual_ollama)
            assert len(asyncio.run(body()).measurement.rounds) == 5
        """
    )
    simulated().assert_outcomes(passed=1)


def test_three_agents_on_a_fleet(simulated, pytester: pytest.Pytester) -> None:
    """An instance an agent; `dual` refuses a third agent with the next step."""
    pytester.makepyfile(
        """
        import pytest
        from pytest_llmperf import Agent, GenerationOptions, Scenario

        THREE = Scenario(name="three", agents=tuple(
            Agent(name=name, prompts=("tell me more",), options=GenerationOptions(num_predict=20)) for name in "xyz"
        ))

        @pytest.mark.scaling(min_pct=60)
        def test_fleet(ollama_fleet, run_agents):
            record = run_agents(THREE, on=ollama_fleet)
            assert [run.instance for run in record.measurement.rounds[0].together] == ["a", "b", "c"]

        def test_dual(dual_ollama, run_agents):
            run_agents(THREE, on=dual_ollama)
        """
    )
    result = simulated()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "UsageError: topology dual has two instances, the scenario has 3 agents",
            "  next: use ollama_fleet: an instance for each agent",
        ]
    )
