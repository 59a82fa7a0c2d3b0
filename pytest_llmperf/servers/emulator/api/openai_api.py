"""OpenAI's API as Ollama speaks it: `/v1/chat/completions`, `/v1/completions` and `/v1/models`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pytest_llmperf.model.model_names import full_name
from pytest_llmperf.servers.emulator.api.answer_forms import Ending, Part, compact
from pytest_llmperf.servers.emulator.api.request_bodies import (
    GenerationRequest,
    as_message,
    flag_of,
    job_of_prompt,
    model_of,
    refuse_thinking,
)
from pytest_llmperf.servers.emulator.api.request_options import READERS, RequestError, parse_options
from pytest_llmperf.servers.emulator.engine import Completion, Job, LoadOptions, ModelCard, Sampling

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
        model: as the client wrote it.
        chat: whether it is a chat.
        usage: whether a stream reports the token counts.
    """

    stream_type = "text/event-stream"

    def __init__(self, model: str, *, chat: bool, usage: bool) -> None:
        self._chat = chat
        self._usage = usage
        self._object = "chat.completion" if chat else "text_completion"
        self._begun = False
        self._head: Part = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": "fp_llmperf",
        }

    def framed(self, payload: str) -> bytes:
        """An event."""
        return f"data: {payload}\n\n".encode()

    def piece(self, text: str) -> bytes:
        """A chunk; the first of a chat names the role."""
        if not self._chat:
            return self._event([{"index": 0, "text": text, "finish_reason": None}])
        role = {} if self._begun else {"role": "assistant"}
        self._begun = True
        return self._event([{"index": 0, "delta": {**role, "content": text}, "finish_reason": None}])

    def end(self, ending: Ending) -> bytes:
        """A chunk with the reason, one with the counts if they were asked for, and the mark of the end."""
        said: Part = {"delta": {}} if self._chat else {"text": ""}
        events = self._event([{"index": 0, **said, "finish_reason": ending.reason}])
        if self._usage:
            events += self._event([], usage=_usage(ending.completion))
        return events + self.framed("[DONE]")

    def whole(self, text: str, ending: Ending) -> Part:
        """The answer with its counts."""
        said: Part = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return {
            **self._head,
            "object": self._object,
            "choices": [{"index": 0, **said, "finish_reason": ending.reason}],
            "usage": _usage(ending.completion),
        }

    def error(self, message: str, status: int) -> Part:
        """OpenAI's."""
        return v1_error(message, status)

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
    _refuse(body, card.name)
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise RequestError("messages: want a list of one message or more")
    messages = tuple(as_message(_as_ollamas(item, index), index, card.name) for index, item in enumerate(given))
    return _request(body, chat=True, job=lambda sampling: Job(messages=messages, sampling=sampling))


def parse_v1_completions(body: Mapping[str, object], card: ModelCard) -> GenerationRequest:
    """A request of `/v1/completions`: the prompt becomes what `/api/generate` makes of it.

    Raises:
        RequestError: a field is of the wrong type, or asks for what this server does not do.
    """
    _refuse(body, card.name)
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
    return GenerationRequest(
        model=model_of(body),
        job=job(_sampling(body)),
        load=LoadOptions(),
        keep_alive_s=None,
        stream=flag_of(body, "stream", default=False),
        form=form,
    )


def _sampling(body: Mapping[str, object]) -> Sampling:
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


def _refuse(body: Mapping[str, object], model: str) -> None:
    """Fields that would change the answer and that this server cannot honour are errors, never ignored."""
    for name in ("tools", "functions"):
        if body.get(name):
            raise RequestError(f'"{model}" does not support {name}')
    for name in _REFUSED:
        if body.get(name):
            raise RequestError(f"{name} is not supported by this server; leave it out")
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise RequestError(f"{name}: this server gives one answer")
    wanted = body.get("response_format")
    if wanted is not None and not (isinstance(wanted, dict) and wanted.get("type") == "text"):
        raise RequestError("response_format: this server writes text only")
    effort = body.get("reasoning_effort")
    refuse_thinking(None if effort == "none" else effort, model)


def _usage(done: Completion | None) -> dict[str, int]:
    prompt, answer = (done.prompt_eval_count, done.eval_count) if done is not None else (0, 0)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
