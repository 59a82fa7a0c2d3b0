"""The settings of a session: options, ini values and defaults, resolved once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmperf.model.settings.configuration import Configuration, NamedDeployment
from pytest_llmperf.model.workload.script import Script

RUNTIMES = ("threads", "asyncio", "uvloop", "processes")
"""How clients run at once on this machine; the first is the default."""

RAY = "ray"
"""Clients on the hosts of a Ray cluster."""

CLIENT_RUNTIMES = (*RUNTIMES, RAY)
"""Every runtime that a user may choose."""

SERIAL = "serial"
"""One client after the other, where all should run at once: a bad runtime, for experiments that must find it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a session; docs/configuration.md describes them by their names on the command line.

    Each field has an option `--llmperf-...` and an ini twin `llmperf_...`; the
    names are the same but for a unit (`timeout_s`, `--llmperf-timeout`) and a few (`min_rounds`, `--llmperf-rounds`).
    Empty text, an empty tuple or 0 mean that the option is not given.

    Attributes:
        configuration: what `llmperf.toml` says.
        incumbent: the deployment of `against`; None: there is none.
    """

    backend: str = "auto"
    urls: tuple[str, ...] = ()
    auth: tuple[str, ...] = ()
    ca_file: str = ""
    proxy: str = ""
    proxy_auth: str = ""
    model: str = ""
    gguf: str = ""
    ports: tuple[int, ...] = ()
    threads: int = 0
    ollama_bin: str = ""
    gpus: tuple[str, ...] = ()
    pull: bool = False
    runtime: str = RUNTIMES[0]
    ray_address: str = ""
    calibrate: bool = True
    min_rounds: int = 5
    telemetry_s: float = 1.0
    duration_s: float = 0
    max_rounds: int = 20
    warmups: int = 1
    timeout_s: float = 300.0
    start_timeout_s: float = 120.0
    lock_timeout_s: float = 3600.0
    baseline: str = ""
    baselines_dir: str = "baselines"
    save: str = ""
    compare: str = ""
    update: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    robust: bool = False
    on_inconclusive: str = "fail"
    on_inconclusive_regression: str = "young"
    min_sessions: int = 4
    on_mismatch: str = "fail"
    require_gates: bool = False
    json: str = ""
    html: str = ""
    csv: str = ""
    markdown: str = ""
    codequality: str = ""
    openmetrics: str = ""
    github: bool = True
    results: str = "llmperf-results"
    resume: bool = True
    max_agents: int = 0
    force_topology: str = ""
    script: Script = field(default_factory=Script)
    config_file: str = ""
    configuration: Configuration = field(default_factory=Configuration)
    deployment: str = ""
    faults: str = ""
    against: str = ""
    incumbent: NamedDeployment | None = None
    diagnose: bool = False
    against_itself: bool = False
