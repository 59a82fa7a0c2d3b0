"""The attach backend: servers that are already running, left as they were found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

from pytest_llmperf.errors import ModelMissingError, ServerError, UsageError
from pytest_llmperf.model import Settings, Topology, TopologyKind
from pytest_llmperf.servers.addresses import address_of
from pytest_llmperf.servers.backends.base import Opened, check_url, describe, instance_name, instances_of
from pytest_llmperf.servers.control import Control, ModelEntry, same_model

USUAL_URLS = ("http://127.0.0.1:11434", "http://127.0.0.1:11435")
"""Where two instances run on a machine set up as the report says."""

_EVER_S = 10 * 365 * 86400.0  # Ollama gives "for ever" as some 292 years


class AttachBackend:
    """Uses running servers; see Backend.

    Args:
        urls: base addresses, one an instance.
        settings: model is used.
        reason: why it was chosen.
    """

    kind = "attach"

    def __init__(self, urls: tuple[str, ...], settings: Settings, reason: str) -> None:
        self.reason = reason
        self.where = ", ".join(urls)
        self.model = settings.model or "the only one that they share"
        self.urls = tuple(url.rstrip("/") for url in urls)
        self._settings = settings

    def open(self, kind: TopologyKind, agents: int) -> Opened:
        """Takes as many of the servers as the topology has; see Backend.

        Closing unloads the model from the servers that had not loaded it before; where it was loaded, it gets back
        its context and the time that it had left.
        """
        count, _ = instances_of(kind, agents)
        urls = self._distinct(kind, count)
        instances = tuple(describe(instance_name(index), url, slots=0) for index, url in enumerate(urls))
        model = self._model(urls)
        with ExitStack() as stack:
            for instance in instances:
                with Control(instance.url) as control:
                    found = control.loaded(model)
                if found is None:
                    stack.callback(_unload, instance.url, model)
                else:
                    stack.callback(_put_back, instance.url, model, found, _seconds_left(found))
            simulated = any(instance.version.endswith("-simulated") for instance in instances)
            topology = Topology(
                kind=kind,
                instances=instances,
                model=model,
                # nothing simulated is ever mistaken for real, however it was reached
                backend="simulated" if simulated else self.kind,
                reason=self.reason,
            )
            checks = tuple(partial(check_url, instance.name, instance.url) for instance in instances)
            return Opened(topology, stack=stack.pop_all(), checks=checks)

    def _distinct(self, kind: TopologyKind, count: int) -> tuple[str, ...]:
        """The first servers, as many as needed, no two of them the same."""
        seen: dict[tuple[str, int], str] = {}
        for url in self.urls:
            seen.setdefault(address_of(url), url)
        if len(seen) < count:
            raise UsageError(
                f"topology {kind} needs {count} servers with different addresses, llmperf_urls has {self.where}",
                next_step="give one address for each instance, or another --llmperf-backend",
            )
        return tuple(seen.values())[:count]

    def _model(self, urls: tuple[str, ...]) -> str:
        """The model that was asked for, or the only one that all of them have."""
        had = []
        for url in urls:
            with Control(url) as control:
                if self._settings.model:
                    control.find(self._settings.model)
                had.append([entry.name for entry in control.tags()])
        if self._settings.model:
            return self._settings.model
        common = [name for name in had[0] if all(any(same_model(name, n) for n in names) for names in had[1:])]
        if len(common) != 1:
            lists = "; ".join(f"{url} has {', '.join(names) or 'none'}" for url, names in zip(urls, had, strict=True))
            what = "several models in common" if common else "no model in common"
            raise ModelMissingError(f"the servers have {what}: {lists}", next_step="name one with --llmperf-model")
        return common[0]


def _unload(url: str, model: str) -> None:
    with Control(url) as control, _unless_gone(control):
        if control.is_loaded(model):
            control.unload(model)


def _put_back(url: str, model: str, found: ModelEntry, left_s: float | None) -> None:
    """Our requests kept the model for ever, and with contexts of their own; one more load makes up for both."""
    with Control(url) as control, _unless_gone(control):
        if control.is_loaded(model):
            options = {"num_ctx": found.context_length} if found.context_length else None
            control.preload(model, options, keep_alive=left_s)


@contextmanager
def _unless_gone(control: Control) -> Iterator[None]:
    """A server that is gone needs nothing put back."""
    try:
        yield
    except ServerError:
        if control.answers():
            raise


def _seconds_left(entry: ModelEntry) -> float | None:
    """Until the model would have left; -1 is for ever, None the server's own habit (where it does not say)."""
    try:
        left_s = (datetime.fromisoformat(entry.expires_at) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # not said, or without a zone
        return None
    if left_s <= 0:
        return None
    return left_s if left_s < _EVER_S else -1
