"""`pytest-llmperf record`: the records of appendix S, filled from a session."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.judge.baselines.lookup import key_of
from pytest_llmperf.model import Bound, Settings, TopologyKind
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.wording.amounts import amount
from tests.judge.baselines.test_trend import baseline_of
from tests.judge.build import gate
from tests.report.conftest import GATES, run_of

UNEVEN = ((100, 60), (100, 58), (100, 61), (100, 59.5), (100, 62))
FACTS = {"cpu": "i9", "gpu": "RTX", "model": "m<b>", "quantization": "Q4", "git_commit": "c0ffee1234", "backend": "x"}


@pytest.fixture
def write(tmp_path: Path):
    """`write(run)`: the JSON of a session, and its path."""

    def written(run: Run) -> tuple[dict, str]:
        path = tmp_path / "run.json"
        path.write_text(as_text(document(run)))
        return json.loads(path.read_text()), str(path)

    return written


def fields(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| ([A-Z].*?) \| (.*) \|$", text, re.MULTILINE))


def test_validation(write, capsys: pytest.CaptureFixture[str]) -> None:
    """Every field of S.2, from the session: its numbers, and pass or fail by the card's own rule."""
    content, path = write(run_of(facts=FACTS))
    assert main(["record", "validation", path]) == 0
    text = capsys.readouterr().out
    figures, filled = content["records"][0]["figures"], fields(text)
    assert filled["Hardware"] == "gpu RTX, cpu i9"
    assert filled["Model"] == "m&lt;b&gt; Q4"
    assert filled["Configuration"] == "num\\_gpu default, num\\_ctx default, temperature default"
    assert filled["Runs completed"] == "5 (simulated)"
    assert filled["Mean efficiency"] == amount(figures["efficiency_pct"], "efficiency_pct")
    assert filled["CV of throughput"] == "0.00 %"
    assert filled["Pass/Fail"] == "Pass (CV below 5 %, efficiency above 95 %)"
    assert filled["Baseline match"].startswith("[unknown")
    assert "SIMULATED" in text
    _, path = write(run_of(together_ms=UNEVEN))
    assert main(["record", "validation", path]) == 0
    assert fields(capsys.readouterr().out)["Pass/Fail"] == "Fail (CV below 5 %, efficiency above 95 %)"


@pytest.mark.parametrize(("level", "answer"), [(1.0, "Y"), (1.5, "N")])
def test_the_baseline_match(write, capsys: pytest.CaptureFixture[str], level: float, answer: str) -> None:
    """Within 5 % of the throughput of the sessions that the run was compared with."""
    run = run_of(facts={"backend": "simulated"})
    now = run.records[0].summary("system_tok_s").mean
    stored = baseline_of([now * level] * 6, metric="system_tok_s", sd=0.01)
    (entry,) = stored.stored
    key = key_of(run.records[0].test, run.records[0].measurement)
    stored = replace(stored, stored=(replace(entry, test=key.test, workload=key.workload),))
    _, path = write(replace(run, stored=stored))
    assert main(["record", "validation", path]) == 0
    assert fields(capsys.readouterr().out)["Baseline match"].startswith(f"{answer}: ")


def test_decision(write, capsys: pytest.CaptureFixture[str]) -> None:
    """Options are the measurements; the fastest of those that passed is named, failing gates are risks."""
    good, bad = run_of(), run_of(together_ms=UNEVEN, tests=("test_shared",))
    shared = bad.records[0].measurement
    shared = replace(shared, topology=replace(shared.topology, kind=TopologyKind.SINGLE))
    records = [good.records[0], replace(bad.records[0], measurement=shared)]
    content, path = write(Run(records=records, accepted=[records[0]], settings=Settings()))
    assert main(["record", "decision", path]) == 0
    text = capsys.readouterr().out
    for number, record in enumerate(content["records"], 1):
        (row,) = re.findall(rf"^\| {number}\. (.*) \|$", text, re.MULTILINE)
        names = ("efficiency_pct", "scaling_efficiency_pct", "contention_rate_ttft", "system_tok_s", "ttft_ms")
        assert row.split(" | ")[2:] == [amount(record["figures"][name], name) for name in names]
    assert "pair on dual, simulated m has the highest throughput of the options that passed their gates" in text
    assert "- pair on single, simulated m: gate efficiency fail (the minimum 95.0 % \\(here\\))" in text
    assert "**Owner:** [person or team]" in text


def test_change(write, capsys: pytest.CaptureFixture[str]) -> None:
    """What the comparison found, in points and percent, and what of the manifests differs."""
    stored = gate(
        marker="regression", limit=99.5, delta=2.0, reference=((99.5, 99.4, 99.6), (99.5, 99.6)), source="baseline main"
    )
    faster = gate("ttft_ms", 20.0, Bound.MAX, marker="regression", delta=20.0, reference=((20.0, 21.0, 19.0),) * 4)
    content, path = write(run_of(gates=(*GATES, stored, faster)))
    assert main(["record", "change", path]) == 0
    text = capsys.readouterr().out
    efficiency, ttft = (
        verdict for verdict in content["records"][0]["verdicts"] if verdict["gate"]["delta"] is not None
    )
    assert f"efficiency_pct worse by {efficiency['worse_by']:.1f} pp, 99.5 % -> " in text
    assert f"ttft_ms better by {-ttft['worse_by']:.1f} %, 20 ms -> 10 ms" in text
    assert f"worse by {efficiency['worse_by']:.1f} pp" in efficiency["reason"]
    assert f"better by {-ttft['worse_by']:.1f} %" in ttft["reason"]
    assert "**Approval:** [name and date]" in text
    _, path = write(run_of())
    assert main(["record", "change", path]) == 0
    assert "not measured: run with --llmperf-compare" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "is not a session of pytest-llmperf"),
        ('{"records": [], "schema": 99}', "has schema 99, wanted 1 to 2"),
        ('{"records": [{}], "schema": 1, "written_at": ""}', "lacks a field that a record needs: "),
    ],
    ids=["missing", "torn", "something else", "another version", "incomplete"],
)
def test_what_is_no_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    """Exit code 2, what is wrong with which file, and what to type."""
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    assert main(["record", "validation", str(path)]) == 2
    error = capsys.readouterr().err
    assert f"{path} {words}" in error
    assert "next: write the file with: pytest --llmperf-json FILE" in error
