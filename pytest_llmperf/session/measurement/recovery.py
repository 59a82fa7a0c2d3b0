"""Recovery from faults of the servers while a measurement runs.

| fault | reaction |
|---|---|
| connection refused or lost, truncated answer, the server's own error (5xx, also mid-stream) | load, repeat once |
| the model was unloaded, or another client loaded it with other options | load it again, outside the timed part |
| a request waited for the model to load | repeat the round, once |
| another client: an agent waited although it ran alone, the model is unloaded unexpectedly | note it with the round |
| the same fault twice, or too many repeated rounds | fail the measurement |
| 4xx, out of memory, a model that repeats itself, an unknown protocol, a timeout | fail the measurement |
| an instance died, or answers with another version | fail the measurement; the next one starts new servers |
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
from pytest_llmperf.model.results.server_observations import Observed
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.server_client import ServerClient
from pytest_llmperf.session.server_lease import ServerLease

COLD_MS = 500.0
"""A request whose reported load time exceeds the median by this much, and three times, found no loaded model.

Ollama reports about 100 ms for a model that is loaded."""

CROWD_MS, CROWD_SHARE = 100.0, 0.2
"""An agent that ran alone and waited longer than both, in ms and as a share of its time, met another client.

A round in which the client was saturated says nothing about that."""

_T = TypeVar("_T")


class RecoveringRounds:
    """The rounds of one measurement, with recovery from faults.

    Args:
        rounds: runs them.
        scenario: what they run.
        topology: its instances are checked before each round.
        servers: the lease of the open topology.
        load: loads the model again.
        most_repeats: maximum number of repeated rounds.

    Attributes:
        incidents: the faults so far.
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
        self._agreed = not topology.kind.shared or (len(asked) == 1 and scenario.ours)
        self._ours = scenario.ours
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
            MeasurementError: it failed twice or with a fault that lasts, or too many rounds have been repeated.
            ServerError: an instance died, or another server answers at its address.
        """
        when = f"round {index + 1}"

        def work() -> Round:
            self._look_after(when)
            return self._rounds.run(index)

        round_ = self._answered(work, when)
        if cold := self._cold(round_):
            self._repeat(when, cold)
            round_ = self._again(work, when, cold)
            if cold := self._cold(round_):
                raise MeasurementError(f"{when} was repeated, and again {cold}", next_step=_LOAD_NEXT)
        self._loads_ns += _loads_ns(round_)
        counts = not saturated(round_)  # a saturated client may have caused the waiting itself
        for crowd in filter(None, (waited_alone(round_, self._topology) if counts else "", *self._disturbed(round_))):
            self._note(when, crowd, "it counts all the same" if counts else "it does not count")
        return round_

    def answers(self, times: int) -> tuple[Answered, ...]:
        """As `Rounds.answers`. Raises as `run` does."""
        return self._answered(partial(self._rounds.answers, times), "the comparison of answers")

    def _disturbed(self, round_: Round) -> tuple[str, ...]:
        """What the servers report about other clients; only built-in agents request a known keep-alive."""
        if not self._ours:
            return ()
        return self._servers.disturbed(round_, keep_alive_s=keep_alive_s(self._servers.settings.timeout_s))

    def _answered(self, work: Callable[[], _T], when: str) -> _T:
        """The work's result; a second attempt is made after a fault that may be transient.

        Raises:
            MeasurementError: the fault lasts.
            ServerError: an instance died.
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
        """The second attempt, after loading the model: a server may list a model whose runner has died."""
        try:
            self._load()
            return work()
        except (MeasurementError, UnreachableError) as error:
            second = error
        self._servers.explain_failure()
        raise MeasurementError(
            f"{second.args[0]}\n  {when} had been repeated already: {since}", next_step=second.next_step
        )

    def _repeat(self, when: str, problem: str, error: LlmperfError | None = None) -> None:
        """Note that something is repeated. Raises MeasurementError if that happened too often."""
        self._left -= 1
        if self._left < 0:
            known = "".join(f"\n  {incident}" for incident in self.incidents)
            raise MeasurementError(
                f"too many faults to continue: {when}: {problem}{known}",
                next_step=error.next_step if error is not None else _LOAD_NEXT,
            )
        self._note(when, problem, "it was repeated")

    def _note(self, when: str, problem: str, answer: str) -> None:
        incident = Incident(when=when, problem=problem, handling=answer)
        self.incidents = (*self.incidents, incident)
        self._servers.say(str(incident))

    def _look_after(self, when: str) -> None:
        """Check that the same servers answer, and load the model again if it was unloaded or loaded otherwise.

        Raises:
            ServerError: another server answers.
        """
        for instance in self._topology.instances:
            label = f"instance {instance.name}"
            with client_of(instance) as control:
                if instance.version and (version := control.version()) != instance.version:
                    self._servers.close()
                    raise ServerError(
                        f"{label} ({instance.url}) answers as version {version} before {when}, it was "
                        f"{instance.version}: the measurement would mix two servers",
                        next_step="run it again when nobody changes the servers",
                    )
                was, context = self._contexts.get(instance.name), self._context(control)
            if was is None or context == was:
                continue
            problem = (
                f"{label}: {Observed.MODEL_LEFT}"
                if context is None
                else f"{label}: {Observed.RELOADED_BY_OTHERS}, with a context of {context} tokens, not {was}"
            )
            self._load()
            self._note(when, problem, "it was loaded again before the clock ran")

    def _context(self, control: ServerClient) -> int | None:
        """The context that the model is loaded with, tokens (0: not reported); None if it is not loaded."""
        entry = control.loaded(self._topology.model)
        return None if entry is None else entry.context_length

    def _cold(self, round_: Round) -> str:
        """Which request had to wait for the model to load, in words; empty if none had."""
        usual_ns = median([*self._loads_ns, *_loads_ns(round_)])
        for run in (*round_.solo, *round_.together):
            for request in run.requests:
                if believable(request) and request.load_duration_ns > max(3 * usual_ns, usual_ns + COLD_MS * 1e6):
                    return (
                        f"a request of agent {run.agent} waited {request.load_duration_ns / 1e6:.0f} ms for instance "
                        f"{run.instance} {Observed.WAITED_FOR_MODEL}"
                    )
        return ""


def waited_alone(round_: Round, topology: Topology) -> str:
    """Which agent had to wait for a slot although it ran alone, and why, in words; empty if none had.

    An agent that sends more requests at once than there are slots waits for its own requests.
    """
    slots = {instance.name: max(1, instance.slots) for instance in topology.instances}
    for run in round_.solo:
        waited_ns = sum(request.queue_ns for request in run.requests if believable(request))
        if most_at_once(run.requests) > slots.get(run.instance, 1):
            continue
        if waited_ns > max(CROWD_MS * 1e6, CROWD_SHARE * run.own_ns):
            why = (
                f"only this run knows that server, so other work on this machine {Observed.BUSY_CORES}"
                if topology.private
                else Observed.ANOTHER_CLIENT
            )
            return (
                f"agent {run.agent}, alone, waited {waited_ns / 1e6:.0f} ms for instance {run.instance} to begin: {why}"
            )
    return ""


def most_at_once(requests: Sequence[RequestTiming]) -> int:
    """The maximum number of an agent's requests that were in flight at the same moment."""
    return max(
        (sum(request.sent_ns <= last.sent_ns < request.done_ns for request in requests) for last in requests),
        default=0,
    )


_LOAD_NEXT = "does another client use these servers, or do they lack the memory to keep the model? see /api/ps"


def _loads_ns(round_: Round) -> list[int]:
    """The load time that each request reports."""
    return [request.load_duration_ns for run in (*round_.solo, *round_.together) for request in run.requests]
