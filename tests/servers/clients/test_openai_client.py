"""The openai backend against a server that speaks just enough of the API, over real sockets."""

import json
from contextlib import ExitStack, contextmanager

import pytest

from pytest_llmperf.errors import ModelMissingError, ServerError
from pytest_llmperf.measure.wire.openai_options import v1_options
from pytest_llmperf.model import OLLAMA_ONLY, Agent, GenerationOptions, Scenario, Settings, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.openai_client import LACKS, UNKNOWN, OpenAIClient
from pytest_llmperf.servers.processes.server_process import free_port
from pytest_llmperf.session.session import Session
from tests.started import Handler, http_server

WORDS = ("once", " upon", " a", " time")
PAIR = Scenario(
    name="pair",
    agents=(
        Agent(name="x", prompts=("one",), options=GenerationOptions(num_predict=4, num_ctx=512, seed=7, top_k=3)),
        Agent(name="y", prompts=("one", "two"), options=GenerationOptions(num_predict=4, temperature=0.5)),
    ),
)


@contextmanager
def serving(*models: str, extra: dict[str, dict[str, object]] | None = None, timings: bool = False):
    """The address of such a server with these models and these further answers to GET, and what it was asked."""
    asked = []

    class OpenAI(Handler):
        def do_GET(self):
            known = {"/v1/models": {"data": [{"id": model} for model in models]}, **(extra or {})}
            self.answer(json.dumps(known.get(self.path, {})).encode(), status=200 if self.path in known else 404)

        def do_POST(self):
            asked.append((self.path, self.body()))
            events = [{"choices": [{"delta": {"content": word}}]} for word in WORDS]
            events.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
            usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": len(WORDS)}}
            if timings:
                usage["timings"] = {"prompt_ms": 12.5, "predicted_ms": 40.0}
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in (*events, usage)) + "data: [DONE]\n\n"
            self.answer(text.encode(), kind="text/event-stream")

    with http_server(OpenAI) as url:
        yield url, asked


def test_what_is_never_sent():
    """No request there carries these options, all others are sent."""
    every = {"num_ctx": 1, "num_predict": 1, "seed": 1, "temperature": 1, "top_k": 1, "top_p": 1, "stop": ("x",)}
    every |= {"num_thread": 1, "num_gpu": 1}
    whole = v1_options("m", GenerationOptions(**every))
    for name in every:
        fewer = v1_options("m", GenerationOptions(**{**every, name: None}))
        assert (fewer == whole) is (name in OLLAMA_ONLY)


@pytest.mark.parametrize(("think", "effort"), [(None, None), (True, None), (False, "none"), ("high", "high")])
def test_how_much_to_think(think, effort):
    """By the name that it has there."""
    assert v1_options("m", GenerationOptions(), think).get("reasoning_effort") == effort


@pytest.mark.parametrize("timings", [False, True])
def test_a_measurement(tmp_path, timings):
    """Everything that the API reports is measured; the rest is undefined, and a note says so."""
    with ExitStack() as stack:
        (first, asked), (second, _) = (stack.enter_context(serving("m:1", timings=timings)) for _ in "ab")
        settings = Settings(
            backend="openai", urls=(first, f"{second}/v1/"), min_rounds=1, max_rounds=1, calibrate=False
        )
        session = Session(settings, root=tmp_path)
        stack.callback(session.close)
        record = session.measure(PAIR, TopologyKind.DUAL, test="t")
    measurement = record.measurement
    assert set(LACKS) <= set(measurement.notes)
    facts = measurement.manifest.facts
    assert (facts["backend"], facts["engine"], facts["engine_version"], facts["model"]) == (
        "openai",
        "OpenAI-compatible",
        UNKNOWN,
        "m:1",
    )
    (round_,) = measurement.rounds or measurement.discarded
    (request,) = round_.solo[0].requests
    assert (request.eval_count, request.prompt_eval_count, request.text) == (4, 9, "".join(WORDS))
    assert request.total_duration_ns == 0
    assert (request.prompt_eval_duration_ns, request.eval_duration_ns) == (
        (12_500_000, 40_000_000) if timings else (0, 0)
    )
    path, body = asked[-1]
    assert path == "/v1/chat/completions"
    assert body["messages"][0]["content"].endswith("one")
    assert {name: body[name] for name in body if name != "messages"} == {
        "model": "m:1",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 4,
        "seed": 7,
        "top_k": 3,
    }


@pytest.mark.parametrize(
    ("extra", "version"),
    [
        ({"/version": {"version": "0.11.2"}}, "0.11.2"),
        ({"/props": {"build_info": "b10488-abc"}}, "b10488-abc"),
        ({"/version": {"version": 7}}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_the_version_of_those_that_tell(extra, version):
    """Each has a way of its own, or none."""
    with serving("m", extra=extra) as (url, _), OpenAIClient(url) as control:
        assert control.version() == version


def test_what_the_api_does_not_have():
    """Nothing is loaded, unloaded or known; a model that is not named is missing."""
    with serving("m") as (url, asked):
        opened = choose(Settings(backend="openai", urls=(url,))).open(TopologyKind.SINGLE, 2)
        with opened, client_of(opened.topology.instances[0]) as control:
            assert isinstance(control, OpenAIClient)
            assert (control.loaded("m"), control.show("m"), control.find("m").digest) == (None, {}, "")
            control.preload("m", {"num_ctx": 1})
            control.unload("m")
            with pytest.raises(ModelMissingError, match="does not have model 'x'; it has m"):
                control.preload("x")
        assert asked == []


def test_next_steps_are_of_this_api():
    """Nothing listens, nothing of it is there, another model: each with what can be typed here."""
    with OpenAIClient(f"http://127.0.0.1:{free_port()}") as control, pytest.raises(ServerError) as caught:
        control.version()
    assert caught.value.next_step == f"is the server running? curl {control.url}/v1/models"

    class Other(Handler):
        def do_GET(self):
            body = b"no such page" if self.path.startswith("/plain") else b'{"detail": "Not Found"}'
            self.answer(body, status=404)

    with http_server(Other) as url:
        for address in (url, f"{url}/plain"):
            with (
                OpenAIClient(address) as control,
                pytest.raises(ServerError, match="GET /v1/models answered 404") as got,
            ):
                control.version()
            assert got.value.next_step == f"is it an OpenAI-compatible server? check with: curl {address}/v1/models"
    with serving("m") as (url, _), OpenAIClient(url) as control, pytest.raises(ModelMissingError) as caught:
        control.preload("zz")
    assert caught.value.next_step == "name a model that it has with --llmperf-model"


def test_no_openai_compatible_server():
    """Said, with what to try; without addresses it is an error before anything is asked."""
    with serving("m", extra={"/v1/models": {"models": []}}) as (url, _), OpenAIClient(url) as control:
        with pytest.raises(ServerError, match="lists no models") as caught:
            control.version()
        assert "--llmperf-backend=attach" in caught.value.next_step
    with pytest.raises(ServerError, match="backend openai: no addresses"):
        choose(Settings(backend="openai"))
