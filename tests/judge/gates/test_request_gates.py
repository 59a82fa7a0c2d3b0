"""Gates on single requests: percentiles and goodput, and what a sample cannot show."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.judge.gates.limit_lookup import Baselines, resolve
from pytest_llmperf.judge.gates.robust.betting_costs import cost_lines
from pytest_llmperf.judge.gates.target import Target
from pytest_llmperf.judge.markers import build
from pytest_llmperf.model import Baseline, Bound, Gate, Measurement, Round, Settings, Threshold, Verdict
from tests.judge.build import measurement_of, request, run

HERE = Target(key=Key(test="t.py::t", scenario="s", topology="dual", workload="w"), facts={})
NONE = Baseline(schema=1, name="card", threshold=())


def gate_of(name: str, *, target: Target = HERE, baseline: Baseline = NONE, **keywords) -> Gate:
    """The gate of a marker with one limit."""
    (gate,) = resolve(build(name, kwargs=keywords), target, Baselines(in_force=baseline))
    return gate


def measured(*rounds: Sequence[float], **common) -> Measurement:
    """Rounds of one agent whose requests have these TTFTs, ms, and end 2 s after they were sent."""
    return measurement_of(
        *(
            Round(
                index=index,
                order=("together",),
                solo=(),
                together=(run("x", *(request(ttft_ms=ttft, **{"total_ms": 2000, **common}) for ttft in ttfts)),),
            )
            for index, ttfts in enumerate(rounds)
        )
    )


def verdict_of(name: str, measurement: Measurement, *, looks: int = 1, gates: int = 1, **keywords) -> Verdict:
    return judge(gate_of(name, **keywords), measurement, looks=looks, gates=gates)


GOOD = [[100 + 10 * (index + k) % 70 for k in range(4)] for index in range(80)]


def test_a_percentile_passes_if_few_enough_requests_are_above() -> None:
    """Value and interval are in ms, and at or below the limit; the reason counts requests."""
    verdict = verdict_of("ttft", measured(*GOOD), max_ms=500, percentile=95)
    assert verdict.outcome == "pass"
    assert verdict.low is not None
    assert verdict.value is not None
    assert verdict.high is not None
    assert 100 < verdict.low <= verdict.value <= verdict.high <= 500
    assert (verdict.value, verdict.rule, verdict.gate.metric) == (160, "requests 1", "ttft_p95_ms")
    assert verdict.reason.startswith("0 of 320 requests above 500 ms; at most 3.")
    assert "% are bad, 5 % may be (Clopper-Pearson, 320 requests of 80 rounds count as" in verdict.reason


def test_what_a_sample_cannot_support_is_not_printed() -> None:
    """Ten good requests say nothing of P95: no value and no upper end, but how many would."""
    verdict = verdict_of("ttft", measured(*[[100, 120]] * 5), max_ms=500, percentile=95, looks=16)
    assert (verdict.outcome, verdict.value, verdict.high) == ("inconclusive", None, None)
    needed = verdict.rounds_needed
    assert needed is not None
    assert needed > 50
    assert f"about {needed} rounds would be needed ({2 * needed} requests)" in verdict.reason
    decided = verdict_of("ttft", measured(*[[100, 120]] * needed), max_ms=500, percentile=95, looks=16)
    assert decided.outcome == "pass"


def test_a_percentile_fails_if_too_many_requests_are_above() -> None:
    """More than the allowed share is certain; several gates ask for more certainty."""
    slow = [[100, 900, 900, 120] if index % 2 else [100, 100, 130, 900] for index in range(20)]
    verdict = verdict_of("ttft", measured(*slow), max_ms=500, percentile=90)
    assert verdict.outcome == "fail"
    assert verdict.low is not None
    assert verdict.low >= 500
    assert verdict.reason.startswith("30 of 80 requests above 500 ms; at least ")
    many = verdict_of("ttft", measured(*slow), max_ms=500, percentile=90, gates=1_000_000)
    assert many.outcome == "inconclusive"


def test_clustered_requests_decide_less() -> None:
    """The same number of bad requests: one in some rounds, or all in few."""
    evenly = [[900 if index % 4 == 0 and k == 0 else 100 for k in range(8)] for index in range(128)]
    together = [[900 if index % 32 == 0 else 100] * 8 for index in range(128)]
    assert sum(ttft > 500 for row in evenly for ttft in row) == sum(ttft > 500 for row in together for ttft in row)
    first, second = (verdict_of("ttft", measured(*rows), max_ms=500, percentile=95) for rows in (evenly, together))
    assert (first.outcome, second.outcome) == ("pass", "inconclusive")


@pytest.mark.parametrize(
    ("name", "keywords", "metric", "value"),
    [
        ("itl", {"max_ms": 2500, "percentile": 50}, "itl_p50_ms", 1900),
        ("tpot", {"max_ms": 300, "percentile": 50}, "tpot_p50_ms", 1900 / 9),
        ("e2e", {"max_s": 3, "percentile": 50}, "e2e_p50_s", 2),
        ("itl", {"max_ms": 2500}, "itl_ms", 1900),
        ("tpot", {"max_ms": 300}, "tpot_ms", 1900 / 9),
        ("e2e", {"max_s": 3}, "e2e_s", 2),
        ("ttft", {"max_ms": 300}, "ttft_ms", 100),
    ],
)
def test_what_each_gate_judges(name: str, keywords: dict, metric: str, value: float) -> None:
    """With a percentile all requests, without it the worst of each round, in the limit's unit."""
    verdict = verdict_of(name, measured(*[[100]] * 8), **keywords)
    assert (verdict.gate.metric, verdict.outcome) == (metric, "pass")
    assert verdict.value == pytest.approx(value)


def test_goodput_counts_requests_that_keep_every_limit() -> None:
    """One limit broken is enough; the tokens of good requests over the wall time are in the reason."""
    rows = [[100, 100, 100, 900] for _ in range(20)]
    verdict = verdict_of("goodput", measured(*rows), min_share=0.5, ttft_ms=500, e2e_s=3)
    assert (verdict.outcome, verdict.value, verdict.gate.bound) == ("pass", 0.75, Bound.MIN)
    assert verdict.reason.startswith("60 of 80 requests keep ttft_ms 500 and e2e_s 3, 15.0 of 20.0 tok/s; at most ")
    slow = verdict_of("goodput", measured(*rows), min_share=0.5, ttft_ms=500, e2e_s=1)
    assert (slow.outcome, slow.value) == ("fail", 0)
    paced = verdict_of("goodput", measured(*rows), min_share=0.9, tpot_ms=200, ttft_ms=1000)
    assert (paced.outcome, paced.value) == ("fail", 0.25)  # (2000 - 900) / 9 ms a token


def test_goodput_without_counts_says_no_tokens() -> None:
    """A server that counts no tokens has no tok/s; the share is known."""
    verdict = verdict_of("goodput", measured(*[[100]] * 8, tokens=0), min_share=0.5, e2e_s=3)
    assert verdict.reason.startswith("8 of 8 requests keep e2e_s 3; ")


def test_one_undefined_request_makes_the_gate_invalid() -> None:
    """No request drops out."""
    whole = measured(*[[100]] * 8, streamed=False)
    for name, keywords in (("ttft", {"max_ms": 5, "percentile": 90}), ("goodput", {"min_share": 0.5, "ttft_ms": 5})):
        verdict = verdict_of(name, whole, **keywords)
        assert verdict.outcome == "invalid"
        assert "not streamed" in verdict.reason
    assert verdict_of("e2e", whole, max_s=3, percentile=50).outcome == "pass"


def test_times_that_are_upper_bounds_are_named() -> None:
    """A TTFT above the limit may be the client's doing."""
    verdict = verdict_of("ttft", measured(*[[900, 900]] * 8, first_merged=True), max_ms=500, percentile=50)
    assert verdict.outcome == "fail"
    assert "16 of these times are upper bounds" in verdict.reason


def test_by_betting() -> None:
    """`robust=True` needs no assumption, and more rounds; the header says how many, the verdict what is missing."""
    rows = [[100, 120]] * 80
    usual, bets = (
        verdict_of("ttft", measured(*rows), max_ms=500, percentile=95, robust=robust) for robust in (False, True)
    )
    assert (usual.outcome, bets.outcome, bets.rule) == ("pass", "inconclusive", "betting 1")
    needed = bets.rounds_needed
    assert needed is not None
    assert 80 < needed < 100
    enough = measured(*[[100, 120]] * needed)
    assert verdict_of("ttft", enough, max_ms=500, percentile=95, robust=True).outcome == "pass"
    marker = build("ttft", kwargs={"max_ms": 500, "percentile": 95, "robust": True})
    (line,) = cost_lines({"t": [marker]}, Settings(), [NONE])
    assert line.startswith(
        f"ttft maximum 500 ms, by betting: needs about {needed} rounds to pass if all of them are good"
    )
    good = build("goodput", kwargs={"min_share": 0.8, "e2e_s": 5, "robust": True})
    (line,) = cost_lines({"t": [good]}, Settings(), [NONE])
    assert line.startswith("goodput minimum 0.8 ratio, by betting: needs about ")
    assert verdict_of("goodput", measured(*rows), min_share=0.8, e2e_s=5, robust=True).outcome == "pass"


def test_limits_of_baselines_and_options() -> None:
    """A threshold names the percentile's metric; another machine's is not comparable; the option sets the limit."""
    row = Threshold(metric="ttft_p95_ms", level="validation", bound=Bound.MAX, value=500, unit="ms", source="here")
    gate = gate_of("ttft", percentile=95, baseline=replace(NONE, threshold=(row,)))
    assert (gate.metric, gate.limit) == ("ttft_p95_ms", 500)
    verdict = judge(gate, measured(*GOOD), looks=1)
    assert (verdict.outcome, verdict.reason) == ("not comparable", "the baseline states no machine")
    settings = Settings(limits={"goodput": 0.5})
    gate = gate_of("goodput", e2e_s=5, target=Target(key=HERE.key, facts={}, settings=settings))
    assert (gate.limit, gate.source) == (0.5, "--llmperf-limit goodput=0.5")


@pytest.mark.parametrize("rounds", [1, 2])
def test_too_few_rounds_decide_nothing(rounds: int) -> None:
    """However many requests they have."""
    for keywords in ({"max_ms": 500, "percentile": 50}, {"max_ms": 50, "percentile": 50}):
        verdict = verdict_of("ttft", measured(*[[100] * 50] * rounds), **keywords)
        assert verdict.outcome == "inconclusive"
        assert verdict.reason == f"{rounds} round{'s' * (rounds > 1)}; a verdict needs at least 3"


@pytest.mark.parametrize(
    ("name", "keywords", "error", "text"),
    [
        ("ttft", {"percentile": 80}, ValueError, "ttft: percentile is 80, wanted one of 50, 90, 95, 99"),
        ("ttft", {"percentile": "95"}, TypeError, "ttft: percentile is '95', wanted one of 50, 90, 95, 99"),
        ("ttft", {"max_ratio": 2, "percentile": 95}, ValueError, "ttft: max_ratio has no percentile"),
        ("goodput", {"min_share": 2, "e2e_s": 5}, ValueError, r"min_share is 2, wanted a number in \(0, 1\]"),
        (
            "goodput",
            {"min_score": 0.5},
            TypeError,
            "goodput has no keyword 'min_score': timed answers are not kept",
        ),
    ],
)
def test_what_a_marker_refuses(name: str, keywords: dict, error: type[Exception], text: str) -> None:
    """With what is valid, or why it cannot be."""
    with pytest.raises(error, match=text):
        build(name, kwargs=keywords)


def test_goodput_must_state_what_requests_have_to_keep() -> None:
    """A goodput that no request can miss is an error."""
    with pytest.raises(UsageError, match="states nothing that each request has to keep") as caught:
        gate_of("goodput", min_share=0.9)
    assert caught.value.next_step == "add one or more of ttft_ms=, tpot_ms=, e2e_s="
