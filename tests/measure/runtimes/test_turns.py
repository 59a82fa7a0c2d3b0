"""Graphs on every runtime, against real sockets: who waits for whom, and what a failure does to those who wait."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.client_times import client_times
from pytest_llmperf.measure.runtimes import Runtime, runtime_of
from pytest_llmperf.measure.runtimes.runtime import Part
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.model import RUNTIMES, SERIAL, Agent, Loop, Step, steps_of
from tests.measure.scripted import request_to, serving

ANSWER = b"HTTP/1.1 200 OK\r\n\r\nhello"

HOUR_S = 3600.0
"""What is not waited for, for else a test would never end."""

WORKERS = ("w1", "w2", "w3")
TEAM = (
    Agent(name="critic", prompts=("x",), after=WORKERS),
    *(Agent(name=name, prompts=("x",), after=("planner",)) for name in WORKERS),
    Agent(name="planner", prompts=("x", "y")),
)
LOOPED = (
    Agent(name="writer", prompts=("x", "y")),
    Agent(name="critic", prompts=("x",), after=("writer",), loop=Loop(back_to="writer", times=3)),
)
PAUSED = (
    Agent(name="planner", prompts=("x", "y"), think_s=0.03, tool_s=(0.02, 0.04)),
    Agent(name="critic", prompts=("x",), after=("planner",), think_s=0.01),
)


@pytest.fixture(params=[*RUNTIMES, SERIAL])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    made = runtime_of(request.param)
    yield made
    made.close()


def clients_of(url: str, team: tuple[Agent, ...]) -> list[list[Request]]:
    return [
        [replace(request_to(url, f"agent {agent.name}"), step=step) for step in steps]
        for agent, steps in zip(team, steps_of(team), strict=True)
    ]


def check_turns(part: Part, team: tuple[Agent, ...]) -> None:
    """Every request was sent after the ends, tools and thoughts that it waits for."""
    steps = steps_of(team)
    for own, exchanges in zip(steps, part.exchanges, strict=True):
        due_ns = part.start_ns
        for step, exchange in zip(own, exchanges, strict=True):
            ends_ns = [part.exchanges[a][b].ended_ns + steps[a][b].tool_ns for a, b in step.waits_for]
            due_ns = max([due_ns, *ends_ns]) + step.think_ns
            assert exchange.sent_ns >= due_ns
            assert b"".join(piece.data for piece in exchange.pieces) == ANSWER
            due_ns = exchange.ended_ns + step.tool_ns


@pytest.mark.parametrize("team", [TEAM, LOOPED, PAUSED], ids=["fan-out and join", "loop", "pauses"])
def test_every_request_waits_for_its_turn(runtime: Runtime, team: tuple[Agent, ...]) -> None:
    """Whatever the order in which agents are written; what the runtime keeps serves the next part as well."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        for _ in range(2):
            part = runtime.run(clients_of(url, team), timeout_s=30)
            check_turns(part, team)
            times = client_times(part.start_ns, steps_of(team), part.exchanges)
            for own, exchanges in zip(times, part.exchanges, strict=True):
                assert own.client_ns >= 0
                assert 0 <= own.paused_ns + own.client_ns <= exchanges[-1].ended_ns - part.start_ns


@pytest.mark.parametrize("name", RUNTIMES)
def test_those_that_wait_for_the_same_agent_run_at_once(name: str) -> None:
    """No worker gets an answer before all three have asked."""
    together, lock, seen = threading.Barrier(3), threading.Lock(), [0]

    def handler(sock: socket.socket) -> None:
        with lock:
            seen[0] += 1
            number = seen[0]
        if 2 < number <= 5:  # after the planner's two requests
            together.wait(timeout=30)
        sock.sendall(ANSWER)

    runtime = runtime_of(name)
    try:
        with serving(handler) as url:
            check_turns(runtime.run(clients_of(url, TEAM), timeout_s=30), TEAM)
    finally:
        runtime.close()


def test_a_failure_ends_those_that_wait(runtime: Runtime) -> None:
    """For their turn, or for the end of an hour's pause: else this would take an hour."""

    def reset(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with serving(reset) as bad:
        first, later = request_to(bad, "agent a"), replace(request_to(bad, "agent b"), step=Step(waits_for=((0, 0),)))
        dreamer = replace(request_to(bad, "agent c"), step=Step(think_ns=round(HOUR_S * 1e9)))
        with pytest.raises(MeasurementError, match=r"agent a: the connection failed"):
            runtime.run([[first], [later], [dreamer]], timeout_s=HOUR_S)
