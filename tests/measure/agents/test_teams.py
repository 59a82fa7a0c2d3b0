"""One program that is several agents: each is measured as an agent of its own, alone and together."""

import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.diagnosis.answer_notes import notes_of_answers
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.model import ExternalTeam, Measurement, Round, Script, Settings, Topology, TopologyKind, scenario_of
from pytest_llmperf.servers.backends import choose
from tests.judge.build import round_of

NAMES = ("collector", "insight")

PROGRAM = """
import json, os, sys, threading, urllib.request
def ask(name):
    url = os.environ["LLMPERF_BASE_URL_" + name.upper()]
    assert sys.argv[1 + ["collector", "insight"].index(name)] == url, sys.argv
    assert name == names[0] or url != os.environ["OLLAMA_HOST"], url
    post = lambda path, data: urllib.request.urlopen(url + path, data).read()
    post("/llmperf/begin", b"")
    body = {"model": os.environ["LLMPERF_MODEL"], "prompt": name, "options": {"num_predict": 30}}
    post("/api/generate", json.dumps(body).encode())
    post("/llmperf/end", b"")
names = os.environ["LLMPERF_AGENTS"].split(",")
known = {name for name in os.environ if name.startswith("LLMPERF_BASE_URL_")}
assert known == {"LLMPERF_BASE_URL_" + name.upper() for name in names}, known
assert [name for name, url in zip(["collector", "insight"], sys.argv[1:3]) if url] == names, sys.argv
threads = [threading.Thread(target=ask, args=[name]) for name in names[:int(sys.argv[4])]]
for thread in threads:
    thread.start()
    if sys.argv[3] == "serial":
        thread.join()
"""


SERIAL = re.compile("team duo runs its agents one after the other: in no round were requests of two of them under way")


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with contextlib.closing(Tap()) as made:
        yield made


@pytest.fixture(scope="module")
def dual() -> Iterator[Topology]:
    """Two simulated servers; an answer takes long beside everything else that the program does."""
    script = Script(ttft_ms=20, prefill_tok_s=20_000, decode_tok_s=200, load_ms=0)
    with choose(Settings(backend="simulated", script=script)).open(TopologyKind.DUAL, 2) as opened:
        yield opened.topology


def team(folder: Path, mode: str, *, at_most: int = 2) -> ExternalTeam:
    path = folder / "team.py"
    path.write_text(PROGRAM)
    run = (sys.executable, str(path), "{url:collector}", "{url:insight}", mode, str(at_most))
    return ExternalTeam(name="duo", run=run, agents=NAMES)


def rounds_of(given: ExternalTeam, topology: Topology, tap: Tap) -> Rounds:
    scenario = scenario_of([given], name="team")
    return Rounds(scenario, topology, runtime=runtime_of("threads"), timeout_s=120, tap=tap)


def measured(round_: Round, given: ExternalTeam, topology: Topology) -> Measurement:
    return Measurement(scenario=scenario_of([given], name="team"), topology=topology, rounds=(round_,))


@pytest.mark.parametrize("mode", ["threads", "serial"])
def test_each_agent_alone_and_all_together(
    tmp_path: Path, dual: Topology, tap: Tap, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Each with its address, its marks and its instance, in one process; one that serialises them is named."""
    monkeypatch.setenv("LLMPERF_BASE_URL_INSIGHT", "http://127.0.0.1:9")  # of the caller, for another program
    given = team(tmp_path, mode)
    result = rounds_of(given, dual, tap).run(0)
    for runs, programs in ((result.solo, [("collector",), ("insight",)]), (result.together, [NAMES, NAMES])):
        assert [run.agent for run in runs] == list(NAMES)
        assert [run.instance for run in runs] == ["a", "b"]
        assert [run.process.agents if run.process else () for run in runs] == programs
        assert [(len(run.requests), run.eval_count) for run in runs] == [(1, 30), (1, 30)]
        assert all(run.workflow for run in runs)
    assert len({run.start_ns for run in result.together}) == 1
    if mode == "serial":
        first, second = result.together
        assert first.requests[0].done_ns <= second.requests[0].sent_ns
        assert second.client_ns < second.requests[0].sent_ns - second.start_ns  # it waited for the first, not the tap
        assert any(map(SERIAL.match, notes_of_answers(measured(result, given, dual))))


def test_overlapping_requests_are_not_serial(tmp_path: Path, dual: Topology) -> None:
    """One round in which two agents have requests under way is enough."""
    given = team(tmp_path, "threads")
    apart = round_of((95, 94), (100, 99))
    first, second = apart.together
    later = replace(second.requests[0], sent_ns=first.requests[0].done_ns, done_ns=first.requests[0].done_ns + 1)
    apart = replace(apart, together=(first, replace(second, requests=(later,))))
    together = round_of((95, 94), (100, 99), index=1)
    for rounds, serial in (((apart,), True), ((apart, together), False), ((), False)):
        measurement = replace(measured(apart, given, dual), rounds=rounds)
        assert any(map(SERIAL.match, notes_of_answers(measurement))) is serial


def test_an_agent_that_the_program_does_not_run(tmp_path: Path, dual: Topology, tap: Tap) -> None:
    """The error names it and its address, not the agent that was run."""
    with pytest.raises(
        MeasurementError, match=r"agent insight.*: team 'duo' ended without a generation request"
    ) as caught:
        rounds_of(team(tmp_path, "threads", at_most=1), dual, tap).run(2)
    assert "LLMPERF_BASE_URL_INSIGHT or {url:insight}" in caught.value.next_step


def test_a_program_that_fails(tmp_path: Path, dual: Topology, tap: Tap) -> None:
    """As that of a single agent: with the end of its output."""
    given = ExternalTeam(name="duo", run=(sys.executable, "-c", "raise SystemExit('broken')"), agents=NAMES)
    with pytest.raises(MeasurementError, match=r"agent collector.*ended with exit code 1\n  \| broken"):
        rounds_of(given, dual, tap).run(2)
