"""The catalogue, and one value a round."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.gate_kinds import DETECTORS, GATED_METRICS
from pytest_llmperf.judge.metrics.series import (
    CATALOGUE,
    CONTINUOUS,
    Aggregate,
    MetricClass,
    all_series,
    scaling_efficiency_pct,
    series,
    slowdowns,
    ttft_ratios,
)
from pytest_llmperf.model import Bound, Round
from tests.judge.build import measurement_of, request, round_of, run

EVEN = round_of((100, 100), (100, 100))


def test_the_catalogue_and_the_markers_name_the_same_metrics() -> None:
    """The markers' lists are copies (they may import nothing), held equal here."""
    assert GATED_METRICS == CONTINUOUS
    for detector in DETECTORS:
        assert f"contention_rate_{detector}" in CATALOGUE


RISING = ("efficiency", "speedup", "tok_s", "per_hour", "goodput")
"""Parts of the names of metrics of which more is better."""


def test_every_metric_is_a_card() -> None:
    """Name, unit, source and definition are there; the class follows METRICS."""
    machine = {name for name, metric in CATALOGUE.items() if metric.kind is MetricClass.MACHINE}
    assert {"system_tok_s", "decode_tok_s", "ttft_ms", "queue_ms", "cost_per_1m_usd"} <= machine
    ratio = {"efficiency_pct", "scaling_efficiency_pct", "speedup", "ttft_ratio", "slowdown", "contention_rate_ttft"}
    assert not machine & (ratio | {"decode_tok_s_cv_pct"})
    for name, metric in CATALOGUE.items():
        assert metric.name == name
        assert metric.unit
        assert metric.source
        assert metric.definition
        assert (metric.good is Bound.MIN) == (not name.endswith("cv_pct") and any(word in name for word in RISING))


def test_series_by_hand() -> None:
    """Two rounds, every metric computed on paper."""
    first = round_of((100, 100), (100, 200), ttft_ms=30, total_duration_ns=80_000_000)
    second = round_of((100, 100), (160, 160), index=1, ttft_ms=12, decode_ms=100, total_duration_ns=1)
    expected = {
        "efficiency_pct": (75, 100),
        "scaling_efficiency_pct": (50, 62.5),
        "speedup": (1.5, 2),
        "scaling_speedup": (1, 1.25),
        "system_tok_s": (100, 125),
        "decode_tok_s": (200, 100),
        "ttft_ms": (30, 12),
        "ttft_ratio": (3, 1.2),
        "slowdown": (2, 1.6),
        "queue_ms": (30, 0),
        "makespan_s": (0.2, 0.16),
        "contended_ttft": (0, 0),
        "contended_throughput": (0, 1),
        "contention_rate_throughput": (0, 1),
        "decode_tok_s_cv_pct": (200, 100),
    }
    both = measurement_of(first, second)
    assert {name: series(both, name) for name in expected} == {n: pytest.approx(v) for n, v in expected.items()}
    without_thoughts = set(CONTINUOUS) - {"ttft_reasoning_ms", "graph_efficiency_pct"}
    assert set(all_series(both)) == {*without_thoughts, "contended_ttft", "contended_throughput"}


def test_contention_by_ttft_starts_above_three_times() -> None:
    """Exactly 3.0 times the solo median is no contention, a little more is; the median is over all rounds."""
    rounds = [round_of((100,), (100,), ttft_ms=ttft, index=i) for i, ttft in enumerate((30, 30.001, 10))]
    assert series(measurement_of(*rounds), "contended_ttft") == (0, 1, 0)
    slow_once = round_of((100,), (100,), ttft_ms=30, solo={"ttft_ms": 50})
    assert series(measurement_of(slow_once, *rounds), "ttft_ratio")[0] == 3


def test_contention_by_rate_starts_below_95_percent() -> None:
    """5 % below the solo median of all rounds is no contention, a little more is; one slow agent is enough."""
    rounds = [round_of((100,), (100,), tokens=1000, decode_ms=ms, solo={"tokens": 1000}) for ms in (52.6, 52.7)]
    assert series(measurement_of(*rounds), "contended_throughput") == (0, 1)
    uneven = replace(EVEN, together=(EVEN.together[0], run("y", request(decode_ms=60))))
    assert series(measurement_of(uneven), "contended_throughput") == (1,)


@st.composite
def measurements(draw):
    """Two to four agents, one to four rounds, one or two requests each; TTFTs and rates alone and together."""
    agents, steps = draw(st.integers(2, 4)), draw(st.integers(1, 2))

    def runs():
        return tuple(
            run(
                name,
                *(
                    request(ttft_ms=draw(st.integers(1, 90)), total_ms=100, decode_ms=draw(st.integers(40, 60)))
                    for _ in range(steps)
                ),
            )
            for name in "wxyz"[:agents]
        )

    rounds = draw(st.integers(1, 4))
    return measurement_of(
        *(Round(index=index, order=("together",), solo=runs(), together=runs()) for index in range(rounds))
    )


RATIOS = ("ttft_ratio", "contended_ttft", "contended_throughput", "contention_rate_ttft", "contention_rate_throughput")


@given(measurements(), st.randoms(use_true_random=False))
def test_the_order_of_agents_does_not_matter(measurement, random) -> None:
    """Permuting the agents, alone and together alike, changes neither contention nor the worst TTFT ratio."""
    order = list(range(len(measurement.rounds[0].solo)))
    random.shuffle(order)
    permuted = [
        replace(round_, solo=tuple(round_.solo[i] for i in order), together=tuple(round_.together[i] for i in order))
        for round_ in measurement.rounds
    ]
    for name in RATIOS:
        assert series(replace(measurement, rounds=tuple(permuted)), name) == series(measurement, name)


@given(measurements(), st.integers(2, 1000))
def test_a_machine_that_is_slower_alike_contends_alike(measurement, times: int) -> None:
    """Stretching all times, the server's and the client's, alone and together, leaves contention and TTFT ratio."""

    def stretched(request):
        return replace(
            request,
            sent_ns=request.sent_ns * times,
            done_ns=request.done_ns * times,
            arrivals_ns=tuple(at * times for at in request.arrivals_ns),
            eval_duration_ns=request.eval_duration_ns * times,
        )

    def slower(runs):
        return tuple(replace(run, requests=tuple(map(stretched, run.requests))) for run in runs)

    rounds = [
        replace(round_, solo=slower(round_.solo), together=slower(round_.together)) for round_ in measurement.rounds
    ]
    for name in RATIOS:
        was = series(measurement, name)
        assert series(replace(measurement, rounds=tuple(rounds)), name) == pytest.approx(was)


@given(measurements(), st.integers(2, 9))
def test_a_longer_wait_together_is_more_contention(measurement, times: int) -> None:
    """Stretching only what was together never takes a contended round away, and multiplies the TTFT ratio."""

    def later(request):
        first, last = request.arrivals_ns
        return replace(request, arrivals_ns=(first * times, max(last, first * times)), done_ns=max(last, first * times))

    rounds = [
        replace(
            round_, together=tuple(replace(each, requests=tuple(map(later, each.requests))) for each in round_.together)
        )
        for round_ in measurement.rounds
    ]
    worse = replace(measurement, rounds=tuple(rounds))
    assert series(worse, "ttft_ratio") == pytest.approx([times * was for was in series(measurement, "ttft_ratio")])
    assert all(
        now >= was
        for now, was in zip(series(worse, "contended_ttft"), series(measurement, "contended_ttft"), strict=True)
    )


def test_steps_have_their_own_baseline() -> None:
    """A conversation's second turn is compared with the second turn alone."""

    def talk(first_ms: float, second_ms: float):
        return run("x", request(ttft_ms=first_ms), request(ttft_ms=second_ms))

    round_ = replace(EVEN, solo=(talk(10, 40),), together=(talk(20, 40),))
    assert ttft_ratios(measurement_of(round_)) == (((2, 1),),)
    torn = replace(EVEN, solo=(talk(10, 40),), together=(run("x"),))
    with pytest.raises(MeasurementError, match="agent 'x' sent"):
        ttft_ratios(measurement_of(torn))


def test_mismatched_work_is_scaled_by_tokens() -> None:
    """Twice the tokens together in twice the time is no loss at all."""
    round_ = round_of((100, 100), (200, 200), tokens=20, solo={"tokens": 10})
    assert round_.work_mismatch
    assert scaling_efficiency_pct(round_) == pytest.approx(100)
    assert series(measurement_of(round_), "scaling_speedup") == (pytest.approx(2),)
    assert slowdowns(round_) == (1, 1)


def test_the_balance_of_one_agent_is_refused() -> None:
    """It would be 100 % whatever happens: a gate that cannot fail."""
    alone = measurement_of(round_of((100,), (200,)))
    for name in ("efficiency_pct", "speedup", "scaling_efficiency_pct", "scaling_speedup"):
        with pytest.raises(MeasurementError, match="round 0: efficiency and speedup need at least 2 agents"):
            series(alone, name)
    assert "efficiency_pct" not in all_series(alone)


def test_without_solo_runs_contention_is_an_error() -> None:
    """Undefined is not `no contention`; balance needs no solo run."""
    no_solo = measurement_of(replace(EVEN, solo=()))
    for name in ("contended_ttft", "contended_throughput", "scaling_efficiency_pct", "slowdown", "ttft_ratio"):
        with pytest.raises(MeasurementError, match="solo baseline of the same session"):
            series(no_solo, name)
    assert series(no_solo, "efficiency_pct") == (100,)


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (replace(EVEN, together=()), "empty together part"),
        (replace(EVEN, together=(replace(EVEN.together[0], requests=()),)), "empty together part"),
        (replace(EVEN, together=(run("x"), run("y", start_ms=1))), "did not start at one moment"),
    ],
)
def test_a_round_that_is_not_whole_is_an_error(broken, text: str) -> None:
    """Missing parts or two barriers cannot be computed around."""
    with pytest.raises(MeasurementError, match=f"round 0.*{text}"):
        series(measurement_of(EVEN, broken), "efficiency_pct")


def test_undefined_values_name_round_and_agent() -> None:
    """The rounds before and after do not hide the one without a value."""
    silent = round_of((100, 100), (100, 100), index=1, tokens=1, solo={"tokens": 1})
    with pytest.raises(MeasurementError, match="round 1: agent 'x': decode_tok_s is undefined") as caught:
        series(measurement_of(EVEN, silent, EVEN), "decode_tok_s")
    assert "num_predict" in caught.value.next_step
    mute = replace(EVEN, index=2, together=(run("x", replace(request(), arrivals_ns=())), run("y")))
    for name in ("ttft_ms", "ttft_ratio"):
        with pytest.raises(MeasurementError, match=r"round 2.*no content chunk"):
            series(measurement_of(EVEN, mute), name)


def test_answers_without_figures_of_the_server_have_times_only() -> None:
    """A /v1 stream gives no durations, without a usage block no count: times are defined, what needs those is not."""
    counted = measurement_of(round_of((100, 100), (100, 200), decode_ms=0, solo={"decode_ms": 0}))
    undefined = {"decode_tok_s", "queue_ms", "ttft_reasoning_ms", "graph_efficiency_pct"}
    assert set(CONTINUOUS) - set(all_series(counted)) == undefined
    uncounted = measurement_of(round_of((100, 100), (100, 200), decode_ms=0, tokens=0, solo={"tokens": 0}))
    undefined |= {"system_tok_s", "scaling_efficiency_pct", "scaling_speedup", "slowdown"}
    assert set(CONTINUOUS) - set(all_series(uncounted)) == undefined
    for name, text in (
        ("queue_ms", "2 of 2 answers"),
        ("system_tok_s", "agent 'x'.*no token count"),
        ("scaling_efficiency_pct", "agent 'x'.*whether the agents did the same work alone and together is unknown"),
        ("slowdown", "agent 'x'.*whether the agents did the same work alone and together is unknown"),
    ):
        with pytest.raises(MeasurementError, match=f"round 0: .*{text}") as caught:
            series(uncounted, name)
        assert caught.value.next_step


def test_a_count_that_one_answer_lacks_is_no_count_of_its_agent() -> None:
    """The sum over the others would be a wrong figure where work is compared by tokens."""
    halved = run("x", request(tokens=10), request(tokens=0))
    round_ = replace(
        EVEN, together=(halved, run("y")), solo=(run("x", request(tokens=10), request(tokens=10)), run("y"))
    )
    for name in ("slowdown", "scaling_efficiency_pct", "system_tok_s"):
        with pytest.raises(MeasurementError, match="agent 'x': 1 of 2 answers have no token count"):
            series(measurement_of(round_), name)


def test_metrics_of_tokens_are_those_of_the_worst_request() -> None:
    """The slowest rate, the longest median gap and time per token, by the arrivals of chunks."""
    ms = 1_000_000
    even = replace(request(tokens=5, decode_ms=40), arrivals_ns=(10 * ms, 20 * ms, 30 * ms, 40 * ms, 50 * ms))
    uneven = replace(even, arrivals_ns=(10 * ms, 12 * ms, 24 * ms, 60 * ms, 90 * ms))
    round_ = replace(EVEN, together=(run("x", even), run("y", uneven)))
    assert series(measurement_of(round_, round_), "client_decode_tok_s") == (50.0, 50.0)  # 4 tokens in 80 ms
    assert series(measurement_of(round_), "itl_ms") == (21.0,)  # of 2, 12, 36 and 30
    assert series(measurement_of(round_), "tpot_ms") == (20.0,)


@pytest.mark.parametrize("name", ["client_decode_tok_s", "itl_ms", "tpot_ms"])
@pytest.mark.parametrize(
    "changes",
    [{"streamed": False}, {"eval_count": 1}, {"arrivals_ns": (9,)}, {"arrivals_ns": (9, 9)}],
    ids=["not streamed", "one token", "one chunk", "at one moment"],
)
def test_metrics_of_tokens_need_tokens_that_arrive_one_by_one(name: str, changes: dict) -> None:
    """In every answer; the error counts the others."""
    round_ = replace(EVEN, together=(run("x"), run("y", replace(request(), **changes))))
    with pytest.raises(MeasurementError, match=rf"round 0: {name} is undefined: in 1 of 2 answers"):
        series(measurement_of(round_), name)


def test_series_refuses_what_has_no_value_a_round() -> None:
    """Unknown names, derived metrics, and measurements without rounds."""
    measurement = measurement_of(EVEN)
    with pytest.raises(UsageError, match="unknown metric 'nonsense'") as caught:
        series(measurement, "nonsense")
    assert "efficiency_pct" in caught.value.next_step
    for name in ("memory_efficiency", "tco_usd"):
        with pytest.raises(UsageError, match="no value per round"):
            series(measurement, name)
    with pytest.raises(MeasurementError, match="no round"):
        series(replace(measurement, rounds=()), "efficiency_pct")


NOTHING = {"eval_count": 0, "arrivals_ns": ()}


@pytest.mark.parametrize("name", ["efficiency_pct", "scaling_efficiency_pct", "speedup", "e2e_ms"])
@pytest.mark.parametrize(
    ("second", "defined"),
    [
        (NOTHING, False),
        ({**NOTHING, "done_reason": "load", "streamed": False}, False),
        ({**NOTHING, "embedding": True}, True),
        ({**NOTHING, "text": "ab", "eval_count": 2, "streamed": False}, True),
        ({**NOTHING, "reasoning_ns": (5_000_000,), "eval_count": 2}, True),
    ],
    ids=["[DONE] only", "only a load", "an embedding", "not streamed", "only thoughts"],
)
def test_an_agent_whose_every_answer_is_empty_did_no_work(name: str, second: dict, defined: bool) -> None:
    """Durations of nothing pass no gate; one answer with something in it is enough."""
    answer = replace(request(), **second)
    for answers, has_value in (((answer,), defined), ((answer, request(sent_ms=100)), True)):
        both = (run("x"), run("y", *answers))
        measurement = measurement_of(replace(EVEN, solo=both, together=both))
        if has_value:
            assert series(measurement, name)
        else:
            with pytest.raises(MeasurementError, match=r"all answers to agent 'y' are empty \(1 of 1\)"):
                series(measurement, name)


def test_aggregates_follow_metrics() -> None:
    """Mean for rates and efficiency, median for TTFT, rate for contention."""
    assert CATALOGUE["efficiency_pct"].aggregate is Aggregate.MEAN
    assert CATALOGUE["decode_tok_s"].aggregate is Aggregate.MEAN
    assert CATALOGUE["ttft_ms"].aggregate is Aggregate.MEDIAN
    assert CATALOGUE["contention_rate_ttft"].aggregate is Aggregate.RATE
    assert CATALOGUE["ttft_ms_cv_pct"].aggregate is Aggregate.CV
