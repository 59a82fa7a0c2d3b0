"""Together with pytest-benchmark: its JSON has the plugin's figures; without pytest-benchmark nothing breaks."""

import json

import pytest

from tests.plugin.conftest import GATED

pytestmark = pytest.mark.slow


def test_figures_stand_in_its_json(simulated, pytester: pytest.Pytester) -> None:
    """With `--benchmark-json` each measured test is an entry; the figures are its extra_info."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    result = simulated("--benchmark-json=bench.json", "-W", "default")
    result.assert_outcomes(passed=1)
    (entry,) = json.loads((pytester.path / "bench.json").read_text())["benchmarks"]
    assert entry["extra_info"]["pair.dual"]["rounds"] >= 5
    assert entry["extra_info"]["pair.dual"]["efficiency_pct"] > 90
    assert entry["extra_info"]["pair.dual"]["simulated"] is True


def test_the_fixture_beside_ours(simulated, pytester: pytest.Pytester) -> None:
    """A test that takes `benchmark` itself gets the figures too, without any option."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama").replace("run_agents):", "run_agents, benchmark):"))
    simulated("-W", "default").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "options", [(), ("-p", "no:benchmark"), ("--benchmark-disable",)], ids=["idle", "absent", "disabled"]
)
def test_nothing_breaks(simulated, pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    """Installed and idle, absent, or disabled."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    simulated(*options, own_process=True).assert_outcomes(passed=1)
