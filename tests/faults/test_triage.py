"""`--llmperf-diagnose`: after the rounds, real servers answer each question; what is wrong with them is found."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_llmperf.judge.diagnosis.triage import State
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import Settings, TopologyKind
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.terminal.summary_table import SummaryStyle, table
from pytest_llmperf.report.terminal.triage_text import triage_lines
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault, FaultPlan
from pytest_llmperf.session.session import Session
from tests.faults.causes import USUAL
from tests.faults.conftest import FAST, PAIR
from tests.servers.clients.test_openai_client import serving

QUESTIONS = (
    "alive", "versions", "model", "context", "memory", "others", "baseline", "client", "machine", "loss",
)  # fmt: skip
ALWAYS = {"instance": "b", "first": 1, "last": 10**6}
AFTER = {"instance": "b", "first": 6, "last": 6}
"""As soon as the last request of two rounds has ended."""


def triaged(attached, *faults: Fault, script=FAST, **settings: object) -> Record:
    session, _ = attached(FaultPlan(faults=faults), script, diagnose=True, **settings)
    record = session.measure(PAIR, TopologyKind.DUAL, test="t")
    session.close()
    return record


def states(record: Record) -> dict[str, State]:
    return {finding.question: finding.state for finding in record.triage}


def test_where_all_is_well(attached) -> None:
    """What is well is one line, at -v a line a question; JSON and controllers have the same.

    What client, machine and loss are like depends on how busy this machine is.
    """
    record = triaged(attached, script=USUAL)
    assert tuple(states(record)) == QUESTIONS
    assert {states(record)[question] for question in QUESTIONS[:6]} == {State.OK}, record.triage
    assert states(record)["baseline"] is State.UNKNOWN
    quiet, lines = (
        [line for line, _ in table([record], SummaryStyle(columns=200, verbosity=each))] for each in (-1, 1)
    )
    (fine,) = [line.split(maxsplit=1)[1].split(", ") for line in quiet if line.startswith("  ok ")]
    assert fine == [question for question, state in states(record).items() if state is State.OK]
    assert [line for line in quiet if line.startswith("  not known  baseline  ")]
    (start,) = [index for index, line in enumerate(lines) if line.startswith("triage of pair on dual: ")]
    assert [line[13:].split()[0] for line in lines[start + 1 : start + 11]] == list(QUESTIONS)
    assert "  ok         model     simulated:scripted, the same on a and b" in lines
    (plain,) = json.loads(as_text(document(Run(records=[record], settings=Settings()))))["records"]
    assert [(finding["question"], finding["state"], finding["said"]) for finding in plain["triage"]] == [
        (finding.question, str(finding.state), finding.said) for finding in record.triage
    ]
    assert from_plain(as_plain([record]))[0].triage == record.triage


@pytest.mark.parametrize(
    ("fault", "question", "says"),
    [
        (Fault(kind="spill", factor=0.4, **ALWAYS), "memory", "instance b: 60 % of the model"),
        (
            Fault(kind="other_version", version="9-simulated", **ALWAYS),
            "versions",
            "(a 0.0.0-simulated, b 9-simulated)",
        ),
        (
            Fault(kind="restart", version="9-simulated", **AFTER),
            "versions",
            "instance b answers as version 9-simulated, it",
        ),
        (Fault(kind="small_context", num_ctx=512, **ALWAYS), "context", "different contexts: 4096 and 512 tokens"),
        (Fault(kind="unload", **AFTER), "context", "instance b does not report the model as loaded"),
        (Fault(kind="traffic", tokens=400, instance="b", first=2, last=2), "others", "another client uses it"),
        (
            Fault(kind="slow_acquire", seconds=0.1, **ALWAYS),
            "loss",
            "y on instance b waits for the model to load, even alone",
        ),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_is_wrong_is_found(fault: Fault, question: str, says: str, attached) -> None:
    """By the question that it belongs to, with the words of the diagnosis."""
    record = triaged(attached, fault)
    (finding,) = [finding for finding in record.triage if finding.question == question]
    assert finding.state is State.FOUND
    assert says in finding.said
    assert states(record)["alive"] is State.OK


def test_a_server_that_is_gone(attached) -> None:
    """Its address is reported; facts that only it could report are unknown; findings from the rounds remain."""
    record = triaged(attached, Fault(kind="refuse", **AFTER))
    assert record.triage[0].state is State.FOUND
    assert record.triage[0].said.startswith("instance b (http://127.0.0.1:")
    assert {states(record)[question] for question in QUESTIONS[1:6]} == {State.UNKNOWN}
    assert tuple(states(record)) == QUESTIONS


def test_a_server_that_tells_nothing(tmp_path: Path) -> None:
    """For an OpenAI-compatible server, the only known fact is that it is alive."""
    with ExitStack() as stack:
        urls = tuple(stack.enter_context(serving("m"))[0] for _ in "ab")
        given = {"min_rounds": 2, "max_rounds": 2, "calibrate": False, "diagnose": True}
        session = Session(Settings(backend="openai", urls=urls, **given), root=tmp_path)
        stack.callback(session.close)
        record = session.measure(PAIR, TopologyKind.DUAL, test="t")
    assert states(record)["alive"] is State.OK
    assert {finding.said for finding in record.triage[1:6]} == {"this API does not say"}


def test_one_agent_has_nothing_to_lose(attached) -> None:
    """That question has no answer then; the others have theirs."""
    session, _ = attached(FaultPlan(), diagnose=True)
    alone = type(PAIR)(name="one", agents=PAIR.agents[:1])
    record = session.measure(alone, TopologyKind.SINGLE, test="t")
    session.close()
    assert states(record)["loss"] is State.UNKNOWN
    assert states(record)["model"] is State.OK


def test_nobody_asked(attached) -> None:
    """Without the option nothing is asked and nothing said."""
    session, _ = attached(FaultPlan())
    record = session.measure(PAIR, TopologyKind.DUAL, test="t")
    session.close()
    assert record.triage == ()
    assert triage_lines([record]) == []


def test_many_measurements_fit_a_screen(attached) -> None:
    """For several measurements only findings are shown, and never more than a screen of them."""
    record = triaged(attached, Fault(kind="spill", factor=0.4, **ALWAYS))
    lines = triage_lines([record] * 2)
    assert all(line.startswith(("triage of", "  found")) for line in lines)
    many = triage_lines([record] * 40)
    assert len(many) == 25
    assert many[-1].startswith("  and ")
