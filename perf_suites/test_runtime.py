"""What runs the clients at once (TR115): ranked by consistency, not by the best round."""

import pytest

pytestmark = pytest.mark.runtime


def test_which_runtime_is_steadiest(run_matrix):
    """All runtimes of ours; and one that serialises is found out by the harness itself: none of its rounds counts."""
    results = run_matrix("matrices/runtime.toml")
    steadiest = results.consistency("runtime", "parallel_efficiency_pct")
    assert "serial" not in [group.value for group in steadiest]
    assert "threads" in [group.value for group in steadiest]
    serial = results.select(runtime="serial")
    assert all(row.client_saturated for row in serial)
    assert results.mean("scaling_efficiency_pct", runtime="serial") < 60
    assert "client was saturated" in results.skipped["not counted: serial"]
