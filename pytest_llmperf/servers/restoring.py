"""Leaves a server that we found as it was: what it had loaded, with its context, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pytest_llmperf.errors import ServerError
from pytest_llmperf.model import Instance
from pytest_llmperf.servers.control import Control, ModelEntry, same_model
from pytest_llmperf.servers.identity import LOOKS

_TRIES = 12
_EVER_S = 10 * 365 * 86400.0  # Ollama gives "for ever" as some 292 years


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
        with Control.of(instance) as control:
            self._before = control.ps()

    def put_back(self) -> None:
        """Unloads our model where it was not loaded; what had to leave for it is loaded again, if it would still be.

        Raises:
            ServerError: something cannot be put back; a server that is gone needs nothing.
        """
        with Control.of(self._instance) as control, _unless_gone(control):
            now = control.ps()
            ours = next((entry for entry in self._before if same_model(entry.name, self._model)), None)
            if ours is None:
                self._unload()
            elif any(same_model(entry.name, self._model) for entry in now):
                _load(control, ours)  # our requests kept it, with contexts of their own; this makes up for both
            for entry in self._before:
                gone = not any(same_model(entry.name, other.name) for other in now)
                if gone and entry is not ours and not _has_left(entry):
                    self._load_again(control, entry)

    def _unload(self) -> None:
        """Until it is seen nowhere behind the address: that of a balancer, refused after the load, leads to several."""
        for more in range(_TRIES):  # looks, so that turns of requests do not fall on the same servers again and again
            if not sum(self._is_loaded() for _ in range(LOOKS + more)):
                return
            with Control.of(self._instance) as control:
                control.unload(self._model)
        raise ServerError(
            f"instance {self._instance.name} ({self._instance.url}): model {self._model!r} may still be loaded "
            f"behind that address, which leads to several servers: it was told {_TRIES} times to unload it",
            next_step=f"unload it on each of them: ollama stop {self._model}",
        )

    def _is_loaded(self) -> bool:
        """Over a connection of its own, which a balancer may send anywhere."""
        with Control.of(self._instance) as control:
            return control.is_loaded(self._model)

    def _load_again(self, control: Control, entry: ModelEntry) -> None:
        """A model that the server put out to make room for ours."""
        try:
            _load(control, entry)
        except ServerError as error:
            raise ServerError(
                f"instance {self._instance.name} ({self._instance.url}) had {entry.name} loaded when we came; it had "
                f"to leave, and could not be loaded again: {error.args[0]}",
                next_step=f"load it: ollama run {entry.name}",
            ) from error


def _load(control: Control, entry: ModelEntry) -> None:
    """As it was: its context, and the time that it had left."""
    options = {"num_ctx": entry.context_length} if entry.context_length else None
    try:
        control.preload(entry.name, options, keep_alive=seconds_left(entry))
    except ServerError:
        # a model that only makes embeddings refuses to generate
        body: dict[str, object] = {
            "model": entry.name,
            "input": [],
            "options": options or {},
            "keep_alive": seconds_left(entry),
        }
        if control.send("POST", "/api/embed", json={k: v for k, v in body.items() if v is not None}).is_error:
            raise


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


@contextmanager
def _unless_gone(control: Control) -> Iterator[None]:
    """A server that is gone needs nothing put back."""
    try:
        yield
    except ServerError:
        if control.answers():
            raise
