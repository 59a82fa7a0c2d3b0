"""OpenAI's API as Ollama speaks it: `/v1/chat/completions`, `/v1/completions` and `/v1/models`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pytest_llmperf.model.model_names import full_name
from pytest_llmperf.servers.emulator.api.answer_forms import Ending, Form, Part, call_id, calls_of, compact, text_of
from pytest_llmperf.servers.emulator.api.request_bodies import (
    GenerationRequest,
    as_message,
    flag_of,
    job_of_prompt,
    model_of,
    refuse_thinking,
)
from pytest_llmperf.servers.emulator.api.request_options import READERS, RequestError, parse_options
from pytest_llmperf.servers.emulator.api.tool_offers import chosen, tools_of
from pytest_llmperf.servers.emulator.engine import Completion, Job, LoadOptions, ModelCard, Piece, Sampling

_OPTIONS = {
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    **{name: name for name in ("seed", "temperature", "top_p", "top_k", "min_p")},
    **{name: name for name in ("frequency_penalty", "presence_penalty")},
}
"""OpenAI's fields and Ollama's options; of two for one option, the later one counts."""

_DEFAULTS = {"temperature": 1.0, "top_p": 1.0}
"""OpenAI's, which Ollama sets for these endpoints, too."""

_REFUSED = ("logprobs", "top_logprobs", "logit_bias", "echo", "suffix", "audio", "prediction", "web_search_options")
"""They would change the answer."""

_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error", 405: "invalid_request_error"}


class V1Form:
    """Events, `[DONE]` at the end; see Form.

    Args:
        model: the model's name as the client wrote it.
        chat: whether it is a chat.
        usage: whether a stream reports the token counts.
    """

    stream_type = "text/event-stream"

    def __init__(self, model: str, *, chat: bool, usage: bool) -> None:
        self._chat = chat
        self._usage = usage
        self._object = "chat.completion" if chat else "text_completion"
        self._begun = self._called = False
        self._head: Part = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": "fp_llmperf",
        }

    def framed(self, payload: str) -> bytes:
        """An event."""
        return f"data: {payload}\n\n".encode()

    def piece(self, piece: Piece) -> bytes:
        """A chunk; the first of a chat names the role."""
        if not self._chat:
            return self._event([{"index": 0, "text": text_of((piece,)), "finish_reason": None}])
        role = {} if self._begun else {"role": "assistant"}
        self._begun = True
        return self._event([{"index": 0, "delta": {**role, **self._said((piece,))}, "finish_reason": None}])

    def end(self, ending: Ending) -> bytes:
        """A chunk with the finish reason, a chunk with the token counts if requested, and the end mark."""
        said: Part = {"delta": {}} if self._chat else {"text": ""}
        events = self._event([{"index": 0, **said, "finish_reason": self._reason(ending)}])
        if self._usage:
            events += self._event([], usage=_usage(ending.completion))
        return events + self.framed("[DONE]")

    def whole(self, pieces: Sequence[Piece], ending: Ending) -> Part:
        """The answer with its counts."""
        message = {"role": "assistant", "content": None, **self._said(pieces)}
        said: Part = {"message": message} if self._chat else {"text": text_of(pieces)}
        return {
            **self._head,
            "object": self._object,
            "choices": [{"index": 0, **said, "finish_reason": self._reason(ending)}],
            "usage": _usage(ending.completion),
        }

    def error(self, message: str, status: int) -> Part:
        """OpenAI's."""
        return v1_error(message, status)

    def _said(self, pieces: Sequence[Piece]) -> Part:
        """Text and calls of a message."""
        calls = [
            {
                "index": index,
                "id": call_id(),
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
            }
            for index, call in enumerate(calls_of(pieces))
        ]
        self._called = self._called or bool(calls)
        text = text_of(pieces)
        return {**({"content": text} if text or not calls else {}), **({"tool_calls": calls} if calls else {})}

    def _reason(self, ending: Ending) -> str:
        return "tool_calls" if self._called else ending.reason

    def _event(self, choices: list[Part], **more: object) -> bytes:
        kind = f"{self._object}.chunk" if self._chat else self._object
        return self.framed(compact({**self._head, "object": kind, "choices": choices, **more}))


def v1_error(message: str, status: int) -> Part:
    """The error object of `/v1`."""
    return {"error": {"message": message, "type": _ERROR_TYPES.get(status, "api_error"), "param": None, "code": None}}


def parse_v1_chat(body: Mapping[str, object], card: ModelCard) -> GenerationRequest:
    """A request of `/v1/chat/completions`.

    Raises:
        RequestError: a field is of the wrong type, or asks for what this server does not do.
    """
    _refuse(body, card)
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise RequestError("messages: want a list of one message or more")
    messages = tuple(as_message(_as_ollamas(item, index), index, card) for index, item in enumerate(given))
    job = Job(messages=messages, tools=tools_of(body, card), schema=_schema(body, card))
    job = chosen(job, body.get("tool_choice"))
    return _request(body, chat=True, job=lambda sampling: replace(job, sampling=sampling))


def parse_v1_completions(body: Mapping[str, object], card: ModelCard) -> GenerationRequest:
    """A request of `/v1/completions`: the prompt becomes what `/api/generate` makes of it.

    Raises:
        RequestError: a field is of the wrong type, or asks for what this server does not do.
    """
    _refuse(body, card)
    if body.get("tools"):
        raise RequestError(f'"{card.name}" does not support tools here; use /v1/chat/completions')
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not isinstance(prompt, str) or not prompt:
        raise RequestError("prompt: want one text that is not empty")
    return _request(body, chat=False, job=lambda sampling: job_of_prompt(prompt, card, sampling))


def model_entry(card: ModelCard) -> Part:
    """The model as `/v1/models` lists it."""
    made = int(datetime.fromisoformat(card.modified_at).timestamp())
    return {"id": card.name, "object": "model", "created": made, "owned_by": "library"}


def check_model(name: str, card: ModelCard) -> None:
    """Raises RequestError (404) unless the name is that of the model."""
    if full_name(name) != full_name(card.name):
        raise RequestError(f"model '{name}' not found", status=404)


def _request(body: Mapping[str, object], *, chat: bool, job: Callable[[Sampling], Job]) -> GenerationRequest:
    """The parts that both endpoints share."""
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise RequestError("stream_options: want an object")
    form = V1Form(model_of(body), chat=chat, usage=flag_of(options or {}, "include_usage", default=False))
    return v1_request(body, job=job(v1_sampling(body)), form=form)


def v1_request(body: Mapping[str, object], *, job: Job, form: Form) -> GenerationRequest:
    """A request of a `/v1` endpoint, which sets nothing of how the model is loaded; raises RequestError."""
    return GenerationRequest(
        model=model_of(body),
        job=job,
        load=LoadOptions(),
        keep_alive_s=None,
        stream=flag_of(body, "stream", default=False),
        form=form,
    )


def v1_sampling(body: Mapping[str, object]) -> Sampling:
    """The sampling that a body asks for; raises RequestError."""
    given: dict[str, Any] = dict(_DEFAULTS)
    for name, ours in _OPTIONS.items():
        if body.get(name) is not None:
            try:
                given[ours] = READERS[ours](name, body[name])
            except RequestError as error:
                raise RequestError(str(error)) from None  # here a wrong type is the client's fault
            if ours == "num_predict" and given[ours] == 0:
                raise RequestError(f"{name}: want at least 1")
    stop = body.get("stop")
    if stop is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
            raise RequestError("stop: want a text or a list of texts")
        given["stop"] = stops
    return parse_options(given)[1]


def _as_ollamas(item: object, index: int) -> object:
    """A message as Ollama has it: one text, though it came in parts, and the roles that it knows."""
    if not isinstance(item, dict):
        return item
    if item.get("role") == "developer":  # OpenAI's newer word
        item = {**item, "role": "system"}
    if not isinstance(parts := item.get("content"), list):
        return item
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise RequestError(f"messages[{index}]: this server takes parts of type text only")
    return {**item, "content": "".join(map(str, texts))}


def _schema(body: Mapping[str, object], card: ModelCard) -> Mapping[str, object] | None:
    """The schema of `response_format`; None for plain text."""
    wanted = body.get("response_format")
    if wanted is None or (isinstance(wanted, dict) and wanted.get("type") == "text"):
        return None
    if not isinstance(wanted, dict) or "tools" not in card.capabilities:
        raise RequestError("response_format: this server writes text only")
    holder = wanted.get("json_schema")
    schema = holder.get("schema") if isinstance(holder, dict) else None
    return schema if isinstance(schema, dict) else {"type": "object"}


def _refuse(body: Mapping[str, object], card: ModelCard) -> None:
    """Fields that would change the answer and that this server cannot honour are errors, never ignored."""
    if body.get("functions"):
        raise RequestError(f'"{card.name}" does not support functions')
    for name in _REFUSED:
        if body.get(name):
            raise RequestError(f"{name} is not supported by this server; leave it out")
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise RequestError(f"{name}: this server gives one answer")
    effort = body.get("reasoning_effort")
    refuse_thinking(None if effort == "none" else effort, card.name)


def _usage(done: Completion | None) -> dict[str, int]:
    prompt, answer = (done.prompt_eval_count, done.eval_count) if done is not None else (0, 0)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
