"""Gives an Ollama a model that it does not have: a GGUF file of the user's, or one pulled from its registry."""

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
"""A slow pull is seen to move; one that says nothing new for minutes is dead."""

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
    """Gives a server a GGUF file as a model, without any network; nothing is sent when it has just that already.

    A server may write the file anew when it makes the model (Ollama 0.33 does). What a file became is remembered, so
    that it is imported once, and the file as it was sent does not stay in the store beside it.

    Args:
        control: of the server.
        path: the file.
        model: name to serve it under; a model of that name that is made of another file is replaced.
        store: the folder of the server's models if it is ours: what no model needs any more is removed there.
        say: is told what is imported, and the room that it takes.

    Raises:
        ServerError: the file is no GGUF file, or the server refuses it.
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
    """Has the server fetch a model from its registry, and shows how far it is.

    Args:
        control: of the server.
        model: its name.
        say: is told the progress, at most five times a second.
        clock: monotonic seconds.

    Raises:
        ServerError: the server reports an error, the stream ends without success, or says nothing new for minutes.
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
    """A bar where the server says how much there is, else its own words."""
    total, done = told.get("total"), told.get("completed") or 0
    if not isinstance(total, int) or not isinstance(done, int) or total <= 0:
        return printable(status[:80])
    share = min(1.0, done / total)
    bar = ("#" * round(_BAR * share)).ljust(_BAR, ".")
    return f"[{bar}] {100 * share:.0f} % of {total / 1e6:.0f} MB"


def _made_of(control: OllamaClient, model: str) -> set[str]:
    """The sha256 of the blobs that the server's model of that name is made of; none if it has no such model."""
    try:
        return set(_BLOB.findall(str(control.show(model).get("modelfile"))))
    except ModelMissingError:
        return set()


def _note_of(digest: str) -> Path:
    return cache_dir() / "imports" / f"{digest}.json"


def _became(digest: str) -> set[str]:
    """What servers have made of a file, by its sha256."""
    try:
        known = json.loads(_note_of(digest).read_text("utf-8"))
        return set(known["became"])
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def _remember(digest: str, made: set[str]) -> None:
    """Best effort: a cache that cannot be written only costs another import."""
    with suppress(OSError):
        write_whole(_note_of(digest), json.dumps({"became": sorted(_became(digest) | made)}))


def _remove_unused(store: Path, digests: set[str]) -> None:
    """Removes those blobs of a store that none of its models is made of. Best effort: they only take room."""
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
    """What a store takes of its disk."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in (store / "blobs").glob("*"))
    return 0


def _checked(control: OllamaClient, problem: str, response: httpx.Response) -> None:
    said = refusal(response.status_code, dict(response.headers), response.content)
    if response.is_success and said.error is None:
        return
    step = said.advice.next_step if response.is_redirect else _GGUF_NEXT
    raise ServerError(f"{control.url}: {problem}: {said.words}", next_step=step)
