"""Values for the tests: requests, runs, rounds and measurements from a few plain figures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_llmperf.model import (
    Agent,
    AgentRun,
    Bound,
    Gate,
    GpuSample,
    Instance,
    Manifest,
    Measurement,
    RequestTiming,
    Round,
    Sample,
    Scenario,
    Telemetry,
    Topology,
    TopologyKind,
    Used,
)

MS = 1_000_000


def request(
    *, sent_ms: float = 0, ttft_ms: float = 10, total_ms: float = 100, tokens: int = 10, decode_ms: float = 50, **server
) -> RequestTiming:
    """A request with two chunks: the first `ttft_ms` after it was sent, the last when it ends, after `total_ms`."""
    sent_ns, done_ns = int(sent_ms * MS), int((sent_ms + total_ms) * MS)
    return RequestTiming(
        sent_ns=sent_ns,
        done_ns=done_ns,
        arrivals_ns=(sent_ns + int(ttft_ms * MS), done_ns),
        eval_count=tokens,
        eval_duration_ns=int(decode_ms * MS),
        **server,
    )


def run(agent: str = "x", *requests: RequestTiming, start_ms: float = 0) -> AgentRun:
    """An agent's run; one plain request unless given."""
    return AgentRun(agent=agent, instance="a", start_ns=int(start_ms * MS), requests=requests or (request(),))


def round_of(
    solo_ms: Sequence[float], together_ms: Sequence[float], *, index: int = 0, solo: Mapping | None = None, **together
) -> Round:
    """A round of agents `x`, `y`, ... with these durations; other keywords go to the requests of each part."""
    names = "xyzuvw"
    return Round(
        index=index,
        order=("together",),
        solo=tuple(run(name, request(total_ms=ms, **(solo or {}))) for name, ms in zip(names, solo_ms, strict=False)),
        together=tuple(
            run(name, request(total_ms=ms, **together)) for name, ms in zip(names, together_ms, strict=False)
        ),
    )


def measurement_of(*rounds: Round, scenario: str = "pair", facts: Mapping[str, str] | None = None) -> Measurement:
    """A measurement of these rounds on two simulated instances."""
    names = [run.agent for run in rounds[0].together] if rounds and rounds[0].together else ["x", "y"]
    return Measurement(
        scenario=Scenario(name=scenario, agents=tuple(Agent(name=name, prompts=("go",)) for name in names)),
        topology=Topology(
            kind=TopologyKind.DUAL,
            instances=tuple(Instance(name=name, url=f"http://127.0.0.1/{name}") for name in "ab"),
            model="m",
            backend="simulated",
        ),
        rounds=rounds,
        manifest=Manifest(facts=facts or {}),
    )


def gate(metric: str = "efficiency_pct", limit: float = 95.0, bound: Bound = Bound.MIN, **others) -> Gate:
    """A gate as the resolver makes it."""
    return Gate(**{"marker": "test", "metric": metric, "bound": bound, "limit": limit, "source": "here", **others})


def sample(at_s: float, *, index: int = 0, busy_s: float = 0.0, client_s: float = 0.0, **others) -> Sample:
    """A sample of a machine with the CPU time that the servers (by instance) and the client have used."""
    servers = {name: Used(cpu_s=cpu_s, rss_mib=100.0) for name, cpu_s in others.pop("servers_s", {}).items()}
    return Sample(
        at_ns=int(at_s * 1e9),
        round=index,
        busy_s=busy_s,
        client=Used(cpu_s=client_s, rss_mib=50.0),
        memory_used_mib=1000.0,
        memory_available_mib=3000.0,
        **{"servers": servers, **others},
    )


def observed(*samples: Sample, rounds: int = 1, **others) -> Measurement:
    """A measurement of `rounds` rounds with these samples."""
    gpus = tuple("RTX" for _ in samples[0].gpus) if samples else ()
    telemetry = Telemetry(every_s=1.0, cores=2, samples=samples, **{"complete": True, "gpus": gpus, **others})
    measured = measurement_of(*(round_of([100, 100], [100, 100], index=index) for index in range(rounds)))
    return replace(measured, telemetry=telemetry)


def gpus(**values) -> tuple[GpuSample, ...]:
    """One GPU."""
    return (GpuSample(**values),)


def served(
    sent_ms: float,
    *,
    queue: float = 0,
    load: float = 0,
    prefill: float = 0,
    decode: float = 50,
    rest: float = 0,
    **others,
) -> RequestTiming:
    """A request that took these times, ms, by the server's durations; `rest` is outside of them."""
    total_ms = queue + load + prefill + decode
    return request(
        sent_ms=sent_ms,
        ttft_ms=queue + load + prefill + rest,
        total_ms=total_ms + rest,
        decode_ms=decode,
        load_duration_ns=int(load * MS),
        prompt_eval_duration_ns=int(prefill * MS),
        total_duration_ns=int(total_ms * MS),
        **others,
    )


TEAM = Scenario(
    name="team",
    agents=(
        Agent(name="planner", prompts=("plan",)),
        *(Agent(name=name, prompts=("work",), after=("planner",)) for name in ("w1", "w2", "w3")),
        Agent(name="critic", prompts=("judge",), after=("w1", "w2", "w3"), think_s=0.004),
    ),
)
"""A planner, three workers at once, a critic that thinks before it asks."""


def graph_round(queue_ms: float = 0, *, index: int = 0, decode_ms: float = 180) -> Round:
    """A round of TEAM: together, the third worker waits `queue_ms` for a slot; all other times are as alone.

    Together the planner is sent after 1 ms and takes 100, the workers are sent 2 ms later and take 200, the critic 5 ms
    after the last of them, 4 of which it thinks, and takes 60.
    """
    work = {"prefill": 20.0, "decode": decode_ms}
    last_ms = 103 + 20 + decode_ms + queue_ms
    together = (
        run("planner", served(1, prefill=9, decode=90, rest=1)),
        run("w1", served(103, **work)),
        run("w2", served(103, **work)),
        run("w3", served(103, queue=queue_ms, **work)),
        run("critic", served(last_ms + 5, prefill=10, decode=50)),
    )
    solo = (
        run("planner", served(1, prefill=9, decode=90, rest=1)),
        *(run(name, served(0, prefill=20, decode=180)) for name in ("w1", "w2", "w3")),
        run("critic", served(4, prefill=10, decode=50)),
    )
    return Round(index=index, order=("together",), solo=solo, together=together)


def graph_measurement(*rounds: Round, scenario: Scenario = TEAM) -> Measurement:
    """A measurement of these rounds of TEAM."""
    return replace(measurement_of(*rounds), scenario=scenario)
