"""GPUs through a scripted NVML; that the real one has these functions is checked against the package itself."""

import pynvml
import pytest

from pytest_llmperf.model import GpuSample
from pytest_llmperf.telemetry import gpu
from tests.telemetry.nvml import Gpu, Nvml


@pytest.mark.parametrize("old", [False, True], ids=["today", "drivers before 535"])
def test_what_a_gpu_says(old: bool) -> None:
    """Memory, load, clock, temperature, power, and why it is slower than it could be."""
    gpus, why = gpu.find(seen=True, nvml=Nvml(Gpu(reasons=0x1 | 0x20 | 0x80), Gpu(name="other"), old=old))
    assert why == ""
    assert gpus.names == ("NVIDIA RTX", "other")
    assert gpus.read()[0] == GpuSample(
        memory_used_mib=3072.0,
        memory_total_mib=12288.0,
        utilisation_pct=97.0,
        sm_clock_mhz=2100.0,
        temperature_c=61.0,
        power_w=141.5,
        slowed_by=("software thermal slowdown", "hardware power brake"),
    )
    assert gpus.read()[1].slowed_by == ()


def test_what_it_does_not_know_is_asked_once() -> None:
    """And is None; what it does not tell for a moment is None in that sample."""
    silent = Gpu(used_mib=None, load_pct=None, clock_mhz=None, temperature_c=None, power_mw=None, reasons=None)
    nvml = Nvml(silent)
    gpus, _ = gpu.find(seen=True, nvml=nvml)
    asked = len(nvml.calls)
    assert gpus.read() == (GpuSample(),)
    assert len(nvml.calls) == asked
    nvml = Nvml(Gpu())
    gpus, _ = gpu.find(seen=True, nvml=nvml)
    nvml.gpus[0].power_mw = None
    assert gpus.read()[0].power_w is None
    nvml.gpus[0].power_mw = 7000
    assert gpus.read()[0].power_w == 7.0


def test_idleness_and_settings_slow_nothing() -> None:
    """Nor does the power cap, which any GPU at work reaches."""
    gpus, _ = gpu.find(seen=True, nvml=Nvml(Gpu(reasons=0x1 | 0x2 | 0x4 | 0x10 | 0x100)))
    assert gpus.read()[0].slowed_by == ()


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver, no GPU, no package: a note says why, and what to install only if a GPU is known to be present."""
    assert gpu.find(seen=False, nvml=Nvml(driver=False)) == (None, gpu.NONE)
    assert gpu.find(seen=True, nvml=Nvml(driver=False)) == (None, "the GPU cannot be read: Driver Not Loaded")
    empty = Nvml()
    assert gpu.find(seen=False, nvml=empty) == (None, gpu.NONE)
    assert empty.calls == ["nvmlInit", "nvmlShutdown"]
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert gpu.find(seen=False) == (None, gpu.NONE)
    assert gpu.find(seen=True) == (None, f"reading this machine's GPU needs nvidia-ml-py: {gpu.INSTALL}")


def test_the_real_package_has_what_the_script_has() -> None:
    """Every function that is scripted, old and new names; the clocks' and sensors' numbers; the bits."""
    scripted = {
        name for library in (Nvml(), Nvml(old=True)) for name in dir(library) if name.startswith(("nvml", "NVML"))
    }
    assert len(scripted) == 14
    assert [name for name in sorted(scripted) if not hasattr(pynvml, name)] == []
    assert (pynvml.NVML_CLOCK_SM, pynvml.NVML_TEMPERATURE_GPU) == (1, 0)
    assert {
        pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
        pynvml.nvmlClocksEventReasonSwThermalSlowdown: "software thermal slowdown",
        pynvml.nvmlClocksEventReasonHwThermalSlowdown: "hardware thermal slowdown",
        pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "hardware power brake",
    } == gpu._SLOWED


def test_the_real_package_here() -> None:
    """Whatever this machine has, it is an answer: GPUs with names, or why not."""
    gpus, why = gpu.find(seen=False)
    assert (gpus is None) == bool(why)
    if gpus is not None:
        assert len(gpus.read()) == len(gpus.names) > 0
        gpus.close()
