"""The ASGI application that speaks Ollama's HTTP API, and the usual part of OpenAI's, over one engine."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pytest_llmperf.servers.emulator.api.answer_forms import now, ollama_error
from pytest_llmperf.servers.emulator.api.embedding_api import (
    EmbeddingRequest,
    parse_embed,
    parse_embeddings,
    parse_v1_embeddings,
)
from pytest_llmperf.servers.emulator.api.generation_response import Clock, GenerationResponse
from pytest_llmperf.servers.emulator.api.local_hosts import LocalHostsOnly
from pytest_llmperf.servers.emulator.api.messages_api import messages_error, parse_messages
from pytest_llmperf.servers.emulator.api.model_scheduler import DEFAULT_KEEP_ALIVE_S, DEFAULT_MAX_QUEUE, Scheduler
from pytest_llmperf.servers.emulator.api.openai_api import (
    check_model,
    model_entry,
    parse_v1_chat,
    parse_v1_completions,
    v1_error,
)
from pytest_llmperf.servers.emulator.api.request_bodies import (
    GenerationRequest,
    model_of,
    parse_body,
    parse_chat,
    parse_generate,
)
from pytest_llmperf.servers.emulator.api.request_options import RequestError
from pytest_llmperf.servers.emulator.api.responses_api import parse_responses
from pytest_llmperf.servers.emulator.engine import Engine, EngineError, LoadOptions, ModelCard

if TYPE_CHECKING:
    from pytest_llmperf.servers.emulator.faults.faulty_instance import FaultyInstance

_log = logging.getLogger(__name__)

_FOREVER_S = 292 * 365.25 * 86400  # what Go's longest duration makes of "forever"

_READ, _WRITE = ("GET", "HEAD"), ("POST",)

_ROUTES = (
    ("/", _READ, "root"),
    ("/api/version", _READ, "version"),
    ("/api/tags", _READ, "tags"),
    ("/api/ps", ("GET",), "ps"),
    ("/api/show", _WRITE, "show"),
    ("/api/generate", _WRITE, "generate"),
    ("/api/chat", _WRITE, "chat"),
    ("/version", _READ, "version"),  # where OpenAI-compatible servers say theirs: it tells that one is simulated
    ("/v1/models", _READ, "v1_models"),
    ("/v1/models/{model:path}", _READ, "v1_model"),
    ("/v1/chat/completions", _WRITE, "v1_chat"),
    ("/v1/completions", _WRITE, "v1_completions"),
    ("/v1/responses", _WRITE, "v1_responses"),
    ("/v1/messages", _WRITE, "v1_messages"),
    ("/api/embed", _WRITE, "embed"),
    ("/api/embeddings", _WRITE, "embeddings"),
    ("/v1/embeddings", _WRITE, "v1_embeddings"),
)
"""Path, methods and the name of what answers (of _Api)."""

Parse = Callable[[dict[str, object], ModelCard], GenerationRequest]
ParseEmbeddings = Callable[[dict[str, object], ModelCard], EmbeddingRequest]


def create_app(
    engine: Engine,
    *,
    max_queue: int = DEFAULT_MAX_QUEUE,
    keep_alive_s: float = DEFAULT_KEEP_ALIVE_S,
    clock: Clock = time.monotonic_ns,
    faults: FaultyInstance | None = None,
) -> Starlette:
    """The application over an engine that is not loaded yet; the first request loads it.

    Args:
        engine: one model.
        max_queue: maximum number of requests that may wait for a load; more are answered 503.
        keep_alive_s: seconds an unused model stays loaded; may be infinite.
        clock: monotonic nanoseconds, for all durations.
        faults: spoil answers; None = none does.

    Returns:
        The application; its `state.scheduler` knows the users of the model.
    """
    scheduler = Scheduler(engine, max_queue=max_queue, keep_alive_s=keep_alive_s)
    api = _Api(engine, scheduler, clock, faults)
    app = Starlette(
        routes=[Route(path, getattr(api, name), methods=list(methods)) for path, methods, name in _ROUTES],
        middleware=[Middleware(LocalHostsOnly)],
        exception_handlers={
            RequestError: _request_error,
            EngineError: _request_error,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _server_error,
        },
    )
    app.state.scheduler = scheduler
    return app


class _Json(JSONResponse):
    """With the header that Ollama's router writes."""

    media_type = "application/json; charset=utf-8"


class _Api:
    """The endpoints."""

    def __init__(self, engine: Engine, scheduler: Scheduler, clock: Clock, faults: FaultyInstance | None) -> None:
        self._engine = engine
        self._scheduler = scheduler
        self._clock = clock
        self._faults = faults

    async def root(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(self, _: Request) -> Response:
        return _Json({"version": self._engine.version})

    async def tags(self, _: Request) -> Response:
        card = self._engine.card
        return _Json({"models": [{**_entry(card), "modified_at": card.modified_at}]})

    async def ps(self, _: Request) -> Response:
        loaded = self._scheduler.loaded
        if loaded is None:
            return _Json({"models": []})
        forever = math.isinf(loaded.expires_at_s)
        return _Json(
            {
                "models": [
                    {
                        **_entry(self._engine.card),
                        "size_vram": self._engine.card.size_vram_bytes,
                        "expires_at": now(time.time() + _FOREVER_S if forever else loaded.expires_at_s),
                        "context_length": loaded.num_ctx,
                    }
                ]
            }
        )

    async def show(self, request: Request) -> Response:
        body = parse_body(await request.body())
        check_model(model_of(body), self._engine.card)
        card = self._engine.card
        return _Json(
            {
                "modelfile": f"# served by pytest-llmperf {self._engine.version}\nFROM {card.name}\n",
                "parameters": "",
                "template": card.template,
                "details": _details(card),
                "model_info": {
                    "general.architecture": card.family,
                    f"{card.family}.context_length": card.context_length,
                    **card.info,
                },
                "capabilities": list(card.capabilities),
                "modified_at": card.modified_at,
            }
        )

    async def generate(self, request: Request) -> ASGIApp:
        return await self._text(request, parse_generate)

    async def chat(self, request: Request) -> ASGIApp:
        return await self._text(request, parse_chat)

    async def v1_models(self, _: Request) -> Response:
        return _Json({"object": "list", "data": [model_entry(self._engine.card)]})

    async def v1_model(self, request: Request) -> Response:
        check_model(request.path_params["model"], self._engine.card)
        return _Json(model_entry(self._engine.card))

    async def v1_chat(self, request: Request) -> ASGIApp:
        return await self._text(request, parse_v1_chat)

    async def v1_completions(self, request: Request) -> ASGIApp:
        return await self._text(request, parse_v1_completions)

    async def v1_responses(self, request: Request) -> ASGIApp:
        return await self._text(request, parse_responses)

    async def v1_messages(self, request: Request) -> ASGIApp:
        return await self._text(request, parse_messages)

    async def embed(self, request: Request) -> Response:
        return await self._vectors(request, parse_embed)

    async def embeddings(self, request: Request) -> Response:
        return await self._vectors(request, parse_embeddings)

    async def v1_embeddings(self, request: Request) -> Response:
        return await self._vectors(request, parse_v1_embeddings)

    async def _vectors(self, request: Request, parse: ParseEmbeddings) -> Response:
        started_ns = self._clock()
        body = parse_body(await request.body())
        check_model(model_of(body), self._engine.card)
        wanted = parse(body, self._engine.card)
        now_loaded = self._scheduler.loaded
        options = wanted.load or (now_loaded.options if now_loaded else LoadOptions())
        loaded = await self._scheduler.acquire(options, wanted.keep_alive_s)
        load_ns = self._clock() - started_ns
        try:
            await loaded.slots.take()
            try:
                loop = asyncio.get_running_loop()
                done = await loop.run_in_executor(self._scheduler.workers, self._engine.embed, wanted.texts)
            finally:
                loaded.slots.give()
        finally:
            self._scheduler.release(loaded)
        return _Json(wanted.answer(done, self._clock() - started_ns, load_ns))

    async def _text(self, request: Request, parse: Parse) -> ASGIApp:
        started_ns = self._clock()
        body = parse_body(await request.body())
        check_model(model_of(body), self._engine.card)
        usual = partial(GenerationResponse, scheduler=self._scheduler, started_ns=started_ns, clock=self._clock)
        wanted = parse(body, self._engine.card)
        if self._faults is not None and wanted.job is not None:
            return await self._faults.answer(wanted, self._scheduler, usual)
        return usual(wanted)


def _details(card: ModelCard) -> dict[str, object]:
    return {
        "parent_model": "",
        "format": card.format,
        "family": card.family,
        "families": [card.family],
        "parameter_size": card.parameter_size,
        "quantization_level": card.quantization,
    }


def _entry(card: ModelCard) -> dict[str, object]:
    return {
        "name": card.name,
        "model": card.name,
        "size": card.size_bytes,
        "digest": card.digest,
        "details": _details(card),
    }


def _error(request: Request, message: str, status: int) -> Response:
    """An error as clients of the path read it."""
    path = request.url.path
    form = messages_error if path == "/v1/messages" else v1_error if path.startswith("/v1/") else ollama_error
    return _Json(form(message, status), status_code=status)


async def _request_error(request: Request, error: Exception) -> Response:
    return _error(request, str(error), error.status if isinstance(error, RequestError | EngineError) else 500)


async def _http_error(request: Request, error: Exception) -> Response:
    """The answer to unknown paths and methods, in the words of Ollama's router, with a list of the known paths."""
    assert isinstance(error, HTTPException)
    words = {404: "404 page not found", 405: "405 method not allowed"}.get(error.status_code, error.detail)
    paths = ", ".join(path for path, _, _ in _ROUTES[1:])
    message = f"{words}: {request.method} {request.url.path}; this server has {paths}"
    answer = _error(request, message, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _gone(_: Request, __: Exception) -> Response:
    """Sends nothing: the client has disconnected."""
    return Response(status_code=499)


async def _server_error(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(request, f"internal error: {type(error).__name__}: {error}", 500)
