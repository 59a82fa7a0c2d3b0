"""When a round says nothing about the servers, and how the report explains that."""

import re
from dataclasses import replace

import pytest

from pytest_llmperf.judge.diagnosis.client_saturation import (
    client_cost_pp,
    client_cpu_share,
    client_overhead_problem,
    explain_discard,
    merged_firsts,
    most_discarded,
    saturated,
)
from pytest_llmperf.judge.diagnosis.diagnose import diagnose
from pytest_llmperf.judge.gates.evaluate import invalid
from pytest_llmperf.model import Outcome, Round
from tests.judge.build import MS, gate, measurement_of, round_of

CALM = round_of((2000, 2000), (2000, 4000))


def with_run(round_: Round, part: str, index: int, **changes: int) -> Round:
    """The round with other figures of one of its clients."""
    runs = list(getattr(round_, part))
    runs[index] = replace(runs[index], **changes)
    return replace(round_, **{part: tuple(runs)})


def test_the_cost_is_a_share_of_all_agents_time() -> None:
    """30 ms of one of two agents in a round of 4 s: 30 / (2 * 4000) of efficiency."""
    assert client_cost_pp(with_run(CALM, "together", 0, client_ns=30 * MS)) == pytest.approx(0.375)
    assert client_cpu_share(replace(CALM, client_cpu_ns=(300 * MS, 100 * MS))) == pytest.approx(0.1)


def test_a_calm_client_is_not_saturated() -> None:
    """Nothing recorded, or little, is no reason."""
    assert saturated(CALM) == ""
    assert saturated(with_run(CALM, "together", 0, client_ns=19 * MS, lag_ns=9 * MS)) == ""
    assert saturated(replace(CALM, client_cpu_ns=(3000 * MS,))) == ""


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        (
            "together",
            {"lag_ns": 11 * MS},
            "the client of y in the together part was 11 ms late or more for a tenth",
        ),
        ("solo", {"lag_ns": 11 * MS}, "the client of y alone was 11 ms late"),
        (
            "solo",
            {"client_ns": 21 * MS},
            r"the client of y alone had an overhead of 1\.1 % of the time",
        ),
        (
            "together",
            {"client_ns": 60 * MS},
            r"the client of y in the together part had an overhead of 1\.5 % of the time",
        ),
    ],
)
def test_a_client_that_falls_behind(part: str, changes: dict[str, int], words: str) -> None:
    """Late reads, or time of its own, in either part; the reason names the client."""
    assert re.search(words, saturated(with_run(CALM, part, 1, **changes)))


def test_milliseconds_are_no_saturation_of_a_short_round() -> None:
    """9 ms of 100 are much in percent, and happen on any machine."""
    short = round_of((100, 100), (100, 100))
    assert saturated(with_run(short, "together", 0, client_ns=9 * MS)) == ""


def test_rounds_that_are_too_short_for_the_client() -> None:
    """Some milliseconds in each round cost points of efficiency, together or alone; now and then they do not."""
    calm = round_of((100, 100), (100, 200))
    slow = [with_run(calm, part, 0, client_ns=5 * MS) for part in ("together", "solo")]
    assert [saturated(round_) for round_ in slow] == ["", ""]
    assert (
        client_overhead_problem(measurement_of(calm, calm, slow[0], calm))
        == client_overhead_problem(measurement_of(slow[1], calm, calm, calm))
        == ""
    )
    assert client_overhead_problem(measurement_of(slow[0], slow[0], calm)) == (
        "client overhead was 1.1 % of the time, 1.7 of 150 ms in a run: the rounds are too short"
    )
    assert client_overhead_problem(measurement_of(slow[1], slow[1], calm)) == (
        "client overhead was 1.7 % of the time alone, 1.7 of 100 ms in a run: the rounds are too short"
    )
    assert client_overhead_problem(measurement_of()) == ""


def test_a_client_that_needs_a_whole_core() -> None:
    """A process that runs Python has no second one; several processes may have one each."""
    assert saturated(replace(CALM, client_cpu_ns=(1800 * MS, 1800 * MS))) == ""
    assert saturated(replace(CALM, client_cpu_ns=(3600 * MS,))) == "the clients used 0.90 of a core"


def test_an_invalid_measurement_says_why() -> None:
    """It counts the rounds set aside and names the last reason; half of the least number may be set aside."""
    bad = replace(CALM, client_cpu_ns=(3600 * MS,))
    measurement = replace(measurement_of(CALM), discarded=(bad, bad, bad))
    assert explain_discard(measurement).startswith(
        "the client was saturated in 3 of 4 rounds; in the last one the clients used 0.90"
    )
    verdict = invalid(gate(), 1, explain_discard(measurement))
    assert verdict.outcome is Outcome.INVALID
    assert (verdict.value, verdict.low, verdict.rounds, verdict.grade) == (None, None, 1, "exploratory")
    assert [most_discarded(rounds) for rounds in (1, 2, 5, 20)] == [0, 1, 2, 10]


def test_clocks_that_are_known_too_badly() -> None:
    """More than 1 % of the wall time of 4 s is too much, and the reason is no saturated client's."""
    assert saturated(replace(CALM, clock_bound_ns=40 * MS)) == ""
    uncertain = replace(CALM, clock_bound_ns=41 * MS)
    assert saturated(uncertain) == "the hosts' clocks were known to 41.00 ms only, 1.0 % of the wall time (at most 1 %)"
    measurement = replace(measurement_of(CALM), discarded=(uncertain,))
    assert explain_discard(measurement).startswith(
        "the hosts' clocks were too uncertain in 1 of 2 rounds; in the last one the hosts' clocks were known to"
    )
    even = round_of((2000, 2000), (2000, 2000))
    diagnosis = diagnose(replace(measurement_of(even, even), discarded=(uncertain,)))
    assert diagnosis is not None
    assert (diagnosis.cause, "do more work in a round" in diagnosis.next_step) == ("uncertain clocks", True)


def test_times_to_first_token_that_are_upper_bounds_are_counted() -> None:
    """One of the eight requests of two rounds; solo requests, the base of the ratio, count as well."""
    first, second = CALM.together
    late = replace(CALM, together=(replace(first, requests=(replace(first.requests[0], first_merged=True),)), second))
    assert merged_firsts(measurement_of(CALM, late)) == (1, 8)
