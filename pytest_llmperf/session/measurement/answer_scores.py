"""Scores of answers, for the gate `quality`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.judge import default_scorer
from pytest_llmperf.judge.gates.quality_gate import checked, scorer_raised
from pytest_llmperf.model import Answered, Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """What scores answers.

    Attributes:
        name: for the reader.
        score: returns 0 (bad) to 1 (good) for a prompt and an answer to it, or None for no opinion.
    """

    name: str
    score: Callable[[str, str], float | None]

    def scored(self, answered: Sequence[Answered]) -> Quality:
        """All answers with their scores. Raises UsageError if the scorer fails or returns no score."""
        return Quality(
            answered=tuple(
                replace(
                    answer,
                    alone_score=self._score(answer.prompt, answer.alone),
                    again_score=self._score(answer.prompt, answer.again),
                    together_score=self._score(answer.prompt, answer.together),
                )
                for answer in answered
            ),
            scorer=self.name,
        )

    def _score(self, prompt: str, response: str) -> float | None:
        try:
            value = self.score(prompt, response)
        except Exception as error:
            raise scorer_raised(self.name, error) from error
        return checked(value, self.name)


DEFAULT_SCORER = Scorer(name=default_scorer.NAME, score=lambda _, response: default_scorer.score(response))
"""Judges the form of an answer only; see `judge.default_scorer`."""
