"""A session's runtimes and tap, and what each of them costs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.measure.calibrate import bounded, calibrate
from pytest_llmperf.measure.runtimes import Runtime, runtime_of
from pytest_llmperf.measure.runtimes.runtime_factory import check_installed
from pytest_llmperf.measure.wire.arrival import hold_kernel_time
from pytest_llmperf.model import RAY, Calibration, RequestTiming

if TYPE_CHECKING:
    from pytest_llmperf.measure.hosts.ray_plan import RayPlan
    from pytest_llmperf.measure.hosts.ray_runtime import RayRuntime
    from pytest_llmperf.measure.tap.proxy_client import Tap

_TAP = "tap"

USUAL_TOK_S = 100.0
"""The rate for a calibration if no warm-up shows one: the rate of the report's models."""

ALIKE = 1.5
"""Rates that differ by less than this factor share a calibration: the cost of a token hardly differs between them."""


class Clients:
    """Runtimes by name, made when first used; some keep processes, so there is one of each a session.

    Args:
        ray: where the clients of the runtime `ray` run; None: there is no such runtime.
    """

    def __init__(self, ray: RayPlan | None = None) -> None:
        self._ray = ray
        self._hosts: RayRuntime | None = None
        self._runtimes: dict[str, Runtime] = {}
        self._calibrations: dict[tuple[str, int], list[Calibration]] = {}
        self._stamping: socket.socket | None = None

    def runtime(self, name: str) -> Runtime:
        """The runtime of that name, one of RUNTIMES, `ray`, or `tap`: the plugin's clients behind the tap.

        Raises:
            MissingExtraError: it is not installed.
        """
        if not self._runtimes:
            self._stamping = hold_kernel_time()
        if name not in self._runtimes:
            makers = {_TAP: self._tapped, RAY: self._on_hosts}
            self._runtimes[name] = makers[name]() if name in makers else runtime_of(name)
        return self._runtimes[name]

    def check(self, name: str) -> None:
        """Raises MissingExtraError if the runtime of that name is not installed; starts nothing."""
        if name == RAY:
            from pytest_llmperf.measure.hosts import ray_cluster  # noqa: PLC0415 - only if it is in use

            ray_cluster.check_installed()
        else:
            check_installed(name)

    def check_external(self, name: str) -> None:
        """Raises UsageError if external agents would not run where this runtime's clients do."""
        if name == RAY and self._ray is not None and self._ray.address:
            raise UsageError(
                "external agents run on this machine, behind its tap: the runtime ray cannot run them on the hosts of "
                "a cluster",
                next_step="leave --llmperf-runtime=ray out for them, or mark the test runtime('threads')",
            )

    def hosts(self, name: str) -> str:
        """What the hosts of a runtime run, in words; empty if its clients run on this machine only.

        Raises:
            LlmperfError: the cluster cannot be used, or its hosts differ from this one.
        """
        if name != RAY:
            return ""
        self.runtime(name)
        assert self._hosts is not None
        return self._hosts.facts()

    @property
    def lost(self) -> tuple[str, ...]:
        """Hosts that are gone since the session began, with the reason."""
        return self._hosts.lost if self._hosts is not None else ()

    @cached_property
    def tap(self) -> Tap:
        """The tap for external agents; its process starts with the first part."""
        from pytest_llmperf.measure.tap.proxy_client import Tap  # noqa: PLC0415 - only where an agent is external

        return Tap()

    def _tapped(self) -> Runtime:
        from pytest_llmperf.measure.tap.tap_runtime import TapRuntime  # noqa: PLC0415 - only where an agent is external

        return TapRuntime(self.tap)

    def _on_hosts(self) -> Runtime:
        from pytest_llmperf.measure.hosts.ray_runtime import RayRuntime  # noqa: PLC0415 - only if it is in use

        assert self._ray is not None
        if self._hosts is None:
            self._hosts = RayRuntime(self._ray)
        return self._hosts

    def calibration(self, runtime: Runtime, warm: Sequence[RequestTiming], agents: int) -> Calibration:
        """The cost of the clients at the rate of these answers; measured once for each runtime, number and rate.

        Raises:
            MeasurementError: it could not be measured.
        """
        rates = [request.eval_count * 1e9 / request.eval_duration_ns for request in warm if request.eval_duration_ns]
        tok_s = bounded(median(rates) if rates else USUAL_TOK_S)
        if runtime.name == RAY and self._ray is not None and self._ray.address:
            raise MeasurementError("its paced server runs on this machine, and the clients on the hosts of a cluster")
        known = self._calibrations.setdefault((runtime.name, agents), [])
        for calibration in known:
            if max(calibration.tok_s, tok_s) <= ALIKE * min(calibration.tok_s, tok_s):
                return calibration
        known.append(calibrate(runtime, agents=agents, tok_s=tok_s))
        return known[-1]

    def close(self) -> None:
        """Ends what is kept; idempotent, and what is needed again starts again."""
        for runtime in self._runtimes.values():
            runtime.close()
        self._runtimes.clear()
        if self._stamping is not None:
            self._stamping.close()
        if "tap" in self.__dict__:
            self.tap.close()
