"""The open servers of one deployment: one topology at a time, under the machine's lock."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pytest_llmperf.errors import DegradedError, MeasurementError, ServerError, UnreachableError
from pytest_llmperf.model import Instance, Round, Scenario, Settings, Topology, TopologyKind
from pytest_llmperf.servers.backends import Backend, OpenedTopology, choose
from pytest_llmperf.servers.backends.attach import AttachBackend
from pytest_llmperf.servers.clients.client_factory import client_of
from pytest_llmperf.session.lock.machine_lock import MachineLock
from pytest_llmperf.session.progress_listener import ProgressListener

_AGAIN_S = 60.0
"""Time between two messages that say which process this session waits for."""

_NOTICE_S = 0.3
"""Time in which a supervisor notices that its server has died, after a client has noticed."""


class ServerLease:
    """The servers in use.

    At most one topology is open at a time, since idle servers of another would take memory and cores. While servers
    are open, the machine's lock is held: two sessions (xdist workers, CI jobs) never time at once.

    Args:
        settings: the settings of the deployment.
        listener: receives the progress.
        lock: the lock of the machine; the deployments of a session share it.
        unrestored: takes the texts that say what could not be restored on servers that the session did not start.

    Attributes:
        settings: the given settings without the servers that have died.
        placement_notes: what a reader must know about where the model was loaded.
        degradation: why topologies of several instances are no longer measured, in words; empty while they are.
    """

    def __init__(
        self, settings: Settings, *, listener: ProgressListener, lock: MachineLock, unrestored: list[str]
    ) -> None:
        self.settings = settings
        self.placement_notes: tuple[str, ...] = ()
        self.degradation: tuple[str, ...] = ()
        self._listener = listener
        self._lock = lock
        self._unrestored = unrestored
        self._backend: Backend | None = None
        self._first_load = True
        self._has_waited = False
        self._opened: OpenedTopology | None = None
        self._opened_for: tuple[TopologyKind, int] | None = None
        self._locked = False
        self._unloaded = False
        self._deaths: Counter[str] = Counter()

    @property
    def backend(self) -> Backend:
        """The backend in force; chosen once, nothing started.

        Raises:
            ServerError: none is available; says what to install or start.
        """
        if self._backend is None:
            self._backend = choose(self.settings, say=self.say)
        return self._backend

    def say(self, text: str) -> None:
        """Report that something that takes time has begun."""
        self._listener.say(text)

    @property
    def topology(self) -> Topology | None:
        """The open topology; None if there is none."""
        return self._opened.topology if self._opened is not None else None

    @property
    def pids(self) -> Mapping[str, int]:
        """The first process of each open instance that the session started, by the instance's name."""
        return self._opened.pids if self._opened is not None else {}

    def open(self, kind: TopologyKind, agents: int) -> Topology:
        """Running servers for `agents` agents; reused while callers request the same topology.

        Raises:
            ServerError: the servers could not be found, started or loaded.
        """
        if self.settings.force_topology:
            kind = TopologyKind(self.settings.force_topology)
        wanted = (kind, agents)
        if self._opened is not None and self._opened_for == wanted:
            self.check_alive()
            return self._opened.topology
        self.close()
        several = not kind.shared and agents > 1
        if self.degradation and several:
            raise self._degraded(kind)
        self._acquire()
        try:
            begins = "checking the servers of" if self.backend.urls else "starting"
            self._listener.step(f"{begins} {kind} ({self.backend.kind})")
            self._first_load = True
            self._opened, self._opened_for = self.backend.open(kind, agents), wanted
        except BaseException as error:
            self._release()
            if isinstance(error, UnreachableError) and self._deaths:  # it was there before, and does not come back
                others = self._degrade(str(error.args[0]))
                if several:
                    raise self._degraded(kind) from error
                if others:
                    return self.open(kind, agents)
            raise
        return self._opened.topology

    def load(self, scenario: Scenario, topology: Topology, *, keep_alive_s: int) -> None:
        """Load the model on each instance with its agent's options, one after the other, and check its placement.

        Raises:
            ServerError: an instance could not load it or is dead, or the instances do not serve the same model.
        """
        patience_s, asked_ctx = self.settings.start_timeout_s, dict[str, int | None]()
        try:
            for index, agent in enumerate(scenario.agents):
                instance = topology.instance_of(index)
                tell = self._listener.step if self._first_load or self._unloaded else self.say
                if instance.name not in asked_ctx:  # agents may share it
                    loads = "loading" if instance.api != "openai" else "looking for"  # nothing is loaded there
                    tell(f"{loads} {topology.model} on instance {instance.name}")
                with client_of(instance, timeout_s=patience_s) as control:
                    control.preload(topology.model, agent.options.as_request(), keep_alive=keep_alive_s)
                if self._opened is not None:
                    self._opened.loaded(instance)
                asked_ctx[instance.name] = agent.options.num_ctx
            self.placement_notes = self._opened.settled(asked_ctx) if self._opened is not None else ()
        except ServerError:
            if self._opened is not None:
                self._opened.alive()  # if a server died, that explains it better
            raise
        self._unloaded = self._first_load = False

    def unload(self) -> None:
        """Unload the model on each instance.

        Raises:
            ServerError: an instance failed to unload the model, or died.
        """
        if self._opened is None:
            return
        self._unloaded = True
        for instance in self._opened.topology.instances:
            with client_of(instance) as control:
                control.unload(self._opened.topology.model)

    def on_gpu(self) -> bool:
        """Whether some instance reports that its loaded model is at least partly in GPU memory. Raises ServerError."""
        topology = self.topology
        return topology is not None and any(_vram_bytes(instance, topology.model) for instance in topology.instances)

    def vram_mb(self) -> float | None:
        """VRAM that the loaded model takes on all open instances, MB; None if it takes none, or none is reported."""
        topology, held = self.topology, 0
        if topology is not None:
            for instance in topology.instances:
                with suppress(ServerError):
                    held += _vram_bytes(instance, topology.model)
        return held / 1e6 or None

    def disturbed(self, round_: Round, *, keep_alive_s: float) -> tuple[str, ...]:
        """Signs that another client used attached servers during this round, in words."""
        return self._opened.disturbed(round_, keep_alive_s=keep_alive_s) if self._opened is not None else ()

    def fired_faults(self) -> tuple[str, ...]:
        """The faults of the fault plan that have occurred on the open servers, in words; empty without a plan."""
        return self._opened.fired() if self._opened is not None else ()

    def timed(self, work: Callable[[], Any]) -> Any:
        """Run a timed part; if it fails because a server died, raise that error instead."""
        try:
            return work()
        except MeasurementError:
            self.explain_failure()
            raise

    def explain_failure(self) -> None:
        """Raise ServerError if a timed part failed because an instance died."""
        if self._opened is not None:
            if self._opened.pids:
                time.sleep(_NOTICE_S)
            self.check_alive()

    def check_alive(self) -> None:
        """Raise ServerError if an instance died; the next test then starts the topology anew."""
        try:
            if self._opened is not None:
                self._opened.alive()
        except ServerError as error:
            self._record_death(error)
            self.close()
            raise

    def check_ours(self) -> None:
        """After the last round: raise ServerError if a started server died, or another process answers in its place."""
        if self.pids:
            self.check_alive()

    def _record_death(self, error: ServerError) -> None:
        """Count the death of an instance; the second one degrades the session."""
        self._deaths[error.instance] += 1
        if error.instance and self._deaths[error.instance] > 1:
            self._degrade(f"instance {error.instance} died twice")

    def _degrade(self, why: str) -> bool:
        """Use one instance less from now on; return whether attached servers are left."""
        self.degradation = (f"the session is degraded: {why}",)
        self.say(self.degradation[0])
        left = self.backend.without_the_dead() if isinstance(self.backend, AttachBackend) else None
        if left is None:
            return False
        self.settings = left
        self._backend = choose(self.settings, say=self.say)
        return True

    def _degraded(self, kind: TopologyKind) -> DegradedError:
        return DegradedError(
            f"{self.degradation[0]}; topology {kind} is not measured",
            next_step="see the first failure; tests on one instance are still measured",
        )

    def close(self) -> None:
        """Stop the started servers, restore the attached ones, and free the machine for other sessions."""
        opened, self._opened, self._opened_for = self._opened, None, None
        unloaded, self._unloaded = self._unloaded, False
        try:
            if opened is not None:
                unrestored = opened.close(unloaded=unloaded)
                self._unrestored.extend(unrestored)
                for text in unrestored:
                    self.say(text)
        finally:
            self._release()

    def _acquire(self) -> None:
        """Take the machine's lock; while it has to wait, report for which process.

        Raises:
            ServerError: another process holds it for longer than the settings allow.
        """
        limit_s = self.settings.lock_timeout_s + self.settings.duration_s  # one test of another xdist worker may soak
        waited_s = wait_s = 0.0
        last = None
        tell = (
            self.say if self._has_waited else self._listener.step
        )  # xdist workers wait for each other again and again
        while not self._lock.acquire(timeout_s=wait_s):
            self._has_waited = True
            holder = self._lock.holder()
            waited_s = waited_s + wait_s if holder == last else 0.0
            last = holder
            known = holder or "its process is not known, it may run in a container"
            if waited_s >= limit_s:
                raise ServerError(
                    f"another measurement runs on this machine: {known}; waited {limit_s:g} s for it to end",
                    next_step="end it, run this one later, or wait for longer with --llmperf-lock-timeout",
                )
            so_far = f", {waited_s:.0f} s so far" if waited_s else ""
            limit = f"at most {limit_s:g} s for this process{so_far}"
            tell(f"waiting for another measurement on this machine to end: {known} ({limit})")
            tell = self._listener.step
            wait_s = min(_AGAIN_S, limit_s - waited_s)
        self._locked = True

    def _release(self) -> None:
        """Release the machine's lock, if it was taken."""
        if self._locked:
            self._locked = False
            self._lock.release()


def _vram_bytes(instance: Instance, model: str) -> int:
    """GPU memory that the model takes on an instance; 0 if it is not reported. Raises ServerError."""
    with client_of(instance) as control:
        entry = control.loaded(model)
    return (entry.size_vram_bytes or 0) if entry is not None else 0
