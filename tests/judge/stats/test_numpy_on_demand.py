"""numpy is imported when it is first used, or beside a wait."""

import subprocess
import sys

import pytest

FIRST_USE = "np.float64(1.5)"
BESIDE_A_WAIT = "importing().join()"


@pytest.mark.parametrize("step", [FIRST_USE, BESIDE_A_WAIT])
def test_numpy_is_imported_by_the_step_and_not_before(step: str) -> None:
    code = (
        "import sys; from pytest_llmperf.judge.stats.numpy_on_demand import importing, np; "
        f"before = 'numpy' in sys.modules; {step}; print(before, 'numpy' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "True"]
