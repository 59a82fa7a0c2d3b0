"""Errors that servers answer, and what to do about them; for timed requests and for all others.

Servers report errors in several shapes: `error` (Ollama, OpenAI), `{"object": "error", ...}` (vLLM), `detail`
(FastAPI), `message` (gateways). The text is shown completely; the next step follows from a known text, else from the
status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from pytest_llmperf.errors import MEMORY, is_out_of_memory, printable
from pytest_llmperf.net.untrusted_json import parsed

MOST_TEXT = 2000
"""Characters of a server's own text in an error; the whole text, unless it is a web page."""

LOG_IN = "log in with --llmperf-auth=bearer:NAME or basic:NAME, NAME being an environment variable"
LOG = "look at the server's log"
WEB_PAGE = f"a web page answers there: give the server's own base address; {LOG_IN}"

WAITS = ("retry-after", "retry-after-ms", "ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
"""Headers that say how long to wait, the most usual first."""

_ANSWERS = ("choices", "usage", "response", "done")
"""Members of an answer: an object with one of them is not an error, even if it has `message` or `detail`."""

_BARE = ("message", "detail", "errors", "error_message", "msg")
"""Members that mark an error in an object that is not an answer and has no `error`."""

_BESIDE = ("message", "error_description", "detail")
"""Members beside an `error` that is but a word: `Not Found`, `invalid_token`."""

_MESSAGES = ("message", "detail", "details", "msg", "reason", "error_message", "errors", "error", "description")
"""Members that may have the text of an error, the most specific first."""


class Advice(NamedTuple):
    """What to do about a refusal.

    Attributes:
        next_step: for the user.
        passing: whether the failure may be temporary, so that the same request may succeed later.
    """

    next_step: str
    passing: bool = False


class Refusal(NamedTuple):
    """An answer that is a refusal, in words.

    Attributes:
        words: status and the server's own text, with the place that it redirects to and the time to wait.
        advice: what to do about it.
        error: the error that its JSON reports; None if it reports none.
    """

    words: str
    advice: Advice
    error: str | None = None


_API_PATH = re.compile(r"/+(api/(generate|chat|embed|embeddings|version|tags|ps|show|create|pull)|v1/[a-z/_]+?)/*$")

_CHANGE = "change what the message names: the agent's options, messages or context"
_OF_STATUS: Mapping[int, Advice] = {
    400: Advice(_CHANGE),
    401: Advice(LOG_IN),
    403: Advice(
        f"is this client allowed to use the server? {LOG_IN}; an Ollama also refuses hosts and origins other than its "
        "own"
    ),
    404: Advice(
        "is the model there, and is this the server's base address? see the instance's /api/tags or /v1/models"
    ),
    405: Advice("something else answers there: give the server's base address, without a path"),
    407: Advice(
        "log in at the proxy with --llmperf-proxy-auth=basic:NAME, NAME being the environment variable that holds "
        "user:password"
    ),
    413: Advice("shorten the prompts, or raise the maximum request size of the server or the proxy in front of it"),
    422: Advice(_CHANGE),
    429: Advice("send fewer requests at once, or raise the server's rate limit", passing=True),
    499: Advice(
        "the request was cancelled before the model ran: look at the logs of the server and the proxy in front of it"
    ),
    500: Advice(LOG, passing=True),
    502: Advice("the proxy got no answer from the server: is the server alive? look at its log", passing=True),
    503: Advice(
        "the server's queue is full, or its model is still loading: wait, use fewer agents, or raise OLLAMA_MAX_QUEUE",
        passing=True,
    ),
    504: Advice("the proxy gave up waiting for the server: raise its timeout, or ask for fewer tokens", passing=True),
}
"""By status."""

_RATE_LIMITED = re.compile(
    r"rate.?limit|too many (concurrent )?requests|(requests|tokens) per (second|min(ute)?|hour|day)\b", re.IGNORECASE
)
"""A server's text, also in mid-stream, that more was asked of it than it allows; it may allow it later."""

_OF_TEXT: tuple[tuple[re.Pattern[str], Advice], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), Advice(next_step))
    for pattern, next_step in (
        (
            r"does not support (generat|chat|completion)|not a (generative|chat|text generation) model",
            "this model generates no text (an embedding model?): name one that does with --llmperf-model; "
            "/api/show lists what a model can do",
        ),
        (
            r"does not support think",
            "leave `think` out of the agent, or name a model that thinks with --llmperf-model",
        ),
        (
            r"does not support|not supported by (this|the) model",
            "make the agent not ask for it, or name a model that supports it with --llmperf-model; "
            "/api/show lists what a model can do",
        ),
        (
            r"model\b.*\b(not found|does not exist|not exist|is not available)|no such model|unknown model",
            "name a model that the server has with --llmperf-model (see /api/tags or /v1/models), or give it this one "
            "(ollama pull)",
        ),
        (
            r"exceeds?\b.*\bcontext|context (length|size|window)|longer than the context|too many tokens",
            "shorten the prompts, or raise the context: num_ctx on an Ollama, the server's own option elsewhere",
        ),
    )
)
"""By what the text says, for any status and in mid-stream; asking again does not help in any of these."""


def error_of(value: object) -> str | None:
    """The text of the error that an object reports, whole; None if it reports none.

    >>> error_of({"object": "error", "message": "no slot"}), error_of({"error": None, "done": True})
    ('no slot', None)
    """
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if error and error is not True:
        more = [text for name in _BESIDE if isinstance(text := value.get(name), str) and text and text != error]
        return ": ".join((_message(error), *more[:1])) if isinstance(error, str) else _message(error)
    if error or "error" in (value.get("object"), value.get("type"), value.get("status")):
        return _message(value)
    if any(name in value for name in _ANSWERS) or isinstance(value.get("message"), dict):
        return None
    return _message(value) if any(value.get(name) for name in _BARE) else None


def server_text(text: str) -> str:
    """A server's text for an error: one printable line, cut only if it is longer than any message."""
    return printable(text, most=MOST_TEXT)


def advice(text: str, status: int = 0) -> Advice:
    """What to do about a refusal.

    Args:
        text: the server's.
        status: the HTTP status of the answer; 0 if the error came in mid-stream.
    """
    if is_out_of_memory(text):
        return Advice(MEMORY)
    text = f"{text[:MOST_TEXT]} {text[MOST_TEXT:][-MOST_TEXT:]}"  # patterns look at all that follows, again and again
    if _RATE_LIMITED.search(text):
        return _OF_STATUS[429]
    for pattern, known in _OF_TEXT:
        if pattern.search(text):
            return known
    return _OF_STATUS.get(status, Advice(LOG, passing=not status))


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """An answer that is a refusal, by its status or by what it says.

    Args:
        status: its status.
        headers: the headers by their names in lower case.
        body: the part of the body that arrived.
    """
    value = _json_of(body)
    error = error_of(value)
    plain = body[: 4 * MOST_TEXT].decode("utf-8", "replace").strip() if value is None else ""
    text = error or plain or (json.dumps(value, ensure_ascii=False) if value else "")
    words = f"{status}: {server_text(text) or 'no text'}"
    if 300 <= status < 400 and (location := headers.get("location", "")):
        moved = _without_secrets(location)
        return Refusal(f"{status}: it redirects to {server_text(moved)}", Advice(_redirected(moved)), error)
    if status in (429, 503) and (wait := _wait(headers)):
        words += f" (retry after {server_text(wait)})"
    return Refusal(words, advice(text, status), error)


def _wait(headers: Mapping[str, str]) -> str:
    """How long to wait, in the server's words, with a unit; empty if it does not say so.

    >>> _wait({"retry-after": "2"}), _wait({"retry-after-ms": "1500"}), _wait({"x-ratelimit-reset-requests": "6m0s"})
    ('2 s', '1500 ms', '6m0s')
    """
    for name in WAITS:
        if wait := headers.get(name, "").strip():
            unit = "ms" if name.endswith("-ms") else "s"
            return f"{wait} {unit}" if wait.isdecimal() else wait
    return ""


def _json_of(body: bytes) -> object:
    """The value of a body; None if it is not JSON."""
    try:
        return parsed(body)
    except ValueError:
        return None


def _message(error: object) -> str:
    """The text of an error: the error itself, its first member with a text, or all of it as JSON."""
    if isinstance(error, str):
        return error
    if isinstance(error, dict) and "loc" not in error:  # FastAPI's say where, which a reader needs
        for name in _MESSAGES:
            if isinstance(text := error.get(name), str) and text:
                return text
            if isinstance(text, dict | list) and text:
                return _message(text)
    if isinstance(error, list) and error:
        return "; ".join(map(_message, error))
    return json.dumps(error, ensure_ascii=False)


def _without_secrets(location: str) -> str:
    """A place to go to, without user, password, query and fragment."""
    try:
        parts = urlsplit(location.strip())
    except ValueError:
        return location.partition("?")[0].rpartition("@")[2]
    host = parts.netloc.rpartition("@")[2]
    return (
        f"{parts.scheme}://{host}{parts.path}" if parts.scheme and host else f"{'//' if host else ''}{host}{parts.path}"
    )


def _redirected(place: str) -> str:
    """The next step for a redirect: give the base address that it leads to, if it leads to the same API."""
    base = _API_PATH.sub("", place)
    if base == place:
        return f"a login page, or another service? give the server's own address; {LOG_IN}"
    if "://" in base:
        return f"give {server_text(base)} as the server's address"
    return f"give the server's address with {server_text(base)} at its end" if base else "give the server's own address"
