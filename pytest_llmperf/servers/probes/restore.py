"""Restores a running server after the measurement: the models that it had loaded, with context and keep-alive."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import httpx

from pytest_llmperf.errors import ServerError
from pytest_llmperf.model import Instance
from pytest_llmperf.model.model_names import same_model
from pytest_llmperf.servers.clients.client_factory import ollama_client_of
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.clients.server_client import ModelEntry, some_of
from pytest_llmperf.servers.probes.distinctness import LOOKS

RESTORE_S = 180.0
"""Maximum time to restore all servers; enough to load a large model again."""

MOST_LOADS = 8
"""Maximum number of models to load again: more than any server keeps loaded, so that a wrong report is harmless."""

_TRIES = 12
_UNLOAD_S = 10.0
_EVER_S = 10 * 365 * 86400.0  # Ollama reports "forever" as some 292 years


class Effort:
    """The time and loads that restoring all servers together may take.

    Attributes:
        until_s: the deadline, monotonic, s.

    Args:
        within_s: None = RESTORE_S.
        most_loads: see MOST_LOADS.
        clock: monotonic seconds, the clock of the client's deadlines; for tests.
    """

    def __init__(
        self,
        *,
        within_s: float | None = None,
        most_loads: int = MOST_LOADS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.until_s = clock() + (RESTORE_S if within_s is None else within_s)
        self._loads_left = most_loads
        self._clock = clock
        self._undone: list[str] = []

    @property
    def undone(self) -> tuple[str, ...]:
        """What could not be restored, in words."""
        return tuple(self._undone)

    def take_load(self) -> bool:
        """Whether one more model may be loaded."""
        self._loads_left -= 1
        return self._loads_left >= 0 and self._clock() < self.until_s

    def leave(self, undone: str) -> None:
        """Notes what could not be restored."""
        self._undone.append(undone)


class FoundServers:
    """The state of running servers before the measurement.

    Args:
        instances: the servers to measure.
        model: the model to measure.

    Raises:
        ServerError: a server does not answer.
    """

    def __init__(self, instances: Sequence[Instance], model: str) -> None:
        self._servers = [Found(instance, model) for instance in instances]

    def put_back(self, *, unloaded: bool = False) -> tuple[str, ...]:
        """Restores all servers with one effort; returns what could not be restored, in words."""
        effort = Effort()
        for server in reversed(self._servers):
            server.put_back(effort, unloaded=unloaded)
        return effort.undone


class Found:
    """The models that an instance had loaded before the measurement.

    Args:
        instance: the instance.
        model: the model to measure.

    Raises:
        ServerError: the instance does not answer.
    """

    def __init__(self, instance: Instance, model: str) -> None:
        self._instance = instance
        self._model = model
        with ollama_client_of(instance) as control:
            self._before = control.ps()

    def put_back(self, effort: Effort, *, unloaded: bool = False) -> None:
        """Unloads the measured model if it was not loaded before, and reloads models that were unloaded for it.

        A dead server needs nothing. What cannot be restored is noted; the measurements are valid nevertheless.

        Args:
            effort: the time and loads that are left.
            unloaded: whether the session has unloaded the measured model.
        """
        try:
            with self._control(effort) as control:
                self._put_back(control, effort, unloaded=unloaded)
        except ServerError as error:
            if not _is_gone(self._instance):
                effort.leave(f"{self._where} was not left as it was found: {error}")

    def _put_back(self, control: OllamaClient, effort: Effort, *, unloaded: bool) -> None:
        now = control.ps()
        ours = next((entry for entry in self._before if same_model(entry.name, self._model)), None)
        if ours is None:
            self._unload(effort)
        elif unloaded or any(same_model(entry.name, self._model) for entry in now):
            self._load_again(control, ours, effort)  # the session's requests kept it, with other contexts
        there = {entry.name for entry in now}
        gone = [entry for entry in self._before if entry is not ours and entry.name not in there]
        gone = [entry for entry in gone if not _has_left(entry)]
        for at, entry in enumerate(gone):
            if not effort.take_load():
                raise ServerError(
                    f"{some_of(each.name for each in gone[at:])} were loaded before the measurement, according to the "
                    f"server, and are not loaded any more; the plugin loads at most {MOST_LOADS} models again, within "
                    f"{RESTORE_S:g} s",
                    next_step=f"load the models that you need: ollama run {entry.name}",
                )
            self._load_again(control, entry, effort)

    @property
    def _where(self) -> str:
        return f"instance {self._instance.name} ({self._instance.url})"

    def _control(self, effort: Effort) -> OllamaClient:
        return ollama_client_of(self._instance, until_s=effort.until_s)

    def _unload(self, effort: Effort) -> None:
        """Unloads until no server behind the address has it: a load balancer leads to several."""
        for more in range(_TRIES):  # a growing number of looks, so that requests in turn reach all servers
            if not sum(self._is_loaded(effort) for _ in range(LOOKS + more)):
                return
            with self._control(effort) as control:
                control.unload(self._model, timeout_s=_UNLOAD_S)
        raise ServerError(
            f"model {self._model!r} may still be loaded: the address leads to several servers, and was asked {_TRIES} "
            "times to unload it",
            next_step=f"unload it on each of them: ollama stop {self._model}",
        )

    def _is_loaded(self, effort: Effort) -> bool:
        """Asks over a new connection, which a load balancer may send to any server."""
        with self._control(effort) as control:
            return control.is_loaded(self._model)

    def _load_again(self, control: OllamaClient, entry: ModelEntry, effort: Effort) -> None:
        """Loads a model with the context and the keep-alive that it had."""
        try:
            control.load_as_before(entry, keep_alive=seconds_left(entry))
        except ServerError as error:
            effort.leave(
                f"{self._where} had {entry.name} loaded before the measurement; it could not be loaded again as it "
                f"was: {error.args[0]}\n  next: load it: ollama run {entry.name}"
            )


def _has_left(entry: ModelEntry) -> bool:
    """Whether the server would have unloaded it by now."""
    moment = _moment(entry)
    return moment is not None and moment <= datetime.now(UTC)


def seconds_left(entry: ModelEntry) -> float | None:
    """Seconds until the server would have unloaded it; -1 = never, None = unknown, the server's default."""
    moment = _moment(entry)
    if moment is None:
        return None
    left_s = (moment - datetime.now(UTC)).total_seconds()
    if left_s <= 0:
        return None
    return left_s if left_s < _EVER_S else -1


def _moment(entry: ModelEntry) -> datetime | None:
    try:
        moment = datetime.fromisoformat(entry.expires_at)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _is_gone(instance: Instance) -> bool:
    """Whether nothing listens there any more; a server that hangs or answers oddly is not gone."""
    try:
        with ollama_client_of(instance) as control:
            control.version()
    except ServerError as error:
        return isinstance(error.__cause__, httpx.ConnectError)
    return False
