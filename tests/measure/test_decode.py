"""From raw bytes to a RequestTiming: framing, arrival times, and every way a stream can be broken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.arrival import Piece
from pytest_llmperf.measure.decode import decode
from pytest_llmperf.measure.wire import Exchange

LAST = {
    "done": True,
    "done_reason": "length",
    "total_duration": 900,
    "load_duration": 100,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 200,
    "eval_count": 3,
    "eval_duration": 300,
}


def chunked(*lines: bytes) -> list[bytes]:
    """An answer in chunked transfer coding, a piece for the head, each line and the end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(line), line) for line in lines), b"0\r\n\r\n"]


def as_exchange(pieces: list[bytes], *, step_ns: int = 10) -> Exchange:
    """Pieces arriving `step_ns` apart after a request sent at 1000 ns."""
    moments = [1000 + step_ns * (index + 1) for index in range(len(pieces))]
    held = tuple(Piece(moment, moment, piece) for moment, piece in zip(moments, pieces, strict=True))
    return Exchange(sent_ns=1000, pieces=held, source="read", label="agent a")


def line(**values: object) -> bytes:
    return json.dumps(values).encode() + b"\n"


ANSWER = chunked(
    line(response="one ", done=False),
    line(response="", done=False),
    line(response="two", done=False),
    line(response="", **LAST),
)


def test_arrivals_are_those_of_content_chunks() -> None:
    """An empty chunk is no content; the done line has its own arrival."""
    timing = decode(as_exchange(ANSWER))
    assert timing.arrivals_ns == (1020, 1040)
    assert timing.done_ns == 1050
    assert timing.sent_ns == 1000
    assert timing.text == "one two"


def test_server_figures_are_taken_over() -> None:
    """Counts and durations are the server's, in nanoseconds; an omitted one means 0."""
    timing = decode(as_exchange(ANSWER))
    assert (timing.eval_count, timing.prompt_eval_count) == (3, 7)
    assert (timing.total_duration_ns, timing.load_duration_ns) == (900, 100)
    assert (timing.prompt_eval_duration_ns, timing.eval_duration_ns) == (200, 300)
    bare = decode(as_exchange(chunked(line(response="x", done=True))))
    assert (bare.total_duration_ns, bare.eval_count) == (0, 0)


def test_chat_and_thinking_count_as_content() -> None:
    """`message.content` and `thinking` are content as `response` is."""
    pieces = chunked(
        line(message={"role": "assistant", "thinking": "hm", "content": ""}, done=False),
        line(message={"role": "assistant", "content": "yes"}, done=False),
        line(message={"role": "assistant", "content": ""}, done=True, done_reason="stop"),
    )
    timing = decode(as_exchange(pieces))
    assert (timing.text, len(timing.arrivals_ns), timing.done_reason) == ("hmyes", 2, "stop")


@given(st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=60))
def test_any_split_of_the_bytes_gives_the_same_content(cuts: list[int]) -> None:
    """However the network cuts the stream, content and counts are the same, and arrivals never run backwards."""
    stream, pieces, at = b"".join(ANSWER), [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    pieces.append(stream[at:])
    timing = decode(as_exchange([piece for piece in pieces if piece]))
    assert timing.text == "one two"
    assert timing.eval_count == 3
    assert list(timing.arrivals_ns) == sorted(timing.arrivals_ns)
    assert timing.done_ns >= timing.arrivals_ns[-1]


def test_a_line_arrives_with_its_last_byte() -> None:
    """A line cut in two has arrived when its end has."""
    whole = line(response="one", done=False) + line(done=True)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole)
    timing = decode(as_exchange([head + whole[:5], whole[5:]]))
    assert timing.arrivals_ns == (1020,)


def test_a_last_line_without_a_newline_counts() -> None:
    """An answer that is delimited by the end of the connection may lack its last newline."""
    pieces = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", line(response="x", done=True).rstrip()]
    assert decode(as_exchange(pieces)).done_ns == 1020


BROKEN = {
    "no bytes at all": ([], "torn or no HTTP"),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], "torn or no HTTP"),
    "cut in mid-chunk": ([b"".join(ANSWER)[:120]], "torn or no HTTP"),
    "half a line": (chunked(line(response="x", done=False), b'{"respon'), "no JSON object"),
    "a line of another kind": (chunked(b"[1, 2]\n"), "no JSON object"),
    "no done": (chunked(line(response="x", done=False)), "without `done`"),
    "error in mid-stream": (chunked(line(response="x", done=False), line(error="out of memory")), "out of memory"),
    "a count that is none": (chunked(line(response="x", done=True, eval_count="3")), "wanted a whole number"),
    "a negative duration": (chunked(line(response="x", done=True, eval_duration=-1)), "wanted a whole number"),
    "404": (
        [b"HTTP/1.1 404 Not Found\r\nContent-Length: 27\r\n\r\n", b'{"error":"model not found"}'],
        "404: model not found",
    ),
    "503": ([b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"], "503: busy"),
    "500 without text": ([b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"], "500: no text"),
}


@pytest.mark.parametrize(("pieces", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_answers_are_errors_that_keep_the_bytes(pieces: list[bytes], words: str) -> None:
    """Each fault is named, says what to do next, and holds what had arrived."""
    with pytest.raises(MeasurementError, match=words) as caught:
        decode(as_exchange(pieces))
    assert caught.value.received == b"".join(pieces)
    assert caught.value.next_step
    assert "agent a" in str(caught.value)
