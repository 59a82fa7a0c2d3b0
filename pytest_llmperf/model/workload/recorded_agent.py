"""Agents whose requests were recorded, and are sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmperf.model.texts import check_texts, counted
from pytest_llmperf.model.workload.generation_options import SERVER_DEFAULTS, GenerationOptions
from pytest_llmperf.recordings.recorded_requests import SHORT, RecordedRequest, Recording, hashed


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStep:
    """One recorded request: when it is sent.

    Attributes:
        id: the request's id in the recording.
        after: ids of the requests, of any agent, that must have ended before.
        pause_ms: pause after the last of these ends; after the barrier if there is none.
    """

    id: int
    after: tuple[int, ...] = ()
    pause_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAgent:
    """An agent that sends recorded requests again, in the recorded order of dependence and with the recorded pauses.

    Attributes:
        name: a name that is unique within the scenario.
        recording: hash of the recording, 16 hex digits.
        work: hash of this agent's requests as they are replayed, 16 hex digits.
        steps: when each of its requests is sent, in their order.
        model: the model's name in the recording; requests for it are sent to the model of the deployment.
        requests: the recorded requests; empty in a record that was read back.
    """

    name: str
    recording: str
    work: str
    steps: tuple[RecordedStep, ...]
    model: str = field(default="", metadata={"stored": False})
    requests: tuple[RecordedRequest, ...] = field(default=(), repr=False, metadata={"stored": False})

    def __post_init__(self) -> None:
        check_texts("an agent's name", (self.name,))

    @property
    def after(self) -> tuple[str, ...]:
        """The agents that it comes after as a whole: none; its requests wait for single ones of others."""
        return ()

    @property
    def stored(self) -> str:
        """The agent's value in fingerprints: the hash of its work."""
        return self.work

    @property
    def options(self) -> GenerationOptions:
        """The options to load the model with, taken from the agent's first request to Ollama's API."""
        first = next((request.body for request in self.requests if request.body is not None), None)
        given = (first or {}).get("options")
        if not isinstance(given, dict):
            return SERVER_DEFAULTS
        whole = {name: given[name] for name in _OF_LOADING if type(given.get(name)) is int}
        return replace(SERVER_DEFAULTS, **whole)


_OF_LOADING = ("num_ctx", "num_thread", "num_gpu")
"""Options that a model is loaded with: with others it would be loaded again."""


def recorded_agents(recording: Recording, *, max_pause_ms: float | None = None) -> tuple[RecordedAgent, ...]:
    """The agents of a recording.

    Args:
        recording: the recording as read from the file.
        max_pause_ms: longer pauses are cut to this; None leaves them as they are.
    """
    after = _with_own(recording)
    made = []
    for name in recording.agents:
        requests = recording.of(name)
        steps = tuple(
            RecordedStep(
                id=request.id,
                after=after[request.id],
                pause_ms=request.pause_ms if max_pause_ms is None else min(request.pause_ms, max_pause_ms),
            )
            for request in requests
        )
        times = [[step.id, list(step.after), round(float(step.pause_ms), 3)] for step in steps]
        made.append(
            RecordedAgent(
                name=name,
                recording=recording.short_sha256,
                work=hashed([recording.model, times, *(request.work for request in requests)])[:SHORT],
                steps=steps,
                model=recording.model,
                requests=requests,
            )
        )
    return tuple(made)


def _with_own(recording: Recording) -> Mapping[int, tuple[int, ...]]:
    """The requests that each request waits for, by id.

    They include requests of the same agent that it waits for only through other agents' requests, so that the order of
    an agent's own requests is known if the agent runs alone.
    """
    places = {request.id: place for place, request in enumerate(recording.requests)}
    waited: list[int] = []  # a bit for each request that it waits for, directly or not
    own = dict.fromkeys(recording.agents, 0)  # a bit for each request of the agent
    after = {}
    for place, request in enumerate(recording.requests):
        bits = 0
        for earlier in map(places.__getitem__, request.after):
            bits |= 1 << earlier | waited[earlier]
        waited.append(bits)
        last, left = list[int](), bits & own[request.agent]
        while left:
            latest = left.bit_length() - 1
            last.append(recording.requests[latest].id)
            left &= ~(1 << latest | waited[latest])
        after[request.id] = tuple(sorted({*request.after, *last}))
        own[request.agent] |= 1 << place
    return after


def in_words(agents: Sequence[RecordedAgent]) -> str:
    """What was recorded of these agents, for a manifest; empty if there is none.

    >>> in_words([RecordedAgent(name="writer", recording="3f2a9c01d4e5b6a7", work="77", steps=(RecordedStep(id=1),))])
    '3f2a9c01d4e5b6a7: writer 1 request'
    """
    recordings = ", ".join(dict.fromkeys(agent.recording for agent in agents))
    counts = ", ".join(f"{agent.name} {counted(len(agent.steps), 'request')}" for agent in agents)
    return f"{recordings}: {counts}" if agents else ""
