"""NVIDIA GPUs, read through NVML; tests replace the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_llmperf.model import GpuSample

INSTALL = "pip install 'pytest-llmperf[gpu]'"

_SLOWED = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""Bits of NVML's clocks event reasons, without idleness, settings, and the power cap that any GPU at work reaches."""

_MIB = 2**20


class Gpus:
    """The GPUs that NVML sees.

    Args:
        nvml: the module `pynvml` or a replacement.

    Raises:
        nvml.NVMLError: there is no driver.

    Attributes:
        names: the name of each GPU.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self.names = tuple(str(nvml.nvmlDeviceGetName(handle)) for handle in handles)
        self._gpus = [self._asked(handle) for handle in handles]

    def read(self) -> tuple[GpuSample, ...]:
        """Each GPU now."""
        return tuple(self._read(asked) for asked in self._gpus)

    def close(self) -> None:
        """Leaves NVML."""
        self._nvml.nvmlShutdown()

    def _asked(self, handle: Any) -> dict[str, Callable[[], Any]]:
        """The questions that this GPU answers, with the function to ask; other questions are never asked again."""
        nvml = self._nvml
        questions: dict[str, list[tuple[str, tuple[int, ...]]]] = {
            "memory": [("nvmlDeviceGetMemoryInfo", ())],
            "load": [("nvmlDeviceGetUtilizationRates", ())],
            "clock": [("nvmlDeviceGetClockInfo", (1,))],  # of the SMs
            "temperature": [("nvmlDeviceGetTemperatureV", (0,)), ("nvmlDeviceGetTemperature", (0,))],  # of the chip
            "power": [("nvmlDeviceGetPowerUsage", ())],
            # drivers before 535 know the old name only
            "reasons": [
                ("nvmlDeviceGetCurrentClocksEventReasons", ()),
                ("nvmlDeviceGetCurrentClocksThrottleReasons", ()),
            ],
        }
        known: dict[str, Callable[[], Any]] = {}
        for question, ways in questions.items():
            for name, more in ways:
                function = getattr(nvml, name, None)
                if function is None:
                    continue

                def ask(function: Callable[..., Any] = function, more: tuple[int, ...] = more) -> Any:
                    try:
                        return function(handle, *more)
                    except nvml.NVMLError:
                        return None

                if ask() is not None:
                    known[question] = ask
                    break
        return known

    def _read(self, asked: dict[str, Callable[[], Any]]) -> GpuSample:
        got = {question: ask() for question, ask in asked.items()}
        memory, load, power_mw, reasons = (got.get(question) for question in ("memory", "load", "power", "reasons"))
        return GpuSample(
            memory_used_mib=None if memory is None else memory.used / _MIB,
            memory_total_mib=None if memory is None else memory.total / _MIB,
            utilisation_pct=None if load is None else float(load.gpu),
            sm_clock_mhz=_float(got.get("clock")),
            temperature_c=_float(got.get("temperature")),
            power_w=None if power_mw is None else power_mw / 1000,
            slowed_by=tuple(words for bit, words in _SLOWED.items() if (reasons or 0) & bit),
        )


def find(*, seen: bool, nvml: Any = None) -> tuple[Gpus | None, str]:
    """The GPUs, or why they cannot be read, in words.

    Args:
        seen: whether this machine is known to have a GPU.
        nvml: replaces the module of the extra `gpu`.
    """
    nvml = nvml or _library()
    if nvml is None:
        return None, f"reading this machine's GPU needs nvidia-ml-py: {INSTALL}" if seen else NONE
    try:
        gpus = Gpus(nvml)
    except nvml.NVMLError as error:
        return None, f"the GPU cannot be read: {error}" if seen else NONE
    if not gpus.names:
        gpus.close()
        return None, NONE
    return gpus, ""


NONE = "this machine has no NVIDIA GPU"


def _library() -> Any:
    """NVML's Python module; None if it is not installed."""
    try:
        import pynvml  # noqa: PLC0415 - of the extra `gpu`
    except ImportError:
        return None
    return pynvml


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
