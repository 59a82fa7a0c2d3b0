"""The table of injected causes: how each is injected, and what the diagnosis calls it. docs/diagnosis.md shows it."""

import json
from dataclasses import dataclass, field, replace

from pytest_llmperf.measure.rounds import TOGETHER, order_of
from pytest_llmperf.model import Agent, GenerationOptions, Scenario, Script, TopologyKind
from tests.faults.conftest import PAIR, slow

MOST_ROUNDS = 6
"""Rounds for which the requests of the together part are known: some may not count, on a busy machine."""


def together(instance: str) -> tuple[int, ...]:
    """The requests of an instance that its agent sends in the together part; request 1 is the warm-up."""
    agent = "xy"["ab".index(instance)]
    parts = [part for index in range(MOST_ROUNDS) for part in order_of(index, "xy") if part in (agent, TOGETHER)]
    return tuple(number for number, part in enumerate(parts, 2) if part == TOGETHER)


USUAL = slow(ttft_ms=20, decode_tok_s=400)
"""A request takes some 60 ms."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One injected cause.

    Attributes:
        name: a name in words, and the test's id.
        cause: the cause that the diagnosis names first.
        says: the words of its facts or its sentence.
        injected: the injected cause in words; empty: the faults describe it.
        faults: the faults of the plan, each with its instance; `requests = "together"` selects the together part.
        kind: the kind of the topology.
        script: the script of the servers.
        scenario: the scenario to run.
        settings: the settings of the session.
        client_sleeps_s: pause of the client before each turn but the first, s.
    """

    name: str
    cause: str
    says: str
    injected: str = ""
    faults: tuple[dict, ...] = ()
    kind: TopologyKind = TopologyKind.DUAL
    script: Script = USUAL
    scenario: Scenario = PAIR
    settings: dict = field(default_factory=dict)
    client_sleeps_s: float = 0

    @property
    def shown(self) -> str:
        """How it is injected, as the page shows it."""
        parts = [", ".join(f"{key} = {json.dumps(value)}" for key, value in fault.items()) for fault in self.faults]
        return self.injected or "; ".join(f"`{part}`" for part in parts)


def b(kind: str, requests: object = "1-", **more) -> dict:
    """A fault of instance b."""
    return {"kind": kind, "instance": "b", "requests": requests, **more}


def is_so(kind: str, instance: str = "b", **more) -> dict:
    """What an instance is like from the start."""
    return {"kind": kind, "instance": instance, **more}


def both(kind: str, **more) -> tuple[dict, dict]:
    """A fault of both instances, in the together part: what a shared device does."""
    second = b(kind, "together", **more)
    return {**second, "instance": "a"}, second


def _with(agent: Agent, **options) -> Agent:
    return replace(agent, options=GenerationOptions(num_predict=16, seed=1, **options))


UNEQUAL = replace(PAIR, agents=(PAIR.agents[0], replace(PAIR.agents[1], options=GenerationOptions(num_predict=48))))
WORDY = replace(PAIR, agents=(PAIR.agents[0], replace(PAIR.agents[1], prompts=("tell me more " * 50,))))
TALK = replace(PAIR, agents=tuple(replace(agent, prompts=("tell me more", "go on")) for agent in PAIR.agents))
ROOMY = replace(PAIR, agents=tuple(_with(agent, num_ctx=4096) for agent in PAIR.agents))
STEADY = {"min_rounds": 5, "max_rounds": 5}

CAUSES = (
    Cause(
        name="one instance decodes slowly",
        faults=(b("slow_decode", factor=0.2),),
        cause="decode alone",
        says="y on instance b decodes more slowly, even alone",
    ),
    Cause(
        name="one instance reads prompts slowly",
        faults=(b("slow_prefill", factor=0.1),),
        cause="prefill alone",
        says="y on instance b processes prompts more slowly, even alone",
    ),
    Cause(
        name="one instance keeps requests waiting for the model",
        faults=(b("slow_acquire", seconds=0.12),),
        cause="load alone",
        says="y on instance b waits for the model to load, even alone",
    ),
    Cause(
        name="one instance is far away",
        faults=(b("delay", seconds=0.12),),
        cause="rest alone",
        says="y on instance b takes longer for a reason that is not visible in client or server timings, even alone",
    ),
    Cause(
        name="one instance decodes slowly in company",
        faults=(b("slow_decode", "together", factor=0.2),),
        cause="decode together",
        says="slower together than alone",
    ),
    Cause(
        name="a shared device decodes slowly",
        faults=both("slow_decode", factor=0.4),
        cause="decode together",
        says="they share a device, or its cores",
    ),
    Cause(
        name="a shared device reads prompts slowly",
        faults=both("slow_prefill", factor=0.1),
        cause="prefill together",
        says="prompts are processed more slowly",
    ),
    Cause(
        name="a crowded network",
        faults=both("delay", seconds=0.15),
        cause="rest together",
        says="the cause is not visible in client or server timings",
    ),
    Cause(
        name="answers are longer in company",
        faults=(b("longer", "together", tokens=200),),
        cause="tokens together",
        says="they generate more tokens than alone",
    ),
    Cause(
        name="one agent has more to write",
        injected="y's `num_predict` is 48, x's 16",
        scenario=UNEQUAL,
        cause="tokens alone",
        says="y on instance b has more tokens to read or to write, even alone",
    ),
    Cause(
        name="one agent has more to read",
        injected="y's prompt has 150 words, x's 3",
        scenario=WORDY,
        script=slow(ttft_ms=5, prefill_tok_s=1000, decode_tok_s=400),
        cause="tokens alone",
        says="y on instance b has more tokens to read or to write, even alone",
    ),
    Cause(
        name="agents share a slot",
        injected="topology `single`",
        kind=TopologyKind.SINGLE,
        cause="queue together",
        says="requests wait for a slot",
    ),
    Cause(
        name="slots that are not there",
        injected="topology `single_parallel` on a server with one slot",
        kind=TopologyKind.SINGLE_PARALLEL,
        cause="fewer slots than asked for",
        says="instance a processes 1 request at a time, but 2 slots were asked for",
    ),
    Cause(
        name="another client, now and then",
        faults=(b("traffic", 2, tokens=60),),
        cause="another client",
        says="agent y, alone, waited",
    ),
    Cause(
        name="another client, all the time, with little to do",
        faults=(b("traffic", tokens=8),),
        cause="queue alone",
        says="y on instance b waits for a slot, even alone",
    ),
    Cause(
        name="another client loads the model otherwise",
        faults=(b("reload", 4, num_ctx=512),),
        cause="another client",
        says="somebody else had loaded the model, with a context of 512 tokens",
    ),
    Cause(
        name="the model leaves between rounds",
        faults=(b("unload", 4),),
        cause="model left",
        says="instance b: the model had left",
    ),
    Cause(
        name="a cold start within a round",
        faults=(b("unload", 3),),
        script=replace(USUAL, load_ms=600),
        cause="model left",
        says="for instance b to load the model",
    ),
    Cause(
        name="the model spills to the CPU",
        faults=(is_so("spill", factor=0.4),),
        cause="spilled to the CPU",
        says="instance b: 60 % of the model",
    ),
    Cause(
        name="the model is on the GPU on one instance only",
        faults=(is_so("spill", "a", factor=1.0),),
        cause="unequal places",
        says="these agents do not run on equal terms",
    ),
    Cause(
        name="instances of different versions",
        faults=(is_so("other_version", version="0.0.1-simulated"),),
        cause="different versions",
        says="the instances run different versions (a 0.0.0-simulated, b 0.0.1-simulated)",
    ),
    Cause(
        name="one instance has memory for less context",
        faults=(is_so("small_context", num_ctx=1024),),
        cause="different contexts",
        says="gave the same request different contexts: 4096 and 1024 tokens",
    ),
    Cause(
        name="one instance has less context than requested",
        injected='`kind = "small_context", instance = "b", num_ctx = 1024`; `num_ctx` of the agents is 4096',
        faults=(is_so("small_context", num_ctx=1024),),
        scenario=ROOMY,
        cause="different contexts",
        says="instance b gives the model a context of 1024 tokens instead of the requested 4096",
    ),
    Cause(
        name="one device throttles",
        faults=(b("throttle", factor=0.3, seconds=1.0),),
        cause="decode alone",
        says="y on instance b decodes more slowly, even alone",
        settings=STEADY,
    ),
    Cause(
        name="all devices throttle",
        faults=(b("throttle", factor=0.6, seconds=3.0), {**b("throttle", factor=0.6, seconds=3.0), "instance": "a"}),
        cause="throttling",
        says="alone fell over the rounds",
        script=slow(ttft_ms=10, decode_tok_s=100),
        settings=STEADY,
    ),
    Cause(
        name="the client is slow",
        injected="it sleeps 30 ms between two turns of a conversation",
        client_sleeps_s=0.03,
        scenario=TALK,
        cause="saturated client",
        says="the client was saturated in 2 of 2 rounds",
    ),
)
