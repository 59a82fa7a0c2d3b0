"""Picks the backend, and says why."""

from __future__ import annotations

from pytest_llmperf.errors import MissingExtraError, ServerError, UsageError
from pytest_llmperf.model import BACKENDS, STARTED, Settings
from pytest_llmperf.servers.backends.attach import USUAL_URLS, AttachBackend
from pytest_llmperf.servers.backends.base import Backend, Say
from pytest_llmperf.servers.backends.ollama import OllamaBackend, find_binary
from pytest_llmperf.servers.backends.openai import OpenAIBackend
from pytest_llmperf.servers.backends.own import OwnBackend, missing_packages
from pytest_llmperf.servers.control import Control

_NEXT = "pip install 'pytest-llmperf[embedded]'"


def choose(settings: Settings, *, say: Say = lambda _: None) -> Backend:
    """The backend that the settings ask for, or the first of `attach`, `ollama`, `embedded` that is there.

    Nothing is started; `attach` asks the usual two ports for their version.

    Args:
        settings: what was asked for.
        say: is told what takes time when a topology is opened.

    Raises:
        UsageError: no such backend.
        ServerError: the backend asked for is not there.
        MissingExtraError: an extra is missing, or nothing at all was found.
    """
    kind = settings.backend
    if kind not in BACKENDS:
        raise UsageError(f"llmperf_backend: {kind!r} is not one of {', '.join(BACKENDS)}")
    if settings.faults and kind != "simulated":
        raise UsageError(
            f"llmperf_faults: only the simulated server has faults on demand, llmperf_backend is {kind}",
            next_step="add --llmperf-backend=simulated, or leave --llmperf-faults out",
        )
    if settings.urls and kind in STARTED:
        raise UsageError(
            f"llmperf_urls: addresses belong to running servers, llmperf_backend is {kind}, which starts its own",
            next_step="leave --llmperf-urls out, or use --llmperf-backend=attach",
        )
    if kind == "auto":
        return _auto(settings, say)
    reason = f"asked for with llmperf_backend = {kind}"
    if kind == "openai":
        if not settings.urls:
            raise ServerError(
                "backend openai: no addresses are given",
                next_step="give them with --llmperf-urls, without /v1: http://h1:8000,http://h2:8000",
            )
        return OpenAIBackend(settings.urls, settings, reason)
    if kind == "attach":
        urls = settings.urls or _usual_urls()
        if not urls:
            raise ServerError(
                f"backend attach: no servers at {' and '.join(USUAL_URLS)}",
                next_step="start them, or give their addresses with --llmperf-urls",
            )
        return AttachBackend(urls, settings, reason)
    if kind == "ollama":
        if not (binary := find_binary(settings)):
            raise ServerError(
                f"backend ollama: no binary {settings.ollama_bin or 'ollama'!r} on PATH",
                next_step="install Ollama, give --llmperf-ollama-bin, or use --llmperf-backend=embedded",
            )
        return OllamaBackend(binary, settings, reason, say)
    if missing := missing_packages(kind, gguf=settings.gguf):
        raise MissingExtraError(
            f"backend {kind} needs {', '.join(missing)}, which this Python does not have",
            next_step=f"pip install 'pytest-llmperf[{kind}]'",
        )
    return OwnBackend(kind, settings, reason)


def _auto(settings: Settings, say: Say) -> Backend:
    if settings.urls:
        return AttachBackend(settings.urls, settings, "auto: addresses are given")
    if urls := _usual_urls():
        return AttachBackend(urls, settings, "auto: two servers answer on 11434 and 11435")
    if binary := find_binary(settings):
        return OllamaBackend(binary, settings, f"auto: no two servers on 11434 and 11435, but {binary} is there", say)
    missing = missing_packages("embedded", gguf=settings.gguf)
    if not missing:
        return OwnBackend("embedded", settings, "auto: no two servers on 11434 and 11435, no ollama on PATH")
    raise MissingExtraError(
        "no servers on 11434 and 11435, no ollama on PATH, and the embedded engine is not installed "
        f"(missing: {', '.join(missing)})",
        next_step=_NEXT,
    )


def _usual_urls() -> tuple[str, ...]:
    """The usual two addresses, when both answer."""
    for url in USUAL_URLS:
        with Control(url) as control:
            if not control.answers():
                return ()
    return USUAL_URLS
