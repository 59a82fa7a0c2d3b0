"""What is taken out of bodies before they are written."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.recordings.redaction import Redaction

BODY = {
    "model": "m",
    "user": "bob@example.com",
    "messages": [
        {"role": "system", "content": "Be brief, and never mention the budget."},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"name": "pay", "arguments": '{"sum": 3}'}}]},
    ],
    "metadata": {"user": "bob", "account": 4711, "internal": True, "note": None},
    "options": {"num_predict": 9},
}


@pytest.mark.parametrize(
    ("secret", "field"),
    [
        ("sk-abcdefgh12345678", "content"),
        ("api_key=hunter2hunter2", "content"),
        ("Authorization: Bearer abc123def456", "prompt"),
        ("http://me:hunter2@host/x", "input"),
        ('{"password": "hunter2hunter2"}', "arguments"),
        ("hunter2hunter2", "api_key"),
    ],
)
def test_what_looks_like_a_secret_is_never_written(secret: str, field: str) -> None:
    """In a text, in JSON within a text, and in a field whose name says it."""
    redacted = Redaction().of_body(
        {"messages": [{field: f"before {secret} after" if "a" not in field[:3] else secret}]}
    )
    written = json.dumps(redacted)
    assert "***" in written
    assert "hunter2" not in written
    assert "abcdefgh" not in written
    assert "abc123" not in written


def test_secrets_of_the_environment_and_of_commands_are_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "correct horse battery")
    redacted = Redaction(secrets=["staple staple"]).of_body({"prompt": "correct horse battery or staple staple?"})
    assert redacted == {"prompt": "*** or ***?"}


def test_a_chosen_field_keeps_its_size_and_shape() -> None:
    """A text becomes as many characters of filler; what tells the server how to read the rest stays."""
    redaction = Redaction(["messages"])
    redacted = redaction.of_body(BODY)
    system, assistant = redacted["messages"]
    assert system == {
        "role": "system",
        "content": "*** the and for you not are but all can"[: len(BODY["messages"][0]["content"])],
    }
    assert len(system["content"]) == len(BODY["messages"][0]["content"])
    (call,) = assistant["tool_calls"]
    assert (call["id"], call["function"]["name"]) == ("call_1", "pay")
    assert "3" not in call["function"]["arguments"]
    assert {key: redacted[key] for key in redacted if key != "messages"} == {
        key: BODY[key] for key in BODY if key != "messages"
    }


def test_a_field_is_named_by_the_last_keys_of_its_path() -> None:
    """`user` is every user, `metadata.user` only that one; numbers and truths are hidden, too."""
    redacted = Redaction(["metadata"]).of_body(BODY)["metadata"]
    assert redacted == {"user": "***", "account": 0, "internal": False, "note": None}
    both, inner = Redaction(["user"]).of_body(BODY), Redaction(["metadata.user"]).of_body(BODY)
    assert both["user"].startswith("***")
    assert both["metadata"]["user"] == inner["metadata"]["user"] == "***"
    assert inner["user"] == BODY["user"]


def test_it_knows_which_fields_were_not_there() -> None:
    redaction = Redaction(["user", "usr"])
    redaction.of_body(BODY)
    assert (redaction.used, redaction.unused) == (("user",), ("usr",))
    assert "metadata" in redaction.names


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=9,
    )
)
def test_every_body_keeps_its_shape(value: object) -> None:
    """Chosen or not: the same keys, as many items, values of the same types."""

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(inside) for key, inside in value.items()}
        return list(map(shape, value)) if isinstance(value, list) else type(value)

    for fields in ([], ["chosen"]):
        assert shape(Redaction(fields).of_body({"chosen": value})) == shape({"chosen": value})
