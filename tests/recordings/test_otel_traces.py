"""Exports of OpenTelemetry traces, read as recordings."""

import json
from pathlib import Path

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.recordings.recorded_requests import Recording
from pytest_llmperf.recordings.recording_file import read_recording

MS = 1_000_000
START = 1_790_000_000_000_000_000
NESTED = '{"arrayValue": {"values": [' * 3000 + '{"intValue": "1"}' + "]}}" * 3000


def value(given: object) -> dict:
    if isinstance(given, bool):
        return {"boolValue": given}
    if isinstance(given, int):
        return {"intValue": str(given)}  # as OTLP's JSON has whole numbers
    if isinstance(given, float):
        return {"doubleValue": given}
    if isinstance(given, list):
        return {"arrayValue": {"values": list(map(value, given))}}
    if isinstance(given, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": value(inner)} for key, inner in given.items()]}}
    return {"stringValue": given}


def span(id_: str, begin: int, end: int, parent: str = "", trace: str = "t1", **attributes: object) -> dict:
    """A span from `begin` to `end`, ms; the names of its attributes have `_` for `.`, as in `gen_ai_request_model`."""
    return {
        "traceId": trace,
        "spanId": id_,
        "parentSpanId": parent,
        "name": id_,
        "startTimeUnixNano": str(START + begin * MS),
        "endTimeUnixNano": str(START + end * MS),
        "attributes": [{"key": key, "value": value(given)} for key, given in attributes.items()],
    }


def agent(id_: str, begin: int, end: int, parent: str = "", **more: object) -> dict:
    return span(id_, begin, end, parent, **{"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": id_, **more})


def chat(id_: str, begin: int, end: int, parent: str = "", trace: str = "t1", **more: object) -> dict:
    usual = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gemma3",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 5,
    }
    return span(id_, begin, end, parent, trace, **{**usual, **more})


def export(*spans: dict, service: str = "team") -> dict:
    resource = {"attributes": [{"key": "service.name", "value": value(service)}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def read(tmp_path: Path, *exports: dict, indent: int | None = None) -> Recording:
    path = tmp_path / "traces.json"
    path.write_text("\n".join(json.dumps(each, indent=indent) for each in exports))
    return read_recording(path)


def edges(recording: Recording) -> list[tuple]:
    return [(request.agent, request.after, request.pause_ms) for request in recording.requests]


def test_the_spans_around_tell_who_waited_for_whom(tmp_path: Path) -> None:
    """A planner asks two workers at once, and goes on when both are done; the workers do not wait for each other."""
    recording = read(
        tmp_path,
        export(
            agent("planner", 0, 100),
            chat("plan", 0, 10, "planner"),
            agent("left", 12, 40, "planner"),
            agent("right", 13, 60, "planner"),
            chat("left 1", 15, 20, "left"),
            chat("right 1", 22, 30, "right"),
            chat("left 2", 32, 40, "left"),
            chat("right 2", 45, 60, "right"),
            chat("join", 64, 100, "planner"),
        ),
    )
    assert recording.agents == ("planner", "left", "right")
    assert edges(recording) == [
        ("planner", (), 0),
        ("left", (1,), 5),
        ("right", (1,), 12),
        ("left", (2,), 12),
        ("right", (3,), 15),
        ("planner", (4, 5), 4),
    ]
    assert (recording.model, recording.end) == ("gemma3", "complete")
    assert {request.path for request in recording.requests} == {"/v1/chat/completions"}


def test_a_request_that_two_instruments_saw_is_one(tmp_path: Path) -> None:
    """The framework's span around the client's; and a request without an agent is the service's."""
    recording = read(tmp_path, export(chat("outer", 0, 50), chat("inner", 5, 45, "outer"), service="crew"))
    assert edges(recording) == [("crew", (), 0)]
    assert recording.requests[0].e2e_ms == 40


def test_messages_become_a_body(tmp_path: Path) -> None:
    """With tools, their calls and answers, and the options; as a text of JSON or as a structure."""
    messages = [
        {"role": "user", "parts": [{"type": "text", "content": "Weather in Oslo?"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "get", "arguments": {"at": "Oslo"}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rainy"}]},
    ]
    attributes = {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.tool.definitions": [{"type": "function", "name": "get", "parameters": {"type": "object"}}],
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stream": True,
    }
    for given in (json.dumps(messages), messages):
        (request,) = read(tmp_path, export(chat("a", 0, 9, **attributes, **{"gen_ai.input.messages": given}))).requests
        assert request.body == {
            "model": "gemma3",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Weather in Oslo?"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"at": "Oslo"}'}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "rainy"},
            ],
            "tools": [{"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}],
            "max_tokens": 7,
            "temperature": 0.5,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


def test_without_messages_the_token_counts_do(tmp_path: Path) -> None:
    """By their newest and their older names; a message with an image is not replayed in part."""
    older = {"gen_ai.usage.prompt_tokens": 30, "gen_ai.usage.completion_tokens": 4, "gen_ai.request.stream": True}
    image = json.dumps([{"role": "user", "parts": [{"type": "blob", "content": "..."}]}])
    spans = [
        span("a", 0, 9, **{"gen_ai.operation.name": "chat", **older}),
        chat("b", 10, 20, **{"gen_ai.input.messages": image}),
        chat("c", 30, 40, **{"gen_ai.operation.name": "embeddings"}),
        chat("d", 50, 60, **{"gen_ai.operation.name": "text_completion"}),
    ]
    requests = read(tmp_path, export(*spans)).requests
    assert [(each.body, each.input_tokens, each.output_tokens, each.stream) for each in requests] == [
        (None, 30, 4, True),
        (None, 20, 5, False),
        (None, 20, 5, False),
        (None, 20, 5, False),
    ]
    assert [each.path for each in requests[2:]] == ["/v1/embeddings", "/v1/completions"]


def test_several_exports_and_traces_are_one_recording(tmp_path: Path) -> None:
    """A line an export, as the collector's file exporter writes; or one that is printed over several lines."""
    first, second = export(chat("a", 0, 10)), export(chat("b", 15, 20, trace="t2"), chat("c", 16, 30, trace="t3"))
    assert edges(read(tmp_path, first, second)) == [("team", (), 0), ("team", (1,), 5), ("team", (1,), 6)]
    assert edges(read(tmp_path, first, indent=1)) == [("team", (), 0)]


def test_what_cannot_be_read_or_replayed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "traces.json"
    whole = json.dumps(export(chat("a", 0, 10)))
    for text, said in (
        (f"{whole}\n{whole[:-30]}", "line 2: it is not a readable trace export"),
        (json.dumps(export(span("a", 0, 10))), "no span is a request to a model"),
        (json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"spanId": "a"}]}]}]}), "line 1: .*traceId"),
        (json.dumps({"resourceSpans": 3}), "line 1: it is not a readable trace export"),
        (json.dumps(export(span("a", 0, 1, **{"gen_ai.operation.name": "chat"}))), "span a: it cannot be replayed"),
        (whole.replace('"20"', "1e999"), "line 1: it is not a readable trace export .*infinity"),
        (whole.replace('{"intValue": "20"}', '{"doubleValue": "inf"}'), "span a: it cannot be replayed: .*infinity"),
        (whole.replace('{"intValue": "20"}', NESTED), "line 1: it is not a readable trace export"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=rf"traces\.json.*{said}") as caught:
            read_recording(path)
        assert caught.value.next_step
