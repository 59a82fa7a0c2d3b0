"""Reads the bodies of `/api/generate` and `/api/chat` into frozen requests; refuses what is not supported, clearly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from pytest_llmperf.servers.emulator.api.answer_forms import Form, OllamaForm
from pytest_llmperf.servers.emulator.api.request_options import RequestError, parse_keep_alive, parse_options
from pytest_llmperf.servers.emulator.api.tool_offers import tools_of
from pytest_llmperf.servers.emulator.engine import Job, LoadOptions, Message, ModelCard, Sampling

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One request for text, of any endpoint.

    Attributes:
        model: the model's name as the client wrote it.
        job: what to generate; None asks only to load (or, with `keep_alive_s` 0, to unload).
        load: options of the loaded model.
        keep_alive_s: seconds to keep it loaded afterwards; None = as before.
        stream: whether to answer piece by piece.
        form: how the answer is written.
    """

    model: str
    job: Job | None
    load: LoadOptions
    keep_alive_s: float | None
    stream: bool
    form: Form


def parse_body(body: bytes) -> dict[str, object]:
    """The JSON object of a body.

    Raises:
        RequestError: there is none.
    """
    if not body:
        raise RequestError("missing request body")
    try:
        value = json.loads(body, parse_constant=_no_number)
        if _SURROGATE.search(body):  # one half of a character cannot be written back: as in Go, it becomes U+FFFD
            whole = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            value = json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"invalid JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestError(f"json: cannot unmarshal {type(value).__name__} into a request, want an object")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def model_of(body: Mapping[str, object]) -> str:
    """The `model` (or the older `name`) of a body.

    Raises:
        RequestError: missing or no text.
    """
    name = body.get("model") or body.get("name")
    if not name:
        raise RequestError("model is required")
    if not isinstance(name, str):
        raise RequestError(f"json: cannot unmarshal {type(name).__name__} into field model of type string")
    return name


def parse_generate(body: Mapping[str, object], card: ModelCard) -> GenerationRequest:
    """A request of `/api/generate`.

    The prompt goes to the model unchanged with `raw`, or if the model has no chat template (Ollama's template for such
    a model is the bare prompt); otherwise it becomes the only user message of a chat.

    Raises:
        RequestError: a field has the wrong type, or asks for something that this server does not do.
    """
    _refuse_unsupported(body, card, extra=("tools", "template", "suffix", "context"))
    prompt = _text(body, "prompt")
    system = _text(body, "system")
    raw = flag_of(body, "raw", default=False)
    if system and raw:
        raise RequestError("raw mode does not support template, system, or context")
    if system and not card.template:
        raise RequestError(f'"{card.name}" has no template to put a system message in; use /api/chat')
    load, sampling = _options(body)
    job: Job | None = None
    if prompt:
        job = replace(job_of_prompt(prompt, card, sampling, system=system, raw=raw), schema=_schema(body, card))
    return _request(body, job, load, chat=False)


def job_of_prompt(prompt: str, card: ModelCard, sampling: Sampling, *, system: str = "", raw: bool = False) -> Job:
    """The unchanged prompt, or the prompt as the only user message of a chat; see `parse_generate`."""
    if raw or not card.template:
        return Job(prompt=prompt, sampling=sampling)
    messages = (Message(role="system", content=system),) if system else ()
    return Job(messages=(*messages, Message(role="user", content=prompt)), sampling=sampling)


def parse_chat(body: Mapping[str, object], card: ModelCard) -> GenerationRequest:
    """A request of `/api/chat`.

    Raises:
        RequestError: a field is of the wrong type, or asks for what this server does not do.
    """
    _refuse_unsupported(body, card)
    given = body.get("messages") or []
    if not isinstance(given, list):
        raise RequestError("json: cannot unmarshal into field messages of type array")
    load, sampling = _options(body)
    messages = tuple(as_message(item, index, card) for index, item in enumerate(given))
    job = Job(messages=messages, sampling=sampling, tools=tools_of(body, card), schema=_schema(body, card))
    return _request(body, job if messages else None, load, chat=True)


def _request(body: Mapping[str, object], job: Job | None, load: LoadOptions, *, chat: bool) -> GenerationRequest:
    """The parts that both endpoints share."""
    return GenerationRequest(
        model=model_of(body),
        job=job,
        load=load,
        keep_alive_s=parse_keep_alive(body.get("keep_alive")),
        stream=flag_of(body, "stream", default=True),
        form=OllamaForm(model_of(body), chat=chat),
    )


def as_message(item: object, index: int, card: ModelCard) -> Message:
    """One message of a chat; the calls in it become text. Raises RequestError."""
    if not isinstance(item, dict):
        raise RequestError(f"messages[{index}]: want an object with role and content")
    role, content, calls = item.get("role"), item.get("content"), item.get("tool_calls")
    if item.get("images"):
        raise RequestError(f'"{card.name}" does not support images')
    if (calls or role == "tool") and "tools" not in card.capabilities:
        raise RequestError(f'"{card.name}" does not support tools')
    if role not in (*_ROLES, "tool"):
        raise RequestError(f"messages[{index}]: invalid role {role!r}, want one of {', '.join(_ROLES)}")
    content = "" if content is None and (calls or "content" not in item) else content
    if not isinstance(content, str):
        raise RequestError(f"messages[{index}]: content must be a text")
    return Message(role=str(role), content=content + (json.dumps(calls, ensure_ascii=False) if calls else ""))


def _refuse_unsupported(body: Mapping[str, object], card: ModelCard, *, extra: tuple[str, ...] = ()) -> None:
    """Fields that would change the answer and that this server cannot honour are errors, never ignored."""
    if body.get("images"):
        raise RequestError(f'"{card.name}" does not support images')
    for name in ("logprobs", "top_logprobs", *extra):
        if body.get(name):
            raise RequestError(f"{name} is not supported by this server; leave it out")
    refuse_thinking(body.get("think"), card.name)


def _schema(body: Mapping[str, object], card: ModelCard) -> Mapping[str, object] | None:
    """The schema of `format`; None for plain text. Raises RequestError."""
    wanted = body.get("format")
    if not wanted:
        return None
    if "tools" not in card.capabilities:
        raise RequestError("format is not supported by this server; leave it out")
    if wanted != "json" and not isinstance(wanted, dict):
        raise RequestError("format: want json or a JSON Schema")
    return wanted if isinstance(wanted, dict) else {"type": "object"}


def refuse_thinking(think: object, model: str) -> None:
    """Raises RequestError if the request asks for thoughts."""
    if think is not None and not isinstance(think, bool | str):
        raise RequestError("think must be a boolean or a level")
    if think:
        raise RequestError(f'"{model}" does not support thinking')


def _options(body: Mapping[str, object]) -> tuple[LoadOptions, Sampling]:
    given = body.get("options")
    if given is None:
        return parse_options({})
    if not isinstance(given, dict):
        raise RequestError(f"json: cannot unmarshal {type(given).__name__} into field options of type object")
    return parse_options(given)


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"json: cannot unmarshal {type(value).__name__} into field {name} of type string")
    return value


def flag_of(body: Mapping[str, object], name: str, *, default: bool) -> bool:
    """A boolean field. Raises RequestError."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise RequestError(f"json: cannot unmarshal {type(value).__name__} into field {name} of type bool")
    return value
