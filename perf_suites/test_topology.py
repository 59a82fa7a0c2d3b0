"""One instance, one instance with two slots, two instances (TR113 against TR114): which serves two agents best?"""

import os

import pytest

pytestmark = pytest.mark.topology


def test_which_topology_serves_two_agents_best(run_matrix):
    """In turn: 75 % balance, 50 % scaling, one always waits. A slot each ends the waiting, an instance each pays."""
    results = run_matrix("matrices/topology.toml")
    balance, scaling, contended = "parallel_efficiency_pct", "scaling_efficiency_pct", "contention_detected"

    assert results.mean(balance, topology="single") == pytest.approx(75, abs=7)
    assert results.mean(scaling, topology="single") == pytest.approx(50, abs=10)
    assert results.mean(contended, topology="single") == 1

    slots = results.mean(balance, topology="single_parallel")
    assert slots > results.mean(balance, topology="single") + 10
    waits = results.summary("queue_ms", topology="single_parallel").median
    assert waits < results.summary("queue_ms", topology="single").median

    assert results.mean(balance, topology="dual") > results.mean(balance, topology="single") + 10
    assert results.mean(scaling, topology="dual") > results.mean(scaling, topology="single")
    assert results.mean(contended, topology="dual") < 0.5

    # What serves a batch in the time of a single request (a GPU, many cores) may gain more by slots. Where each agent
    # has one core, an instance each gains at least as much, other work on these cores aside.
    if results.rows[0].backend in ("embedded", "simulated") and os.cpu_count() == 2:
        gained = results.mean(scaling, topology="dual") - results.mean(scaling, topology="single_parallel")
        assert gained > -5
