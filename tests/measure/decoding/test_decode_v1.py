"""Answers of OpenAI-compatible servers, streamed and not: what is a chunk, where the counts are, how they end."""

import json

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.model import RequestTiming
from tests.measure.decoding.test_decode import as_exchange, chunked

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(end: bytes = b"\n", **values: object) -> bytes:
    return b"data: " + json.dumps(values).encode() + end + end


def chat(end: bytes = b"\n", **delta: object) -> bytes:
    return event(end, object="chat.completion.chunk", choices=[{"index": 0, "delta": delta, "finish_reason": None}])


def finish(reason: str, **others: object) -> bytes:
    return event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}], **others)


DONE = b"data: [DONE]\n\n"


def timing_of(*pieces: bytes, kind: bytes = b"text/event-stream; charset=utf-8") -> RequestTiming:
    return decode(as_exchange(chunked(*pieces, kind=kind)))


def test_a_chat_stream() -> None:
    """The role is no content; count and prompt count are the usage block's; there are no durations of the server."""
    timing = timing_of(
        chat(role="assistant", content=""),
        chat(content="one "),
        chat(content="two"),
        finish("length"),
        event(choices=[], usage=USAGE),
        DONE,
    )
    assert (timing.arrivals_ns, timing.done_ns) == ((1030, 1040), 1070)
    assert (timing.text, timing.done_reason) == ("one two", "length")
    assert (timing.eval_count, timing.prompt_eval_count) == (3, 7)
    assert timing.total_duration_ns == timing.load_duration_ns == timing.eval_duration_ns == 0
    assert (timing.merged, timing.first_merged) == (0, False)


def test_a_completion_stream() -> None:
    """`/v1/completions` has `text` beside `finish_reason`."""
    timing = timing_of(
        event(choices=[{"text": "one", "finish_reason": None}]),
        event(choices=[{"text": "", "finish_reason": "stop"}], usage=USAGE),
        DONE,
    )
    assert (timing.text, timing.arrivals_ns, timing.done_reason, timing.eval_count) == ("one", (1020,), "stop", 3)


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"reasoning": "x", "reasoning_content": "x"},
        {"content": None, "reasoning": "x"},
    ],
)
def test_reasoning_is_no_content(delta: dict) -> None:
    """Under either of its names, and once where a server gives both."""
    timing = timing_of(chat(**delta), finish("stop"), DONE)
    assert (timing.reasoning, timing.reasoning_ns) == ("x", (1020,))
    assert (timing.text, timing.arrivals_ns) == ("", ())


def test_a_refusal_is_content() -> None:
    """It is text that the model says."""
    timing = timing_of(chat(refusal="x"), finish("stop"), DONE)
    assert (timing.text, timing.arrivals_ns) == ("x", (1020,))


def test_a_tool_call_is_content() -> None:
    """Each of its deltas is a chunk."""
    name = {"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}
    timing = timing_of(
        chat(content=None, tool_calls=[name]),
        chat(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
        chat(tool_calls=[]),
        finish("tool_calls"),
        DONE,
    )
    assert (timing.arrivals_ns, timing.text, timing.done_reason) == ((1020, 1030), "", "tool_calls")


def test_usage_counts_wherever_it_stands() -> None:
    """In each chunk (running totals), with the finish, in a chunk of its own, and null elsewhere: the last holds."""
    running = event(choices=[{"delta": {"content": "x"}}], usage={"prompt_tokens": 7, "completion_tokens": 1})
    for pieces in (
        (running, finish("stop", usage=USAGE)),
        (running, event(usage=USAGE), finish("stop", usage=None)),
        (event(choices=[], usage=USAGE), chat(content="x"), finish("stop")),
    ):
        timing = timing_of(*pieces, DONE)
        assert (timing.eval_count, timing.prompt_eval_count) == (3, 7)


def test_without_usage_there_is_no_count() -> None:
    """The answer is timed all the same; the number of chunks is never taken for a number of tokens."""
    timing = timing_of(chat(content="x"), chat(content="y"), finish("stop"), DONE)
    assert (timing.eval_count, len(timing.arrivals_ns)) == (0, 2)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_line_ends_and_comments_of_event_streams(end: bytes) -> None:
    """All three line ends, comments, other fields, events without data, a byte order mark: as the standard says."""
    timing = timing_of(
        b"\xef\xbb\xbf: ping" + end + end,
        b"event: message" + end + b"id: 1" + end + b"retry: 10" + end + chat(end, content="x\u2028y"),
        b"data" + end + end + b"data:" + end + end,
        b'data:{"choices": [' + end + b'data: {"delta": {"content": "z"}}]}' + end + end,
        b"data:[DONE]" + end + end,
    )
    assert (timing.text, timing.arrivals_ns, timing.done_ns) == ("x\u2028yz", (1030, 1050), 1060)


def test_a_last_event_needs_no_blank_line() -> None:
    """Some servers end with the line of `[DONE]`."""
    assert timing_of(chat(content="x"), b"data: [DONE]").done_ns == 1030


@pytest.mark.parametrize(
    ("pieces", "arrivals_ns", "merged", "first_merged"),
    [
        ([chat(content="x"), chat(content="y"), DONE], (1020, 1030), 0, False),
        ([chat(content="x") + chat(content="y"), DONE], (1020, 1020), 1, True),
        ([chat(content="x"), chat(content="y") + finish("stop"), DONE], (1020, 1030), 1, False),
        ([chat(content="x") + b": ping\n\n", DONE], (1020,), 1, True),
        ([chat(content="x") + DONE[:3], DONE[3:]], (1020,), 1, True),
        ([chat(content="x")[:-1], b"\n", DONE], (1030,), 0, False),
        ([chat(content="x")[:9], chat(content="x")[9:] + DONE], (1030,), 1, True),
    ],
)
def test_events_that_waited_are_counted(
    pieces: list[bytes], arrivals_ns: tuple[int, ...], merged: int, first_merged: bool
) -> None:
    """An event has arrived with its blank line; later bytes of the body in the same read make it merged."""
    timing = timing_of(*pieces)
    assert (timing.arrivals_ns, timing.merged, timing.first_merged) == (arrivals_ns, merged, first_merged)


WHOLE = {
    "generate": {"response": "all", "done": True, "eval_count": 3, "prompt_eval_count": 7, "eval_duration": 9},
    "chat": {"message": {"content": "all"}, "done": True, "eval_count": 3, "prompt_eval_count": 7, "eval_duration": 9},
    "v1 chat": {"choices": [{"message": {"content": "all"}, "finish_reason": "stop"}], "usage": USAGE},
    "v1 completion": {"choices": [{"text": "all", "finish_reason": "stop"}], "usage": USAGE},
}


@pytest.mark.parametrize("kind", [b"application/json", b"application/x-ndjson"])
@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_that_is_not_streamed_is_one_chunk(name: str, kind: bytes) -> None:
    """It arrives with its last byte, however many reads it took; what came before is not the first chunk."""
    body = json.dumps(WHOLE[name], indent=2 if kind == b"application/json" else None).encode()
    timing = timing_of(body[:9], body[9:30], body[30:], kind=kind)
    assert (timing.text, timing.arrivals_ns, timing.done_ns) == ("all", (1040,), 1040)
    assert (timing.eval_count, timing.prompt_eval_count, timing.merged, timing.first_merged) == (3, 7, 0, False)
    assert timing.eval_duration_ns == (0 if name.startswith("v1") else 9)


BROKEN = {
    "no end": (
        [chat(content="x"), finish("")],
        r"after 1 chunks without \[DONE\] \(line 5, byte \d+ of the body\)",
    ),
    "an error": (
        [chat(content="x"), event(error={"message": "out of memory", "code": 500})],
        "mid-stream: out of memory",
    ),
    "an error in words": ([event(error="no slot")], "no slot"),
    "a torn field": ([b'ata: {"choices": []}\n\n', DONE], r"no line of an event stream: b'ata.*\(line 1, byte 0 of"),
    "no JSON": ([chat(content="x"), b": ping\n\ndata: {oops\n\n", DONE], r"no JSON object.*\(line 5, byte \d+ of"),
    "another API": ([event(type="message_start"), DONE], "neither `choices` nor `usage`"),
    "choices that are none": ([event(choices={"delta": {}})], "`choices` is .*, wanted a list"),
    "a choice that is none": ([event(choices=["x"])], "wanted a list of objects"),
    "a delta that is none": ([event(choices=[{"delta": "x"}])], "`delta` is 'x', wanted an object"),
    "usage that is none": ([event(choices=[], usage=[3])], "`usage` is .*, wanted an object"),
    "a count that is none": ([event(usage={"completion_tokens": 3.5})], "`completion_tokens` is 3.5, wanted a whole"),
    "a negative count": ([event(usage={"completion_tokens": -3})], "wanted a whole number"),
    "more after the end": ([chat(content="x"), DONE, chat(content="x")], r"more after the end.*\(line 5, byte"),
}


@pytest.mark.parametrize(("pieces", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_event_streams_are_errors_that_say_where(pieces: list[bytes], words: str) -> None:
    """One error each, with the bytes."""
    with pytest.raises(MeasurementError, match=words) as caught:
        timing_of(*pieces)
    assert caught.value.received
    assert caught.value.next_step


def test_an_event_cut_off_in_its_middle_is_a_torn_answer() -> None:
    """Not a fault of the half line that is left."""
    whole = chunked(chat(content="x"), chat(content="y"), kind=b"text/event-stream")
    with pytest.raises(MeasurementError, match=r"torn or not HTTP.*after 1 chunks"):
        decode(as_exchange([*whole[:2], whole[2][:30]]))


def test_an_object_that_is_two() -> None:
    """An answer that is not streamed has only one, whatever its label."""
    whole = json.dumps(WHOLE["v1 chat"]).encode()
    for kind in (b"application/json", b"application/x-ndjson"):
        with pytest.raises(MeasurementError, match="more after the end"):
            timing_of(whole + b"\n" + whole, kind=kind)
