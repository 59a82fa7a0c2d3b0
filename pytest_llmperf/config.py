"""Reads `llmperf.toml`: settings that do not fit an option. Its sections are the fields of `model.Configuration`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pytest_llmperf.errors import UsageError, did_you_mean
from pytest_llmperf.files.atomic_write import read_text
from pytest_llmperf.files.toml_text import tables_of
from pytest_llmperf.files.toml_values import faults_of, strict_converter
from pytest_llmperf.masking import has_login, refused
from pytest_llmperf.model import PROFILES, SCENARIOS, Configuration, NamedDeployment, Profile, Scenario, Settings
from pytest_llmperf.model.paths import placed

FILE = "llmperf.toml"

_OF_SERVERS = (
    *("backend", "urls", "auth", "ca_file", "proxy", "proxy_auth"),
    *("model", "gguf", "ports", "force_topology", "script", "faults"),
)
"""Settings that say which servers; two deployments never share them."""

_FILES = ("gguf", "faults", "ca_file")
"""Settings of a deployment that name a file."""


def load(path: Path, *, wanted: bool = True) -> Configuration:
    """The file as one validated value.

    Args:
        path: the path of the file.
        wanted: the user named it; else it may be missing, and the result is empty.

    Raises:
        UsageError: missing, not readable or no TOML, or it lists every fault with its key.
    """
    try:
        tables = tables_of(read_text(path))
    except FileNotFoundError as error:
        if not wanted:
            return Configuration()
        raise UsageError(f"{path}: no such file", next_step="give another --llmperf-config, or none") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} cannot be read: {error}", next_step="is it a text file in UTF-8?") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}", next_step="give another --llmperf-config") from error
    except ValueError as error:
        raise UsageError(f"{path} is no TOML: {error}", next_step="see docs/configuration.md") from error
    try:
        configuration = strict_converter().structure(tables, Configuration)
    except Exception as error:
        faults = "".join(f"\n  {fault}" for fault in faults_of(error))
        raise UsageError(f"{path}: wrong settings:{faults}", next_step="see docs/configuration.md") from error
    deployments = {name: _anchored(name, deployment, path) for name, deployment in configuration.deployments.items()}
    return replace(configuration, deployments=deployments)


def deployment_of(configuration: Configuration, name: str, *, option: str = "--llmperf-deployment") -> NamedDeployment:
    """The deployment of a name, which `option` gives.

    Raises:
        UsageError: there is none; names the nearest and all.
    """
    known = configuration.deployments
    if name in known:
        return known[name]
    has = f"{FILE} has {', '.join(known)}" if known else f"{FILE} has none"
    name = refused(name)
    raise UsageError(
        f"{option}: no deployment {name!r}; {has}{did_you_mean(name, known)}",
        next_step=f"add [deployments.{name}] to {FILE}",
    )


def named_or_at(configuration: Configuration, text: str, urls: Callable[[str], tuple[str, ...]]) -> NamedDeployment:
    """The deployment of a name, or of addresses (a text with a colon, a slash or an `@`).

    Args:
        configuration: the configuration that defines the names.
        text: name, or addresses between commas.
        urls: reads addresses; raises ValueError.

    Raises:
        UsageError: no deployment of that name; or no addresses.
    """
    if text in configuration.deployments or not (set(text) & set(":/") or has_login(text)):
        return deployment_of(configuration, text, option="--llmperf-against")
    try:
        return NamedDeployment(urls=urls(text))
    except ValueError as error:
        raise UsageError(f"--llmperf-against: {error}", next_step="give http://host:port,http://host:port") from error


def incumbent_of(settings: Settings) -> Settings | None:
    """The settings of the incumbent; None if there is none.

    Its servers are its own. It has the candidate's model name if neither backend serves a file and the incumbent states
    no name. A topology of the command line applies to both, unless the incumbent states its own.
    """
    if settings.incumbent is None:
        return None
    stated = settings.incumbent.stated()
    stated.pop("ray_address", None)  # the agents are the candidate's, and so are their hosts
    usual = {name: getattr(Settings(), name) for name in _OF_SERVERS}
    if stated["backend"] in ("attach", "ollama", "openai") and not settings.gguf:
        del usual["model"]
    candidate = settings.configuration.deployments.get(settings.deployment)
    if not (candidate and candidate.topology == settings.force_topology):
        del usual["force_topology"]
    return replace(settings, **{**usual, **stated, "deployment": settings.against})


def profile_of(configuration: Configuration, name: str) -> Profile:
    """The profile of a name: the file's, else the report's.

    Raises:
        UsageError: there is none; names the nearest and all.
    """
    known = {**PROFILES, **configuration.profiles}
    if name in known:
        return known[name]
    raise UsageError(
        f"no profile {name!r}, wanted one of {', '.join(known)}{did_you_mean(name, known)}",
        next_step=f"add [profiles.{name}] to {FILE}",
    )


def scenarios_of(configuration: Configuration) -> dict[str, Scenario]:
    """The scenarios that have a name: the report's, and the file's."""
    return {**SCENARIOS, **{name: named.scenario(name) for name, named in configuration.scenarios.items()}}


def _anchored(name: str, deployment: NamedDeployment, file: Path) -> NamedDeployment:
    """The deployment, with absolute paths of its files.

    Raises:
        UsageError: a path leads nowhere.
    """
    paths = {}
    for key in _FILES:
        if value := getattr(deployment, key):
            try:
                paths[key] = str(placed(value, file.parent))
            except ValueError as error:
                raise UsageError(
                    f"{file}: wrong settings:\n  deployments.{name}.{key}: {error}",
                    next_step="see docs/configuration.md",
                ) from error
    return replace(deployment, **paths)  # type: ignore[arg-type]
