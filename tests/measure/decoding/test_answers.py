"""Answers as real servers send them: what is whole is read, what is an error says all that the server said."""

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.model import RequestTiming
from pytest_llmperf.net.server_refusals import advice
from tests.measure.answers import ERRORS, LINES, THINKING, THOUGHT, TORN, WHOLE, http, line, sized
from tests.measure.decoding.test_decode import as_exchange


def timing_of(raw: bytes, size: int = 64) -> RequestTiming:
    return decode(as_exchange([raw[at : at + size] for at in range(0, len(raw), size)]))


def error_of(raw: bytes) -> MeasurementError:
    with pytest.raises(MeasurementError) as caught:
        timing_of(raw)
    assert caught.value.received == raw
    return caught.value


@pytest.mark.parametrize("size", [1, 64, 16384])
@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE.keys())
def test_whole_answers_are_read(raw: bytes, size: int) -> None:
    """Text, chunks, counts and reason are correct, whatever the label, the end and the events in between."""
    timing = timing_of(raw, size)
    assert (timing.text, len(timing.arrivals_ns), timing.done_reason) == ("ab", 2, "stop")
    assert (timing.eval_count, timing.prompt_eval_count) == (2, 9)
    assert (timing.reasoning, timing.reasoning_ns) == ("", ())
    assert timing.arrivals_ns[-1] <= timing.done_ns
    assert type(timing.eval_count) is int


@pytest.mark.parametrize("raw", THINKING.values(), ids=THINKING.keys())
def test_thoughts_and_text_are_told_apart(raw: bytes) -> None:
    """A chunk of thoughts has an arrival of its own and is no content chunk."""
    timing = timing_of(raw, 8)
    assert (timing.text, timing.reasoning) == ("ab", "hm")
    assert (len(timing.reasoning_ns), len(timing.arrivals_ns), timing.eval_count) == (1, 2, 2)
    assert timing.reasoning_ns[0] < timing.arrivals_ns[0]
    assert timing.tokens_ns == (*timing.reasoning_ns, *timing.arrivals_ns)


def test_an_answer_of_thoughts_only_has_no_content() -> None:
    """All tokens may be spent on thoughts."""
    timing = timing_of(http(LINES, [THOUGHT, line(response="", done=True, done_reason="length", eval_count=2)]))
    assert (timing.text, timing.arrivals_ns, len(timing.reasoning_ns)) == ("", (), 1)


@pytest.mark.parametrize(("raw", "text"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_have_the_servers_whole_text(raw: bytes, text: str) -> None:
    """In whatever shape the server reports it, by status or in mid-stream."""
    error = error_of(raw)
    assert text in str(error)
    assert error.next_step


@pytest.mark.parametrize("raw", TORN.values(), ids=TORN.keys())
def test_what_may_have_lost_something_is_an_error(raw: bytes) -> None:
    """An answer that does not say that it is complete, content after its end, half a line, half a count."""
    assert error_of(raw).next_step


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://ollama.example/api/generate", "next: give https://ollama.example as"),
        ("https://ollama.example/api/generate/", "next: give https://ollama.example as"),
        ("https://h:8443/team/v1/chat/completions", "next: give https://h:8443/team as"),
        ("https://h/api/v1/chat/completions?key=s3cret", "next: give https://h/api as"),
        ("https://me:s3cret@h/api/chat#s3cret", "next: give https://h as"),
        ("/ollama/api/chat", "next: give the server's address with /ollama at its end"),
        ("https://login.example/oauth?state=s3cret", "redirects to https://login.example/oauth"),
        ("//h/login?s3cret", "redirects to //h/login"),
        ("https://[h/login?s3cret", "redirects to https"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_names_the_address_to_give(status: int, location: str, words: str) -> None:
    """Without what may be secret in it."""
    raw = sized("", b"", status=f"{status} Moved", extra=[f"Location: {location}"])
    error = error_of(raw)
    assert f"the server answered {status}" in str(error)
    assert words in str(error)
    assert "s3cret" not in str(error)
    assert not error.passing


@pytest.mark.parametrize(
    ("wait", "words"),
    [("2", "retry after 2 s"), ("Wed, 21 Oct 2026 07:28:00 GMT", "retry after Wed, 21 Oct 2026 07:28:00 GMT")],
)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Busy"])
def test_a_server_that_says_when_to_come_again_is_quoted(status: str, wait: str, words: str) -> None:
    """With its text."""
    error = error_of(sized("", b'{"error":"rate limit, retry later"}', status=status, extra=[f"Retry-After: {wait}"]))
    assert f"the server answered {status[:3]}: rate limit, retry later ({words})" in str(error)
    assert error.passing


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([], "rate limit\n"),
        (["Retry-After: "], "rate limit\n"),
        (["retry-after-ms: 1500"], "rate limit (retry after 1500 ms)\n"),
        (["RateLimit-Reset: 7"], "rate limit (retry after 7 s)\n"),
        (["x-ratelimit-reset-requests: 6m0s", "x-ratelimit-reset-tokens: 1s"], "rate limit (retry after 6m0s)\n"),
        (["x-ratelimit-reset-tokens: 80ms", "Retry-After: 3"], "rate limit (retry after 3 s)\n"),
    ],
)
def test_a_rate_limit_says_how_long_only_if_the_server_does(headers: list[str], words: str) -> None:
    """In whatever header; without one there is still a next step, and the round may be repeated."""
    error = error_of(sized("", b'{"error":"rate limit"}', status="429 Too Many Requests", extra=headers))
    assert f"the server answered 429: {words}  next: send fewer requests at once" in str(error)
    assert error.passing


@pytest.mark.parametrize(
    "text",
    [
        "Rate limit reached for requests",
        "rate_limit_exceeded",
        "Too many tokens: the limit is 6000 tokens per minute",
        "too many concurrent requests",
    ],
)
def test_a_rate_limit_in_mid_stream_has_the_same_next_step(text: str) -> None:
    """The status was 200 by then; more context would not help."""
    assert advice(text) == advice("", 429)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<title>Sign in", b"  <html>\n<body>Welcome to nginx!"])
def test_a_web_page_is_no_answer(page: bytes) -> None:
    """With status 200: the address is that of something else, or of a login."""
    error = error_of(sized("text/html", page))
    assert error.next_step.startswith("a web page answers there: give the server's own base address")


STEPS = {
    400: "change what the message names",
    401: "--llmperf-auth",
    403: "is this client allowed to use the server",
    404: "is the model there",
    405: "base address, without a path",
    407: "--llmperf-proxy-auth",
    413: "shorten the prompts",
    422: "change what the message names",
    429: "send fewer requests at once",
    499: "cancelled before the model ran",
    500: "look at the server's log",
    502: "is the server alive",
    503: "queue is full, or its model is still loading",
    504: "raise its timeout",
    418: "look at the server's log",
}


@pytest.mark.parametrize(("status", "words"), STEPS.items())
def test_every_status_has_a_next_step_of_its_own(status: int, words: str) -> None:
    """Whether it is worth repeating is known, too: only what a busy or dying server says."""
    error = error_of(sized("", b"{}", status=f"{status} X"))
    assert words in error.next_step
    assert error.passing == (status in (429, 500, 502, 503, 504))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"all-minilm" does not support generate', "name one that does with --llmperf-model"),
        ('"all-minilm" does not support chat', "name one that does with --llmperf-model"),
        ('"gemma3:270m" does not support thinking', "leave `think` out"),
        ("registry.ollama.ai/library/gemma3:270m does not support tools", "make the agent not ask for it"),
        ("model 'nosuch' not found", "name a model that the server has"),
        ('model "nosuch" not found, try pulling it first', "name a model that the server has"),
        ("The model `nosuch` does not exist.", "name a model that the server has"),
        ("model requires more system memory (9 GiB) than is available", "free memory"),
        ("This model's maximum context length is 4096 tokens. However, you requested 9000", "shorten the prompts"),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "400 Bad", "404 Not Found", "500 Oops"])
def test_what_the_text_says_decides_the_next_step(status: str, text: str, words: str) -> None:
    """For any status, and in mid-stream; asking again does not help."""
    error = error_of(sized("", line(error=text), status=status))
    assert words in error.next_step
    assert not error.passing


def test_a_web_page_is_not_shown_whole() -> None:
    """A body of megabytes is cut."""
    error = error_of(sized("text/html", b"<p>x</p>" * 100_000, status="502 Bad Gateway"))
    assert len(str(error)) < 3000
