"""A session's runtimes and tap, and what each of them costs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.measure.calibrate import bounded, calibrate
from pytest_llmperf.measure.runtimes import Runtime, runtime_of
from pytest_llmperf.measure.wire.arrival import hold_kernel_time
from pytest_llmperf.model import Calibration, RequestTiming

if TYPE_CHECKING:
    from pytest_llmperf.measure.tap.proxy_client import Tap

_TAP = "tap"

USUAL_TOK_S = 100.0
"""The rate for a calibration if no warm-up shows one: the rate of the report's models."""

ALIKE = 1.5
"""Rates that differ by less than this factor share a calibration: the cost of a token hardly differs between them."""


class Clients:
    """Runtimes by name, made when first used; some keep processes, so there is one of each a session."""

    def __init__(self) -> None:
        self._runtimes: dict[str, Runtime] = {}
        self._calibrations: dict[tuple[str, int], list[Calibration]] = {}
        self._stamping: socket.socket | None = None

    def runtime(self, name: str) -> Runtime:
        """The runtime of that name, one of RUNTIMES, or `tap`: the plugin's clients behind the tap.

        Raises:
            MissingExtraError: it is not installed.
        """
        if not self._runtimes:
            self._stamping = hold_kernel_time()
        if name not in self._runtimes:
            self._runtimes[name] = self._tapped() if name == _TAP else runtime_of(name)
        return self._runtimes[name]

    @cached_property
    def tap(self) -> Tap:
        """The tap for external agents; its process starts with the first part."""
        from pytest_llmperf.measure.tap.proxy_client import Tap  # noqa: PLC0415 - only where an agent is external

        return Tap()

    def _tapped(self) -> Runtime:
        from pytest_llmperf.measure.tap.tap_runtime import TapRuntime  # noqa: PLC0415 - only where an agent is external

        return TapRuntime(self.tap)

    def calibration(self, runtime: Runtime, warm: Sequence[RequestTiming], agents: int) -> Calibration:
        """The cost of the clients at the rate of these answers; measured once for each runtime, number and rate.

        Raises:
            MeasurementError: it could not be measured.
        """
        rates = [request.eval_count * 1e9 / request.eval_duration_ns for request in warm if request.eval_duration_ns]
        tok_s = bounded(median(rates) if rates else USUAL_TOK_S)
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
