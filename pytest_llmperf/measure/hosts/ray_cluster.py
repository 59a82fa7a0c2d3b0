"""A cluster of Ray: connecting to it, its hosts, and an actor on each. The only module that imports Ray."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_llmperf
from pytest_llmperf.errors import MeasurementError, MissingExtraError, ServerError, UsageError, printable
from pytest_llmperf.measure.hosts.host_actor import HostActor
from pytest_llmperf.measure.hosts.ray_plan import OwnCluster
from pytest_llmperf.measure.waiting import LOOK_S, until

_CALLS_AT_ONCE = 4
"""An actor's calls at the same time: a part, the ends of requests on other hosts, and giving up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node of the cluster.

    Attributes:
        node: Ray's name for it.
        address: of the host in the cluster's network.
        labels: of the node.
        here: whether pytest runs on it.
    """

    node: str
    address: str
    labels: Mapping[str, str] = field(hash=False)
    here: bool

    def __str__(self) -> str:
        return f"host {self.address}"


class HostLostError(MeasurementError):
    """A host, or the process on it, is gone.

    Attributes:
        host: the host.
    """

    def __init__(self, host: Host, problem: str, *, next_step: str, passing: bool) -> None:
        super().__init__(f"{host}: {problem}", next_step=next_step, passing=passing)
        self.host = host


def check_installed() -> None:
    """Raises MissingExtraError if Ray is not installed; does not import it."""
    if ("ray" in sys.modules and sys.modules["ray"] is None) or importlib.util.find_spec("ray") is None:
        raise MissingExtraError(
            "the runtime ray needs Ray, which is not installed", next_step="pip install 'pytest-llmperf[ray]'"
        )


class RayCluster:
    """A connection to a cluster.

    Args:
        address: `auto`, or host and port; empty: `start` starts a cluster on this machine.
        start: see address.

    Raises:
        MissingExtraError: Ray is not installed.
        ServerError: the cluster cannot be used.
        UsageError: this process is connected to a cluster already.

    Attributes:
        own: whether it was started here, with this host only.
    """

    def __init__(self, address: str, start: Callable[[], OwnCluster]) -> None:
        check_installed()
        self.own = not address
        self._ray: Any = importlib.import_module("ray")
        if self._ray.is_initialized():
            raise UsageError(
                "this process is already connected to a Ray cluster, which the runtime ray would have to share",
                next_step="call ray.shutdown() before, or use another runtime",
            )
        self._before: dict[str, str | None] = {}
        self._silenced: tuple[Any, Any] | None = None
        self._cluster = None if address else start()
        try:
            self._connect(address)
        except BaseException:
            self.close()
            raise

    def hosts(self) -> tuple[Host, ...]:
        """The nodes that are alive, pytest's own first, the others by address."""
        own = self._ray.get_runtime_context().get_node_id()
        hosts = [
            Host(
                node=node["NodeID"],
                address=node["NodeManagerAddress"],
                labels=dict(node.get("Labels") or {}),
                here=node["NodeID"] == own,
            )
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        return tuple(sorted(hosts, key=lambda host: (not host.here, host.address, host.node)))

    def actor(self, host: Host, key: bytes) -> Any:
        """A new actor on a host."""
        affinity = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        strategy = affinity(node_id=host.node, soft=False)
        remote = self._ray.remote(HostActor).options(
            num_cpus=0, max_concurrency=_CALLS_AT_ONCE, max_restarts=0, scheduling_strategy=strategy
        )
        return remote.remote("" if self.own else host.address, key)

    def kill(self, actor: Any) -> None:
        """Ends an actor at once."""
        with suppress(Exception):
            self._ray.kill(actor)

    def answers(
        self, calls: Sequence[tuple[Host, Any]], *, limit_s: float, each: Callable[[Any], None] = lambda _: None
    ) -> list[Any]:
        """The answers to calls, in their order.

        Args:
            calls: the host and the reference of each.
            limit_s: in which all must come.
            each: called with each answer, as they come.

        Raises:
            HostLostError: a host or an actor is gone, or does not answer in time.
            MeasurementError: an actor failed in an unexpected way.
        """
        answers: dict[int, Any] = {}
        index_of = {reference: index for index, (_, reference) in enumerate(calls)}
        waited_s = 0.0

        def some(wait_s: float) -> bool:
            nonlocal waited_s
            missing = [reference for reference, index in index_of.items() if index not in answers]
            done, _ = self._ray.wait(missing, num_returns=1, timeout=wait_s)
            for reference in done:
                index = index_of[reference]
                answers[index] = self._answer(calls[index][0], reference)
                each(answers[index])
            if not done:
                waited_s += wait_s
                if waited_s > limit_s:
                    host = calls[index_of[missing[0]]][0]
                    raise HostLostError(
                        host,
                        f"its clients do not answer within {limit_s:.0f} s",
                        next_step="is the host up and reachable? see `ray status`",
                        passing=False,
                    )
            return len(answers) == len(calls)

        until(some, every_s=LOOK_S)
        return [answers[index] for index in range(len(calls))]

    def close(self) -> None:
        """Disconnects, and ends the cluster if it was started here; idempotent."""
        with suppress(Exception):
            self._ray.shutdown()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()
        if self._silenced is not None:
            worker, printing = self._silenced
            worker.print_to_stdstream = printing
            self._silenced = None
        if self._cluster is not None:
            self._cluster.stop()
            self._cluster = None

    def _answer(self, host: Host, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayActorError as error:
            raise self._lost(host) from error
        except errors.RayError as error:
            words = printable(str(error).strip().splitlines()[-1] if str(error).strip() else repr(error))
            raise MeasurementError(f"{host}: {words}", next_step="see Ray's logs on that host") from error

    def _lost(self, host: Host) -> HostLostError:
        """The host has left the cluster, or only its actor has died: Ray knows a moment later."""
        alive = any(each.node == host.node for each in self.hosts())
        if alive:
            return HostLostError(
                host,
                "the process of its clients died",
                next_step="is that host out of memory? see Ray's logs there",
                passing=True,
            )
        return HostLostError(
            host,
            "it left the cluster",
            next_step="start Ray there again; the next test uses the hosts that are left",
            passing=False,
        )

    def _connect(self, address: str) -> None:
        options: dict[str, Any] = {}
        raylet: Any = importlib.import_module("ray._raylet")
        if self._cluster is not None:
            address = self._cluster.address
            self._before = {name: os.environ.get(name) for name in self._cluster.environment}
            os.environ.update(self._cluster.environment)
            with suppress(AttributeError):  # Ray has read another token, or none, if it was imported before
                raylet.Config.initialize("")
                raylet.AuthenticationTokenLoader.instance().reset_cache()
            constants: Any = importlib.import_module("ray._private.ray_constants")
            constants.ENABLE_RAY_CLUSTER = False  # as in LocalRay
            options["_node_ip_address"] = address.rpartition(":")[0]
        else:
            package = str(Path(pytest_llmperf.__file__).parent)
            options["runtime_env"] = {"py_modules": [package], "excludes": ["**/__pycache__"]}
        worker: Any = importlib.import_module("ray._private.worker")
        self._silenced = worker, worker.print_to_stdstream
        worker.print_to_stdstream = _print_nothing  # what Ray's own processes say of a death, on our standard output
        with _quietly():
            try:
                self._ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise ServerError(
                    f"the Ray cluster at {address} cannot be used: {printable(str(error), most=400)}",
                    next_step="is it up (`ray status`), and is it of the same Ray and Python version as this?",
                ) from error


def _print_nothing(*_: Any, **__: Any) -> None:
    pass


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Ray's warnings; pytest's action on SIGTERM stays."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            if main:
                signal.signal(signal.SIGTERM, handler if handler is not None else signal.SIG_DFL)
