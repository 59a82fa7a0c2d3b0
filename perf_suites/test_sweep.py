"""Two agents over a matrix of options (TR110, TR114). The quick look at the same is test_multiagent.py."""

import pytest

pytestmark = pytest.mark.sweep


def test_which_options_balance_two_agents_best(run_matrix):
    """Contexts, temperatures, equal and different options, and on machines with a GPU its layers."""
    results = run_matrix("matrices/sweep_tr110.toml")
    assert results.mean("parallel_efficiency_pct", scenario="chimera_homo") > 75  # one after the other


def test_whether_two_instances_serve_every_scenario_alike(run_matrix):
    """The three scenarios, each with an instance an agent."""
    results = run_matrix("matrices/sweep_tr114.toml")
    assert results.mean("contention_detected") < 0.5
