"""Gives an Ollama a model that it does not have: a GGUF file of the user's, or one pulled from its registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from pytest_llmperf.errors import ModelMissingError, ServerError
from pytest_llmperf.servers.control import Control
from pytest_llmperf.servers.models import card_of

_IMPORT = httpx.Timeout(600)
_PULL = httpx.Timeout(60, read=300)  # a slow line is seen to move; one that says nothing for minutes is dead
_SAY_S = 0.2
_BAR = 20


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
            _checked(control, f"{path} refused", control.send("POST", blob, content=file, timeout=_IMPORT))
    body = {"model": model, "files": {path.name: f"sha256:{digest}"}, "stream": False}
    _checked(control, f"model {model} not created", control.send("POST", "/api/create", json=body, timeout=_IMPORT))


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
        ServerError: the server reports an error, or the stream ends without success.
    """
    said_s, status = -_SAY_S, "nothing at all"
    for line in control.lines("POST", "/api/pull", json={"model": model}, timeout=_PULL):
        told = _told(line)
        if told.get("error"):
            status = str(told["error"])
            break
        status = str(told.get("status", ""))
        if status == "success":
            return
        if clock() - said_s >= _SAY_S:
            said_s = clock()
            say(f"pulling {model}: {_progress(status, told)}")
    raise ServerError(
        f"{control.url}: {model} could not be pulled; the last that was said: {status[:200]}",
        next_step="is the name right, and can this machine reach the registry? or give a file with --llmperf-gguf",
    )


def _told(line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"error": f"a line that is no JSON object: {line[:80]!r}"}


def _progress(status: str, told: dict[str, Any]) -> str:
    """A bar where the server says how much there is, else its own words."""
    total, done = told.get("total"), told.get("completed") or 0
    if not isinstance(total, int) or not isinstance(done, int) or total <= 0:
        return status[:80]
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
    if response.is_error or "error" in response.text[:200]:
        raise ServerError(
            f"{control.url}: {what}: {response.status_code} {response.text[:200]}",
            next_step="is it a GGUF file that this Ollama can run, and is there room for a copy of it?",
        )
