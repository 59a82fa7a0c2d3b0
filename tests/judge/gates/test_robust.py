"""Gates that are decided by betting: which can be, what they say, what it costs."""

from dataclasses import replace

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.judge.gate_kinds import GATE_KINDS, ROBUST
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.judge.gates.robust.betting_costs import cost_lines
from pytest_llmperf.judge.gates.robust.betting_gates import as_asked, bets, notes_of, why_not
from pytest_llmperf.judge.markers import build
from pytest_llmperf.judge.stats.betting import BETTING_RULE
from pytest_llmperf.model import Baseline, Bound, Outcome, Settings, Stored, StoredSession
from tests.judge.build import gate

CARD = baseline_files.load_named("decision_card", ())
ROBUSTLY = Settings(robust=True)
LIMITS = {
    "efficiency": gate(),
    "contention": gate("contention_rate_ttft", 0.2, Bound.MAX),
    "ttft": gate("ttft_ms", 500.0, Bound.MAX),
}


def robust(name: str):
    return replace(LIMITS[name], robust=True)


@pytest.mark.parametrize(
    ("name", "value", "rounds", "outcome"),
    [
        ("efficiency", 98.7, 20, Outcome.INCONCLUSIVE),
        ("efficiency", 98.7, 130, Outcome.PASS),
        ("efficiency", 92.0, 12, Outcome.FAIL),
        ("contention", 0.0, 20, Outcome.INCONCLUSIVE),
        ("contention", 0.0, 30, Outcome.PASS),
        ("contention", 1.0, 5, Outcome.FAIL),
        ("ttft", 400.0, 5, Outcome.INCONCLUSIVE),
        ("ttft", 400.0, 8, Outcome.PASS),
        ("ttft", 700.0, 8, Outcome.FAIL),
    ],
)
def test_what_alike_rounds_decide(name: str, value: float, rounds: int, outcome: Outcome) -> None:
    """A bounded mean takes many rounds, a share some, a median few; verdicts name their rule, open ones the cost."""
    verdict = judge_values(robust(name), [value] * rounds, looks=16)
    assert (verdict.outcome, verdict.rule) == (outcome, BETTING_RULE)
    assert "by betting" in verdict.reason
    if outcome is Outcome.INCONCLUSIVE:
        more = verdict.rounds_needed - rounds
        assert f"about {verdict.rounds_needed} rounds would be needed, {more} more" in verdict.reason
        decided = judge_values(robust(name), [value] * verdict.rounds_needed, looks=16)
        assert decided.outcome in (Outcome.PASS, Outcome.FAIL)


def test_five_perfect_rounds_prove_little() -> None:
    """Nine in ten at 100 and one at 92 is 99.2 on average; five rounds of 100 pass 99.3 by the usual rule only."""
    values, limit = [100.0] * 5, 99.3
    assert judge_values(gate(limit=limit), values, looks=16).outcome is Outcome.PASS
    assert judge_values(gate(limit=limit, robust=True), values, looks=16).outcome is Outcome.INCONCLUSIVE


def test_rounds_on_the_limit_prove_nothing() -> None:
    """Values that repeat are known to half a step: the limit is within it."""
    assert judge_values(gate(robust=True), [95.0] * 400, looks=16).outcome is Outcome.INCONCLUSIVE


def test_a_median_on_the_limit_needs_more_rounds_than_any_session_has() -> None:
    """Values that repeat are known to half a step: more of them will never tell the side of the limit."""
    verdict = judge_values(robust("ttft"), [500.0] * 12, looks=16)
    assert (verdict.outcome, verdict.rounds_needed) == (Outcome.INCONCLUSIVE, None)


def test_more_gates_fail_later() -> None:
    """The error of `fail` is shared; that of `pass` is not."""
    lost, kept = [92.0] * 12, [98.7] * 130
    assert judge_values(robust("efficiency"), lost, looks=16, gates=20).outcome is Outcome.INCONCLUSIVE
    assert judge_values(robust("efficiency"), [92.0] * 25, looks=16, gates=20).outcome is Outcome.FAIL
    assert judge_values(robust("efficiency"), kept, looks=16, gates=20).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("unable", "words"),
    [
        (gate("decode_tok_s", 50.0), "decode_tok_s has no known upper bound"),
        (gate("scaling_efficiency_pct", 50.0), "scaling_efficiency_pct has no known upper bound"),
        (gate("decode_tok_s_cv_pct", 5.0, Bound.MAX), "decode_tok_s_cv_pct has no known upper bound"),
        (gate(limit=100.0), "its limit 100 is a bound of efficiency_pct"),
        (gate("contention_rate_ttft", 0.0, Bound.MAX), "its limit 0 is a bound of contention_rate_ttft"),
        (gate(delta=2.0, reference=((98.0, 98.5, 98.2),) * 4), "it compares"),
    ],
    ids=lambda value: value.metric if hasattr(value, "metric") else "",
)
def test_what_cannot_be_decided_so(unable, words: str) -> None:
    """Never another rule without a word: reason and note say it of the option's gates, a marker's is refused."""
    rounds = [0.0, 0.0, 1.0] if "contention" in unable.metric else [98.0, 98.5, 98.2, 97.9, 98.1]
    (asked,) = as_asked([unable], ROBUSTLY)
    assert asked.robust
    assert not bets(asked)
    usual, verdict = (judge_values(one_gate, rounds, looks=16) for one_gate in (unable, asked))
    assert verdict.outcome is usual.outcome
    assert verdict.rule == usual.rule
    assert f"not by betting: {words}" in verdict.reason
    (note,) = notes_of([asked])
    assert words in note
    assert "judged by the usual rule" in note
    with pytest.raises(UsageError, match="cannot be robust") as caught:
        as_asked([asked], Settings())
    assert "next: " in str(caught.value)


def test_the_largest_round_needs_no_distribution() -> None:
    """Gates on memory and temperature conclude nothing for other rounds: no note, the same verdict."""
    largest = gate("server_rss_gib", 2.0, Bound.MAX, robust=True)
    assert not bets(largest)
    assert not why_not(largest)
    assert judge_values(largest, [1.0] * 5, looks=16).outcome is Outcome.PASS


def test_without_the_option_nothing_changes() -> None:
    """Gates are as they were made."""
    gates = tuple(LIMITS.values())
    assert as_asked(gates, Settings()) == gates
    assert notes_of(gates) == ()


@pytest.mark.parametrize("name", GATE_KINDS)
def test_the_keyword(name: str) -> None:
    """Kinds with a bounded metric or a median take it, others say who does."""
    if ROBUST in GATE_KINDS[name].keywords:
        marker = build(name, kwargs={"robust": True})
        assert marker.robust
        assert "robust=True" in repr(marker)
        assert "robust" not in repr(build(name)), "resumable runs remember markers by this"
    else:
        with pytest.raises(
            TypeError, match=r"has no keyword 'robust' \(only efficiency, contention, ttft, itl, tpot, e2e, goodput do"
        ):
            build(name, kwargs={"robust": True})


def test_the_cost_is_known_before_anything_starts() -> None:
    """From the marker's limit or the baseline's, by an assumed spread; gates that cannot be are named."""
    markers = (build("efficiency"), build("ttft", kwargs={"max_ms": 500}), build("throughput", kwargs={"min_tok_s": 9}))
    lines = cost_lines({"first": markers, "second": markers[:1]}, ROBUSTLY, [CARD])
    assert len(lines) == 3
    assert lines[0].startswith("efficiency minimum 95 %, by betting: needs about 1")
    assert "rounds to pass if their mean is 97.5 %, their sd 1.2" in lines[0]
    assert lines[0].endswith("; --llmperf-max-rounds allows 20, raise it")
    assert lines[1] == "ttft maximum 500 ms, by betting: needs about 7 rounds to pass if all of them are good"
    assert "throughput (decode_tok_s has no known upper bound)" in lines[2]
    assert cost_lines({"first": markers}, Settings(), [CARD]) == ()


def test_the_assumed_rounds_are_on_the_good_side_of_a_maximum() -> None:
    """Half the allowed share, as for a minimum half of what is left below the bound."""
    (line,) = cost_lines({"first": (build("critical_path", kwargs={"max_share": 0.2}),)}, ROBUSTLY, [CARD])
    assert line.startswith("critical_path maximum 0.2 ratio, by betting: needs about ")
    assert "rounds to pass if their mean is 0.1 ratio, their sd 0.012" in line


def test_the_cost_by_stored_rounds() -> None:
    """Stored rounds of the test say more than an assumption."""
    session = StoredSession(saved_at="2026-01-01T00:00:00+00:00", manifest={}, rounds={"efficiency_pct": (99.9, 99.7)})
    entry = Stored(test="first", scenario="s", topology="dual", workload="w", session=(session,))
    baseline = Baseline(schema=1, name="mine", stored=(entry,))
    marker = build("efficiency", kwargs={"min_pct": 80, "robust": True})
    (line,) = cost_lines({"first": (marker,)}, Settings(max_rounds=30), [CARD, baseline])
    assert line.startswith("efficiency minimum 80 %, by betting: needs about 2")
    assert line.endswith("rounds to pass if rounds are like the stored ones")
