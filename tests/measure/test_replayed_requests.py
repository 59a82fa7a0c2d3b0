"""The bodies of replayed requests, and the errors for requests that cannot be replayed."""

import json

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.measure.replayed_requests import (
    PROBE_TOKENS,
    ReplayedBodies,
    difference_note,
    recorded,
)
from pytest_llmperf.model import AgentRun, Instance, RecordedAgent, RequestTiming
from pytest_llmperf.model.workload.recorded_agent import recorded_agents
from pytest_llmperf.recordings.recorded_requests import RecordedRequest, Recording

SHA = "0" * 64


def agent_of(*requests: RecordedRequest, model: str = "gemma3") -> RecordedAgent:
    (agent,) = recorded_agents(Recording(agents=("writer",), requests=requests, model=model))
    return agent


def asked(path: str = "/api/chat", **fields: object) -> RecordedRequest:
    return RecordedRequest(**{"id": 1, "agent": "writer", "path": path, "body": {"model": "gemma3:latest"}, **fields})


def unkept(path: str, tokens: int = 30, **fields: object) -> RecordedRequest:
    return asked(path, body=None, body_bytes=400, body_sha256=SHA, input_tokens=tokens, output_tokens=9, **fields)


def test_a_body_is_sent_as_it_was_for_the_model_here() -> None:
    """Other models that the agents ask for stay; a body without a model gets the one here."""
    body = {"model": "gemma3:latest", "messages": [{"role": "tool", "content": "4 °C"}], "options": {"seed": 7}}
    bodies = ReplayedBodies("here:1b")
    agent = agent_of(asked(body=body))
    assert bodies.of(agent, agent.requests[0]) == {**body, "model": "here:1b"}
    assert agent.requests[0].body == body
    assert bodies.of(agent, asked(body={"model": "nomic-embed"})) == {"model": "nomic-embed"}
    assert bodies.of(agent, asked(body={})) == {"model": "here:1b"}


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/api/generate", "num_predict"),
        ("/api/chat", "num_predict"),
        ("/v1/chat/completions", "max_tokens"),
        ("/v1/completions", "max_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/messages", "max_tokens"),
        ("/api/embed", ""),
        ("/api/embeddings", ""),
        ("/v1/embeddings", ""),
    ],
)
def test_a_body_that_was_not_kept_is_filler_of_as_many_tokens(path: str, limit: str) -> None:
    """For every endpoint: a word a token, less what a probe has shown that the server adds, and as long an answer."""
    bodies = ReplayedBodies("here:1b")
    agent = agent_of(unkept(path, stream=True))

    def words() -> int:
        body = bodies.of(agent, agent.requests[0])
        assert body["model"] == "here:1b"
        texts = [body.get("prompt"), body.get("input"), *(each["content"] for each in body.get("messages", ()))]
        (text,) = [text for text in texts if text]
        if limit:
            assert {**body, **body.get("options", {})}[limit] == 9
            assert body["stream"] is True
        return len(text.split())

    assert words() == 30
    bodies.learn(path, PROBE_TOKENS + 6)
    assert words() == 24
    assert len(json.dumps(bodies.probe(path)).split()) >= PROBE_TOKENS


def test_the_size_of_an_uncounted_body_is_estimated() -> None:
    agent = agent_of(unkept("/api/generate", tokens=0))
    assert len(ReplayedBodies("m").of(agent, agent.requests[0])["prompt"].split()) == 100


def test_what_cannot_be_replayed_says_so() -> None:
    agent = agent_of(unkept("/v1/rerank"))
    with pytest.raises(UsageError, match="/v1/rerank cannot be replayed without its body"):
        ReplayedBodies("m").of(agent, agent.requests[0])
    read_back = RecordedAgent(name="writer", recording="1", work="2", steps=agent.steps)
    here = Instance(name="a", url="http://127.0.0.1:1")
    with pytest.raises(UsageError, match="comes from a stored record"):
        recorded(read_back, here)
    openai = Instance(name="a", url="http://127.0.0.1:1", api="openai")
    with pytest.raises(
        UsageError, match=r"was recorded with /api/chat, which an OpenAI-compatible server does not have"
    ):
        recorded(agent_of(asked()), openai)
    assert recorded(agent_of(asked("/v1/completions")), openai)


def test_other_token_counts_than_the_recordings_are_noted() -> None:
    def run(tokens: int) -> AgentRun:
        timing = RequestTiming(sent_ns=0, done_ns=9, arrivals_ns=(5,), eval_count=tokens, prompt_eval_count=30)
        return AgentRun(agent="writer", instance="a", start_ns=0, requests=(timing,))

    agent = agent_of(unkept("/api/generate"))
    assert difference_note([agent], [run(9)]) == ""
    note = difference_note([agent], [run(7)])
    assert note.startswith(
        "1 of 1 replayed requests have other token counts than the recording; the first, request 1 of "
    )
    assert "writer: 30 in, 7 out; recorded 30 in, 9 out" in note
