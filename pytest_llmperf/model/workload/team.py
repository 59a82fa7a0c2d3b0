"""Teams: one external program that is several agents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.errors import did_you_mean
from pytest_llmperf.masking import masked_words
from pytest_llmperf.model.texts import check_texts
from pytest_llmperf.model.workload.agent import Command, ExternalAgent, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llmperf.model.workload.graph import AnyAgent

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LEAST = 2
_PLACE = re.compile(r"\{url(?::([^{}]*))?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalTeam:
    """One external program that runs several agents at once; each is measured as an agent of its own.

    A scenario replaces it by its agents, in this order. Each gets an address. The program finds the addresses in
    the environment, `LLMPERF_BASE_URL_COLLECTOR` for an agent `collector`, or in `{url:collector}` of an argument, and
    in LLMPERF_AGENTS the names of the agents to run now, separated by commas: one, to measure it alone, or all.

    Attributes:
        name: of the program; unique among the scenario's teams.
        run: a command (a list becomes a tuple).
        agents: the names of its agents, two or more: letters, digits and underscores.
    """

    name: str
    run: Command
    agents: tuple[str, ...]

    def __post_init__(self) -> None:
        check_texts("a team's name", (self.name,))
        if not self.name:
            raise ValueError("a team needs a name")
        self._check_agents()
        if not isinstance(self.run, list | tuple):
            raise ValueError(
                f"team {self.name!r} needs a list of words (a command), got {kind_of(self.run)}; async functions are "
                "agents of their own: give each to run_agents"
            )
        run = self.members[0].run  # checked, and a tuple
        assert isinstance(run, tuple)
        object.__setattr__(self, "run", run)
        for name in (name for word in run for name in _PLACE.findall(word)):
            if name not in self.agents:
                raise ValueError(
                    f"team {self.name!r}: {{url{f':{name}' if name else ''}}} in its command names no agent of it"
                    f"{did_you_mean(name, self.agents)}; wanted "
                    + " or ".join(f"{{url:{agent}}}" for agent in self.agents)
                )

    def __repr__(self) -> str:
        return f"ExternalTeam(name={self.name!r}, run={masked_words(self.run)!r}, agents={self.agents!r})"

    @property
    def members(self) -> tuple[ExternalAgent, ...]:
        """Its agents, as a scenario has them."""
        return tuple(ExternalAgent(name=name, run=self.run, team=self.name) for name in self.agents)

    def _check_agents(self) -> None:
        agents = self.agents
        if isinstance(agents, str) or not isinstance(agents, Sequence) or not all(isinstance(a, str) for a in agents):
            raise ValueError(f"team {self.name!r}: agents is {agents!r}, wanted a tuple of names")
        object.__setattr__(self, "agents", tuple(agents))
        if len(agents) < _LEAST:
            raise ValueError(
                f"team {self.name!r} has {len(agents)} agents, wanted two or more; a program that is one agent is an "
                "ExternalAgent"
            )
        if wrong := [name for name in agents if not _NAME.fullmatch(name)]:
            raise ValueError(
                f"team {self.name!r}: {wrong[0]!r} cannot be part of a variable's name; wanted letters, digits and "
                "underscores"
            )
        variables = [name.upper() for name in agents]
        if twice := [name for name in agents if variables.count(name.upper()) > 1]:
            raise ValueError(
                f"team {self.name!r}: {' and '.join(map(repr, twice))} have the same variable, "
                f"LLMPERF_BASE_URL_{twice[0].upper()}; give them different names"
            )


def without_teams(agents: Sequence[AnyAgent | ExternalTeam]) -> tuple[AnyAgent, ...]:
    """The agents; each team is replaced by its agents.

    Raises:
        ValueError: two teams have one name.
    """
    names = [agent.name for agent in agents if isinstance(agent, ExternalTeam)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two teams are called {twice[0]!r}; give each a name of its own")
    return tuple(_each(agents))


def _each(agents: Sequence[AnyAgent | ExternalTeam]) -> Iterator[AnyAgent]:
    for agent in agents:
        if isinstance(agent, ExternalTeam):
            yield from agent.members
        else:
            yield agent


def team_of(agent: AnyAgent) -> str:
    """The name of the team whose program an agent is part of; empty: of none."""
    return agent.team if isinstance(agent, ExternalAgent) else ""


def mates_of(agent: AnyAgent, agents: Sequence[AnyAgent]) -> tuple[str, ...]:
    """The names of all agents of its team, itself included; empty if it is part of none."""
    return tuple(each.name for each in agents if team_of(agent) and team_of(each) == team_of(agent))


def team_words(run: Command, urls: dict[str, str]) -> list[str]:
    """A team's command with the addresses of the agents that run; empty for the other agents.

    >>> team_words(("agents", "{url:a}", "--other={url:b}"), {"a": "http://127.0.0.1:1"})
    ['agents', 'http://127.0.0.1:1', '--other=']
    """
    return [_PLACE.sub(lambda match: urls.get(match[1], ""), word) for word in run]
