"""The results of timing: requests, agent runs, rounds, and the measurement that contains them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_llmperf.model.manifest import Manifest
from pytest_llmperf.model.results.answer_quality import Quality
from pytest_llmperf.model.results.calibration import Calibration
from pytest_llmperf.model.results.external_work import ProcessUse, Workflow
from pytest_llmperf.model.results.machine_samples import Telemetry
from pytest_llmperf.model.workload.scenario import Scenario
from pytest_llmperf.model.workload.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTiming:
    """One request. Client times use one monotonic clock; server durations are the server's own.

    Attributes:
        sent_ns: when the request's last byte was sent.
        done_ns: arrival of the line with `done` (`[DONE]` in a /v1 stream), or of the bytes that were read together
            with it (HTTP's own end of the answer); for a cancelled request, when its agent left.
        arrivals_ns: arrival of each content chunk (not one to one with tokens): text or a tool call.
        reasoning_ns: arrival of each chunk of thoughts; empty if the model does not think, or does not show it.
        merged: how many of these chunks were read together with later bytes of the answer: they have the arrival time
            of the last of these bytes, and arrived no later than that.
        first_merged: whether the first chunk is merged, so that TTFT is an upper bound.
        eval_count: tokens generated, as the server counts; 0 if it gives no count.
        prompt_eval_count: prompt tokens, including cached ones.
        total_duration_ns, load_duration_ns, prompt_eval_duration_ns, eval_duration_ns: reported by the server; else 0.
        done_reason: `stop`, `length` or another reason of the server; `cancelled` if an agent did not wait for the end
            (then there is no count).
        text: the model's text, without thoughts and tool calls.
        reasoning: the model's thoughts.
        streamed: whether the answer came in several parts; an answer of one object has no first token.
        wordless_bytes: the bytes that tokens without text may account for: the JSON of tool calls, and two bytes for
            each token of thoughts that a /v1 server counts.
        embedding: whether the answer is an embedding, which has no tokens and no TTFT.
        endpoint: the requested path, one of `model.endpoints.ENDPOINTS`, as the tap saw it; empty without a tap.
    """

    sent_ns: int
    done_ns: int
    arrivals_ns: tuple[int, ...]
    eval_count: int
    merged: int = 0
    first_merged: bool = False
    prompt_eval_count: int = 0
    total_duration_ns: int = 0
    load_duration_ns: int = 0
    prompt_eval_duration_ns: int = 0
    eval_duration_ns: int = 0
    done_reason: str = ""
    text: str = ""
    reasoning_ns: tuple[int, ...] = ()
    reasoning: str = ""
    streamed: bool = True
    wordless_bytes: int = 0
    embedding: bool = False
    endpoint: str = ""

    @property
    def uncounted(self) -> bool:
        """Whether it has content, but the server did not report the number of tokens."""
        return not self.eval_count and bool(self.text or self.reasoning or self.arrivals_ns) and not self.cancelled

    @property
    def empty(self) -> bool:
        """Whether the server answered with nothing at all: no token, no text, no embedding."""
        return not (self.eval_count or self.tokens_ns or self.text or self.embedding or self.cancelled)

    @property
    def cancelled(self) -> bool:
        """Whether its agent did not wait for the end."""
        return self.done_reason == "cancelled"

    @property
    def tokens_ns(self) -> tuple[int, ...]:
        """Arrivals of all chunks, content and thoughts, in order: the token counts include both."""
        return tuple(sorted((*self.reasoning_ns, *self.arrivals_ns))) if self.reasoning_ns else self.arrivals_ns

    @property
    def queue_ns(self) -> int:
        """The server's total without load, prefill and decode, at least 0: the wait for a slot.

        0, too, if the server reports no total, and of an embedding, whose prefill it does not report.
        """
        if self.embedding:
            return 0
        known_ns = self.load_duration_ns + self.prompt_eval_duration_ns + self.eval_duration_ns
        return max(0, self.total_duration_ns - known_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Untimed:
    """Requests of an agent behind the tap that are in no count and no figure.

    Attributes:
        request: method and path, e.g. `POST /v1/rerank`.
        reason: why they are not timed, a key of `UNTIMED`.
        count: number of requests.
    """

    request: str
    reason: str
    count: int


UNTIMED = {
    "unknown": "the tap does not know the path",
    "load": "nothing was asked but to load or unload the model",
    "abandoned": "the client gave up before the barrier opened",
}
"""Why a request is not timed, with the words for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRun:
    """One agent's work in one part of a round, alone or together with the others.

    Attributes:
        agent: name of the agent.
        instance: name of the instance that served it.
        start_ns: when the barrier opened (t0).
        requests: its requests in the order sent.
        client_ns: time in which the client had to act, not the server: from the barrier to the first send; from the
            end of each connection to the start of the next; and from when that is connected to the next send. For an
            external agent only the first, from the barrier to the moment its first bytes left the tap: between an
            answer and the next request it does its own work.
        paused_ns: time for which its scenario had it wait: for agents that it comes after, for tools, to think.
        lag_ns: the 90th percentile of how late the client would have acted, measured by a heartbeat in its thread. For
            an agent behind a tap, the tap's lag.
        untimed: its requests that are in no figure; requests to control endpoints (/api/tags, ...) are not listed.
        workflow: its work between its own marks; None: it sent none, or they are wrong, and the boundary of its times
            is the barrier and its last answer, without its work before and after.
        marks_fault: what is wrong with its marks, in words; empty: nothing, or it sent none.
        process: what its program used; None: it is no command.
    """

    agent: str
    instance: str
    start_ns: int
    requests: tuple[RequestTiming, ...]
    client_ns: int = 0
    paused_ns: int = 0
    lag_ns: int = 0
    untimed: tuple[Untimed, ...] = ()
    workflow: Workflow | None = None
    marks_fault: str = ""
    process: ProcessUse | None = None

    @property
    def duration_ns(self) -> int:
        """From the barrier to the end of its last answer: C_i together, S_i alone."""
        return max(request.done_ns for request in self.requests) - self.start_ns

    @property
    def own_ns(self) -> int:
        """The duration without the pauses: what its own work took."""
        return self.duration_ns - self.paused_ns

    @property
    def eval_count(self) -> int:
        """Tokens generated over all its requests: n_i."""
        return sum(request.eval_count for request in self.requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One timed run of a scenario: each agent alone, and all together.

    Attributes:
        index: the round's index, from 0.
        order: the parts in the order they ran: agent names and `together`.
        solo: one run for each agent, in the scenario's order; empty in a search for the capacity.
        together: one run for each agent, in the scenario's order, all with the same start_ns.
        timing_source: `kernel` if every arrival is the kernel's receive time, else `read`.
        client_cpu_ns: CPU time of each client process in the together part; for agents behind a tap, of the tap.
        clock_bound_ns: the maximum error of times of the together part, from the barrier on, because hosts have
            different clocks; None if all its agents ran on one host.
    """

    index: int
    order: tuple[str, ...]
    solo: tuple[AgentRun, ...]
    together: tuple[AgentRun, ...]
    timing_source: str = ""
    client_cpu_ns: tuple[int, ...] = ()
    clock_bound_ns: int | None = None

    @property
    def work_mismatch(self) -> bool:
        """Whether an agent generated a different number of tokens together than alone."""
        return any(a.eval_count != b.eval_count for a, b in zip(self.solo, self.together, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A problem with the servers while a measurement ran, and how it was handled.

    Attributes:
        when: the part of the measurement: `round 3` (counted from 1) or `the warm-up`.
        problem: the problem in words.
        handling: how it was handled, in words: `it was repeated`, `the model was loaded again`.
    """

    when: str
    problem: str
    handling: str

    def __str__(self) -> str:
        return f"{self.when}: {self.problem}; {self.handling}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Rounds of one scenario on one topology: everything that the verdicts are based on.

    Attributes:
        scenario: the scenario as it ran (scaled if a baseline scaled it).
        topology: the topology as it ran.
        rounds: the rounds that are judged, without the warm-up.
        manifest: facts that must match to compare.
        warmups: requests sent to each instance and discarded.
        started_at: start of the measurement, ISO 8601 with the zone.
        notes: observations for the reader, e.g. a scaled workload.
        discarded: rounds in which the client was saturated or the hosts' clocks too uncertain: stored, never judged.
        calibration: the harness's own cost at this load; None if it was not measured.
        incidents: problems with the servers that did not end the measurement.
        quality: answers alone and together; None if they were not requested.
        telemetry: samples of the machine; None if it was not sampled.
    """

    scenario: Scenario
    topology: Topology
    rounds: tuple[Round, ...]
    manifest: Manifest = field(default_factory=Manifest)
    warmups: int = 0
    started_at: str = ""
    notes: tuple[str, ...] = ()
    discarded: tuple[Round, ...] = ()
    calibration: Calibration | None = None
    incidents: tuple[Incident, ...] = ()
    quality: Quality | None = None
    telemetry: Telemetry | None = None
