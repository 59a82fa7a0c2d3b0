"""Leaves a server that we found as it was: what it had loaded, with its context, and until when."""

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
"""Most that leaving all servers as they were found may take: a large model is loaded again in that time."""

MOST_LOADS = 8
"""Most models that are loaded again: more than a server keeps, unless it does not tell the truth."""

_TRIES = 12
_UNLOAD_S = 10.0
_EVER_S = 10 * 365 * 86400.0  # Ollama gives "for ever" as some 292 years


class Effort:
    """What is spent on leaving servers as they were found, all of them together.

    Attributes:
        until_s: when its time has passed, monotonic, s.

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
        """What could not be put back, in words."""
        return tuple(self._undone)

    def take_load(self) -> bool:
        """Whether one more model may be loaded."""
        self._loads_left -= 1
        return self._loads_left >= 0 and self._clock() < self.until_s

    def leave(self, undone: str) -> None:
        """Notes what could not be put back."""
        self._undone.append(undone)


class FoundServers:
    """Servers that were running when we came.

    Args:
        instances: that will be measured.
        model: that we measure there.

    Raises:
        ServerError: one does not answer.
    """

    def __init__(self, instances: Sequence[Instance], model: str) -> None:
        self._servers = [Found(instance, model) for instance in instances]

    def put_back(self, *, unloaded: bool = False) -> tuple[str, ...]:
        """Leaves them all as they were found, with one effort; what could not be put back, in words."""
        effort = Effort()
        for server in reversed(self._servers):
            server.put_back(effort, unloaded=unloaded)
        return effort.undone


class Found:
    """What an instance had loaded when we came.

    Args:
        instance: which.
        model: that we measure there.

    Raises:
        ServerError: it does not answer.
    """

    def __init__(self, instance: Instance, model: str) -> None:
        self._instance = instance
        self._model = model
        with ollama_client_of(instance) as control:
            self._before = control.ps()

    def put_back(self, effort: Effort, *, unloaded: bool = False) -> None:
        """Unloads our model where it was not loaded; what had to leave for it is loaded again, if it would still be.

        A server that is gone needs nothing. What cannot be put back is noted: the measurements are none the worse.

        Args:
            effort: what may be spent.
            unloaded: we have unloaded our model ourselves.
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
            self._load_again(control, ours, effort)  # our requests kept it, with contexts of their own
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
        """Until it is seen nowhere behind the address: that of a balancer, refused after the load, leads to several."""
        for more in range(_TRIES):  # looks, so that turns of requests do not fall on the same servers again and again
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
        """Over a connection of its own, which a balancer may send anywhere."""
        with self._control(effort) as control:
            return control.is_loaded(self._model)

    def _load_again(self, control: OllamaClient, entry: ModelEntry, effort: Effort) -> None:
        """A model that was there, with its own context and time."""
        try:
            control.load_as_before(entry, keep_alive=seconds_left(entry))
        except ServerError as error:
            effort.leave(
                f"{self._where} had {entry.name} loaded before the measurement; it could not be loaded again as it "
                f"was: {error.args[0]}\n  next: load it: ollama run {entry.name}"
            )


def _has_left(entry: ModelEntry) -> bool:
    """Whether it would have gone by itself meanwhile."""
    moment = _moment(entry)
    return moment is not None and moment <= datetime.now(UTC)


def seconds_left(entry: ModelEntry) -> float | None:
    """Until the model would have left; -1 is for ever, None the server's own habit (where it does not say)."""
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
    """Whether nobody listens there any more; a server that hangs, or answers oddly, is not gone."""
    try:
        with ollama_client_of(instance) as control:
            control.version()
    except ServerError as error:
        return isinstance(error.__cause__, httpx.ConnectError)
    return False
