"""The ollama backend: `ollama serve` processes of our own, sharing the user's models.

A GGUF file that the user names goes into a store of its own in our cache folder: the user's store stays as it was.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx

from pytest_llmperf.errors import ModelMissingError, ServerError
from pytest_llmperf.model import Instance, Settings, Topology, TopologyKind
from pytest_llmperf.servers.backends.base import (
    Check,
    Opened,
    check_process,
    describe,
    instance_name,
    instances_of,
    port_of,
)
from pytest_llmperf.servers.control import Control
from pytest_llmperf.servers.models import cache_dir, card_of
from pytest_llmperf.servers.process import ServerProcess, free_port, port_in_use, wait_until

DEFAULT_MODEL = "gemma3:latest"
_ATTEMPTS = 3
_IMPORT = httpx.Timeout(600)
_KEPT = ("OLLAMA_MODELS", "OLLAMA_DEBUG", "OLLAMA_FLASH_ATTENTION", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_LLM_LIBRARY")
"""Settings of the user's that say how to compute, not where to serve."""


def find_binary(settings: Settings) -> str:
    """The path of the `ollama` binary, or an empty string."""
    return shutil.which(settings.ollama_bin or "ollama") or ""


class OllamaBackend:
    """Starts `ollama serve` processes; see Backend.

    Args:
        binary: path of `ollama`.
        settings: model, gguf, ports and start_timeout_s are used.
        reason: why it was chosen.
    """

    kind = "ollama"

    def __init__(self, binary: str, settings: Settings, reason: str) -> None:
        self.reason = reason
        self.where = f"{binary} serve, own processes on 127.0.0.1"
        self._binary = binary
        self._settings = settings
        self._gguf = Path(settings.gguf).expanduser().absolute() if settings.gguf else None
        self.model = settings.model or (self._gguf.stem.lower() if self._gguf else DEFAULT_MODEL)

    def open(self, kind: TopologyKind, agents: int) -> Opened:
        """Starts the instances and loads the model into one after the other; see Backend."""
        count, slots = instances_of(kind, agents)
        ports = [port_of(self._settings.ports, index, count) for index in range(count)]
        started: list[Instance] = []
        checks: list[Check] = []
        with ExitStack() as stack:
            for index in range(count):
                name = instance_name(index)
                home = stack.enter_context(tempfile.TemporaryDirectory(prefix="llmperf-ollama-"))
                process, url = self._start(name, Path(home), ports[index], slots)
                stack.callback(process.stop)
                checks.append(partial(check_process, process))
                self._load(name, url)
                started.append(describe(name, url, slots=slots))
            topology = Topology(
                kind=kind, instances=tuple(started), model=self.model, backend=self.kind, reason=self.reason
            )
            return Opened(topology, stack=stack.pop_all(), checks=tuple(checks))

    def _start(self, name: str, home: Path, port: int, slots: int) -> tuple[ServerProcess, str]:
        """One server that answers. A port that the system chose may be taken meanwhile: then another one."""
        label = f"instance {name} (ollama)"
        if port and port_in_use(port):
            raise ServerError(
                f"{label}: port {port}: address already in use",
                next_step="end what listens there, or leave --llmperf-ports out and the system chooses",
            )
        for attempt in range(_ATTEMPTS):
            chosen = port or free_port()
            url = f"http://127.0.0.1:{chosen}"
            env = self._environment(home, chosen, slots)
            process = ServerProcess([self._binary, "serve"], label=label, env=env, folder=home)
            try:
                with Control(url, label=label) as control:
                    wait_until(control.answers, process, timeout_s=self._settings.start_timeout_s)
                return process, url
            except BaseException:
                lost_port = not process.alive and "address already in use" in process.log_tail(50)
                process.stop()
                if port or not lost_port or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _environment(self, home: Path, port: int, slots: int) -> dict[str, str]:
        env = environment(home, port, slots)
        return {**env, "OLLAMA_MODELS": str(own_store())} if self._gguf else env

    def _load(self, name: str, url: str) -> None:
        with Control(url, label=f"instance {name}", timeout_s=self._settings.start_timeout_s) as control:
            if self._gguf:
                import_gguf(control, self._gguf, self.model)
            else:
                control.find(self.model)
            control.preload(self.model, keep_alive=-1)


def own_store() -> Path:
    """The model store of imported files; it may be removed at any time."""
    return cache_dir() / "ollama"


def environment(home: Path, port: int, slots: int) -> dict[str, str]:
    """The environment of an instance: the user's, without what would leak into the server or its runner.

    Args:
        home: an own folder; `serve` writes a key there.
        port: on loopback.
        slots: requests that it serves at once.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LLAMA_ARG_") and (not name.startswith("OLLAMA_") or name in _KEPT)
    }
    user_home = Path(os.environ.get("HOME") or Path.home())
    return {
        **clean,
        "HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": clean.get("OLLAMA_MODELS") or str(user_home / ".ollama" / "models"),
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NUM_PARALLEL": str(slots),
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NO_CLOUD": "1",
    }


def import_gguf(control: Control, path: Path, model: str) -> None:
    """Gives a server a GGUF file as a model, without any network; nothing is sent when it has just that already.

    Args:
        control: of the server.
        path: the file.
        model: name to serve it under; a model of that name that is made of another file is replaced.

    Raises:
        ServerError: the file is no GGUF file, or the server refuses it.
    """
    digest = card_of(path, model).digest
    if _is_made_of(control, model, digest):
        return
    blob = f"/api/blobs/sha256:{digest}"
    # a server that has the blob answers an upload without reading it: asking first saves sending gigabytes
    if control.send("HEAD", blob).is_error:
        with path.open("rb") as file:
            _checked(control, f"{path} refused", control.send("POST", blob, content=file, timeout=_IMPORT))
    body = {"model": model, "files": {path.name: f"sha256:{digest}"}, "stream": False}
    _checked(control, f"model {model} not created", control.send("POST", "/api/create", json=body, timeout=_IMPORT))


def _is_made_of(control: Control, model: str, digest: str) -> bool:
    """Whether the server has a model of that name, made of the blob with this sha256."""
    try:
        return f"sha256-{digest}" in str(control.show(model).get("modelfile"))
    except ModelMissingError:
        return False


def _checked(control: Control, what: str, response: httpx.Response) -> None:
    if response.is_error or "error" in response.text[:200]:
        raise ServerError(
            f"{control.url}: {what}: {response.status_code} {response.text[:200]}",
            next_step="is it a GGUF file that this Ollama can run, and is there room for a copy of it?",
        )
