"""What was timed: requests, agent runs, rounds, and the measurement that holds them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_llmperf.model.manifest import Manifest
from pytest_llmperf.model.results.answer_quality import Quality
from pytest_llmperf.model.results.calibration import Calibration
from pytest_llmperf.model.results.machine_samples import Telemetry
from pytest_llmperf.model.workload.scenario import Scenario
from pytest_llmperf.model.workload.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTiming:
    """One request. Client times are of one monotonic clock; server durations are the server's own.

    Attributes:
        sent_ns: the moment the request's last byte was sent.
        done_ns: arrival of the line that says `done` (`[DONE]` in a /v1 stream), or of what was read together with it
            (HTTP's own end of the answer); of a cancelled request, the moment its agent left.
        arrivals_ns: arrival of each content chunk (not one to one with tokens): text or a tool call.
        reasoning_ns: arrival of each chunk of thoughts; empty of a model that does not think, or not aloud.
        merged: how many of these chunks were read together with later bytes of the answer: they share the arrival of
            the last bytes read with them, and came no later than that.
        first_merged: whether the first is one of them, so that TTFT is an upper bound.
        eval_count: tokens generated, as the server counts; 0 if it gives no count.
        prompt_eval_count: prompt tokens, cached ones included.
        total_duration_ns, load_duration_ns, prompt_eval_duration_ns, eval_duration_ns: server's; 0 if absent.
        done_reason: `stop`, `length` or another reason of the server's; `cancelled` where an agent did not wait for the
            end (then there is no count).
        text: what the model said, neither thoughts nor tool calls.
        reasoning: what it thought.
        streamed: whether the answer came in several parts; one that came as one object has no first token.
        wordless_bytes: what tokens without text may account for: the JSON of tool calls, and two bytes for each token
            of thoughts that a /v1 server counts.
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

    @property
    def uncounted(self) -> bool:
        """Whether it has content and the server did not say how many tokens that is."""
        return not self.eval_count and bool(self.text or self.reasoning or self.arrivals_ns) and not self.cancelled

    @property
    def cancelled(self) -> bool:
        """Whether its agent did not wait for the end."""
        return self.done_reason == "cancelled"

    @property
    def tokens_ns(self) -> tuple[int, ...]:
        """Arrivals of all chunks, content and thoughts, in order: the counts of tokens hold both."""
        return tuple(sorted((*self.reasoning_ns, *self.arrivals_ns))) if self.reasoning_ns else self.arrivals_ns

    @property
    def queue_ns(self) -> int:
        """What the server's total holds besides load, prefill and decode, at least 0: waiting for a slot.

        0, too, of a server that gives no total.
        """
        known_ns = self.load_duration_ns + self.prompt_eval_duration_ns + self.eval_duration_ns
        return max(0, self.total_duration_ns - known_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRun:
    """One agent's work in one part of a round, alone or together with the others.

    Attributes:
        agent: its name.
        instance: name of the instance that served it.
        start_ns: the moment the barrier opened (t0).
        requests: in the order sent.
        client_ns: time in which the client had to act, not the server: from the barrier to the first send; from the
            end of each connection until the next is begun; and from when that stands to the next send. Of an agent that
            we did not write only the first, from the barrier to the moment its first bytes left the tap: between an
            answer and the next request it does its own work.
        lag_ns: the 90th percentile of how late the client would have acted, had there been anything to do at that
            moment: by a heartbeat where it runs. Of an agent behind a tap, that of the tap.
    """

    agent: str
    instance: str
    start_ns: int
    requests: tuple[RequestTiming, ...]
    client_ns: int = 0
    lag_ns: int = 0

    @property
    def duration_ns(self) -> int:
        """From the barrier to the end of its last answer: C_i together, S_i alone."""
        return max(request.done_ns for request in self.requests) - self.start_ns

    @property
    def eval_count(self) -> int:
        """Tokens generated over all its requests: n_i."""
        return sum(request.eval_count for request in self.requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One timed run of a scenario: each agent alone, and all together.

    Attributes:
        index: 0-based.
        order: the parts in the order they ran: agent names and `together`.
        solo: one run an agent, in the scenario's order.
        together: one run an agent, in the scenario's order, of one start_ns.
        timing_source: `kernel` where every arrival is the kernel's receive time, else `read`.
        client_cpu_ns: CPU time that each process of clients took for the together part; for agents behind a tap, the
            tap's.
    """

    index: int
    order: tuple[str, ...]
    solo: tuple[AgentRun, ...]
    together: tuple[AgentRun, ...]
    timing_source: str = ""
    client_cpu_ns: tuple[int, ...] = ()

    @property
    def work_mismatch(self) -> bool:
        """Whether some agent generated another number of tokens together than alone."""
        return any(a.eval_count != b.eval_count for a, b in zip(self.solo, self.together, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What went wrong with the servers while a measurement ran, and what was done about it.

    Attributes:
        when: in words: `round 3` (counted from 1) or `the warm-up`.
        what: in words.
        answer: in words: `it was repeated`, `the model was loaded again`.
    """

    when: str
    what: str
    answer: str

    def __str__(self) -> str:
        return f"{self.when}: {self.what}; {self.answer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Rounds of one scenario on one topology: all that is handed to judgement.

    Attributes:
        scenario: as it ran (scaled, where a baseline scaled it).
        topology: as it ran.
        rounds: those that are judged, warm-up excluded.
        manifest: what must match to compare.
        warmups: requests sent to each instance and discarded.
        started_at: ISO 8601 with the zone.
        notes: observations for the reader, e.g. a scaled workload.
        discarded: rounds in which the client was saturated: kept, never judged.
        calibration: what the harness itself costs at this load; None where it was not measured.
        incidents: what went wrong with the servers meanwhile and did not end the measurement.
        quality: answers alone and together; None where nobody asked for them.
        telemetry: what the machine did meanwhile; None where it was not looked at.
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
