"""NVML as a script has it: the functions of `pynvml` that we call, on GPUs that a test states."""

from dataclasses import dataclass
from types import SimpleNamespace

MIB = 2**20


class NVMLError(Exception):
    """As pynvml raises."""


@dataclass
class Gpu:
    """What one GPU would answer; None: it does not support the question."""

    name: str = "NVIDIA RTX"
    used_mib: float | None = 3072.0
    total_mib: float = 12288.0
    load_pct: int | None = 97
    clock_mhz: int | None = 2100
    temperature_c: int | None = 61
    power_mw: int | None = 141_500
    reasons: int | None = 0


class Nvml:
    """The module, with these GPUs; an old one knows the older names of two functions only.

    Attributes:
        calls: names of the functions that were called, in order.
    """

    NVMLError = NVMLError

    def __init__(self, *gpus: Gpu, driver: bool = True, old: bool = False) -> None:
        self.gpus = list(gpus)
        self.calls: list[str] = []
        self._driver = driver
        if old:
            self.nvmlDeviceGetTemperature = self._temperature
            self.nvmlDeviceGetCurrentClocksThrottleReasons = self._reasons
        else:
            self.nvmlDeviceGetTemperatureV = self._temperature
            self.nvmlDeviceGetCurrentClocksEventReasons = self._reasons

    def nvmlInit(self) -> None:
        if not self._driver:
            raise NVMLError("Driver Not Loaded")
        self.calls.append("nvmlInit")

    def nvmlShutdown(self) -> None:
        self.calls.append("nvmlShutdown")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.gpus[handle].name

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        used_mib = self._known("memory", self.gpus[handle].used_mib)
        return SimpleNamespace(used=used_mib * MIB, total=self.gpus[handle].total_mib * MIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._known("load", self.gpus[handle].load_pct))

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        assert kind == 1  # NVML_CLOCK_SM
        return self._known("clock", self.gpus[handle].clock_mhz)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return self._known("power", self.gpus[handle].power_mw)

    def _temperature(self, handle: int, sensor: int) -> int:
        assert sensor == 0  # NVML_TEMPERATURE_GPU
        return self._known("temperature", self.gpus[handle].temperature_c)

    def _reasons(self, handle: int) -> int:
        return self._known("reasons", self.gpus[handle].reasons)

    def _known(self, question: str, value):
        self.calls.append(question)
        if value is None:
            raise NVMLError("Not Supported")
        return value
