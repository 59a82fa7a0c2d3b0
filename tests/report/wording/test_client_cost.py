"""The line about the clients' own cost."""

from dataclasses import replace

from pytest_llmperf.judge.record import Record
from pytest_llmperf.report.wording.client_cost import client_lines
from tests.judge.build import measurement_of, round_of


def test_clocks_of_several_hosts_are_named_with_the_worst_bound() -> None:
    """The worst bound of all rounds; if all agents ran on one host, clocks are not mentioned."""
    rounds = [
        replace(round_of((100, 100), (100, 100)), timing_source="kernel", clock_bound_ns=bound_ns)
        for bound_ns in (None, 7_000, 12_300)
    ]
    assert client_lines([Record(test="t", measurement=measurement_of(*rounds), verdicts=())]) == [
        "client overhead: at most 0.00 pp of efficiency, 0.000 CPU cores (runtime ?, kernel timestamps); "
        "the hosts' clocks known to 12 us"
    ]
    (line,) = client_lines([Record(test="t", measurement=measurement_of(rounds[0]), verdicts=())])
    assert "clocks" not in line
