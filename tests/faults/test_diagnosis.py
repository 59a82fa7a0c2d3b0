"""What the simulated servers do wrong is what the diagnosis names, first; its shares are the whole loss."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pytest_llmperf.judge.diagnosis.diagnose import diagnose
from pytest_llmperf.measure.wire.request_connection import Connection
from pytest_llmperf.model import Settings, TopologyKind
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault, FaultPlan, load_plan
from pytest_llmperf.session.measurement.recovery import CROWD_MS
from pytest_llmperf.session.session import Session
from tests.faults.causes import CAUSES, TALK, Cause, together
from tests.faults.conftest import PAIR, slow
from tests.faults.test_rows import toml

PAGE = Path(__file__).parents[2] / "docs" / "diagnosis.md"


def plan_of(cause: Cause, folder: Path) -> FaultPlan:
    """Read from a file, as the user's is."""
    entries = [
        {**fault, "requests": number} if fault.get("requests") == "together" else fault
        for fault in cause.faults
        for number in (together(fault["instance"]) if fault.get("requests") == "together" else (0,))
    ]
    file = folder / "plan.toml"
    file.write_text(
        "".join("[[fault]]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in entry.items()) for entry in entries)
    )
    return load_plan(file)


def slow_down(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Has a client sleep before it connects for another turn."""
    usual = Connection.open

    def late(self: Connection, *arguments: object) -> object:
        if threading.current_thread().name == "llmperf-client":
            time.sleep(seconds)
        return usual(self, *arguments)

    patch.setattr(Connection, "open", late)


def named(cause: Cause, session: Session) -> None:
    """The diagnosis names the cause first; the shares add up to the loss; the JSON holds the same figures."""
    record = session.measure(cause.scenario, cause.kind, test="t")
    session.close()
    diagnosis = diagnose(record.measurement)
    assert diagnosis is not None
    assert diagnosis.cause == cause.cause, diagnosis
    assert cause.says in " ".join((*diagnosis.facts, diagnosis.sentence))
    assert sum(diagnosis.shares_pp.values()) == pytest.approx(diagnosis.loss_pp, abs=1e-9)
    (plain,) = json.loads(as_text(document(Run(records=[record], settings=Settings()))))["records"]
    assert plain["diagnosis"]["shares_pp"] == diagnosis.shares_pp
    assert plain["diagnosis"]["cause"] == cause.cause


@pytest.mark.parametrize(
    "cause", [cause for cause in CAUSES if not cause.client_sleeps_s], ids=lambda cause: cause.name
)
def test_the_injected_cause_is_named(cause: Cause, attached, tmp_path: Path) -> None:
    """Found by real requests to real servers."""
    named(cause, attached(plan_of(cause, tmp_path), cause.script, **cause.settings)[0])


@pytest.mark.usefixtures("judged_client")
@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause.client_sleeps_s], ids=lambda cause: cause.name)
def test_a_slow_client_is_named(cause: Cause, attached, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by what the client itself takes; no round counts, so that there is no loss."""
    slow_down(monkeypatch, cause.client_sleeps_s)
    named(cause, attached(FaultPlan(), cause.script)[0])


@pytest.mark.usefixtures("judged_client")
def test_a_slow_client_is_no_witness_of_another(attached, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits in a round that does not count has waited for us, as far as anyone can tell."""
    slow_down(monkeypatch, 0.03)
    plan = FaultPlan(faults=(Fault(kind="traffic", tokens=240, instance="b", first=2, last=3),))
    session, _ = attached(plan, slow())
    measurement = session.measure(TALK, TopologyKind.DUAL, test="t").measurement
    assert (
        max(sum(request.queue_ns for request in run.requests) for run in measurement.discarded[0].solo) > CROWD_MS * 1e6
    )
    assert measurement.incidents == ()


SPIN = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
STRANGERS = """
import subprocess, sys
for _ in range(int(sys.argv[2])):
    print(subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.DEVNULL).pid)
"""


@contextmanager
def strangers(count: int) -> Iterator[None]:
    """Busy processes that are not ours: who started them has ended, else they would be the client's own."""
    command = [sys.executable, "-c", STRANGERS, SPIN, str(count)]
    pids = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    try:
        yield
    finally:
        for pid in map(int, pids):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.alone
@pytest.mark.usefixtures("real_time")
def test_a_busy_neighbour_is_named(tmp_path: Path) -> None:
    """Processes take every core (processes of other tests may, too) while two servers of the plugin answer."""
    script = slow(ttft_ms=20, decode_tok_s=60)
    given = {"min_rounds": 2, "max_rounds": 2, "calibrate": False, "diagnose": True, "script": script}
    session = Session(Settings(backend="simulated", **given), root=tmp_path)
    with closing(session), strangers(2 * (os.cpu_count() or 1)):
        record = session.measure(PAIR, TopologyKind.DUAL, test="t")
    diagnosis = diagnose(record.measurement)
    assert diagnosis is not None
    assert diagnosis.cause == "busy neighbour", record.measurement.telemetry
    assert re.match(r"other processes used \d+\.\d of this machine's \d+ cores", diagnosis.facts[0])
    (machine,) = [finding for finding in record.triage if finding.question == "machine"]
    assert diagnosis.facts[0] in machine.said


def test_the_table_and_the_tests_agree() -> None:
    """docs/diagnosis.md lists exactly the rows of the test, at least fifteen."""
    page = PAGE.read_text().split("## Injected causes")[1]
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| what", "|---"))]
    assert rows == [f"| {cause.name} | {cause.shown} | `{cause.cause}` |" for cause in CAUSES]
    assert len(rows) >= 15
