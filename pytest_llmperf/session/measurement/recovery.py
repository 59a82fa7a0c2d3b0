"""Answers what goes wrong with the servers while a measurement runs, each thing as its nature demands.

| what | answer |
|---|---|
| a connection refused or lost, a torn answer, the server's own error (5xx, in mid-stream) | load, repeat it, once |
| a model that has left, or that somebody else loaded otherwise | load it again, off the clock |
| a request that had to wait for a load | repeat the round, once |
| another client: an agent waited although it was alone, a model leaves when we did not say | mark the round |
| the same twice, or too many repeated rounds | fail the measurement |
| 4xx, no memory, a model that repeats itself, another language, a time that ran out | fail the measurement |
| an instance that is dead, or answers with another version | fail the measurement; the next starts servers afresh |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TypeVar

from pytest_llmperf.errors import LlmperfError, MeasurementError, ServerError, UnreachableError
from pytest_llmperf.judge.diagnosis.client_saturation import saturated
from pytest_llmperf.judge.metrics.contradictions import believable
from pytest_llmperf.measure.agent_requests import keep_alive_s
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.model import Agent, Answered, Incident, RequestTiming, Round, Scenario, Topology
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.server_client import ServerClient
from pytest_llmperf.session.server_lease import ServerLease

COLD_MS = 500.0
"""A request that reports a load that is so much longer than its neighbours' (and three times as long) met no loaded
model. Ollama reports some 100 ms for a model that is loaded."""

CROWD_MS, CROWD_SHARE = 100.0, 0.2
"""An agent alone that waited longer than both, in ms and as a share of its time, met another client; unless ours could
not keep up in that round, which then says nothing of the servers."""

_T = TypeVar("_T")


class RecoveringRounds:
    """The rounds of one measurement, as `Rounds` runs them, with what goes wrong answered.

    Args:
        rounds: runs them.
        scenario: what they run.
        topology: whose instances are looked after.
        servers: which hold it open.
        load: loads the model again where it has left.
        most_repeats: as many rounds may be repeated.

    Attributes:
        incidents: what went wrong so far.
    """

    def __init__(
        self,
        rounds: Rounds,
        scenario: Scenario,
        topology: Topology,
        *,
        servers: ServerLease,
        load: Callable[[], None],
        most_repeats: int,
    ) -> None:
        self.incidents: tuple[Incident, ...] = ()
        self._rounds = rounds
        self._topology = topology
        self._servers = servers
        self._load = load
        self._left = most_repeats
        self._contexts: dict[str, int] = {}
        # agents that share a server and ask for different contexts have it load the model again by themselves
        asked = {agent.options.num_ctx for agent in scenario.agents if isinstance(agent, Agent)}
        self._agreed = not topology.kind.shared or (len(asked) == 1 and not scenario.external)
        self._external = scenario.external
        self._loads_ns: list[int] = []

    def warm_up(self, times: int) -> tuple[RequestTiming, ...]:
        """As `Rounds.warm_up`. Raises as `run` does."""
        answers = self._answered(partial(self._rounds.warm_up, times), "the warm-up")
        if self._agreed:
            for instance in self._topology.instances:
                with client_of(instance) as control:
                    if (context := self._context(control)) is not None:
                        self._contexts[instance.name] = context
        return answers

    def run(self, index: int) -> Round:
        """As `Rounds.run`.

        Raises:
            MeasurementError: it failed for good, or twice, or too many rounds have been repeated.
            ServerError: an instance is dead, or is another one than before.
        """
        when = f"round {index + 1}"

        def work() -> Round:
            self._look_after(when)
            return self._rounds.run(index)

        one = self._answered(work, when)
        if cold := self._cold(one):
            self._repeat(when, cold)
            one = self._again(work, when, cold)
            if cold := self._cold(one):
                raise MeasurementError(f"{when} was repeated, and again {cold}", next_step=_LOAD_NEXT)
        self._loads_ns += _loads_ns(one)
        counts = not saturated(one)  # else it has waited for ours, as far as anyone can tell
        for crowd in filter(None, (waited_alone(one, self._topology) if counts else "", *self._disturbed(one))):
            self._note(when, crowd, "it counts all the same" if counts else "it does not count")
        return one

    def answers(self, times: int) -> tuple[Answered, ...]:
        """As `Rounds.answers`. Raises as `run` does."""
        return self._answered(partial(self._rounds.answers, times), "the comparison of answers")

    def _disturbed(self, one: Round) -> tuple[str, ...]:
        """What servers say of other clients; agents that we did not write keep the model as long as they like."""
        if self._external:
            return ()
        return self._servers.disturbed(one, keep_alive_s=keep_alive_s(self._servers.settings.timeout_s))

    def _answered(self, work: Callable[[], _T], when: str) -> _T:
        """The work's result, at the second attempt where the first met something that may pass.

        Raises:
            MeasurementError: it lasts.
            ServerError: an instance is dead.
        """
        try:
            return work()
        except (MeasurementError, UnreachableError) as error:
            first = error
        self._servers.explain_failure()
        if isinstance(first, MeasurementError) and not first.passing:
            raise first
        self._repeat(when, first.args[0], first)
        return self._again(work, when, first.args[0])

    def _again(self, work: Callable[[], _T], when: str, since: str) -> _T:
        """The second attempt, with the model loaded first: a server may list one whose runner has died."""
        try:
            self._load()
            return work()
        except (MeasurementError, UnreachableError) as error:
            second = error
        self._servers.explain_failure()
        raise MeasurementError(
            f"{second.args[0]}\n  {when} had been repeated already: {since}", next_step=second.next_step
        )

    def _repeat(self, when: str, what: str, error: LlmperfError | None = None) -> None:
        """Notes that something is repeated. Raises MeasurementError where that happened too often."""
        self._left -= 1
        if self._left < 0:
            known = "".join(f"\n  {one}" for one in self.incidents)
            raise MeasurementError(
                f"too much went wrong to go on: {when}: {what}{known}",
                next_step=error.next_step if error is not None else _LOAD_NEXT,
            )
        self._note(when, what, "it was repeated")

    def _note(self, when: str, what: str, answer: str) -> None:
        incident = Incident(when=when, what=what, answer=answer)
        self.incidents = (*self.incidents, incident)
        self._servers.say(str(incident))

    def _look_after(self, when: str) -> None:
        """The same servers with the same model, loaded in the same way; a model that is not is loaded again.

        Raises:
            ServerError: a server is another one than before.
        """
        for instance in self._topology.instances:
            label = f"instance {instance.name}"
            with client_of(instance) as control:
                if instance.version and (version := control.version()) != instance.version:
                    self._servers.close()
                    raise ServerError(
                        f"{label} ({instance.url}) answers as version {version} before {when}, it was "
                        f"{instance.version}: these would be figures of two servers",
                        next_step="run it again when nobody changes the servers",
                    )
                was, context = self._contexts.get(instance.name), self._context(control)
            if was is None or context == was:
                continue
            what = (
                f"{label}: the model had left"
                if context is None
                else f"{label}: somebody else had loaded the model, with a context of {context} tokens, not {was}"
            )
            self._load()
            self._note(when, what, "it was loaded again before the clock ran")

    def _context(self, control: ServerClient) -> int | None:
        """The context that the model is loaded with, tokens (0: it does not say); None where it is not loaded."""
        entry = control.loaded(self._topology.model)
        return None if entry is None else entry.context_length

    def _cold(self, one: Round) -> str:
        """Which request had to wait for a load, in words; empty where none had."""
        usual_ns = median([*self._loads_ns, *_loads_ns(one)])
        for run in (*one.solo, *one.together):
            for request in run.requests:
                if believable(request) and request.load_duration_ns > max(3 * usual_ns, usual_ns + COLD_MS * 1e6):
                    return (
                        f"a request of agent {run.agent} waited {request.load_duration_ns / 1e6:.0f} ms for instance "
                        f"{run.instance} to load the model"
                    )
        return ""


def waited_alone(one: Round, topology: Topology) -> str:
    """Which agent had to wait for a slot although it was alone, and why, in words; empty if none had.

    An agent that sends more requests at once than there are slots waits for itself.
    """
    slots = {instance.name: max(1, instance.slots) for instance in topology.instances}
    for run in one.solo:
        waited_ns = sum(request.queue_ns for request in run.requests if believable(request))
        if most_at_once(run.requests) > slots.get(run.instance, 1):
            continue
        if waited_ns > max(CROWD_MS * 1e6, CROWD_SHARE * run.duration_ns):
            why = (
                "only this run knows that server, so other work on this machine kept it from its cores"
                if topology.private
                else "another client uses it"
            )
            return (
                f"agent {run.agent}, alone, waited {waited_ns / 1e6:.0f} ms for instance {run.instance} to begin: {why}"
            )
    return ""


def most_at_once(requests: Sequence[RequestTiming]) -> int:
    """How many of an agent's requests were under way at the same moment, at most."""
    return max(
        (sum(one.sent_ns <= last.sent_ns < one.done_ns for one in requests) for last in requests),
        default=0,
    )


_LOAD_NEXT = "does another client use these servers, or do they lack the memory to keep the model? see /api/ps"


def _loads_ns(one: Round) -> list[int]:
    """What each request reports of the load."""
    return [request.load_duration_ns for run in (*one.solo, *one.together) for request in run.requests]
