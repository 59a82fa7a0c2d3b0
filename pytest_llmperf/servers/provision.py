"""Gives an Ollama a model that it does not have: imports a GGUF file, or pulls a model from the registry."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from pytest_llmperf.errors import ModelMissingError, ServerError, printable
from pytest_llmperf.files.atomic_write import write_whole
from pytest_llmperf.net.server_refusals import error_of, refusal, server_text
from pytest_llmperf.net.untrusted_json import parsed_object
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.emulator.model_files import cache_dir, card_of

_IMPORT_S = 600.0
_IMPORT_BYTES_PER_S = 20e6  # of a large file to a slow disk
_QUIET_S, _PULL_S = 300.0, 86400.0
"""A slow pull reports progress; a pull that reports nothing new for minutes is dead."""

_SAY_S = 0.2
_BAR = 20
_GGUF_NEXT = "check that it is a GGUF file that this Ollama can run, and that the disk has room for a copy of it"
_BLOB = re.compile(r"sha256[-:]([0-9a-f]{64})")  # in a Modelfile, and in a manifest


def import_gguf(
    control: OllamaClient,
    path: Path,
    model: str,
    *,
    store: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Gives a server a GGUF file as a model, without a network; sends nothing if the server already has it.

    A server may rewrite the file when it creates the model (Ollama 0.33 does). The plugin remembers the result, so that
    it imports a file only once and the original file does not stay in the store.

    Args:
        control: a client of the server.
        path: the file.
        model: name to serve it under; replaces a model with that name that is made of another file.
        store: the folder of the server's models if it is the plugin's own: unused files are removed there.
        say: is called with what is imported, and with the size of the store.

    Raises:
        ServerError: the file is not a GGUF file, or the server refuses it.
    """
    card = card_of(path, model)
    before = _made_of(control, model)
    if before & {card.digest, *_became(card.digest)}:
        return
    say(f"importing {path.name} as {model} ({card.size_bytes / 1e6:.0f} MB)")
    blob = f"/api/blobs/sha256:{card.digest}"
    # a server that has the blob answers an upload without reading it: asking first saves sending gigabytes
    within_s = _IMPORT_S + card.size_bytes / _IMPORT_BYTES_PER_S
    if control.send("HEAD", blob).is_error:
        with path.open("rb") as file:
            _checked(control, f"{path} refused", control.send("POST", blob, content=file, within_s=within_s))
    body = {"model": model, "files": {path.name: f"sha256:{card.digest}"}, "stream": False}
    _checked(control, f"model {model} not created", control.send("POST", "/api/create", json=body, within_s=within_s))
    made = _made_of(control, model)
    if made and card.digest not in made:
        _remember(card.digest, made)
    if store is not None:
        _remove_unused(store, {card.digest} | before)
        say(f"imported {path.name}; the models in {store} take {_size_bytes(store) / 1e6:.0f} MB")


def pull(
    control: OllamaClient, model: str, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Makes the server pull a model from its registry, and shows the progress.

    Args:
        control: a client of the server.
        model: its name.
        say: is called with the progress, at most five times a second.
        clock: monotonic seconds.

    Raises:
        ServerError: the server reports an error, the stream ends without success, or has no progress for minutes.
    """
    said_s, moved_s, status = -_SAY_S, clock(), "none"
    last: dict[str, Any] = {}
    for line in control.lines("POST", "/api/pull", json={"model": model}, quiet_s=_QUIET_S, within_s=_PULL_S):
        told = _told(line)
        if (error := error_of(told)) is not None:
            status = error
            break
        if told != last:
            last, moved_s = told, clock()
        elif clock() - moved_s > _QUIET_S:
            status = f"{status}, without any progress for {_QUIET_S:g} s"
            break
        status = str(told.get("status", ""))
        if status == "success":
            return
        if clock() - said_s >= _SAY_S:
            said_s = clock()
            say(f"pulling {model}: {_progress(status, told)}")
    raise ServerError(
        f"{control.url}: {model} could not be pulled; its last status was: {server_text(status)}",
        next_step="check the name, and that this machine reaches the registry, or give a file with --llmperf-gguf",
    )


def _told(line: str) -> dict[str, Any]:
    try:
        return parsed_object(line)
    except ValueError:
        return {"error": f"a line that is not a JSON object: {line[:500]!r}"}


def _progress(status: str, told: dict[str, Any]) -> str:
    """A progress bar if the server reports the size, else its own words."""
    total, done = told.get("total"), told.get("completed") or 0
    if not isinstance(total, int) or not isinstance(done, int) or total <= 0:
        return printable(status[:80])
    share = min(1.0, done / total)
    bar = ("#" * round(_BAR * share)).ljust(_BAR, ".")
    return f"[{bar}] {100 * share:.0f} % of {total / 1e6:.0f} MB"


def _made_of(control: OllamaClient, model: str) -> set[str]:
    """The sha256 of the blobs of the server's model with that name; none if it has no such model."""
    try:
        return set(_BLOB.findall(str(control.show(model).get("modelfile"))))
    except ModelMissingError:
        return set()


def _note_of(digest: str) -> Path:
    return cache_dir() / "imports" / f"{digest}.json"


def _became(digest: str) -> set[str]:
    """The blobs that servers have made of a file, by its sha256."""
    try:
        known = json.loads(_note_of(digest).read_text("utf-8"))
        return set(known["became"])
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def _remember(digest: str, made: set[str]) -> None:
    """Best effort: without the cache, the file is only imported again."""
    with suppress(OSError):
        write_whole(_note_of(digest), json.dumps({"became": sorted(_became(digest) | made)}))


def _remove_unused(store: Path, digests: set[str]) -> None:
    """Removes these blobs from a store unless a model uses them. Best effort: they only take space."""
    with suppress(OSError):
        used = {
            digest
            for file in (store / "manifests").rglob("*")
            if file.is_file()
            for digest in _BLOB.findall(file.read_text("utf-8", "replace"))
        }
        for digest in digests - used:
            (store / "blobs" / f"sha256-{digest}").unlink(missing_ok=True)


def _size_bytes(store: Path) -> int:
    """The size of a store on disk."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in (store / "blobs").glob("*"))
    return 0


def _checked(control: OllamaClient, problem: str, response: httpx.Response) -> None:
    said = refusal(response.status_code, dict(response.headers), response.content)
    if response.is_success and said.error is None:
        return
    step = said.advice.next_step if response.is_redirect else _GGUF_NEXT
    raise ServerError(f"{control.url}: {problem}: {said.words}", next_step=step)
