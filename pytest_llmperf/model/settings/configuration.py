"""The content of `llmperf.toml`: each field of Configuration is a section, each frozen dataclass an entry.

To add a section, write a frozen dataclass of its entries whose `__post_init__` raises ValueError for values that make
no sense (`key = got, wanted ...`, several of them joined by `; `), add a field with a default to Configuration and a
heading to `docs/configuration.md`. Types, unknown keys and the report of all faults at once are the loader's
(`pytest_llmperf.config`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from pytest_llmperf.errors import one_of
from pytest_llmperf.masking import refused
from pytest_llmperf.model.access import auth_fault, url_fault
from pytest_llmperf.model.settings.prices import Prices
from pytest_llmperf.model.workload.agent import Agent
from pytest_llmperf.model.workload.graph import graph_fault
from pytest_llmperf.model.workload.profile import Profile
from pytest_llmperf.model.workload.scenario import Scenario
from pytest_llmperf.model.workload.script import Script
from pytest_llmperf.model.workload.topology import TopologyKind

BACKENDS = ("auto", "attach", "ollama", "openai", "embedded", "simulated")
STARTED = ("ollama", "embedded", "simulated")
"""Backends that start their servers, and can have no addresses of running ones."""


_HEAD = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[\w.-]+):([0-9]{1,5})", re.ASCII)
"""Host and port of a Ray cluster's head."""


def ray_address_fault(address: str) -> str:
    """What is wrong with the address of a Ray cluster, in words; empty if nothing is.

    >>> ray_address_fault("auto"), ray_address_fault("10.0.0.1:6379")
    ('', '')
    """
    match = _HEAD.fullmatch(address)
    if address == "auto" or (match and 0 < int(match[1]) < 65536):
        return ""
    return f"{refused(address)!r}, wanted auto, or HOST:PORT of the cluster's head (6379 unless started otherwise)"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDeployment:
    """One `[deployments.NAME]` section: servers selected by a name. Options apply to whatever it does not state.

    Attributes:
        urls: base addresses of running servers, one for each agent.
        auth: the login for each server, or one for all: `bearer:NAME` or `basic:NAME`, NAME an environment variable.
        ca_file: certificates to verify https servers with; a relative path starts at the file's folder.
        proxy: the proxy that requests go through.
        proxy_auth: the login for the proxy, in the form of `auth`.
        backend: one of BACKENDS; empty = `attach` if `urls` is set.
        model: the model's name on the servers.
        gguf: a GGUF file to serve; a relative path starts at the file's folder.
        ports: ports for the instances that the plugin starts.
        threads: CPU threads per instance.
        topology: a topology kind for every test on this deployment.
        script: the script of the simulated backend.
        faults: the fault plan of the simulated backend; a relative path starts at the file's folder.
        ray_address: of the Ray cluster on whose hosts the agents run, with the runtime `ray`.

    Raises:
        ValueError: neither `urls` nor `backend` is set, or values are invalid; the message lists every fault.
    """

    urls: tuple[str, ...] = ()
    auth: tuple[str, ...] = ()
    ca_file: str = ""
    proxy: str = ""
    proxy_auth: str = ""
    backend: str = ""
    model: str = ""
    gguf: str = ""
    ports: tuple[int, ...] = ()
    threads: int = 0
    topology: str = ""
    script: Script | None = None
    faults: str = ""
    ray_address: str = ""

    def __post_init__(self) -> None:
        faults = []
        if not self.urls and not self.backend:
            faults.append(f"urls and backend are missing, wanted one of them (backend: {', '.join(BACKENDS)})")
        if self.backend and self.backend not in BACKENDS:
            faults.append(f"backend = {refused(self.backend)!r}, wanted {one_of(self.backend, BACKENDS)}")
        if self.urls and self.backend not in ("", "attach", "openai"):
            faults.append(
                "urls belong to running servers, wanted backend 'attach', 'openai' or none, "
                f"got {refused(self.backend)!r}"
            )
        if bad := [fault for url in self.urls if (fault := url_fault(url))]:
            faults.append(f"urls: {'; '.join(bad)}")
        if unfit := [fault for auth in self.auth if (fault := auth_fault(auth))]:
            faults.append(f"auth: {unfit[0]}")
        faults += [
            f"{key}: {fault}"
            for key, fault_of in (("proxy", url_fault), ("proxy_auth", auth_fault), ("ray_address", ray_address_fault))
            if (value := getattr(self, key)) and (fault := fault_of(value))
        ]
        if bad_ports := [port for port in self.ports if not 0 < port < 65536]:
            faults.append(f"ports hold {', '.join(map(str, bad_ports))}, wanted ports from 1 to 65535")
        if len(set(self.ports)) < len(self.ports):
            faults.append("ports hold one twice, wanted different ports, one for each instance")
        if self.threads < 0:
            faults.append(f"threads = {self.threads}, wanted 0 or more")
        if self.topology and self.topology not in (kinds := [str(kind) for kind in TopologyKind]):
            faults.append(f"topology = {refused(self.topology)!r}, wanted {one_of(self.topology, kinds)}")
        if faults:
            raise ValueError("; ".join(faults))
        object.__setattr__(self, "urls", tuple(url.rstrip("/") for url in self.urls))

    def stated(self) -> dict[str, object]:
        """The stated values by the names of the fields of Settings."""
        values = {field_.name: value for field_ in fields(self) if (value := getattr(self, field_.name))}
        values["backend"] = self.backend or "attach"
        if "topology" in values:
            values["force_topology"] = values.pop("topology")
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedScenario:
    """One `[scenarios.NAME]`: agents with prompts, which may wait for each other.

    Attributes:
        agents: one or more, with distinct names.
        source: the source of its parameters, which reports show.

    Raises:
        ValueError: there are no agents, two agents of one name, or invalid edges.
    """

    agents: tuple[Agent, ...]
    source: str = ""

    def __post_init__(self) -> None:
        names = [agent.name for agent in self.agents]
        twice = [name for name in names if names.count(name) > 1]
        if not names or twice:
            got = f"has two agents of the name {twice[0]!r}" if twice else "is empty"
            raise ValueError(f"agents {got}, wanted one or more with distinct names")
        if fault := graph_fault(self.agents):
            raise ValueError(fault)

    def scenario(self, name: str) -> Scenario:
        """The scenario, by its name."""
        return Scenario(name=name, agents=self.agents, source=self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The whole file; each field is a section.

    Attributes:
        deployments: servers by name, for `--llmperf-deployment` and `--llmperf-against`.
        profiles: generation options by deployment mode, for the marker `profile`; added to the report's profiles.
        scenarios: scenarios by name, for `run_agents` and for matrices; added to the report's scenarios.
        prices: the costs of machines and changes; None: not stated, and no price is assumed.
        hosts: with the runtime `ray`, the label `KEY=VALUE` of the hosts that an agent runs on, by the agent's name.
    """

    deployments: Mapping[str, NamedDeployment] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    scenarios: Mapping[str, NamedScenario] = field(default_factory=dict)
    prices: Prices | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for agent, label in self.hosts.items():
            key, equals, value = label.partition("=")
            if not (key and equals and value):
                raise ValueError(f"hosts.{agent} = {refused(label)!r}, wanted a label KEY=VALUE of a Ray node")
