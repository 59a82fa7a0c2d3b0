"""Reads `llmperf.toml`: what does not fit an option. Its sections are the fields of `model.Configuration`."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Configuration, NamedDeployment
from pytest_llmperf.strict import faults_of, nearest, strict_converter

FILE = "llmperf.toml"


def load(path: Path, *, wanted: bool = True) -> Configuration:
    """The file as one validated value.

    Args:
        path: of the file.
        wanted: somebody named it; else it may be missing, and the answer is empty.

    Raises:
        UsageError: missing, not readable or no TOML, or it lists every fault with its key.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not wanted:
            return Configuration()
        raise UsageError(f"{path}: no such file", next_step="give another --llmperf-config, or none") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", next_step="is it a text file in UTF-8?") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML: {error}", next_step="see docs/configuration.md") from error
    try:
        found = strict_converter().structure(tables, Configuration)
    except Exception as error:
        faults = "".join(f"\n  {fault}" for fault in faults_of(error))
        raise UsageError(f"{path}: wrong settings:{faults}", next_step="see docs/configuration.md") from error
    deployments = {name: _anchored(one, path.parent) for name, one in found.deployments.items()}
    return replace(found, deployments=deployments)


def deployment_of(configuration: Configuration, name: str) -> NamedDeployment:
    """The deployment of a name.

    Raises:
        UsageError: there is none; names the nearest and all.
    """
    known = configuration.deployments
    if name in known:
        return known[name]
    has = f"{FILE} has {', '.join(known)}" if known else f"{FILE} has none"
    raise UsageError(
        f"no deployment {name!r}; {has}{nearest(name, known)}", next_step=f"add [deployments.{name}] to {FILE}"
    )


def _anchored(one: NamedDeployment, folder: Path) -> NamedDeployment:
    """With its file's path from the root."""
    return replace(one, gguf=str(folder / Path(one.gguf).expanduser())) if one.gguf else one
