"""From raw bytes to a RequestTiming: framing, arrival times, and every way a stream can be broken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.wire.arrival import Piece
from pytest_llmperf.measure.wire.exchange import Exchange

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


def chunked(*lines: bytes, kind: bytes = b"application/x-ndjson") -> list[bytes]:
    """An answer in chunked transfer coding, a piece for the head, each line and the end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % kind
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


def sized(body: bytes, *, more: int = 0, head: bytes = b"HTTP/1.1 200 OK\r\n") -> list[bytes]:
    """An answer with a length, which is `more` bytes too large."""
    return [head + b"Content-Length: %d\r\n\r\n" % (len(body) + more), body]


X = line(response="x", done=False)
DONE = line(response="", done=True, eval_count=2)


@pytest.mark.parametrize(
    ("pieces", "arrivals_ns", "merged", "first_merged"),
    [
        ([X, X, DONE], (1010, 1020), 0, False),
        ([X + X, DONE], (1010, 1010), 1, True),
        ([X, X + DONE], (1010, 1020), 1, False),
        ([X + X + DONE], (1010, 1010), 2, True),
        ([X + X[:5], X[5:], DONE], (1010, 1020), 1, True),  # the time of the piece is that of half the second line
        ([X[:5], X[5:] + DONE[:1], DONE[1:]], (1020,), 1, True),
        ([X[:-1], b"\n", DONE], (1020,), 0, False),
        ([X + line(response="", done=False), DONE], (1010,), 1, True),
        ([DONE], (), 0, False),
        ([line(response="all", done=True)], (1010,), 0, False),
    ],
)
def test_chunks_that_waited_are_counted(
    pieces: list[bytes], arrivals_ns: tuple[int, ...], merged: int, first_merged: bool
) -> None:
    """A content chunk is merged where later bytes of the body came with its last: a line, half a one, an empty one."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    timing = decode(as_exchange([head + pieces[0], *pieces[1:]]))
    assert (timing.arrivals_ns, timing.merged, timing.first_merged) == (arrivals_ns, merged, first_merged)


def test_framing_is_no_later_chunk() -> None:
    """The ends of HTTP's chunks and of the answer, read together with a content chunk, do not make it merged."""
    first, last = chunked(X, DONE)[1:3]
    timing = decode(as_exchange([chunked()[0], first[:-2], first[-2:], last + b"0\r\nX-Trailer: yes\r\n\r\n"]))
    assert (timing.arrivals_ns, timing.merged, timing.done_ns) == ((1020,), 0, 1040)


def test_a_tool_call_is_a_content_chunk() -> None:
    """It may be all that the model says; it adds no text."""
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    timing = decode(as_exchange(chunked(line(message=call, done=False), line(done=True, done_reason="stop"))))
    assert (timing.arrivals_ns, timing.text) == ((1020,), "")


ODD = {
    "interim responses": [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", *sized(X + DONE)],
    "HTTP/1.0 without a length": [b"HTTP/1.0 200 OK\r\n\r\n", X, DONE],
    "pieces of no bytes": [b"", b"HTTP/1.1 200 OK\r\n", b"", b"\r\n", X, b"", DONE, b""],
    "chunk extensions": [chunked()[0], b"%x;a=b\r\n%s\r\n" % (len(X + DONE), X + DONE), b"0\r\n\r\n"],
    "blank lines and CRLF": chunked(b"\n", X[:-1] + b"\r\n", b" \n\n", DONE, b"\n"),
    "cut after its own end": chunked(X, DONE)[:-1],
    "cut in a line after its own end": [*chunked(X, DONE)[:-1], b"10\r\n{"],
    "too short by its length, but complete": sized(X + DONE, more=9),
    "a member twice": chunked(X, b'{"done": true, "eval_count": 9, "eval_count": 2}\n'),
    "null is absent": chunked(X, b'{"done": true, "eval_count": 2, "eval_duration": null, "error": null}\n'),
    "identity coding": [b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\n", X, DONE],
}


@pytest.mark.parametrize("pieces", ODD.values(), ids=ODD.keys())
def test_odd_but_complete_answers_are_read(pieces: list[bytes]) -> None:
    """What HTTP and JSON allow, and what is lost only after the answer said that it is complete."""
    timing = decode(as_exchange(pieces))
    assert (timing.text, timing.eval_count, timing.eval_duration_ns) == ("x", 2, 0)


def test_halves_of_characters_are_joined_or_replaced() -> None:
    r"""`\ud83d` and `\ude00` in two chunks are one character; one that stays alone cannot be printed."""
    pieces = chunked(*(b'{"response": "%s"}\n' % text for text in (rb"\ud83d", rb"\ude00", rb"\ud83d")), DONE)
    assert decode(as_exchange(pieces)).text == "\N{GRINNING FACE}\N{REPLACEMENT CHARACTER}"


BROKEN = {
    "no bytes at all": ([], "torn or not HTTP"),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], "torn or not HTTP"),
    "cut in mid-chunk": ([b"".join(ANSWER)[:120]], "torn or not HTTP"),
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
    "503 of OpenAI's kind": (sized(b'{"error":{"message":"full"}}', head=b"HTTP/1.1 503 Busy\r\n"), "503: full\n"),
    "500 of deep JSON": (sized(b"[" * 99_999, head=b"HTTP/1.1 500 Oops\r\n"), r"500: \[\[\[.{1,999}"),
    "500 without text": ([b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"], "500: no text"),
    "only an interim response": ([b"HTTP/1.1 100 Continue\r\n\r\n"], "torn or not HTTP, near byte 25 "),
    "another protocol": ([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"], "torn or not HTTP"),
    "a head without an end": ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999], "torn or not HTTP, near byte"),
    "a length of digits without end": (
        [b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 9000 + b"\r\n\r\n"],
        "near byte",
    ),
    "two lengths": ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{"], "near byte"),
    "a chunk of no size": ([chunked()[0], b"zz\r\n{}\r\n"], "near byte 87 .*after 0 chunks"),
    "too long for its length": (sized(X + DONE, more=-2), "torn or not HTTP, near byte"),
    "too short for its length": (sized(X, more=9), "near byte 72 .*after 1 chunks"),
    "compressed": ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b"], r"compressed \(gzip\)"),
    "an empty answer": (sized(b""), r"without `done` \(line 1, byte 0 of the body\)"),
    "an empty object": (sized(b"", head=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"), "no JSON object"),
    "a web page": (sized(b"<html>"), "no JSON object"),
    "a foreign object": (chunked(b'{"status": "ok"}\n'), "neither Ollama's nor an OpenAI-compatible answer"),
    "more after the end": (chunked(X, DONE, X), r"more after the end.*line 3, byte \d+ of the body"),
    "deep JSON": (chunked(X, b'{"response": ' + b"[" * 99_999 + b"\n"), r"nested too deeply \(line 2, byte 33 of the"),
    "a number of 5000 digits": (
        chunked(X, b'{"done": true, "eval_count": ' + b"9" * 5000 + b"}\n"),
        "no JSON object.*line 2",
    ),
    "a count beyond any server": (chunked(line(done=True, eval_count=2**63)), "wanted a whole number"),
    "a count of infinity": (chunked(b'{"done": true, "eval_count": Infinity}\n'), "Infinity is no JSON"),
    "a count of 1e999": (chunked(b'{"done": true, "eval_count": 1e999}\n'), "`eval_count` is inf, wanted"),
    "a count of true": (chunked(line(done=True, eval_count=True)), "`eval_count` is True, wanted"),
    "done in words": (chunked(line(done="yes")), "without `done`"),
    "a text that is none": (chunked(line(response=["x"])), "`response` is .*, wanted a text"),
    "a message that is none": (chunked(line(message="x", done=False)), "`message` is 'x', wanted an object"),
    "bytes that are no text": (chunked(b'{"response": "\xff"}\n'), "no JSON object"),
    "half a character in an error": (chunked(b'{"error": "\\ud83d"}\n'), r"mid-stream: \\ud83d"),
    "a long error": (chunked(line(error="x" * 9999)), r"[^x]x{2000}\.\.\."),
}


@pytest.mark.parametrize(("pieces", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_answers_are_errors_that_keep_the_bytes(pieces: list[bytes], words: str) -> None:
    """Each fault is named, says what to do next, and holds what had arrived."""
    with pytest.raises(MeasurementError, match=words) as caught:
        decode(as_exchange(pieces))
    assert caught.value.received == b"".join(pieces)
    assert caught.value.next_step
    assert "agent a" in str(caught.value)
    str(caught.value).encode()


def test_faults_say_where() -> None:
    """The line and its first byte, counted in the body without HTTP's framing."""
    with pytest.raises(MeasurementError, match=rf"\(line 3, byte {2 * len(X)} of the body\)"):
        decode(as_exchange(chunked(X, X, b"nonsense\n")))


def test_the_servers_own_error_comes_before_a_torn_end() -> None:
    """A server that reports why, and then dies, has said what was wrong."""
    with pytest.raises(MeasurementError, match="out of memory"):
        decode(as_exchange([*chunked(X, line(error="out of memory"))[:-1], b"zz\r\n"]))
