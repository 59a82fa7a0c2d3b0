"""From what passed a connection to requests and answers, each with its own bytes and moments."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.tap.http_exchanges import CANCELLED, HttpExchange, exchanges_of, timing
from pytest_llmperf.measure.tap.recording import Capture, CapturedConnection, Chunk, Stream

END_NS = 10_000_000
TAKEN = Capture(start_ns=1, end_ns=END_NS, before_ns=0, after_ns=0, agents=())


def request(path: str = "/api/generate", body: bytes = b"{}", *, method: str = "POST", chunked: bool = False) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def line(**values: object) -> bytes:
    return json.dumps(values).encode() + b"\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
LINES = [line(response="one ", done=False), line(response="two", done=False), line(done=True, eval_count=2)]
ANSWER = [HEAD, *(chunk(line) for line in LINES), b"0\r\n\r\n"]
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def flow(writes: list[bytes], *, start_ns: int, step_ns: int = 100, ended_ns: int = 0) -> Stream:
    """Writes that were read `step_ns` apart, and handed on 5 ns after that."""
    moments = [start_ns + step_ns * index for index in range(len(writes))]
    return Stream(tuple(Chunk(at, (), data, at + 5) for at, data in zip(moments, writes, strict=True)), ended_ns)


def heard(up: Stream, down: Stream) -> list[HttpExchange]:
    return list(exchanges_of(CapturedConnection(up, down), TAKEN, label="agent a"))


def bytes_of(http_exchange: HttpExchange) -> bytes:
    return b"".join(piece.data for piece in http_exchange.exchange.pieces)


def test_a_request_leaves_with_its_last_byte_and_its_answer_is_decoded_as_any() -> None:
    """The moment of the request is when its last byte was handed to the server; arrivals are those at the tap."""
    up = flow([request()[:10], request()[10:]], start_ns=100)
    (http_exchange,) = heard(up, flow(ANSWER, start_ns=1000))
    assert http_exchange.generation
    assert http_exchange.exchange.sent_ns == 205
    got = timing(http_exchange)
    assert (got.sent_ns, got.arrivals_ns, got.done_ns) == (205, (1100, 1200), 1300)
    assert (got.text, got.eval_count) == ("one two", 2)


@given(st.data())
def test_a_connection_is_cut_at_its_messages(data: st.DataObject) -> None:
    """However writes and reads fall, pipelined or not: each answer has its own bytes, in pieces at their own times."""
    pairs = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from([request(), request("/api/chat", b'{"a":1}', chunked=True), request(method="GET")]),
                st.sampled_from(
                    [
                        b"".join(ANSWER),
                        PLAIN,
                        b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,
                        b"HTTP/1.1 204 No Content\r\n\r\n",
                        b"HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n" + b'{"error":"no"}',
                    ]
                ),
            ),
            min_size=1,
            max_size=4,
        )
    )
    streams = [b"".join(asked for asked, _ in pairs), b"".join(answer for _, answer in pairs)]
    flows = []
    for stream, start_ns in zip(streams, (100, 100_000), strict=True):
        cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
        writes = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        flows.append(flow(writes, start_ns=start_ns))
    got = heard(*flows)
    assert [bytes_of(http_exchange) for http_exchange in got] == [answer for _, answer in pairs]
    assert all(http_exchange.whole for http_exchange in got)
    up_end = down_end = 0
    for http_exchange, (asked, answer) in zip(got, pairs, strict=True):
        up_end += len(asked)
        down_end += len(answer)
        assert http_exchange.exchange.sent_ns == moment_of(flows[0], up_end) + 5
        assert http_exchange.exchange.pieces[-1].arrival_ns == moment_of(flows[1], down_end)


def moment_of(stream: Stream, end: int) -> int:
    """When the byte before this offset was read."""
    at = 0
    for passage in stream.chunks:
        at += len(passage.data)
        if at >= end:
            return passage.read_ns
    raise AssertionError(end)


def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    """HTTP/1.0's way, which some proxies still go."""
    down = flow([b"HTTP/1.0 200 OK\r\n\r\n", *LINES], start_ns=1000, ended_ns=2000)
    (http_exchange,) = heard(flow([request()], start_ns=100), down)
    assert http_exchange.whole
    assert timing(http_exchange).eval_count == 2


def test_answers_to_head_have_no_body() -> None:
    """Though they may state a length; the next answer follows at once."""
    up = flow([request("/", b"", method="HEAD") + request()], start_ns=100)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    first, second = heard(up, flow([head + b"".join(ANSWER)], start_ns=1000))
    assert not first.generation
    assert timing(second).eval_count == 2


def test_a_client_that_stops_listening_at_done_is_served() -> None:
    """It has its answer; that the last, empty chunk never came changes nothing."""
    (http_exchange,) = heard(flow([request()], start_ns=100, ended_ns=5000), flow(ANSWER[:-1], start_ns=1000))
    assert timing(http_exchange).done_reason == ""
    assert timing(http_exchange).done_ns == 1300


@pytest.mark.parametrize("server_ended_ns", [0, 5001])
def test_who_leaves_in_mid_stream_has_cancelled(server_ended_ns: int) -> None:
    """The request ends when the agent left; what had arrived counts, half a line does not, and there is no count."""
    down = flow([*ANSWER[:2], ANSWER[2] + b"2f\r\n{", b'"respo'], start_ns=1000, ended_ns=server_ended_ns)
    (http_exchange,) = heard(flow([request()], start_ns=100, ended_ns=5000), down)
    got = timing(http_exchange)
    assert (got.done_reason, got.done_ns, got.eval_count) == (CANCELLED, 5000, 0)
    assert (got.arrivals_ns, got.text) == ((1100, 1200), "one two")


def test_who_leaves_before_the_first_byte_has_cancelled_too() -> None:
    """With no arrival at all."""
    (http_exchange,) = heard(flow([request()], start_ns=100, ended_ns=5000), flow([], start_ns=1000))
    assert (timing(http_exchange).done_reason, timing(http_exchange).arrivals_ns) == (CANCELLED, ())


def test_an_answer_under_way_when_the_agent_ends_is_cancelled() -> None:
    """An agent that ends and never closed its connection left at the end of the part."""
    (http_exchange,) = heard(flow([request()], start_ns=100), flow(ANSWER[:2], start_ns=1000))
    assert (timing(http_exchange).done_reason, timing(http_exchange).done_ns) == (CANCELLED, END_NS)


def test_who_leaves_after_a_refusal_was_refused() -> None:
    """A status other than 200 is the server's error, whoever hung up first."""
    down = flow([b'HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\n{"error":"busy"}'], start_ns=1000)
    (http_exchange,) = heard(flow([request()], start_ns=100, ended_ns=5000), down)
    with pytest.raises(MeasurementError, match="agent a: the server answered 503: busy"):
        timing(http_exchange)


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_server_that_dies_in_mid_stream_is_an_error(cut: int) -> None:
    """The usual error, also where the agent leaves in consequence."""
    down = flow(ANSWER[:cut], start_ns=1000, ended_ns=4000)
    (http_exchange,) = heard(flow([request()], start_ns=100, ended_ns=4500), down)
    with pytest.raises(MeasurementError, match="agent a: "):
        timing(http_exchange)


def test_a_server_that_speaks_no_http_is_an_error() -> None:
    """With the bytes kept."""
    (http_exchange,) = heard(
        flow([request()], start_ns=100), flow([b"SSH-2.0\r\n\r\n", b"x"], start_ns=1000, ended_ns=2000)
    )
    with pytest.raises(MeasurementError, match="not HTTP") as caught:
        timing(http_exchange)
    assert caught.value.received == b"SSH-2.0\r\n\r\nx"


def test_an_agent_that_speaks_no_http_is_an_error() -> None:
    """TLS, say, or another protocol."""
    with pytest.raises(MeasurementError, match="agent a: the agent sent bytes that are not HTTP"):
        heard(flow([b"\x16\x03\x01\x00\xa5\r\n\r\n"], start_ns=100), flow([], start_ns=1000))


def test_a_request_that_never_left_is_none() -> None:
    """What lay at the tap when its agent was given up was not asked for; nor is half a request."""
    held = Stream((Chunk(100, (), request(), 0),), 0)
    assert heard(held, flow([], start_ns=1000)) == []
    assert heard(flow([request()[:20]], start_ns=100), flow([], start_ns=1000)) == []


def test_an_early_answer_to_half_a_request_counts() -> None:
    """A server that refuses before it has read all."""
    up = flow([request(body=b"x" * 50)[:-20]], start_ns=100)
    (http_exchange,) = heard(up, flow([b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"], start_ns=1000))
    with pytest.raises(MeasurementError, match="400"):
        timing(http_exchange)


@pytest.mark.parametrize("method", ["CONNECT", "GET"])
def test_what_follows_the_last_request_is_not_read(method: str) -> None:
    """A tunnel, or bytes after `Connection: close`: they pass, and mean nothing to us."""
    asked = f"{method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    got = heard(flow([asked + b"\x00\x01"], start_ns=100), flow([PLAIN], start_ns=1000))
    assert [http_exchange.method for http_exchange in got] == [method]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/proxy/v1/completions?x=1"])
def test_openai_streams_are_generation_too(path: str) -> None:
    """On the level of bytes and times; what they mean is the decoder's business."""
    events = [b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    down = flow([head, *(chunk(line) for line in events), b"0\r\n\r\n" + PLAIN], start_ns=1000)
    first, second = heard(flow([request(path) + request("/v1/models", method="GET")], start_ns=100), down)
    assert (first.generation, second.generation) == (True, False)
    assert first.exchange.sent_ns == 105
    assert [piece.arrival_ns for piece in first.exchange.pieces] == [1000, 1100, 1200, 1300]
    assert bytes_of(second) == PLAIN


def event(**values: object) -> bytes:
    return b"data: " + json.dumps(values).encode() + b"\n\n"


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WORD = event(object="chat.completion.chunk", choices=[{"index": 0, "delta": {"content": " word"}}])
USAGE = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})


def test_an_openai_stream_is_timed_as_any() -> None:
    """Its usage block has the count."""
    down = flow(
        [SSE_HEAD, chunk(WORD), chunk(WORD), chunk(USAGE) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"], start_ns=1000
    )
    (http_exchange,) = heard(flow([request("/v1/chat/completions")], start_ns=100), down)
    got = timing(http_exchange)
    assert (got.arrivals_ns, got.done_ns, got.eval_count, got.text) == ((1100, 1200), 1300, 2, " word word")


@pytest.mark.parametrize(
    "part", [b"", b"da", b'data: {"choices": [', WORD[:-1]], ids=["none", "2", "19", "all but one"]
)
def test_who_leaves_an_openai_stream_has_cancelled(part: bytes) -> None:
    """Wherever it is cut: whole events count."""
    down = flow([SSE_HEAD, chunk(WORD), chunk(WORD) + b"ff\r\n" + part], start_ns=1000)
    (http_exchange,) = heard(flow([request("/v1/chat/completions")], start_ns=100, ended_ns=5000), down)
    got = timing(http_exchange)
    assert (got.done_reason, got.done_ns, got.eval_count) == (CANCELLED, 5000, 0)
    assert got.arrivals_ns[:2] == (1100, 1200)


@pytest.mark.parametrize("kind", [b"", b"Content-Type: text/plain\r\n", b"Content-Type: application/json\r\n"])
@pytest.mark.parametrize(("path", "part"), [("/v1/chat/completions", WORD), ("/api/generate", LINES[0])])
def test_who_leaves_a_stream_with_another_label_has_cancelled(path: str, part: bytes, kind: bytes) -> None:
    """What is a stream its bytes say, not its label."""
    head = b"HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n" % kind
    down = flow([head, chunk(part), chunk(part), b"ff\r\n{"], start_ns=1000)
    (http_exchange,) = heard(flow([request(path)], start_ns=100, ended_ns=5000), down)
    assert (timing(http_exchange).done_reason, timing(http_exchange).arrivals_ns) == (CANCELLED, (1100, 1200))


@pytest.mark.parametrize("server_ended_ns", [0, 9000])
def test_a_whole_answer_ends_with_its_last_byte(server_ended_ns: int) -> None:
    """Not when the server hangs up, which it may do late, or never."""
    (http_exchange,) = heard(flow([request()], start_ns=100), flow(ANSWER, start_ns=1000, ended_ns=server_ended_ns))
    assert http_exchange.exchange.ended_ns == 1400


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/generate"])
def test_who_leaves_an_answer_of_one_object_has_cancelled(path: str) -> None:
    """Half an object is no arrival."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    down = flow([head + b'{"choices":\n [{"mes', b"sage"], start_ns=1000)
    (http_exchange,) = heard(flow([request(path)], start_ns=100, ended_ns=5000), down)
    assert (timing(http_exchange).done_reason, timing(http_exchange).arrivals_ns) == (CANCELLED, ())


@pytest.mark.parametrize("ended_ns", [150, 199, 1500])
def test_what_its_agent_had_left_before_it_was_sent_was_not_asked_for(ended_ns: int) -> None:
    """Given up, or half-closed, while it was held: it is no request, whatever a server said to it."""
    held = Stream((Chunk(100, (), request(), 2000),), ended_ns)
    for answer in ([], ANSWER):
        assert heard(held, flow(answer, start_ns=3000)) == []


def test_a_server_may_answer_before_the_last_byte() -> None:
    """It has the whole of a body whose last, empty chunk comes late: the request was sent when the answer began."""
    body = request("/api/chat", chunked=True)
    up = flow([body[:-5], body[-5:]], start_ns=100, step_ns=1050)
    (http_exchange,) = heard(up, flow(ANSWER, start_ns=1000))
    got = timing(http_exchange)
    assert (got.sent_ns, got.arrivals_ns) == (1000, (1100, 1200))


def test_an_interim_answer_is_no_begin() -> None:
    """`100 Continue` comes before the body is sent, and says nothing of when it was."""
    up = flow([request()[:-2], request()[-2:]], start_ns=100, step_ns=1000)
    down = flow([b"HTTP/1.1 100 Continue\r\n\r\n", *ANSWER], start_ns=500, step_ns=700)
    (http_exchange,) = heard(up, down)
    assert timing(http_exchange).sent_ns == 1105


MOMENTS = st.integers(1, END_NS // 1000).map(lambda at: at * 100)


@given(st.data())
def test_no_duration_is_ever_negative(data: st.DataObject) -> None:
    """Whatever came when, and whoever ended when: what is counted was sent before it was answered and done."""
    ended = st.one_of(st.just(0), MOMENTS)
    streams = [request(chunked=True) + request("/api/chat"), b"".join(ANSWER) * 2]
    flows = []
    for stream in streams:
        cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
        writes = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        count = data.draw(st.integers(0, len(writes)))
        reads = sorted(data.draw(st.lists(MOMENTS, min_size=count, max_size=count)))
        handed = sorted(data.draw(st.lists(MOMENTS, min_size=count, max_size=count)))
        passed = [
            Chunk(read_ns, (), data_, max(read_ns, handed_ns))
            for read_ns, handed_ns, data_ in zip(reads, handed, writes, strict=False)
        ]
        flows.append(Stream(tuple(passed), data.draw(ended)))
    for http_exchange in heard(*flows):
        with contextlib.suppress(MeasurementError):
            got = timing(http_exchange)
            assert got.sent_ns <= min(got.arrivals_ns, default=got.done_ns) <= max(got.arrivals_ns, default=got.done_ns)
            assert max(got.arrivals_ns, default=got.sent_ns) <= got.done_ns


def test_who_still_listens_after_its_half_was_closed_left_after_the_last_chunk() -> None:
    """A client closes its half with the request, and leaves in mid-answer: no chunk came after it had left."""
    (http_exchange,) = heard(flow([request()], start_ns=100, ended_ns=150), flow(ANSWER[:3], start_ns=1000))
    got = timing(http_exchange)
    assert (got.done_reason, got.arrivals_ns, got.done_ns) == (CANCELLED, (1100, 1200), 1200)
