"""Detects other clients of running servers during a measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.model import Instance, Round, Topology
from pytest_llmperf.model.model_names import same_model
from pytest_llmperf.model.results.server_observations import Observed
from pytest_llmperf.servers.clients.client_factory import ollama_client_of
from pytest_llmperf.servers.clients.server_client import some_of

TOLERANCE_S = 1.0
"""Allowed distance of the time at which a model will be unloaded from the time that the session's last request set."""


_LONG_AGO_S = 86400.0
"""A loaded model cannot have been unloaded this long ago, even if a server's clock is wrong."""


class Traffic:
    """Looks for signs of another client.

    The signs are a model that will be unloaded at another time than the session's last request set, and a new model.
    (The session sees in the round itself if an agent waits although it is alone.)

    Args:
        topology: the topology in use.
        wall: seconds since the epoch; for tests.
        monotonic_ns: the clock of the rounds; for tests.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        wall: Callable[[], float] = time.time,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._topology = topology
        self._wall = wall
        self._monotonic_ns = monotonic_ns
        self._ahead_s: dict[str, float] = {}  # of each instance's clock, learnt in its first round
        self._company: dict[str, set[str]] = {}
        self._told: dict[str, str] = {}  # when each instance's model leaves, as last told

    def begin(self, told: Mapping[str, str]) -> None:
        """Notes when each instance will unload its model, as reported before the rounds.

        A value that the session's own rounds do not move is a constant and shows nothing about others.
        """
        self._told |= told

    def seen(self, round_: Round, *, keep_alive_s: float) -> tuple[str, ...]:
        """The signs of others, in words; to be called right after the round.

        Args:
            round_: the round.
            keep_alive_s: the `keep_alive` of all requests of the session.
        """
        signs: list[str] = []
        for instance in self._topology.instances:
            ends = [
                run.requests[-1].done_ns for run in (*round_.solo, *round_.together) if run.instance == instance.name
            ]
            with suppress(LlmperfError):  # the session notices a dead server elsewhere
                signs += self._look(instance, max(ends, default=0), keep_alive_s)
        return tuple(signs)

    def _look(self, instance: Instance, last_ns: int, keep_alive_s: float) -> list[str]:
        signs = []
        ended_s = self._wall() - (self._monotonic_ns() - last_ns) / 1e9
        with ollama_client_of(instance) as control:
            entries = control.ps()
        names = {entry.name for entry in entries if not same_model(entry.name, self._topology.model)}
        if new := names - self._company.setdefault(instance.name, names):
            signs.append(f"{Observed.LOADED_BY_OTHERS} {some_of(sorted(new))} on instance {instance.name}")
            self._company[instance.name] |= new
        ours = next((entry for entry in entries if same_model(entry.name, self._topology.model)), None)
        leaves_s = self._leaves_s(instance, ours.expires_at) if ours is not None else None
        if leaves_s is None or not last_ns:
            return signs
        late_s = leaves_s - (ended_s + keep_alive_s) - self._ahead_s.get(instance.name, 0.0)
        if instance.name not in self._ahead_s and abs(late_s) < keep_alive_s / 2:
            self._ahead_s[instance.name] = late_s
        elif abs(late_s) > TOLERANCE_S + _grain_s(ours.expires_at if ours is not None else ""):
            signs.append(
                f"{Observed.USED_BY_OTHERS} {instance.name}: it will unload the model {abs(late_s):.0f} s "
                f"{'later' if late_s > 0 else 'sooner'} than our last request asked for"
            )
        return signs

    def _leaves_s(self, instance: Instance, told: str) -> float | None:
        """When the model will be unloaded, seconds since the epoch; None if this does not follow session requests."""
        moved = told != self._told.get(instance.name)
        self._told[instance.name] = told
        leaves_s = _seconds(told) if moved else None
        return leaves_s if leaves_s is not None and leaves_s > self._wall() - _LONG_AGO_S else None


def _grain_s(moment: str) -> float:
    """The rounding error of a moment that is reported in whole seconds."""
    return 0.0 if "." in moment else 1.0


def _seconds(moment: str) -> float | None:
    """Seconds since the epoch; None if it is not a moment."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        return None
