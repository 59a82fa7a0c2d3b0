"""Answers to the same prompts, alone and together, to see whether running together changes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One prompt of one agent, answered three times; not timed.

    Attributes:
        agent: name of the agent.
        prompt: the prompt without the unique prefix, which is the same in all three requests.
        alone, again: the two answers while all other agents were idle.
        together: the answer while all agents worked.
        alone_score, again_score, together_score: the answers' scores, 0 (bad) to 1; None without a score.
    """

    agent: str
    prompt: str
    alone: str
    again: str
    together: str
    alone_score: float | None = None
    again_score: float | None = None
    together_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """All answers of a quality pass.

    Attributes:
        answered: one entry for each prompt of each agent.
        scorer: the scorer, in words.
    """

    answered: tuple[Answered, ...]
    scorer: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether every prompt got the same answer twice while its agent was alone."""
        return all(answered.alone == answered.again for answered in self.answered)

    @property
    def changed(self) -> tuple[Answered, ...]:
        """The prompts whose answer together is neither of those alone."""
        return tuple(
            answered for answered in self.answered if answered.together not in (answered.alone, answered.again)
        )
