"""Rounds with a scripted network: barrier, order, prefixes, conversations, failures."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.agent_requests import STAND_IN_ANSWER
from pytest_llmperf.measure.rounds import TOGETHER, Rounds, order_of
from pytest_llmperf.measure.runtimes import Clients, Part
from pytest_llmperf.measure.wire.arrival import Piece
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.model import (
    CHIMERA_HETERO,
    CHIMERA_HOMO,
    CONVERSATION,
    Agent,
    Instance,
    Round,
    Scenario,
    Topology,
    TopologyKind,
)

DUAL = Topology(
    kind=TopologyKind.DUAL,
    instances=(Instance(name="a", url="http://a:1"), Instance(name="b", url="http://b:2")),
    model="m",
    backend="simulated",
)
SINGLE = replace(DUAL, kind=TopologyKind.SINGLE, instances=DUAL.instances[:1])


class Network:
    """A runtime that answers every request at once, by a clock that goes on by a tick for each thing that happens.

    Args:
        fail_on: host that does not answer.
        own: ticks that the client takes before it begins a connection, and again before it sends on it.
        sources: source of arrival times, by host; else the kernel.
    """

    name = "scripted"

    def __init__(self, *, fail_on: str = "", own: int = 0, sources: Mapping[str, str] | None = None) -> None:
        self.log: list[tuple[str, str, dict[str, Any]]] = []
        self.most_at_once = 0
        self._fail_on = fail_on
        self._own = own
        self._sources = sources or {}
        self._now_ns = 0

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        self.most_at_once = max(self.most_at_once, len(clients))
        start_ns = self._after(1)
        exchanges = tuple(tuple(self._exchange(request) for request in requests) for requests in clients)
        cpu_ns, lag_ns = [100 * len(clients) + index for index in range(len(clients))], range(3, 3 + len(clients))
        return Part(start_ns=start_ns, exchanges=exchanges, cpu_ns=tuple(cpu_ns), lag_ns=tuple(lag_ns))

    def _after(self, ticks: int) -> int:
        self._now_ns += ticks
        return self._now_ns

    def close(self) -> None:
        pass

    def _exchange(self, request: Request) -> Exchange:
        head, _, body = request.payload.partition(b"\r\n\r\n")
        self.log.append((request.host, head.split()[1].decode(), json.loads(body)))
        if request.host == self._fail_on:
            raise MeasurementError(f"{request.label}: down")
        connect_ns, connected_ns = self._after(self._own), self._after(1000)
        sent_ns, arrival_ns, ended_ns = self._after(1 + self._own), self._after(1), self._after(500)
        answer = b'{"response":"x","message":{"content":"x"},"done":true,"eval_count":5}\n'
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer)
        piece = Piece(arrival_ns, arrival_ns + 3, head + answer)
        return Exchange(
            sent_ns=sent_ns,
            pieces=(piece,),
            source=self._sources.get(request.host, "kernel"),
            label=request.label,
            connect_ns=connect_ns,
            connected_ns=connected_ns,
            ended_ns=ended_ns,
        )


def rounds_of(scenario: Scenario, topology: Topology, network: Network) -> Rounds:
    return Rounds(scenario, topology, runtime=network, timeout_s=1)


def one_round(scenario: Scenario, topology: Topology, network: Network, index: int = 0) -> Round:
    return rounds_of(scenario, topology, network).run(index)


@given(st.integers(min_value=1, max_value=5))
def test_every_part_stands_everywhere_equally_often(agents: int) -> None:
    """Over N + 1 rounds each part has been first, second, ..., last once: drift cancels."""
    names = [f"agent{index}" for index in range(agents)]
    orders = [order_of(index, names) for index in range(agents + 1)]
    for position in range(agents + 1):
        assert {order[position] for order in orders} == {*names, TOGETHER}


def test_a_round_is_each_alone_and_all_together() -> None:
    """Two agents: two solo runs and one with both, in the scenario's order whatever order they ran in."""
    network = Network()
    for index in range(3):
        result = one_round(CHIMERA_HOMO, DUAL, network, index)
        assert [run.agent for run in result.solo] == ["collector", "insight"]
        assert [run.agent for run in result.together] == ["collector", "insight"]
        assert [run.instance for run in result.together] == ["a", "b"]
        assert result.order == order_of(index, ["collector", "insight"])
        assert not result.work_mismatch
    assert len(network.log) == 3 * 4
    assert network.most_at_once == 2


def test_together_means_one_barrier() -> None:
    """All agents of a part share the moment the barrier opened, and none sends before it."""
    result = one_round(CHIMERA_HOMO, DUAL, Network())
    assert len({run.start_ns for run in result.together}) == 1
    assert all(run.requests[0].sent_ns > run.start_ns for run in (*result.together, *result.solo))
    assert all(run.duration_ns == run.requests[-1].done_ns - run.start_ns for run in result.together)


def test_one_agent_is_alone_and_together_at_once() -> None:
    """It does its work once a round; both parts are that run."""
    alone, network = replace(CHIMERA_HOMO, agents=CHIMERA_HOMO.agents[:1]), Network()
    result = one_round(alone, SINGLE, network, index=1)
    assert len(network.log) == 1
    assert result.solo == result.together
    assert result.order == (TOGETHER,)


def test_a_shared_topology_sends_all_to_one_instance() -> None:
    """On `single` both agents talk to instance a."""
    network = Network()
    result = one_round(CHIMERA_HOMO, SINGLE, network)
    assert {host for host, _, _ in network.log} == {"a"}
    assert [run.instance for run in result.together] == ["a", "a"]


def test_too_few_instances_are_refused() -> None:
    """Three agents do not fit on two instances of their own."""
    three = replace(CHIMERA_HOMO, agents=(*CHIMERA_HOMO.agents, Agent(name="third", prompts=("p",))))
    with pytest.raises(ValueError, match="agent 3 needs its own"):
        rounds_of(three, DUAL, Network())


def test_every_request_has_a_prefix_of_its_own() -> None:
    """Warm-up, solo and together: no prompt begins as another does."""
    network = Network()

    rounds = rounds_of(CHIMERA_HOMO, DUAL, network)
    assert len(rounds.warm_up(2)) == 4
    for index in range(4):
        rounds.run(index)
    prompts = [body["prompt"] for _, _, body in network.log]
    assert len(prompts) == 2 * 2 + 4 * 4
    assert len({tuple(prompt.split()[:8]) for prompt in prompts}) == len(prompts)
    assert len({len(prompt.split()) for prompt in prompts}) == 1


def test_requests_carry_the_agents_options_and_keep_the_model_loaded() -> None:
    """Only what is set is sent; the model outlives any request, but not us for long."""
    network = Network()
    one_round(CHIMERA_HETERO, DUAL, network)
    sent = {(host, json.dumps(body["options"], sort_keys=True)) for host, _, body in network.log}
    assert sent == {
        ("a", '{"num_ctx": 512, "num_gpu": 120, "num_predict": 96, "seed": 42, "temperature": 0.8}'),
        ("b", '{"num_ctx": 1024, "num_gpu": 140, "num_predict": 96, "seed": 42, "temperature": 0.8}'),
    }
    assert {(body["model"], body["stream"], body["keep_alive"]) for _, _, body in network.log} == {("m", True, 601)}


@pytest.mark.parametrize("prompts", [("x",), ("x", "y")], ids=["generate", "chat"])
@pytest.mark.parametrize("think", [None, True, False, "low"])
def test_whether_to_think_is_sent_where_it_is_set(think: bool | str | None, prompts: tuple[str, ...]) -> None:
    """Beside the options, with every request; else the server decides."""
    network = Network()
    one_round(Scenario(name="s", agents=(Agent(name="x", prompts=prompts, think=think),)), DUAL, network)
    assert {body.get("think", "not sent") for _, _, body in network.log} == {"not sent" if think is None else think}
    assert all("think" not in body["options"] for _, _, body in network.log)


def test_a_conversation_is_a_chat_with_a_fixed_history() -> None:
    """Each turn carries the turns before it and a fixed stand-in for the answers, so that every run does the same."""
    network = Network()
    result = one_round(CONVERSATION, DUAL, network)
    assert [len(run.requests) for run in result.together] == [3, 3]
    assert result.together[0].eval_count == 15
    chats = [body["messages"] for host, path, body in network.log if host == "a" and path == "/api/chat"]
    assert [len(messages) for messages in chats] == [1, 3, 5] * 2
    last = chats[2]
    assert [message["role"] for message in last] == ["user", "assistant", "user", "assistant", "user"]
    assert {message["content"] for message in last if message["role"] == "assistant"} == {STAND_IN_ANSWER}
    assert last[-1]["content"] == CONVERSATION.agents[0].prompts[2]
    assert last[0]["content"].endswith(CONVERSATION.agents[0].prompts[0])
    assert len({messages[0]["content"] for messages in chats}) == 6


def test_a_failing_agent_ends_the_round() -> None:
    """One dead instance: the error is the dead one's."""
    with pytest.raises(MeasurementError, match=r"instance b .*down"):
        one_round(CHIMERA_HOMO, DUAL, Network(fail_on="b"), index=2)


def test_a_round_records_what_the_client_cost() -> None:
    """Time in which the client had to act, its lag, and its CPU time in the together part, by process."""
    for index in range(3):  # whatever the order
        result = one_round(CONVERSATION, DUAL, Network(own=10), index)
        solo = result.solo[0]
        first_ns = solo.requests[0].sent_ns - solo.start_ns
        assert solo.client_ns == first_ns + 2 * (10 + 11)
        assert [run.lag_ns for run in (*result.solo, *result.together)] == [3, 3, 3, 4]
        assert result.client_cpu_ns == (200, 201)


def test_what_the_server_takes_to_connect_and_to_close_is_not_the_clients() -> None:
    """A far server needs a while for either, in each turn: the client has only to ask."""
    (run, _) = one_round(CONVERSATION, DUAL, Network()).solo
    assert run.requests[1].sent_ns - run.requests[0].done_ns > 1500
    assert run.client_ns - (run.requests[0].sent_ns - run.start_ns) == 2


@pytest.mark.parametrize(("source", "part"), [({}, "kernel"), ({"b": "read"}, "read")])
def test_one_read_time_makes_the_round_one_of_reads(source: Mapping[str, str], part: str) -> None:
    """Its arrivals are the kernel's only where all of them are."""
    assert one_round(CHIMERA_HOMO, DUAL, Network(sources=source)).timing_source == part


def test_answers_are_of_the_very_same_prompts() -> None:
    """Alone, alone again, together: one beginning for each agent and sample; none is asked together too early."""
    network = Network()
    answered = rounds_of(CHIMERA_HOMO, DUAL, network).answers(3)
    assert [(answer.agent, answer.alone, answer.again, answer.together) for answer in answered] == [
        (agent.name, "x", "x", "x") for _ in range(3) for agent in CHIMERA_HOMO.agents
    ]
    assert {answer.prompt for answer in answered} == {CHIMERA_HOMO.agents[0].prompts[0]}
    sent = [body["prompt"] for _, _, body in network.log]
    assert sent[:6] == sent[6:12] == sent[12:]
    assert len(set(sent)) == 6
    assert network.most_at_once == 2
    again = rounds_of(CHIMERA_HOMO, DUAL, network)
    again.answers(1)
    again.run(0)
    assert len({body["prompt"] for _, _, body in network.log[-6:]}) == 6  # fresh beginnings again


def test_a_conversation_is_answered_turn_by_turn() -> None:
    """An entry a turn, each with the turn's prompt."""
    answered = rounds_of(CONVERSATION, DUAL, Network()).answers(1)
    assert [answer.prompt for answer in answered] == [
        prompt for agent in CONVERSATION.agents for prompt in agent.prompts
    ]
