"""Generation options by deployment mode: what is best for one mode is not for another (report, C6, 8.5, F.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pytest_llmperf.model.workload.agent import Agent
from pytest_llmperf.model.workload.generation_options import GenerationOptions, Think, think_fault
from pytest_llmperf.model.workload.scenario import Scenario


class Mode(StrEnum):
    """How a model is used."""

    SINGLE_INFERENCE = "single_inference"  # one agent, one request
    AGENT_WORKFLOW = "agent_workflow"  # one agent, several requests
    MULTI_AGENT = "multi_agent"  # several agents at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One `[profiles.NAME]`: generation options that are good for a mode.

    Attributes:
        mode: one of Mode.
        options: options that replace every agent's own options if they are set.
        think: as for an agent; None leaves the agents' own value.
        source: the source of these options.

    Raises:
        ValueError: there is no such mode, or nothing is set.
    """

    mode: str
    options: GenerationOptions = field(default_factory=GenerationOptions)
    source: str = ""
    think: Think | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.mode not in list(Mode):
            faults.append(f"mode = {self.mode!r}, wanted one of {', '.join(Mode)}")
        if not self._laid:
            faults.append("options are missing, wanted think, or one or more of Ollama's generation options")
        if fault := think_fault(self.think):
            faults.append(fault)
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def _laid(self) -> dict[str, Any]:
        """The options that it sets, by name."""
        return {**self.options.as_request(), **({} if self.think is None else {"think": self.think})}

    def over(self, scenario: Scenario, name: str) -> Scenario:
        """The scenario with these options for each built-in agent, and with a note in its source."""
        agents = tuple(
            agent.with_options(self._laid) if isinstance(agent, Agent) else agent for agent in scenario.agents
        )
        source = "; ".join(filter(None, (scenario.source, self.in_words(name))))
        return replace(scenario, agents=agents, source=source)

    def in_words(self, name: str) -> str:
        """Its name, its mode and the options that it sets."""
        options = ", ".join(f"{key}={value}" for key, value in self._laid.items())
        return f"profile {name} ({self.mode}): {options}{f' ({self.source})' if self.source else ''}"

    def transferred(self, name: str, scenario: Scenario) -> str:
        """A note if it is used in another mode than its own; else empty."""
        used = mode_of(scenario)
        if used == self.mode:
            return ""
        return (
            f"configuration transfer: profile {name} is for {self.mode}, and {scenario.name} is {used}: what is best "
            "for one is not for the other (report, C6: TTFT up to +323.7 %); validate it, or use a profile of that mode"
        )


def mode_of(scenario: Scenario) -> Mode:
    """The deployment mode of a scenario.

    >>> one = Agent(name="a", prompts=("x",))
    >>> str(mode_of(Scenario(name="s", agents=(one,))))
    'single_inference'
    """
    if len(scenario.agents) > 1:
        return Mode.MULTI_AGENT
    (agent,) = scenario.agents
    once = isinstance(agent, Agent) and len(agent.prompts) == 1
    return Mode.SINGLE_INFERENCE if once else Mode.AGENT_WORKFLOW


PROFILES: Mapping[str, Profile] = {
    "single_inference": Profile(
        mode="single_inference",
        options=GenerationOptions(num_gpu=999, num_ctx=4096),
        source="report C6, 8.5, F.2: TR108's optimum; temperature depends on the model",
    ),
    "agent_workflow": Profile(
        mode="agent_workflow",
        options=GenerationOptions(num_gpu=60, num_ctx=512, temperature=0.8),
        source="decision card, 8.5, F.2",
    ),
    "multi_agent": Profile(
        mode="multi_agent",
        options=GenerationOptions(num_gpu=80, num_ctx=2048, temperature=1.0),
        source="report 8.5, F.2: TR110's optimum",
    ),
}
"""The report's profiles, by mode; a `[profiles.NAME]` with the same name replaces one."""
