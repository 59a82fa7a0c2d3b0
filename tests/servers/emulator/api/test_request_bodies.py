import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.model.model_names import full_name
from pytest_llmperf.servers.emulator.api.request_bodies import parse_body, parse_chat, parse_generate
from pytest_llmperf.servers.emulator.api.request_options import RequestError
from pytest_llmperf.servers.emulator.engine import Message
from tests.servers.conftest import CARD, HandEngine

TEMPLATED = HandEngine(template="{{ messages }}").card


def test_a_bare_prompt_goes_to_a_model_without_template_as_it_stands():
    """Without a template of its own the model continues the prompt."""
    request = parse_generate({"model": "hand:driven", "prompt": "Once"}, CARD)
    assert request.job.prompt == "Once"
    assert not request.job.messages
    assert request.stream
    assert b'"response":"x"' in request.form.piece("x")


def test_a_prompt_becomes_a_chat_where_the_model_has_a_template():
    """With a template the prompt is a user message, the system text a system message."""
    request = parse_generate({"model": "m", "prompt": "Hi", "system": "Be short."}, TEMPLATED)
    assert request.job.messages == (Message(role="system", content="Be short."), Message(role="user", content="Hi"))


def test_raw_wins_over_the_template():
    """`raw` sends the prompt unchanged, whatever template the model has."""
    assert parse_generate({"model": "m", "prompt": "Hi", "raw": True}, TEMPLATED).job.prompt == "Hi"


@pytest.mark.parametrize("parse", [parse_generate, parse_chat])
def test_nothing_to_say_asks_to_load(parse):
    """No prompt and no messages is a preload."""
    request = parse({"model": "m", "keep_alive": "10m"}, CARD)
    assert request.job is None
    assert request.keep_alive_s == 600.0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": 1}, "field prompt of type string"),
        ({"prompt": "x", "stream": "yes"}, "field stream of type bool"),
        ({"prompt": "x", "options": [1]}, "field options of type object"),
        ({"prompt": "x", "format": "json"}, "format is not supported"),
        ({"prompt": "x", "format": {"type": "object"}}, "format is not supported"),
        ({"prompt": "x", "images": ["aGk="]}, "does not support images"),
        ({"prompt": "x", "template": "{{ .Prompt }}"}, "template is not supported"),
        ({"prompt": "x", "suffix": "y"}, "suffix is not supported"),
        ({"prompt": "x", "context": [1, 2]}, "context is not supported"),
        ({"prompt": "x", "think": True}, "does not support thinking"),
        ({"prompt": "x", "think": 3}, "think must be"),
        ({"prompt": "x", "system": "y", "raw": True}, "raw mode does not support"),
        ({"prompt": "x", "system": "y"}, "no template"),
        ({"prompt": "x", "keep_alive": "-1"}, "missing unit"),
    ],
)
def test_generate_refuses_what_it_cannot_honour(body, words):
    """What would change the answer is refused by name, never ignored."""
    with pytest.raises(RequestError, match=words):
        parse_generate({"model": "m", **body}, CARD)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": "hi"}, "messages of type array"),
        ({"messages": ["hi"]}, r"messages\[0\]: want an object"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "invalid role 'robot'"),
        ({"messages": [{"role": "user", "content": [1]}]}, "content must be a text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "does not support tools"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "does not support images"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": [{}]}, "does not support tools"),
    ],
)
def test_chat_refuses_what_it_cannot_honour(body, words):
    """A message of the wrong form is refused with its place."""
    with pytest.raises(RequestError, match=words):
        parse_chat({"model": "m", **body}, CARD)


def test_defaults_that_clients_always_send_are_accepted():
    """Empty and false fields that real clients send mean nothing is asked."""
    body = {"model": "m", "prompt": "x", "suffix": "", "template": "", "images": None, "format": "", "think": False}
    assert parse_generate(body, CARD).job.prompt == "x"


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "missing request body"), (b"{", "invalid JSON"), (b"[]", "want an object"), (b"\xff", "invalid JSON")],
)
def test_bodies_that_are_no_json_object(body, words):
    """Each kind of wrong body has its own complaint."""
    with pytest.raises(RequestError, match=words):
        parse_body(body)


ODD_VALUES = (None, True, 0, -1, 1.5, "", "x", "5m", [], ["x"], [{"role": "user"}], {}, {"num_ctx": 1}, {"stop": 1})


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "stream", "options", "keep_alive", "system", "raw", "messages", "think"]),
        st.sampled_from(ODD_VALUES),
    )
)
def test_no_body_can_crash_the_parser(body):
    """Whatever is sent is either understood or refused."""
    parsed = parse_body(json.dumps({"model": "m", **body}).encode())
    for parse in (parse_generate, parse_chat):
        try:
            request = parse(parsed, CARD)
        except RequestError as error:
            assert error.status in (400, 500)  # noqa: PT017 - being understood is right as well
        else:
            assert request.model == "m"


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("gemma3", "gemma3:latest"),
        ("Gemma3:270M", "gemma3:270m"),
        ("library/gemma3:1b", "gemma3:1b"),
        ("registry.ollama.ai/library/gemma3", "gemma3:latest"),
        ("me/mine", "me/mine:latest"),
    ],
)
def test_names_are_compared_with_their_tag(name, full):
    """A name without tag means `latest`, in any case."""
    assert full_name(name) == full
