"""The attach backend: servers that are already running, left as they were found."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from pytest_llmperf.errors import ModelMissingError, UsageError
from pytest_llmperf.model import Access, Instance, Settings, Topology, TopologyKind
from pytest_llmperf.model.access import shown, url_fault
from pytest_llmperf.servers.addresses import place_of
from pytest_llmperf.servers.backends.instance_checks import check_url, describe
from pytest_llmperf.servers.backends.instance_layout import instance_name, instances_of
from pytest_llmperf.servers.backends.opened_topology import OpenedTopology
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.clients.server_client import in_common, some_of
from pytest_llmperf.servers.probes.restore import FoundServers

USUAL_URLS = ("http://127.0.0.1:11434", "http://127.0.0.1:11435")
"""Where two instances run on a machine set up as the report says."""


_MORE = (
    "start more servers and give the addresses of {count} with --llmperf-urls; or use single_ollama or "
    "single_parallel_ollama, which need one; or another --llmperf-backend"
)


class AttachBackend:
    """Uses running servers; see Backend.

    Args:
        urls: base addresses, one an instance.
        settings: model is used.
        reason: why it was chosen.
    """

    kind = "attach"
    api = "ollama"
    passed_over = ""

    def __init__(self, urls: tuple[str, ...], settings: Settings, reason: str) -> None:
        self.reason = reason
        self.urls = tuple(url.rstrip("/") for url in urls)
        self.model = settings.model or f"the only one that {'it serves' if len(urls) == 1 else 'they share'}"
        self._settings = settings
        self._access = _accesses(self.urls, settings)
        self.where = ", ".join(map(shown, self.urls)) + _way(settings)

    def check(self) -> None:
        """Asks each server for its version; see Backend."""
        for index, url in enumerate(self.urls):
            describe(instance_name(index), url, slots=0, access=self._access[url], api=self.api)

    def open(self, kind: TopologyKind, agents: int) -> OpenedTopology:
        """Takes as many servers as the topology has; see Backend.

        Closing unloads the model from servers that had not loaded it before. On the other servers the model gets back
        its context and its remaining keep-alive time. Models that were evicted for it are loaded again.
        """
        count, _ = instances_of(kind, agents)
        urls = self._distinct(kind, count)
        instances = tuple(
            describe(instance_name(index), url, slots=0, access=self._access[url], api=self.api)
            for index, url in enumerate(urls)
        )
        model = self._model(instances)
        found_servers = FoundServers(instances, model) if self.api == "ollama" else None
        simulated = any(instance.version.endswith("-simulated") for instance in instances)
        topology = Topology(
            kind=kind,
            instances=instances,
            model=model,
            # nothing simulated is ever mistaken for real, however it was reached
            backend="simulated" if simulated else self.kind,
            reason=self.reason,
        )
        checks = tuple(partial(check_url, instance) for instance in instances)
        return OpenedTopology(topology, stack=ExitStack(), checks=checks, found_servers=found_servers)

    def without_the_dead(self) -> Settings | None:
        """Settings for the servers that still answer; None if all of them or none do."""
        alive = [url for url in self.urls if _answers(url, self._access[url])]
        if not alive or len(alive) == len(self.urls):
            return None
        auth = tuple(self._access[url].auth for url in alive) if self._settings.auth else ()
        return replace(self._settings, backend=self.kind, urls=tuple(alive), auth=auth)

    def _distinct(self, kind: TopologyKind, count: int) -> tuple[str, ...]:
        """The first `count` distinct servers."""
        seen: dict[tuple[str, int, str], str] = {}
        for url in self.urls:
            seen.setdefault(place_of(url), url)
        if len(seen) < count:
            raise UsageError(
                f"topology {kind} needs {count} servers with different addresses, there "
                f"{'is' if len(seen) == 1 else 'are'} only {len(seen)}: {', '.join(self.urls)} ({self.reason})",
                next_step=_MORE.format(count=count),
            )
        return tuple(seen.values())[:count]

    def _model(self, instances: tuple[Instance, ...]) -> str:
        """The requested model, or the only model that all instances have."""
        had = []
        for instance in instances:
            with client_of(instance) as control:
                if self._settings.model:
                    control.find(self._settings.model)
                had.append([entry.name for entry in control.tags()])
        if self._settings.model:
            return self._settings.model
        common = in_common(had)
        if len(common) != 1:
            lists = "; ".join(
                f"{instance.url} has {some_of(names) or 'none'}" for instance, names in zip(instances, had, strict=True)
            )
            problem = "several models in common" if common else "no model in common"
            raise ModelMissingError(
                f"the servers have {problem}: {lists}", next_step="name the model with --llmperf-model"
            )
        return common[0]


def _accesses(urls: tuple[str, ...], settings: Settings) -> dict[str, Access]:
    """How each address is reached.

    Raises:
        UsageError: a variable is not set, a file cannot be used, or there is not one `auth` for each address.
    """
    auth = settings.auth or ("",)
    if len(auth) not in (1, len(urls)):
        raise UsageError(
            f"llmperf_auth has {len(auth)} entries, llmperf_urls has {len(urls)}",
            next_step="give one entry for each server, or one for all",
        )
    accesses = {}
    for index, url in enumerate(urls):
        if fault := url_fault(url):
            raise UsageError(f"llmperf_urls: {fault}", next_step="give http://host:port")
        accesses[url] = Access(
            auth=auth[index % len(auth)],
            ca_file=settings.ca_file,
            proxy=settings.proxy,
            proxy_auth=settings.proxy_auth,
        )
        accesses[url].check()
    return accesses


def _answers(url: str, access: Access) -> bool:
    with OllamaClient(url, access=access) as control:
        return control.answers()


def _way(settings: Settings) -> str:
    """How the servers are reached, for the header: the name of the variable, never its value."""
    ways = [_login(auth) for auth in dict.fromkeys(settings.auth)]
    if settings.proxy:
        login = f" with {_login(settings.proxy_auth)}" if settings.proxy_auth else ""
        ways.append(f"through the proxy {shown(settings.proxy)}{login}")
    return f" ({', '.join(ways)})" if ways else ""


def _login(auth: str) -> str:
    kind, _, name = auth.partition(":")
    return f"{kind} from {name}"
