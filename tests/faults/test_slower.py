"""A comparison that fails by what a server does worse: the text names the part, the agent and the commit."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.judge.diagnosis import phase_regressions
from pytest_llmperf.judge.diagnosis.triage import State
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import Outcome, Settings, TopologyKind
from pytest_llmperf.report.files.output_formats import save_baseline
from pytest_llmperf.report.wording.verdict_text import explain
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault, FaultPlan
from tests.faults.causes import USUAL
from tests.faults.conftest import PAIR

pytestmark = pytest.mark.alone  # the stored sessions are one and the same: none of this machine's noise is in them

HEALTHY = FaultPlan()
ALWAYS = {"instance": "b", "first": 1, "last": 10**6}
COMMITS = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)


def measured(attached, plan: FaultPlan, **settings: object) -> Record:
    session, _ = attached(plan, USUAL, **{"min_rounds": 3, "max_rounds": 6, **settings})
    record = session.measure(PAIR, TopologyKind.DUAL, test="t")
    session.close()
    return record


@pytest.fixture
def stored(attached, tmp_path: Path) -> None:
    """Baseline `main` of four commits, by the command that saves it."""
    healthy = measured(attached, HEALTHY)
    for commit in COMMITS:
        facts = {**healthy.measurement.manifest.facts, "git_commit": commit, "git_dirty": "no"}
        manifest = replace(healthy.measurement.manifest, facts=facts)
        record = replace(healthy, measurement=replace(healthy.measurement, manifest=manifest))
        save_baseline([record], Settings(save="main"), tmp_path, [record])


@pytest.mark.parametrize(
    ("fault", "metric", "says"),
    [
        (Fault(kind="slow_prefill", factor=0.2, **ALWAYS), "ttft_ms", r"prefill of y alone takes [3-6]\.\d times"),
        (Fault(kind="slow_decode", factor=0.4, **ALWAYS), "system_tok_s", r"decode of y alone takes 2\.\d times"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
@pytest.mark.usefixtures("stored")
def test_what_has_become_slower_is_named(fault: Fault, metric: str, says: str, attached) -> None:
    """Part, agent, factor, figures and the last good commit; what to type; as it is in an xdist controller, too."""
    record = measured(attached, FaultPlan(faults=(fault,)), compare="main", diagnose=True)
    (failed,) = [verdict for verdict in record.verdicts if verdict.gate.metric == metric]
    assert failed.outcome is Outcome.FAIL
    text = explain(record, (failed,))
    against = r"as long as in baseline main \(4 sessions, \d+ -> \d+ ms\)"
    cause = rf"  cause: {says} {against}; last session without it: ddddddddd of \d{{4}}-\d\d-\d\d\n"
    assert re.search(cause, text), text
    assert text.endswith("\n  next: see what changed since then: git log --oneline ddddddddd..HEAD")
    assert text.count("cause:") == 2
    (baseline,) = [finding for finding in record.triage if finding.question == "baseline"]
    assert baseline.state is State.FOUND
    assert re.match(says, baseline.said)
    assert from_plain(as_plain([record]))[0].phase_regressions == record.phase_regressions


@pytest.mark.usefixtures("stored")
def test_where_nothing_has_become_slower(attached, monkeypatch: pytest.MonkeyPatch) -> None:
    """The triage says what it was compared with. Sessions that are one and the same have no noise."""
    monkeypatch.setattr(phase_regressions, "_LEAST_OF_ALL", 0.5)
    record = measured(attached, HEALTHY, compare="main", diagnose=True)
    (baseline,) = [finding for finding in record.triage if finding.question == "baseline"]
    assert (baseline.state, baseline.said) == (
        State.OK,
        "each agent alone takes no longer than baseline main's 4 sessions",
    )
