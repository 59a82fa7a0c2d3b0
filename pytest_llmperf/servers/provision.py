"""Gives an Ollama a model that it does not have: a GGUF file of the user's, or one pulled from its registry."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from pytest_llmperf.errors import ModelMissingError, ServerError, printable
from pytest_llmperf.foreign_json import parsed_object
from pytest_llmperf.refusals import error_of, refusal, server_text
from pytest_llmperf.servers.control import Control
from pytest_llmperf.servers.models import card_of

_IMPORT_S = 600.0
_IMPORT_BYTES_PER_S = 20e6  # of a large file to a slow disk
_QUIET_S, _PULL_S = 300.0, 86400.0
"""A slow pull is seen to move; one that says nothing new for minutes is dead."""

_SAY_S = 0.2
_BAR = 20
_GGUF_NEXT = "is it a GGUF file that this Ollama can run, and is there room for a copy of it?"


def import_gguf(control: Control, path: Path, model: str) -> None:
    """Gives a server a GGUF file as a model, without any network; nothing is sent when it has just that already.

    Args:
        control: of the server.
        path: the file.
        model: name to serve it under; a model of that name that is made of another file is replaced.

    Raises:
        ServerError: the file is no GGUF file, or the server refuses it.
    """
    digest = card_of(path, model).digest
    if _is_made_of(control, model, digest):
        return
    blob = f"/api/blobs/sha256:{digest}"
    # a server that has the blob answers an upload without reading it: asking first saves sending gigabytes
    if control.send("HEAD", blob).is_error:
        with path.open("rb") as file:
            within_s = _IMPORT_S + path.stat().st_size / _IMPORT_BYTES_PER_S
            _checked(control, f"{path} refused", control.send("POST", blob, content=file, within_s=within_s))
    body = {"model": model, "files": {path.name: f"sha256:{digest}"}, "stream": False}
    _checked(control, f"model {model} not created", control.send("POST", "/api/create", json=body, within_s=_IMPORT_S))


def pull(
    control: Control, model: str, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Has the server fetch a model from its registry, and shows how far it is.

    Args:
        control: of the server.
        model: its name.
        say: is told the progress, at most five times a second.
        clock: monotonic seconds.

    Raises:
        ServerError: the server reports an error, the stream ends without success, or says nothing new for minutes.
    """
    said_s, moved_s, status = -_SAY_S, clock(), "nothing at all"
    last: dict[str, Any] = {}
    for line in control.lines("POST", "/api/pull", json={"model": model}, quiet_s=_QUIET_S, within_s=_PULL_S):
        told = _told(line)
        if (error := error_of(told)) is not None:
            status = error
            break
        if told != last:
            last, moved_s = told, clock()
        elif clock() - moved_s > _QUIET_S:
            status = f"{status}, and nothing new for {_QUIET_S:g} s"
            break
        status = str(told.get("status", ""))
        if status == "success":
            return
        if clock() - said_s >= _SAY_S:
            said_s = clock()
            say(f"pulling {model}: {_progress(status, told)}")
    raise ServerError(
        f"{control.url}: {model} could not be pulled; the last that was said: {server_text(status)}",
        next_step="is the name right, and can this machine reach the registry? or give a file with --llmperf-gguf",
    )


def _told(line: str) -> dict[str, Any]:
    try:
        return parsed_object(line)
    except ValueError:
        return {"error": f"a line that is no JSON object: {line[:500]!r}"}


def _progress(status: str, told: dict[str, Any]) -> str:
    """A bar where the server says how much there is, else its own words."""
    total, done = told.get("total"), told.get("completed") or 0
    if not isinstance(total, int) or not isinstance(done, int) or total <= 0:
        return printable(status[:80])
    share = min(1.0, done / total)
    bar = ("#" * round(_BAR * share)).ljust(_BAR, ".")
    return f"[{bar}] {100 * share:.0f} % of {total / 1e6:.0f} MB"


def _is_made_of(control: Control, model: str, digest: str) -> bool:
    """Whether the server has a model of that name, made of the blob with this sha256."""
    try:
        return f"sha256-{digest}" in str(control.show(model).get("modelfile"))
    except ModelMissingError:
        return False


def _checked(control: Control, what: str, response: httpx.Response) -> None:
    said = refusal(response.status_code, dict(response.headers), response.content)
    if response.is_success and said.error is None:
        return
    step = said.advice.next_step if response.is_redirect else _GGUF_NEXT
    raise ServerError(f"{control.url}: {what}: {said.words}", next_step=step)
