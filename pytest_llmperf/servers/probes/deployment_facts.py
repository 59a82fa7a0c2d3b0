"""Collects the facts of a manifest: everything that a measured number depends on."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from urllib.parse import urlsplit

from pytest_llmperf.errors import LlmperfError, clean
from pytest_llmperf.model import KEYS, Instance, Manifest, Topology
from pytest_llmperf.programs import git, output_of
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.server_client import ModelEntry

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OWN_INFO = "llmperf."

Facts = dict[str, str]


def manifest(
    topology: Topology,
    *,
    runtime: str,
    timing_source: str,
    folder: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> Manifest:
    """The current facts of a measurement on this topology.

    Never raises: an unknown fact is absent. Facts about the machine are looked up once in each process. If an instance
    is on another machine, that machine's hardware is unknown, and the manifest says so.

    Args:
        topology: a topology with running servers, which are asked about the model.
        runtime: what drove the agents, e.g. `asyncio`.
        timing_source: how arrivals were stamped.
        folder: the folder of the tests, for the commit; None: the working directory.
        more: facts that the caller knows.
    """
    facts: Facts = {
        **(more or {}),
        "backend": topology.backend,
        "model": topology.model,
        "engine": _engine(topology),
        "engine_version": _joined({i.name: i.version for i in topology.instances}),
        "runtime": runtime,
        "timing_source": timing_source,
    }
    remote = sorted({host for i in topology.instances if (host := urlsplit(i.url).hostname or "") not in _LOOPBACK})
    sources: list[Callable[[], Facts]] = [
        _software,
        lambda: dict(_git(folder or Path.cwd())),
        lambda: _model(topology),
    ]
    if remote:
        facts["cpu"] = f"unknown, of the remote host {', '.join(remote)}"
    else:
        sources.append(lambda: dict(_machine()))
    for source in sources:
        with suppress(Exception):  # a missing fact must never fail a measurement
            facts.update(source())
    return Manifest(facts={key: clean(facts[key]) for key in KEYS if facts.get(key)})


def gpu_here() -> bool:
    """Whether this machine has a known GPU."""
    return bool(dict(_machine()).get("gpu"))


def _engine(topology: Topology) -> str:
    """The engine, from the version, in which the plugin's own servers name themselves."""
    names = set()
    for instance in topology.instances:
        if instance.version.endswith("-simulated"):
            names.add("scripted (simulated)")
        elif "-embedded+" in instance.version:
            names.add("llama.cpp (xllamacpp)")
        elif instance.api == "openai":
            names.add("OpenAI-compatible")
        else:
            names.add("ollama")
    return ", ".join(sorted(names))


def _joined(values: dict[str, str]) -> str:
    """A single value if all instances agree, else each value with its instance's name."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _model(topology: Topology) -> Facts:
    """The facts about the model, from every instance that answers."""
    digests, quantizations, sizes, settings = {}, {}, {}, {}
    for instance in topology.instances:
        with suppress(LlmperfError), client_of(instance) as control:
            entry = control.find(topology.model)
            digests[instance.name] = entry.digest
            quantizations[instance.name] = entry.quantization
            sizes[instance.name] = str(entry.size_bytes)
            loaded = control.loaded(topology.model)
            info = control.show(topology.model).get("model_info") or {}
            own = {str(key).removeprefix(_OWN_INFO): value for key, value in info.items() if key.startswith(_OWN_INFO)}
            settings[instance.name] = _settings(
                {"slots": instance.slots or "unknown", **own, **_environment(instance)}, loaded
            )
    if not digests:
        return {}
    return {
        "model_digest": _joined(digests),
        "quantization": _joined(quantizations),
        "model_size_bytes": _joined(sizes),
        "server_settings": _joined(settings),
    }


def _environment(instance: Instance) -> dict[str, object]:
    """The environment variables that decide how a started server computes."""
    return {name: value for name, _, value in (setting.partition("=") for setting in instance.environment)}


def _settings(own: dict[str, object], loaded: ModelEntry | None) -> str:
    """How the server serves the model, in its own words."""
    if loaded is not None:
        own = {**own, "num_ctx": loaded.context_length or "unknown"}
        if loaded.size_vram_bytes and loaded.size_vram_bytes < loaded.size_bytes:
            own["spilled_to_cpu_bytes"] = loaded.size_bytes - loaded.size_vram_bytes
    return "; ".join(f"{key}={value}" for key, value in sorted(own.items()))


@functools.cache
def _machine() -> tuple[tuple[str, str], ...]:
    """Hardware and system, looked up once in each process."""
    facts: Facts = {
        "cpu": _cpu(),
        "cpu_count": str(os.cpu_count() or ""),
        "os": f"{platform.system()} {platform.machine()}",
        "os_build": platform.platform(),
        "cpu_governor": _governor(),
        "memory_gib": _memory_gib(),
        **_gpu(),
    }
    return tuple(facts.items())


def _software() -> Facts:
    facts = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    with suppress(PackageNotFoundError):
        facts["plugin_version"] = package_version("pytest-llmperf")
    return facts


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin" and (brand := output_of("sysctl", "-n", "machdep.cpu.brand_string")):
        return brand
    return platform.processor() or platform.machine()


def _governor() -> str:
    """The frequency governor; several when the cores differ."""
    governors = set()
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with suppress(OSError):
            governors.add(path.read_text("utf-8").strip())
    return ", ".join(sorted(governors))


def _memory_gib() -> str:
    """Rounded, because the kernel's share differs from boot to boot."""
    with suppress(OSError, ValueError, AttributeError):
        return str(round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30))
    return ""


def _gpu() -> Facts:
    """The GPUs that `nvidia-smi` reports, if there is such a command."""
    if shutil.which("nvidia-smi") is None:
        return {}
    listed = output_of("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader") or ""
    rows = [[cell.strip() for cell in line.split(",")] for line in listed.splitlines()]
    rows = [row for row in rows if len(row) == 2]
    if not rows:
        return {}
    cuda = re.search(r"CUDA Version:\s*([0-9.]+)", output_of("nvidia-smi") or "")
    names = sorted({row[0] for row in rows})
    counted = ", ".join(f"{sum(row[0] == name for row in rows)} x {name}" for name in names)
    return {"gpu": counted, "gpu_driver": rows[0][1], "cuda": cuda[1] if cuda else ""}


@functools.cache
def _git(folder: Path) -> tuple[tuple[str, str], ...]:
    """The commit of a folder, and whether it was changed."""
    commit = git(folder, "rev-parse", "HEAD")
    if not commit:
        return ()
    status = git(folder, "--no-optional-locks", "status", "--porcelain")
    facts = [("git_commit", commit)]
    if status is not None:
        facts.append(("git_dirty", "yes" if status else "no"))
    return tuple(facts)
