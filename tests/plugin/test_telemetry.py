"""Telemetry and its gates, from outside; GPUs are scripted (`tests/telemetry/nvml.py`)."""

import json
from contextlib import ExitStack

import pytest

from pytest_llmperf.session.measurement import sampler_factory
from pytest_llmperf.telemetry import gpu
from tests.plugin.conftest import FAST, PAIR, assert_clear
from tests.started import start_own
from tests.telemetry.nvml import Gpu, Nvml

TEST = """
    import pytest
    from pair import PAIR

    {marker}
    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""
SCRIPT = json.dumps({"ttft_ms": 30, "decode_tok_s": 800, "load_ms": 1})


def measured(pytester: pytest.Pytester) -> dict:
    """The only measurement of the run's JSON."""
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    return record["measurement"]


@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("options", [(), pytest.param(("-n", "1"), marks=pytest.mark.slow)], ids=["here", "xdist"])
def test_it_is_sampled_and_shown(simulated, pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    """Client and instances at the ends of each round and in between; a line and its cost at -v; the JSON has all."""
    pytester.makepyfile(TEST.format(marker=""))
    result = simulated("-v", "--llmperf-telemetry=0.1", "--llmperf-json=run.json", *options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "machine: pair on dual: * of * cores busy (client *, others *); resident MiB: client *, a *, b *",
            "  telemetry: * samples, at most 0.1 s apart in a round; overhead 0.* of a core, at most * ms per sample",
        ]
    )
    telemetry = measured(pytester)["telemetry"]
    assert telemetry["complete"]
    by_round = {index: [sample for sample in telemetry["samples"] if sample["round"] == index] for index in range(5)}
    for round_, samples in zip(measured(pytester)["rounds"], by_round.values(), strict=True):
        assert len(samples) >= 2
        starts = [run["start_ns"] for run in (*round_["solo"], *round_["together"])]
        ends = [request["done_ns"] for run in round_["together"] for request in run["requests"]]
        assert samples[0]["at_ns"] < min(starts)
        assert samples[-1]["at_ns"] > max(ends)
    last = telemetry["samples"][-1]
    assert set(last["servers"]) == {"a", "b"}
    assert all(used["rss_mib"] > 10 for used in (last["client"], *last["servers"].values()))
    assert len(telemetry["samples"]) > 10


def test_switched_off(simulated, pytester: pytest.Pytester) -> None:
    """Nothing is sampled, and a gate that needs it is an error before anything is timed."""
    pytester.makepyfile(TEST.format(marker="@pytest.mark.memory(max_rss_gib=4)"))
    result = simulated("-v", "--llmperf-telemetry=off")
    result.assert_outcomes(failed=1)
    assert_clear(
        result,
        pytest.ExitCode.TESTS_FAILED,
        "UsageError: gate memory cannot be judged: server_rss_gib cannot be observed here: the telemetry is off*",
        "*next: see docs/telemetry.md*",
    )
    pytester.makepyfile(TEST.format(marker=""))
    result = simulated("-v", "--llmperf-telemetry=off", "--llmperf-json=run.json")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("machine:*")
    assert measured(pytester)["telemetry"] is None


@pytest.mark.parametrize("given", ["on", "0", "-1", "4000", "nan"])
def test_what_is_no_distance(simulated, pytester: pytest.Pytester, given: str) -> None:
    """A usage error that says what is one."""
    pytester.makepyfile(TEST.format(marker=""))
    result = simulated(f"--llmperf-telemetry={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--llmperf-telemetry: '{given}': *"])


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """`gpus(Gpu(...))`: what NVML sees; `gpus()` no GPU, `gpus(None)` one without the package."""

    def see(*seen: Gpu | None) -> None:
        monkeypatch.setattr(gpu, "_library", lambda: None if None in seen else Nvml(*seen, driver=bool(seen)))
        monkeypatch.setattr(sampler_factory, "gpu_here", lambda: bool(seen))

    return see


@pytest.mark.parametrize("marker", ["memory(max_vram_gib=11)", "thermal(max_gpu_c=85)", "thermal"])
def test_a_gate_without_a_gpu(simulated, gpus, pytester: pytest.Pytester, marker: str) -> None:
    """Is an error that says why, before anything is timed: never a pass."""
    gpus()
    pytester.makepyfile(TEST.format(marker=f"@pytest.mark.{marker}"))
    result = simulated()
    result.assert_outcomes(failed=1)
    assert_clear(
        result,
        pytest.ExitCode.TESTS_FAILED,
        f"UsageError: gate {marker.partition('(')[0]} cannot be judged: * cannot be observed here: this machine has *",
        "*next: see docs/telemetry.md*",
    )


@pytest.mark.parametrize(
    ("value", "options"),
    [("no value", ("--llmperf-on-mismatch=skip", "-rs")), ("3.00 GiB", ())],
    ids=["no GPU", "another GPU"],
)
def test_the_cards_limit_of_memory_elsewhere(
    simulated, gpus, pytester: pytest.Pytester, value: str, options: tuple[str, ...]
) -> None:
    """Is of another machine: not comparable, whatever is seen, and the settings say what that does."""
    gpus(*([] if value == "no value" else [Gpu()]))
    pytester.makepyfile(TEST.format(marker="@pytest.mark.memory"))
    result = simulated(*options)
    result.assert_outcomes(skipped=len(options) // 2, failed=not options)
    words = "gate memory is not comparable here: * against the maximum 11.00 GiB (baseline decision_card, E.1 #9)*"
    result.stdout.fnmatch_lines([f"*{words.replace(': *', f': *{value}', 1)}"])


def test_the_cards_limit_of_heat(simulated, gpus, pytester: pytest.Pytester) -> None:
    """Is its critical level, on any machine."""
    gpus(Gpu(temperature_c=91))
    pytester.makepyfile(TEST.format(marker="@pytest.mark.thermal"))
    result = simulated()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gate thermal: 91 C is above the maximum 90 C (baseline decision_card, H.2)"])


def test_a_level_without_a_marker(simulated, gpus, pytester: pytest.Pytester) -> None:
    """Is a note; so is what NVML's package would show, were it installed."""
    gpus(Gpu(temperature_c=86))
    pytester.makepyfile(TEST.format(marker=""))
    result = simulated("--llmperf-json=run.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["note: pair on dual: gpu_temperature_c reached 86 C, the warning level is 85 C (baseline decision_card, H.2)"]
    )
    gpus(None)
    result = simulated()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["note: pair on dual: reading this machine's GPU needs nvidia-ml-py: pip install 'pytest-llmperf?gpu?'"]
    )


def test_servers_that_we_find(aftermath, pytester: pytest.Pytester) -> None:
    """Are known by the ports that they listen on, and their memory is gated; one elsewhere would not be seen."""
    pytester.makepyfile(pair=PAIR, test_it=TEST.format(marker="@pytest.mark.memory(max_rss_gib=0.001)"))
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")
    with ExitStack() as stack:
        urls = []
        for label in "ab":
            process, port = start_own(["--engine", "scripted", "--script", SCRIPT], label=label, timeout_s=60)
            stack.callback(process.stop)
            urls.append(f"http://127.0.0.1:{port}")
        options = [option for option in FAST if not option.startswith(("--llmperf-backend", "--llmperf-script"))]
        result = pytester.runpytest_inprocess(*options, f"--llmperf-urls={','.join(urls)}", "--llmperf-json=run.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gate memory (server_rss_gib): 0.0? GiB is above the maximum 0.001 GiB *"])
    telemetry = measured(pytester)["telemetry"]
    assert telemetry["complete"]
    assert set(telemetry["samples"][0]["servers"]) == {"a", "b"}
