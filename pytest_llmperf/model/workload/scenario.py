"""Scenarios: what several agents do together, and the options that a baseline lays over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from pytest_llmperf.masking import masked_words
from pytest_llmperf.model.texts import check_texts
from pytest_llmperf.model.workload.agent import Agent, AsyncAgent, Command, ExternalAgent, kind_of, qualified_name
from pytest_llmperf.model.workload.graph import AnyAgent, graph_fault, steps_of
from pytest_llmperf.model.workload.recorded_agent import RecordedAgent, in_words, recorded_agents
from pytest_llmperf.model.workload.team import ExternalTeam, without_teams


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Generation options that a baseline lays over a scenario's, so that a small machine can run it.

    Attributes:
        reason: why; shown wherever the scaled scenario is.
        num_ctx, num_predict, temperature, num_gpu, num_thread: replace the agents' own where not None.
    """

    reason: str
    num_ctx: int | None = None
    num_predict: int | None = None
    temperature: float | None = None
    num_gpu: int | None = None
    num_thread: int | None = None

    def overrides(self) -> dict[str, object]:
        """The options that it replaces, by name."""
        values = asdict(self)
        values.pop("reason")
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What N agents do together: at once, or as a graph if some come after others.

    Attributes:
        name: a unique name, under which results and baselines are stored.
        agents: one or more agents with distinct names; an ExternalTeam that is given becomes its agents.
        source: the source of its parameters.
        scaled_by: the options that a baseline's workload changed, in words; empty if none.
        fixed: options that no baseline's workload changes, because an experiment varies them.
    """

    name: str
    agents: tuple[AnyAgent, ...]
    source: str = ""
    scaled_by: str = ""
    fixed: tuple[str, ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str,
            agents: tuple[AnyAgent | ExternalTeam, ...],
            source: str = "",
            scaled_by: str = "",
            fixed: tuple[str, ...] = (),
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "agents", without_teams(self.agents))
        check_texts("a scenario's name", (self.name,))
        check_texts(f"scenario {self.name!r}: its source", (self.source,))
        if not self.agents:
            raise ValueError(f"scenario {self.name!r} needs at least one agent")
        names = [agent.name for agent in self.agents]
        if len(set(names)) != len(names):
            raise ValueError(f"scenario {self.name!r} has two agents of one name: {names}")
        if fault := graph_fault(self.agents):
            raise ValueError(f"scenario {self.name!r}: {fault}")

    @property
    def graph(self) -> bool:
        """Whether an agent waits for others."""
        return any(
            place[0] != index
            for index, steps in enumerate(steps_of(self.agents))
            for step in steps
            for place in step.waits_for
        )

    @classmethod
    def replicated(cls, agent: Agent | ExternalAgent, count: int, *, name: str = "") -> Scenario:
        """A scenario of equal agents, `NAME_1` to `NAME_COUNT`.

        Args:
            agent: the agent to replicate; as always, prompts of built-in agents get unique prefixes.
            count: the number of agents, 1 or more.
            name: the name of the scenario; empty: the agent's name and the number, `writer_x4`.

        Raises:
            ValueError: count is not a number of 1 or more.
        """
        if isinstance(agent, ExternalTeam):
            raise ValueError(
                f"team {agent.name!r} cannot be replicated, because its program knows its agents by name; give several "
                "teams with agents of different names"
            )
        if type(count) is not int or count < 1:
            raise ValueError(f"count is {count!r}, wanted a number of agents, 1 or more")
        agents = tuple(replace(agent, name=f"{agent.name}_{number}") for number in range(1, count + 1))
        return cls(name=name or f"{agent.name}_x{count}", agents=agents)

    @classmethod
    def from_recording(cls, file: str | Path, *, name: str = "", max_pause_s: float | None = None) -> Scenario:
        """The scenario that replays a recording: the same requests in the same order, with the recorded pauses.

        Args:
            file: a recording (docs/recordings.md), or an export of OpenTelemetry traces (OTLP, JSON).
            name: the name of the scenario; empty: the file's name without its suffix.
            max_pause_s: longer pauses are cut to this, s; 0: no pauses; None: as recorded.

        Raises:
            UsageError: the file cannot be read, or a line of it is wrong.
            ValueError: max_pause_s is not a number of seconds.
        """
        from pytest_llmperf.recordings.recording_file import read_recording  # noqa: PLC0415 - only to replay

        if max_pause_s is not None and not (isinstance(max_pause_s, int | float) and 0 <= max_pause_s < math.inf):
            raise ValueError(f"max_pause_s is {max_pause_s!r}, wanted seconds, 0 or more, or None")
        path = Path(file)
        recording = read_recording(path)
        source = f"recording {path.name} (sha256 {recording.short_sha256})"
        if recording.end != "complete":
            source += f", not complete: {recording.end}"
        if max_pause_s is not None:
            source += f", pauses of at most {max_pause_s:g} s"
        agents = recorded_agents(recording, max_pause_ms=None if max_pause_s is None else max_pause_s * 1e3)
        return cls(name=name or path.stem, agents=agents, source=source)

    @property
    def recording(self) -> str:
        """What was recorded of its agents, with the hash of the recording; empty if nothing is replayed."""
        return in_words(tuple(agent for agent in self.agents if isinstance(agent, RecordedAgent)))

    @property
    def ours(self) -> bool:
        """Whether all agents are built in, with prompts; none is external or recorded."""
        return all(isinstance(agent, Agent) for agent in self.agents)

    @property
    def external(self) -> bool:
        """Whether an agent is external."""
        return any(isinstance(agent, ExternalAgent) for agent in self.agents)

    def scaled(self, workload: Workload | None) -> Scenario:
        """This scenario with the workload's options in place of each agent's own, except fixed ones, and with a note.

        External agents are not changed.
        """
        ours = any(isinstance(agent, Agent) for agent in self.agents)
        overrides = workload.overrides() if workload is not None else {}
        overrides = {key: value for key, value in overrides.items() if key not in self.fixed}
        if workload is None or not overrides or not ours:
            return self
        agents = tuple(
            replace(agent, options=replace(agent.options, **overrides))  # type: ignore[arg-type]
            if isinstance(agent, Agent)
            else agent
            for agent in self.agents
        )
        words = ", ".join(f"{key}={value}" for key, value in overrides.items())
        scaled_by = "; ".join(part for part in (self.scaled_by, f"{words} ({workload.reason})") if part)
        return replace(self, agents=agents, scaled_by=scaled_by)


def scenario_of(agents: Sequence[AnyAgent | ExternalTeam | AsyncAgent | Sequence[str]], *, name: str) -> Scenario:
    """A scenario of agents, teams, async callables and commands, each named after its function, script or program.

    >>> [agent.name for agent in scenario_of([["node", "critic.mjs"], ["curl", "-s"], ["curl"]], name="x").agents]
    ['critic', 'curl', 'curl_2']
    >>> [agent.name for agent in scenario_of([["python3", "-u", "a.py"], ["python3", "-m", "team.b"]], name="x").agents]
    ['a', 'b']

    Raises:
        ValueError: an agent is none of these, or there is none.
    """
    if isinstance(agents, str) or not isinstance(agents, Sequence):
        raise ValueError(f"wanted a scenario or a list of agents, got {kind_of(agents)}")
    made: list[AnyAgent | ExternalTeam] = []
    taken = {"together"}  # the name of the part with all of them
    for agent in agents:
        if isinstance(agent, AnyAgent | ExternalTeam):
            made.append(agent)
        else:
            if isinstance(agent, str):
                raise ValueError("a command is a list of words of its own, got a text")
            run = tuple(agent) if isinstance(agent, Sequence) else agent
            made.append(ExternalAgent(name=_unique(_short_name(run), taken), run=run))
        taken |= {each.name for each in without_teams(made[-1:])}
    return Scenario(name=name, agents=tuple(made))


_SCRIPTS = frozenset((".py", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".mts", ".sh", ".rb", ".pl", ".php", ".lua", ".jar"))
"""Suffixes of scripts, at any place in a command."""

_RUN_MODULES = ("python", "pypy")
"""How the names of programs begin that run a module by `-m`."""


def _short_name(run: AsyncAgent | Command) -> str:
    if not isinstance(run, tuple):
        return qualified_name(run).rpartition(".")[2].strip("<>")
    words = [word if isinstance(word, str) else "" for word in run]
    masked = masked_words(words)
    for index, word in enumerate(words[1:], 1):
        script = _script_of(words, index)
        if script and masked[index] == word and masked_words([word]) == (word,):  # `--token a.py`, `env API_KEY=a.b x`
            return PurePath(script).stem
    return PurePath(words[0]).stem if words else ""


def _script_of(words: Sequence[str], index: int) -> str:
    """The script that a word of a command names; empty if it names none."""
    word, suffix = words[index], PurePath(words[index]).suffix
    if words[index - 1] == "-m" and any(PurePath(before).name.startswith(_RUN_MODULES) for before in words[:index]):
        return f"{word.removesuffix('.__main__').rpartition('.')[2]}.py"
    if word.startswith("-"):
        return ""
    return word if suffix in _SCRIPTS or (suffix and index == 1) else ""


def _unique(name: str, taken: set[str]) -> str:
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
