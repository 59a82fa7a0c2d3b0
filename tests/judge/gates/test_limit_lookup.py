"""Where limits come from, and when they do not hold here."""

import math
from dataclasses import replace

import pytest

from pytest_llmperf.errors import BaselineError, UsageError
from pytest_llmperf.judge.baselines.comparability import differences
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.gate_kinds import COMPARED_METRICS, GATE_KINDS
from pytest_llmperf.judge.gates.comparison_gates import compare_gates, comparison_gate
from pytest_llmperf.judge.gates.limit_lookup import Baselines, resolve
from pytest_llmperf.judge.gates.target import Target
from pytest_llmperf.judge.markers import build
from pytest_llmperf.judge.metrics.catalogue import DEFAULT_DELTA_PCT, DEFAULT_DELTA_PP
from pytest_llmperf.model import Baseline, Bound, Configuration, Prices, Settings, Stored, StoredSession, Threshold

KEY = Key(test="t.py::test_x", scenario="pair", topology="dual", workload="abc")
FACTS = {"backend": "ollama", "gpu": "RTX", "cpu": "i9"}
HERE = Target(key=KEY, facts=FACTS)


def threshold(metric: str, value: float, bound: Bound = Bound.MIN, **others) -> Threshold:
    return Threshold(
        **{
            "metric": metric,
            "value": value,
            "bound": bound,
            "level": "validation",
            "unit": "%",
            "source": "E.1",
            **others,
        }
    )


CARD = Baseline(
    schema=1,
    name="card",
    manifest=FACTS,
    threshold=(
        threshold("efficiency_pct", 90, level="critical"),
        threshold("efficiency_pct", 95, source="E.1 #6"),
        threshold("contention_rate", 0.01, Bound.MAX),
        threshold("decode_tok_s", 80),
        threshold("cv_pct", 5, Bound.MAX),
        threshold("ttft_ms", 2000, Bound.MAX),
    ),
)


def session(at: str = "2026-01-01T00:00:00+00:00", facts=FACTS, **rounds: tuple[float, ...]) -> StoredSession:
    rounds = rounds or dict.fromkeys(COMPARED_METRICS, (90.0, 92.0, 94.0))
    return StoredSession(saved_at=at, manifest=facts, rounds=rounds)


def saved(*sessions: StoredSession, **changes: str) -> Baseline:
    key = replace(KEY, **changes)
    entry = Stored(
        test=key.test,
        scenario=key.scenario,
        topology=key.topology,
        workload=key.workload,
        session=sessions or (session(),),
    )
    return Baseline(schema=1, name="mine", stored=(entry,))


def gates(marker: str, *, limits=None, baseline=CARD, stored=None, facts=FACTS, key=KEY, **kwargs):
    return resolve(
        build(marker, kwargs=kwargs),
        Target(
            key=key,
            facts=facts,
            settings=Settings(limits=limits or {}, configuration=Configuration(prices=Prices(usd_per_hour=1.0))),
        ),
        Baselines(in_force=baseline, compared=stored),
    )


def test_marker_before_settings_before_baseline() -> None:
    """The source says which of them it was."""
    (typed,) = gates("efficiency", min_pct=99, limits={"efficiency": 97})
    assert (typed.limit, typed.source) == (99, "marker efficiency(min_pct=99)")
    (option,) = gates("efficiency", limits={"efficiency": 97})
    assert (option.limit, option.source) == (97, "--llmperf-limit efficiency=97")
    (card,) = gates("efficiency")
    assert (card.limit, card.source, card.bound) == (95, "baseline card, E.1 #6", Bound.MIN)
    assert card.demanded


@pytest.mark.parametrize(
    ("marker", "kwargs", "metric", "bound"),
    [
        ("efficiency", {"min_pct": 1}, "efficiency_pct", Bound.MIN),
        ("scaling", {"min_pct": 1}, "scaling_efficiency_pct", Bound.MIN),
        ("speedup", {"min_x": 1}, "speedup", Bound.MIN),
        ("contention", {"max_rate": 0}, "contention_rate_ttft", Bound.MAX),
        ("contention", {"max_rate": 0, "detector": "throughput"}, "contention_rate_throughput", Bound.MAX),
        ("throughput", {"min_tok_s": 1}, "decode_tok_s", Bound.MIN),
        ("throughput", {"min_tok_s": 1, "of": "system"}, "system_tok_s", Bound.MIN),
        ("ttft", {"max_ms": 1}, "ttft_ms", Bound.MAX),
        ("ttft", {"max_ratio": 1}, "ttft_ratio", Bound.MAX),
        ("consistency", {"max_cv_pct": 1}, "decode_tok_s_cv_pct", Bound.MAX),
        ("consistency", {"max_cv_pct": 1, "metric": "ttft_ms"}, "ttft_ms_cv_pct", Bound.MAX),
    ],
)
def test_each_marker_has_its_metric(marker: str, kwargs: dict, metric: str, bound: Bound) -> None:
    """And the good side of that metric."""
    (gate,) = gates(marker, **kwargs)
    assert (gate.marker, gate.metric, gate.bound) == (marker, metric, bound)


def test_a_limit_of_zero_counts_as_given() -> None:
    """`contention(max_rate=0)` is not `contention()`; nor is a limit of 0 from the command line."""
    assert gates("contention", max_rate=0)[0].limit == 0
    assert gates("contention", limits={"contention": 0.0})[0].limit == 0
    assert gates("contention")[0].limit == 0.01


def test_ttft_with_both_limits_makes_two_gates() -> None:
    """Neither hides the other; without a limit the baseline's ms come first, then its ratio."""
    assert [(gate.metric, gate.limit) for gate in gates("ttft", max_ms=500, max_ratio=2)] == [
        ("ttft_ms", 500),
        ("ttft_ratio", 2),
    ]
    assert gates("ttft")[0].metric == "ttft_ms"
    ratio = replace(CARD, threshold=(threshold("ttft_ratio", 3, Bound.MAX),))
    (gate,) = gates("ttft", baseline=ratio, facts={})
    assert (gate.metric, gate.limit, gate.not_comparable) == ("ttft_ratio", 3, "")


def test_the_most_specific_threshold_wins() -> None:
    """Scenario and topology, then scenario, then topology, then everywhere; others do not apply."""
    steps = [
        threshold("efficiency_pct", 1),
        threshold("efficiency_pct", 2, topology="dual"),
        threshold("efficiency_pct", 3, scenario="pair"),
        threshold("efficiency_pct", 4, scenario="pair", topology="dual"),
    ]
    foreign = [threshold("efficiency_pct", 9, topology="single"), threshold("efficiency_pct", 8, scenario="other")]
    for count in range(1, 5):
        for order in (steps[:count] + foreign, foreign + steps[count - 1 :: -1]):
            (gate,) = gates("efficiency", baseline=replace(CARD, threshold=tuple(order)))
            assert gate.limit == count


def test_thresholds_that_contradict_each_other_are_an_error() -> None:
    """Two values for the same place: neither is taken; twice the same value is one."""
    twice = replace(CARD, threshold=(threshold("efficiency_pct", 95), threshold("efficiency_pct", 95, source="H.1")))
    assert gates("efficiency", baseline=twice)[0].limit == 95
    both = replace(twice, threshold=(*twice.threshold, threshold("efficiency_pct", 90)))
    with pytest.raises(BaselineError, match=r"95 \(E.1\) and 90 \(E.1\)"):
        gates("efficiency", baseline=both)


def test_the_family_threshold_serves_where_the_metric_has_none() -> None:
    """`contention_rate` and `cv_pct`; the latter of token rates only (A.4)."""
    assert gates("contention", detector="throughput")[0].limit == 0.01
    own = replace(CARD, threshold=(*CARD.threshold, threshold("contention_rate_throughput", 0.2, Bound.MAX)))
    assert gates("contention", detector="throughput", baseline=own)[0].limit == 0.2
    assert gates("consistency")[0].limit == gates("consistency", metric="system_tok_s")[0].limit == 5
    with pytest.raises(UsageError, match="no validation threshold of ttft_ms_cv_pct for"):
        gates("consistency", metric="ttft_ms")


def test_no_limit_anywhere_is_an_error() -> None:
    """It names marker, test, baseline, and the three ways to give one."""
    with pytest.raises(UsageError, match=r"marker scaling\(\) on t.py::test_x .* baseline card has no") as caught:
        gates("scaling")
    assert "@pytest.mark.scaling(min_pct=...)" in caught.value.next_step
    assert "--llmperf-limit scaling=..." in caught.value.next_step
    assert "[[threshold]]" in caught.value.next_step


@pytest.mark.parametrize("value", [math.nan, math.inf, 120.0, -1.0])
def test_settings_are_held_to_the_markers_ranges(value: float) -> None:
    """A NaN from the command line is refused before anything runs."""
    with pytest.raises(UsageError, match=r"--llmperf-limit efficiency=.*wanted a number in"):
        gates("efficiency", limits={"efficiency": value})
    with pytest.raises(UsageError, match="--llmperf-limit regression="):
        compare_gates(saved(), replace(HERE, settings=Settings(limits={"regression": -abs(value)})))


def test_machine_bound_limits_of_a_baseline_hold_on_its_machine_only() -> None:
    """Other, absent here, or a baseline without a machine: not comparable, with the keys."""
    assert gates("throughput")[0].not_comparable == ""
    elsewhere = {**FACTS, "gpu": "A100"}
    assert gates("throughput", facts=elsewhere)[0].not_comparable == "gpu: baseline RTX, here A100"
    absent = {"backend": "ollama", "gpu": "RTX"}
    assert gates("ttft", facts=absent)[0].not_comparable == "cpu: baseline i9, here not known"
    nowhere = replace(CARD, manifest={"python": "3.11"})
    assert gates("throughput", baseline=nowhere)[0].not_comparable == "the baseline states no machine"
    more_here = {**FACTS, "os": "Linux", "python": "3.13"}
    assert gates("throughput", facts=more_here)[0].not_comparable == ""


def test_ratios_and_typed_limits_hold_everywhere() -> None:
    """A ratio is valid on every machine; a limit given by the user applies to the machine that it is given on."""
    for gate in (
        *gates("efficiency", facts={}),
        *gates("contention", facts={}),
        *gates("consistency", facts={}),
        *gates("throughput", min_tok_s=5, facts={}),
        *gates("throughput", limits={"throughput": 5}, facts={}),
    ):
        assert gate.not_comparable == ""


def test_limits_take_the_sessions_that_are_comparable() -> None:
    """They show the spread between sessions; a gate needs none, and sessions of other machines serve ratios only."""
    stored = saved(
        *(session(facts=facts, efficiency_pct=(97.0, 98.0), decode_tok_s=(9.0, 8.0)) for facts in (FACTS, {}))
    )
    (ratio,) = gates("efficiency", stored=stored, min_pct=90)
    (rate,) = gates("throughput", stored=stored, min_tok_s=5)
    assert (len(ratio.reference), len(rate.reference)) == (2, 1)
    (unknown,) = gates("efficiency", stored=stored, key=replace(KEY, test="another"), min_pct=90)
    assert unknown.reference == ()


def test_differences_look_at_identity_only() -> None:
    """In the order of IDENTITY; keys that are only noted void nothing."""
    stated = {"os": "Linux", "gpu": "RTX", "git_commit": "abc"}
    assert differences(stated, {"gpu": "A100"}) == (
        "gpu: baseline RTX, here A100",
        "os: baseline Linux, here not known",
    )
    assert differences(stated, {"gpu": "RTX", "os": "Linux"}) == ()


def test_regression_takes_the_stored_rounds() -> None:
    """One gate a metric, with the sessions' centre (median for TTFT), each session's values, and the default delta."""
    stored = saved(
        session(**dict.fromkeys(COMPARED_METRICS, (90.0, 91.0, 98.0))),
        session("2026-02-02T00:00:00+00:00", **dict.fromkeys(COMPARED_METRICS, (94.0, 94.0, 94.0))),
    )
    by_metric = {gate.metric: gate for gate in gates("regression", stored=stored)}
    assert list(by_metric) == ["efficiency_pct", "scaling_efficiency_pct", "system_tok_s", "ttft_ms"]
    assert by_metric["efficiency_pct"].limit == 93.5
    assert by_metric["ttft_ms"].limit == 92.5
    assert by_metric["ttft_ms"].bound is Bound.MAX
    assert by_metric["ttft_ms"].reference == ((90.0, 91.0, 98.0), (94.0, 94.0, 94.0))
    assert by_metric["efficiency_pct"].delta == DEFAULT_DELTA_PP == 2
    assert by_metric["scaling_efficiency_pct"].delta == 5
    assert by_metric["ttft_ms"].delta == DEFAULT_DELTA_PCT
    assert by_metric["ttft_ms"].source == "baseline mine, 2 sessions, newest saved at 2026-02-02T00:00:00+00:00"
    (own,) = gates("regression", stored=stored, metrics=("ttft_ms",), delta=3, limits={"regression": 4})
    assert own.delta == 3
    assert gates("regression", stored=stored, limits={"regression": 4})[0].delta == 4


def test_regression_without_compare_uses_the_baseline_in_force() -> None:
    """A baseline may hold thresholds and sessions."""
    assert gates("regression", baseline=saved())[0].source.startswith("baseline mine, 1 session,")


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        (
            {"test": "t.py::other"},
            "if the test was renamed: pytest-llmperf rename mine t.py::other t.py::test_x; else save",
        ),
        ({"test": "quite_another.py::name"}, "nothing of this test"),
        ({"scenario": "other"}, "scenario other, topology dual, workload abc"),
        ({"topology": "single"}, "scenario pair, topology single, workload abc"),
        ({"workload": "old"}, "scenario pair, topology dual, workload old"),
    ],
)
def test_nothing_stored_of_this_measurement_is_an_error(changes: dict[str, str], held: str) -> None:
    """Test, scenario, topology and workload must all match; the error lists what is stored and how to save."""
    for work in (
        lambda stored: gates("regression", stored=stored),
        lambda stored: compare_gates(stored, HERE),
    ):
        with pytest.raises(BaselineError, match=held) as caught:
            work(saved(**changes))
        assert "--llmperf-save mine" in caught.value.next_step


def test_a_metric_that_was_not_stored_is_an_error_for_a_marker() -> None:
    """And is left out by --llmperf-compare, unless nothing remains."""
    partly = saved(session(efficiency_pct=(90.0, 91.0, 92.0)))
    with pytest.raises(BaselineError, match=r"no scaling_efficiency_pct of t\.py::test_x"):
        gates("regression", stored=partly)
    assert [gate.metric for gate in compare_gates(partly, HERE)] == ["efficiency_pct"]
    with pytest.raises(BaselineError, match="holds none of"):
        compare_gates(saved(session(speedup=(1.0,))), HERE)


def test_stored_values_that_have_no_centre_are_an_error() -> None:
    """A baseline made by hand with NaN in it."""
    with pytest.raises(BaselineError, match=r"efficiency_pct of t\.py::test_x.*nan"):
        gates("regression", stored=saved(session(efficiency_pct=(90.0, math.nan))), metrics=("efficiency_pct",))


def test_sessions_of_other_machines_serve_ratios_only() -> None:
    """tok/s of the sessions from here are compared; with none from here, nothing is, and the newest says why."""
    here, there = session(), session(facts={**FACTS, "gpu": "A100"})
    mixed = {gate.metric: gate for gate in compare_gates(saved(here, there), HERE)}
    assert len(mixed["efficiency_pct"].reference) == 2
    assert len(mixed["system_tok_s"].reference) == 1
    away = {gate.metric: gate for gate in compare_gates(saved(there), HERE)}
    assert away["efficiency_pct"].not_comparable == ""
    assert away["system_tok_s"].not_comparable == "gpu: baseline A100, here RTX"
    assert not any(gate.demanded for gate in away.values())


@pytest.mark.parametrize(
    ("stated", "here", "why"),
    [
        ({"backend": "simulated"}, {"backend": "ollama"}, "backend: baseline simulated, here ollama"),
        ({"backend": "ollama"}, {"backend": "simulated"}, "backend: baseline ollama, here simulated"),
        ({}, {"backend": "simulated"}, "backend: baseline not known, here simulated"),
        ({"backend": "simulated"}, {}, "backend: baseline simulated, here not known"),
        ({"backend": "ollama"}, {"backend": "embedded"}, ""),
    ],
)
def test_simulated_and_real_are_never_compared(stated: dict, here: dict, why: str) -> None:
    """Not even by ratios; two real backends are."""
    assert compare_gates(saved(session(facts=stated)), Target(key=KEY, facts=here))[0].not_comparable == why


def test_rates_have_no_regression_gate() -> None:
    """Percent of no contention mean nothing."""
    with pytest.raises(UsageError, match="no regression gate"):
        comparison_gate(
            "contended_ttft",
            marker="regression",
            delta=None,
            stored=saved(session(contended_ttft=(0.0, 0.0))),
            target=HERE,
            demanded=True,
        )


def test_every_marker_resolves() -> None:
    """No marker of the vocabulary is left without a gate."""
    for name, kind in GATE_KINDS.items():
        bounds = {row.name: 5 for row in kind.keywords if row.of_requests}
        assert gates(name, **{kind.limits[0].name: 0.5}, **bounds, stored=saved())


def cost_gate(settings: Settings, **keywords):
    """The gate of the marker `cost`."""
    target = Target(key=KEY, facts={}, settings=settings)
    (gate,) = resolve(build("cost", kwargs=keywords), target, Baselines(in_force=CARD))
    return gate


def test_a_limit_on_cost_is_a_least_rate() -> None:
    """At 0.36 USD an hour 0.5 USD a million tokens ask for 200 tok/s of all agents; marker, then option, then file."""
    file = Configuration(prices=Prices(usd_per_hour=0.36, max_usd_per_1m_tokens=0.25))
    gate = cost_gate(Settings(configuration=file), max_usd_per_1m=0.5)
    assert (gate.metric, gate.bound, gate.limit) == ("system_tok_s", Bound.MIN, pytest.approx(200))
    assert gate.source == ("0.5 USD for a million tokens, marker cost(max_usd_per_1m=0.5), at 0.36 USD an hour")
    gate = cost_gate(Settings(configuration=file, limits={"cost": 1.0}))
    assert (gate.limit, "--llmperf-limit cost=1" in gate.source) == (pytest.approx(100), True)
    gate = cost_gate(Settings(configuration=file))
    assert (gate.limit, "of llmperf.toml" in gate.source) == (pytest.approx(400), True)


def test_a_limit_on_cost_needs_a_price() -> None:
    """Without a price of an hour, or without a limit anywhere, it is an error that names the key."""
    with pytest.raises(UsageError, match=r"states no price of an hour\n  next: state usd_per_hour in \[prices\]"):
        cost_gate(Settings(), max_usd_per_1m=0.5)
    with pytest.raises(UsageError, match=r"nothing states a limit\n  next: state max_usd_per_1m_tokens"):
        cost_gate(Settings(configuration=Configuration(prices=Prices(usd_per_hour=1.0))))
