"""How the answers of an endpoint are written: Ollama's JSON lines here, the others in the modules of their APIs."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pytest_llmperf.servers.emulator.engine import Completion, Piece, ToolCall

Part = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an answer ended.

    Attributes:
        reason: `stop` or `length`; `load` or `unload` for a request that asked for no text.
        completion: what the engine counted; None if nothing was generated.
        total_ns: since the request's handler began.
        load_ns: until the model was acquired.
    """

    reason: str
    completion: Completion | None = None
    total_ns: int = 0
    load_ns: int = 0


class Form(Protocol):
    """The form of the answer to one request.

    Attributes:
        stream_type: the content type of a streamed answer.
    """

    stream_type: str

    def framed(self, payload: str) -> bytes:
        """One line, or one event, of a stream."""
        ...

    def piece(self, piece: Piece) -> bytes:
        """A piece of text, or a call, in a stream."""
        ...

    def end(self, ending: Ending) -> bytes:
        """The end of a stream."""
        ...

    def whole(self, pieces: Sequence[Piece], ending: Ending) -> Part:
        """An answer in one object."""
        ...

    def error(self, message: str, status: int) -> Part:
        """An error as one object; in a stream, the same object is the last line."""
        ...


class OllamaForm:
    """JSON lines; see Form.

    Args:
        model: the model's name as the client wrote it.
        chat: whether it is `/api/chat` and not `/api/generate`.
    """

    stream_type = "application/x-ndjson"

    def __init__(self, model: str, *, chat: bool) -> None:
        self._model = model
        self._chat = chat

    def framed(self, payload: str) -> bytes:
        """A line."""
        return payload.encode() + b"\n"

    def piece(self, piece: Piece) -> bytes:
        """A line that is not the last."""
        return self.framed(compact({**self._part((piece,)), "done": False}))

    def end(self, ending: Ending) -> bytes:
        """A line that says `done`, with the figures."""
        return self.framed(compact(self.whole((), ending)))

    def whole(self, pieces: Sequence[Piece], ending: Ending) -> Part:
        """As the last line, with the whole text."""
        part = {**self._part(pieces), "done": True, "done_reason": ending.reason}
        done = ending.completion
        if done is None:
            return part
        return part | _without_zeros(
            total_duration=ending.total_ns,
            load_duration=ending.load_ns,
            prompt_eval_count=done.prompt_eval_count,
            prompt_eval_duration=done.prompt_eval_duration_ns,
            eval_count=done.eval_count,
            eval_duration=done.eval_duration_ns,
        )

    def error(self, message: str, status: int) -> Part:
        """Ollama's."""
        return ollama_error(message, status)

    def _part(self, pieces: Sequence[Piece]) -> Part:
        text = text_of(pieces)
        calls = [
            {"id": call_id(), "function": {"index": index, "name": call.name, "arguments": call.arguments}}
            for index, call in enumerate(calls_of(pieces))
        ]
        message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
        body = {"message": message} if self._chat else {"response": text}
        return {"model": self._model, "created_at": now(), **body}


def text_of(pieces: Sequence[Piece]) -> str:
    """The text of an answer."""
    return "".join(piece for piece in pieces if isinstance(piece, str))


def calls_of(pieces: Sequence[Piece]) -> list[ToolCall]:
    """The calls of an answer."""
    return [piece for piece in pieces if isinstance(piece, ToolCall)]


def call_id() -> str:
    """An id for a call."""
    return f"call_{uuid.uuid4().hex[:8]}"


def ollama_error(message: str, status: int) -> Part:
    """The error object of `/api`; the status is only in the head."""
    del status
    return {"error": message}


def compact(part: Part) -> str:
    """As JSON, as servers write it."""
    return json.dumps(part, ensure_ascii=False, separators=(",", ":"))


def _without_zeros(**figures: int) -> Part:
    """Ollama leaves out figures that are zero."""
    return {name: value for name, value in figures.items() if value}


def now(seconds: float | None = None) -> str:
    """A moment (seconds since the epoch, default now) as RFC 3339 in UTC with microseconds."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
