"""The ollama backend: `ollama serve` processes that the plugin starts and that share the user's models.

A GGUF file that the user names goes into a separate store in the plugin's cache folder; the user's store is unchanged.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from pytest_llmperf.errors import ModelMissingError, ServerError, UsageError
from pytest_llmperf.model import Instance, Settings, Topology, TopologyKind
from pytest_llmperf.model.results.server_observations import Observed
from pytest_llmperf.net.port_owner import Owner, owner_of
from pytest_llmperf.servers.backends.backend import Say
from pytest_llmperf.servers.backends.instance_checks import check_ours, check_process, describe
from pytest_llmperf.servers.backends.instance_layout import instance_name, instances_of, port_of
from pytest_llmperf.servers.backends.opened_topology import Check, OpenedTopology
from pytest_llmperf.servers.backends.server_environment import dropped, environment, recorded
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.emulator.model_files import cache_dir, check_given
from pytest_llmperf.servers.processes.server_process import (
    PORT_TAKEN,
    ServerProcess,
    StrangerError,
    free_port,
    port_in_use,
    strange,
    wait_until,
)
from pytest_llmperf.servers.provision import import_gguf, pull

DEFAULT_MODEL = "gemma3:latest"
_ATTEMPTS = 3
_ONE_SLOT = re.compile(r'does not currently support parallel requests" architecture="?([\w.-]{1,40})')


def find_binary(settings: Settings) -> str:
    """The path of the `ollama` binary, or an empty string."""
    return shutil.which(settings.ollama_bin or "ollama") or ""


class OllamaBackend:
    """Starts `ollama serve` processes; see Backend.

    Args:
        binary: path of `ollama`.
        settings: model, gguf, ports, gpus, pull and start_timeout_s are used.
        reason: why it was chosen.
        say: called with a message before each step that takes time.
        passed_over: see Backend.
    """

    kind = "ollama"

    def __init__(
        self, binary: str, settings: Settings, reason: str, say: Say = lambda _: None, *, passed_over: str = ""
    ) -> None:
        self.reason = reason
        self.passed_over = passed_over
        self.where = f"{binary} serve, own processes on 127.0.0.1"
        self.urls: tuple[str, ...] = ()
        self._binary = binary
        self._settings = settings
        self._say = say
        self._gguf = Path(settings.gguf).expanduser().absolute() if settings.gguf else None
        self.model = settings.model or (self._gguf.stem.lower() if self._gguf else DEFAULT_MODEL)

    def check(self) -> None:
        """Looks at the file to import, if there is one; see Backend."""
        check_given(self._settings.gguf, "")

    def open(self, kind: TopologyKind, agents: int) -> OpenedTopology:
        """Starts the instances, one after the other, and sees to it that they have the model; see Backend.

        The model is loaded later, with the options of the agents: with none, a server on a large GPU would take a
        context as large as fits.
        """
        count, slots = instances_of(kind, agents)
        ports = [port_of(self._settings.ports, index, count) for index in range(count)]
        gpus = _gpus_of(self._settings.gpus, count)
        started: list[Instance] = []
        checks: list[Check] = []
        pids: dict[str, int] = {}
        servers: list[ServerProcess] = []
        told: tuple[str, ...] = ()
        with ExitStack() as stack:
            for index in range(count):
                name = instance_name(index)
                home = stack.enter_context(tempfile.TemporaryDirectory(prefix="llmperf-ollama-"))
                process, url, env = self._start(name, Path(home), ports[index], slots, gpus[index])
                stack.callback(process.stop)
                checks.append(partial(check_process, process))
                pids[name] = process.pid
                if not (self._gguf and index):  # the first has imported the file into the store that all share
                    self._provide(name, url)
                started.append(replace(describe(name, url, slots=slots), environment=recorded(env, ollama=True)))
                servers.append(process)
                told = dropped(env)
            topology = Topology(
                kind=kind, instances=tuple(started), model=self.model, backend=self.kind, reason=self.reason
            )
            check_ours(topology, pids)

            def notes() -> tuple[str, ...]:
                return told + tuple(
                    note for server in servers for note in slots_refused(server.log(), server.label, slots)
                )

            return OpenedTopology(topology, stack=stack.pop_all(), checks=tuple(checks), pids=pids, notes=notes)

    def _start(
        self, name: str, home: Path, port: int, slots: int, gpu: str
    ) -> tuple[ServerProcess, str, dict[str, str]]:
        """One server that answers, with its environment; at another port, if the system's choice is taken meanwhile."""
        label = f"instance {name} (ollama)"
        if port and port_in_use(port):
            raise ServerError(
                f"{label}: port {port}: address already in use",
                next_step=PORT_TAKEN,
            )
        for attempt in range(_ATTEMPTS):
            chosen = port or free_port()
            url = f"http://127.0.0.1:{chosen}"
            env = environment(home, chosen, slots, gpu=gpu, store=own_store() if self._gguf else None)
            process = ServerProcess([self._binary, "serve"], label=label, env=env, folder=home)
            try:
                with OllamaClient(url, label=label) as control:
                    ready = partial(_answers_as_ours, control, process, chosen)
                    wait_until(ready, process, timeout_s=self._settings.start_timeout_s)
                return process, url, env
            except BaseException as error:
                lost_port = not process.alive and "address already in use" in process.log_tail(50).lower()
                lost_port |= isinstance(error, StrangerError)
                process.stop()
                if port or not lost_port or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _provide(self, name: str, url: str) -> None:
        """Makes sure that the server has the model."""
        with OllamaClient(url, label=f"instance {name}", timeout_s=self._settings.start_timeout_s) as control:
            if self._gguf:
                import_gguf(control, self._gguf, self.model, store=own_store(), say=self._say)
                return
            try:
                control.find(self.model)
            except ModelMissingError as error:
                if not self._settings.pull:
                    raise ModelMissingError(
                        error.args[0],
                        next_step=f"ollama pull {self.model}, or let the plugin pull it with --llmperf-pull=on, or "
                        "name a model that it has with --llmperf-model, or give a file with --llmperf-gguf",
                    ) from error
                pull(control, self.model, self._say)


def slots_refused(log: str, label: str, slots: int) -> tuple[str, ...]:
    """A note if the log says that Ollama gives the model only one slot; no API reports it."""
    refusals = _ONE_SLOT.findall(log) if slots > 1 else []
    return tuple(
        f"{label}: Ollama gives a model of the architecture {architecture} one slot, but {slots} {Observed.FEWER_SLOTS}"
        for architecture in dict.fromkeys(refusals)
    )


def _answers_as_ours(control: OllamaClient, process: ServerProcess, port: int) -> bool:
    """Whether the server answers and is the started process: another process may have taken its port.

    Raises:
        StrangerError: another process listens on the port.
    """
    if not control.answers():
        return False
    owner = owner_of(port, process.pid)
    if owner is Owner.STRANGER:
        raise strange(process.label, port)
    return owner is not Owner.NOBODY  # it has ended since


def own_store() -> Path:
    """The model store of imported files; it may be removed at any time."""
    return cache_dir() / "ollama"


def _gpus_of(gpus: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The GPU for each instance; a single one is for all.

    Raises:
        UsageError: several are given, but fewer than instances.
    """
    if len(gpus) < 2:
        return (gpus or ("",)) * count
    if len(gpus) < count:
        raise UsageError(
            f"llmperf_gpus has {', '.join(gpus)}; {count} instances need a GPU each",
            next_step="give one GPU for each instance, or one for all",
        )
    return gpus[:count]
