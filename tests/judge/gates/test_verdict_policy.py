"""What a verdict does to its test, by the settings."""

import itertools

import pytest

from pytest_llmperf.judge.gates.verdict_policy import action, in_words
from pytest_llmperf.model import Outcome, Settings, Verdict
from tests.judge.build import gate


def verdict(outcome: Outcome, *, sessions: int = 0, demanded: bool = True) -> Verdict:
    """The verdict of a limit gate; with `sessions`, of a regression gate."""
    reference = tuple((95.0, 96.0) for _ in range(sessions))
    return Verdict(
        gate=gate(delta=5.0 if sessions else None, reference=reference, demanded=demanded),
        outcome=outcome,
        value=95.0,
        low=94.0,
        high=96.0,
        confidence_pct=95.0,
        rounds=5,
        grade="publishable",
    )


def act(verdict: Verdict, *others: Verdict, **settings: object) -> str:
    return action(verdict, (verdict, *others), Settings(**settings))


@pytest.mark.parametrize("sessions", [0, 1, 9])
def test_pass_fail_and_invalid_are_no_matter_of_policy(sessions: int) -> None:
    """Whatever the settings say."""
    for inconclusive, mismatch in itertools.product(("fail", "warn"), ("fail", "warn", "skip")):
        settings = {
            "on_inconclusive": inconclusive,
            "on_inconclusive_regression": inconclusive,
            "on_mismatch": mismatch,
        }
        assert act(verdict(Outcome.PASS, sessions=sessions), **settings) == "pass"
        assert act(verdict(Outcome.FAIL, sessions=sessions), **settings) == "fail"
        assert act(verdict(Outcome.INVALID, sessions=sessions), **settings) == "fail"


def test_an_inconclusive_limit_gate_fails_unless_told_to_warn() -> None:
    """The setting for regression gates does not touch it."""
    undecided = verdict(Outcome.INCONCLUSIVE)
    assert act(undecided) == "fail"
    assert act(undecided, on_inconclusive_regression="warn") == "fail"
    assert act(undecided, on_inconclusive="warn") == "warn"


@pytest.mark.parametrize("demanded", [True, False])
def test_an_inconclusive_regression_gate_warns_while_its_baseline_is_young(*, demanded: bool) -> None:
    """Fewer sessions than four, or than the setting; the setting for limit gates has no effect on it."""
    young, old = (verdict(Outcome.INCONCLUSIVE, sessions=count, demanded=demanded) for count in (3, 4))
    assert (act(young), act(old)) == ("warn", "fail")
    assert (act(young, min_sessions=3), act(old, min_sessions=5)) == ("fail", "warn")
    assert (act(young, on_inconclusive="fail"), act(old, on_inconclusive="warn")) == ("warn", "fail")
    for setting in ("fail", "warn"):
        assert act(young, on_inconclusive_regression=setting) == setting
        assert act(old, on_inconclusive_regression=setting) == setting


def test_another_machine_follows_its_own_setting() -> None:
    """What --llmperf-compare adds by itself only warns, as long as it compares something."""
    away, added = (verdict(Outcome.NOT_COMPARABLE, sessions=4, demanded=demanded) for demanded in (True, False))
    decided, undecided = (
        verdict(outcome, sessions=4, demanded=False) for outcome in (Outcome.PASS, Outcome.INCONCLUSIVE)
    )
    for setting in ("fail", "warn", "skip"):
        assert act(away, on_mismatch=setting) == setting
        assert act(away, decided, on_mismatch=setting) == setting
        assert act(added, on_mismatch=setting) == setting
        assert act(added, decided, on_mismatch=setting) == "warn"
        assert act(added, undecided, on_mismatch=setting) == "warn"
        assert act(added, verdict(Outcome.INVALID, demanded=False), on_mismatch=setting) == setting
        assert act(added, verdict(Outcome.PASS), on_mismatch=setting) == setting


def test_the_policy_in_words() -> None:
    """A line for each setting, which names its option."""
    assert in_words(Settings()) == (
        "policy: an inconclusive limit gate fails its test (--llmperf-on-inconclusive)",
        "policy: an inconclusive regression gate only warns until its baseline has 4 sessions, then fails its test "
        "(--llmperf-on-inconclusive-regression)",
        "policy: a gate whose limit comes from another machine fails its test (--llmperf-on-mismatch)",
    )
    words = in_words(Settings(on_inconclusive="warn", on_inconclusive_regression="fail", on_mismatch="skip"))
    assert "limit gate only warns" in words[0]
    assert "regression gate fails its test" in words[1]
    assert "skips its test" in words[2]
    words = in_words(Settings(compare="main"))
    assert words[2] == (
        "policy: a gate whose limit comes from another machine fails its test; a gate that --llmperf-compare adds only "
        "warns if another such gate of its test can be compared (--llmperf-on-mismatch)"
    )
    assert "only warns (" in in_words(Settings(compare="main", on_mismatch="warn"))[2]
