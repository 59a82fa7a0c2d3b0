"""Answers alone and together: equality where the engine repeats itself, and scores with an interval."""

from dataclasses import replace

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge import default_scorer
from pytest_llmperf.judge.gates.quality_gate import answer_gates, checked, in_words, judge_answers
from pytest_llmperf.judge.markers import build
from pytest_llmperf.model import Answered, Outcome, Quality

ONE = Answered(agent="x", prompt="p", alone="a", again="a", together="a")


def scored(*together: float, alone: float = 0.9, **changes: str) -> Quality:
    """An entry a score together."""
    return Quality(
        answered=tuple(
            replace(ONE, alone_score=alone, again_score=alone, together_score=score, **changes) for score in together
        ),
        scorer="mine",
    )


def outcomes(quality: Quality, **keywords) -> dict[str, Outcome]:
    gates = answer_gates(build("quality", kwargs=keywords), None)
    return {verdict.gate.metric: verdict.outcome for verdict in judge_answers(quality, gates)}


def test_same_answers_and_scores_pass() -> None:
    """Without any scatter, too."""
    assert outcomes(scored(0.9, 0.9, 0.9)) == {"changed_answers_rate": "pass", "quality_drop_pp": "pass"}


def test_another_answer_of_an_engine_that_repeats_itself_fails() -> None:
    """However well it scores; the reason shows both."""
    quality = scored(0.9, 0.9, 0.9, 0.9)
    quality = replace(quality, answered=(*quality.answered[:3], replace(quality.answered[3], together="b" * 70)))
    assert outcomes(quality) == {"changed_answers_rate": "fail", "quality_drop_pp": "pass"}
    assert outcomes(quality, same=False) == {"quality_drop_pp": "pass"}
    verdict = judge_answers(quality, answer_gates(build("quality"), None))[0]
    assert verdict.value == 0.25
    assert verdict.reason == (
        "1 of 4 answers differ from the answers alone, which repeat: x said "
        + repr("b" * 60 + "...")
        + " instead of 'a'"
    )
    assert "together 3 of 4 equal the answer alone; mean score 0.900 alone, 0.900 together, by mine" in in_words(
        quality
    )


def test_an_engine_that_draws_lots_is_judged_by_scores_only() -> None:
    """A note says so."""
    quality = scored(0.9, 0.9, 0.9, again="other", together="b")
    assert outcomes(quality) == {"quality_drop_pp": "pass"}
    assert in_words(quality).startswith("quality: 0 of 3 answers repeat alone; only scores were compared")


@pytest.mark.parametrize(
    ("together", "outcome"),
    [
        ((0.88, 0.89, 0.9, 0.88), Outcome.PASS),
        ((0.6, 0.62, 0.61, 0.6), Outcome.FAIL),
        ((0.9, 0.6, 0.9, 0.9), Outcome.INCONCLUSIVE),
        ((0.6, 0.6), Outcome.INCONCLUSIVE),
        ((1.0, 0.98, 1.0), Outcome.PASS),
    ],
)
def test_scores_need_an_interval(together: tuple[float, ...], outcome: Outcome) -> None:
    """5 points by default: kept, clearly missed, too noisy or too few to decide, and better than alone."""
    assert outcomes(scored(*together), same=False) == {"quality_drop_pp": outcome}


def test_where_the_limit_comes_from() -> None:
    """Marker, then option, then 5 points."""
    spec, option = build("quality", kwargs={"max_drop_pp": 2}), 3.0
    assert [answer_gates(marker, option)[1].limit for marker in (spec, build("quality"))] == [2, 3.0]
    assert answer_gates(build("quality"), None)[1].source == "marker quality(), default"


def test_no_opinion_is_no_pass() -> None:
    """Where every scorer stays silent, the gate is invalid."""
    quality = Quality(answered=(ONE,) * 3, scorer="mine")
    assert outcomes(quality, same=False) == {"quality_drop_pp": "invalid"}
    assert "score" not in in_words(quality)


@pytest.mark.parametrize("bad", [True, "good", -0.1, 1.1, float("nan")])
def test_a_scorer_must_give_a_share(bad: object) -> None:
    """Anything else names the scorer."""
    with pytest.raises(UsageError, match="mine returned"):
        checked(bad, "mine")
    assert (checked(None, "mine"), checked(1, "mine")) == (None, 1.0)


def test_the_default_scorer_sees_what_is_broken_and_no_more() -> None:
    """Whole text 1; empty, garbled, circling and cut text less; nonsense of many words is as good as sense."""
    sense = "the agents wait for each other because they share one slot"
    nonsense = "slot one share they because other each for wait agents the"
    assert default_scorer.score(sense) == default_scorer.score(nonsense) == 1
    assert default_scorer.score("") == 0
    assert default_scorer.score(sense + "\x00\ufffd") < 1
    assert default_scorer.score("on and on and on and on and on and on") < 0.4
    assert default_scorer.score("too short") == 0.25
