"""Every row of the table of faults happens as it says, and leaves nothing behind."""

import threading
from pathlib import Path

import psutil
import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.model import TopologyKind
from pytest_llmperf.report.terminal.summary_table import table
from pytest_llmperf.servers.emulator.faults.fault_plan import FaultPlan, load_plan
from tests.faults.conftest import PAIR, until
from tests.faults.rows import AGAIN, MARKED, REPEATED, ROWS, Row, matches
from tests.faults.test_scenes import SCENES

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def plan_of(row: Row, folder: Path) -> FaultPlan:
    """Read from a file, as the user's is; on instance b."""
    file = folder / "plan.toml"
    file.write_text(
        "".join(
            "[[fault]]\ninstance = 'b'\n" + "".join(f"{key} = {toml(value)}\n" for key, value in fault.items())
            for fault in row.faults
        )
    )
    return load_plan(file)


def toml(value: object) -> str:
    if not isinstance(value, str):
        return repr(value)
    return '"' + "".join(char if char.isprintable() and char != '"' else f"\\u{ord(char):04x}" for char in value) + '"'


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_fault(row: Row, attached, tmp_path: Path) -> None:
    """Found, named and answered as the table says; no thread, descriptor, connection or loaded model is left."""
    session, servers = attached(plan_of(row, tmp_path), row.script, **row.settings)
    threads, descriptors = threading.active_count(), psutil.Process().num_fds()
    incidents, expected = None, row.answer in (REPEATED, AGAIN, MARKED) or "warm-up is" in row.answer
    try:
        record = session.measure(PAIR, TopologyKind.DUAL, test="t")
        incidents = [str(incident) for incident in record.measurement.incidents]
        seen = "\n".join(line for line, _ in table([record]))
        assert record.measurement.rounds or record.measurement.discarded  # a busy machine saturates a client
    except LlmperfError as error:
        seen = f"{type(error).__name__}: {error}"
    assert matches(row.seen, seen), seen
    assert bool(incidents) == expected, seen
    session.close()
    until(lambda: [(server.users(), server.connections()) for server in servers] == [(0, 0), (0, 0)])
    if "restarts" not in row.name and "refused for good" not in row.name:
        until(lambda: all(server.scheduler.loaded is None for server in servers))
    until(lambda: threading.active_count() <= threads + 2)  # an engine's two workers each keep waiting
    until(lambda: psutil.Process().num_fds() <= descriptors)


def test_the_table_and_the_tests_agree() -> None:
    """docs/faults.md lists exactly the rows of the test, at least thirty."""
    page = PAGE.read_text().split("## What is done about them")[1]
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| fault", "|---"))]
    assert rows == [shown(row) for row in (*ROWS, *(scene for scene, _ in SCENES))]
    assert len(rows) >= 30


def shown(row: Row) -> str:
    return f"| {row.name} | {row.injected} | {row.seen} | {row.answer} |"
