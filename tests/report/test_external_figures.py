"""The figures of external agents, in every report."""

import json
from dataclasses import replace

import pytest

from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import AgentRun, ExternalAgent, ProcessUse, Scenario, Settings, Workflow
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.external_figures import external_figures
from pytest_llmperf.report.files import markdown
from pytest_llmperf.report.html import page
from pytest_llmperf.report.wording.program_text import program_lines
from tests.judge.build import measurement_of, round_of

MS = 1_000_000


def workflow(*, factor: int = 1) -> Workflow:
    return Workflow(before_ns=12 * MS * factor, after_ns=3 * MS * factor, total_ns=1240 * MS * factor)


def use(*, factor: int = 1, cpu_ns: int | None = 18 * MS, agents: tuple[str, ...] = ("y",)) -> ProcessUse:
    return ProcessUse(start_up_ns=45 * MS * factor, cpu_ns=cpu_ns, peak_rss_bytes=factor * 2**22, agents=agents)


def measured(*together: dict, solo: dict | None = None):
    """Rounds of our own agent `x` and the external `y`, whose runs have these values."""
    rounds = []
    for index, changes in enumerate(together):
        round_ = round_of((95, 94), (100, 99), index=index)
        alone, both = round_.solo[1], round_.together[1]
        changed: list[AgentRun] = [replace(alone, **(solo or {})), replace(both, **changes)]
        rounds.append(replace(round_, solo=(round_.solo[0], changed[0]), together=(round_.together[0], changed[1])))
    made = measurement_of(*rounds)
    agents = (made.scenario.agents[0], ExternalAgent(name="y", run=("agent",)))
    return replace(made, scenario=Scenario(name="pair", agents=agents))


def test_medians_over_the_rounds_and_the_highest_memory() -> None:
    """Only the external agent has them, alone and together."""
    made = measured(*({"process": use(factor=factor), "workflow": workflow(factor=factor)} for factor in (1, 3, 2)))
    alone, together = external_figures(made)
    assert (alone.agent, alone.part, together.part, together.runs) == ("y", "alone", "together", 3)
    assert (together.before_ms, together.after_ms, together.workflow_ms) == (24, 6, 2480)
    assert (together.start_up_ms, together.cpu_ms, together.peak_rss_mib) == (90, 18, 12)
    assert (together.boundary, together.unknown) == ("its own marks", "")
    assert (alone.start_up_ms, alone.unknown) == (None, "it is no command, so it has no process of its own")
    assert external_figures(measurement_of(round_of((95, 94), (100, 99)))) == ()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ([{}], None),
        (
            [{"process": use()}],
            "agent y: start-up 45.0 ms, CPU 18.0 ms, peak memory 4.0 MiB; boundary: barrier to last answer",
        ),
        (
            [{"workflow": workflow()}],
            "agent y: own work 12.0 ms before its first request and 3.0 ms after its last answer, workflow 1240 ms; "
            "boundary: its own marks",
        ),
        (
            [{"workflow": workflow()}, {}],
            "agent y: own work 12.0 ms before its first request and 3.0 ms after its last answer, workflow 1240 ms; "
            "boundary: barrier to last answer in 1 of 2 runs, else its own marks",
        ),
        (
            [{"process": replace(use(cpu_ns=None, agents=("y", "z")), peak_rss_bytes=None)}],
            "agent y: start-up 45.0 ms (one program with z) (only Linux tells CPU time and memory); boundary: barrier "
            "to last answer",
        ),
    ],
)
def test_the_line_of_an_agent(changes: list[dict], line: str | None) -> None:
    """It has the known figures only, and always the boundary."""
    assert program_lines(measured(*changes)) == ([] if line is None else [line])


def test_in_the_files() -> None:
    """JSON, its notes, the page; and a record survives its way between processes."""
    made = measured({"process": use(), "workflow": workflow()})
    record = Record(test="perf/test_team.py::test_pair", measurement=made)
    content = json.loads(as_text(document(Run(records=[record], settings=Settings()))))
    (plain,) = content["records"]
    assert [row["part"] for row in plain["external_agents"]] == ["alone", "together"]
    assert plain["external_agents"][1]["peak_rss_mib"] == 4
    assert plain["measurement"]["rounds"][0]["together"][1]["workflow"]["total_ns"] == 1240 * MS
    assert any(note.startswith("agent y: start-up 45.0 ms") for note in plain["notes"])
    assert "<h3>External agents</h3>" in page(content)
    assert "agent y: start-up 45.0 ms" in markdown.page(content)
    assert from_plain(as_plain([record])) == [record]
