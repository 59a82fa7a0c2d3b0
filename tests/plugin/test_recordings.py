"""Recorded agents in a test as a user writes it: replayed, stored, compared."""

import json
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.model import AsyncAgent, ExternalAgent, Scenario, Script, Settings, TopologyKind
from pytest_llmperf.recordings.recorded_requests import RecordedRequest, Recording
from pytest_llmperf.recordings.recording_file import RecordingTarget, read_recording, write_recording
from pytest_llmperf.session.session import Session

REPLAY = """
    from pytest_llmperf import Scenario

    def test_team(dual_ollama, run_agents):
        run_agents(Scenario.from_recording("team.jsonl"), on=dual_ollama)
"""


def ask(id_: int, agent: str, text: str, *, after: tuple[int, ...] = (), pause_ms: float = 0.0) -> RecordedRequest:
    body = {
        "model": "recorded:1b",
        "messages": [{"role": "user", "content": text}],
        "options": {"num_predict": 16 + id_, "seed": 1, "temperature": 0},
    }
    return RecordedRequest(id=id_, agent=agent, path="/api/chat", body=body, after=after, pause_ms=pause_ms)


TEAM = (
    ask(1, "writer", "plan"),
    ask(2, "critic", "judge"),
    ask(3, "writer", "write", after=(1,), pause_ms=120),
    ask(4, "writer", "look it up", after=(1,), pause_ms=125),
    ask(5, "writer", "end", after=(3, 4), pause_ms=10),
)
ONE_MORE = (*TEAM, ask(6, "critic", "judge again", after=(2,)))


def write(path: Path, *requests: RecordedRequest) -> Recording:
    recording = Recording(agents=("writer", "critic"), requests=requests, model="recorded:1b")
    write_recording(RecordingTarget(file=path), recording)
    return recording


def test_ten_replays_do_the_same_work(simulated, pytester: pytest.Pytester) -> None:
    """The same requests in every round, alone and together, with pauses; the record says which recording it was."""
    recording = write(pytester.path / "team.jsonl", *TEAM)
    pytester.makepyfile(REPLAY)
    result = simulated("--llmperf-json=run.json", "--llmperf-rounds=10", "--llmperf-max-rounds=10")
    result.assert_outcomes(passed=1)
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    measurement = record["measurement"]
    writer, critic = measurement["scenario"]["agents"]
    assert (writer["name"], critic["name"]) == ("writer", "critic")
    assert writer["recording"] == critic["recording"] == recording.short_sha256
    assert "requests" not in writer
    said = f"{recording.short_sha256}: writer 4 requests, critic 1 request"
    assert measurement["manifest"]["facts"]["recording"] == said
    assert recording.short_sha256 in measurement["scenario"]["source"]
    assert len(measurement["rounds"]) == 10
    for round_ in measurement["rounds"]:
        for part in ("solo", "together"):
            first, second = round_[part]
            assert [request["eval_count"] for request in first["requests"]] == [17, 19, 20, 21]
            assert [request["eval_count"] for request in second["requests"]] == [18]
            plan, write_, look, end = first["requests"]
            assert write_["sent_ns"] - plan["done_ns"] >= 120e6
            assert look["sent_ns"] - plan["done_ns"] >= 125e6
            assert look["sent_ns"] < write_["done_ns"]  # both under way at once
            assert end["sent_ns"] - max(write_["done_ns"], look["done_ns"]) >= 10e6


def test_pauses_are_cut(simulated, pytester: pytest.Pytester) -> None:
    write(pytester.path / "team.jsonl", *TEAM)
    pytester.makepyfile(REPLAY.replace('"team.jsonl"', '"team.jsonl", max_pause_s=0, name="quick"'))
    simulated("--llmperf-json=run.json", "--llmperf-rounds=1", "--llmperf-max-rounds=1").assert_outcomes(passed=1)
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    assert record["measurement"]["scenario"]["name"] == "quick"
    plan, write_, *_ = record["measurement"]["rounds"][0]["together"][0]["requests"]
    assert write_["sent_ns"] - plan["done_ns"] < 120e6


def test_a_slower_server_is_told_from_other_work(simulated, pytester: pytest.Pytester) -> None:
    """A server that is 10 % slower fails the comparison; one more request of an agent is refused as other work."""
    write(pytester.path / "team.jsonl", *TEAM)
    pytester.makepyfile(REPLAY.replace('"team.jsonl"', '"team.jsonl", max_pause_s=0'))
    for _ in range(4):
        simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    simulated("--llmperf-compare=mine").assert_outcomes(passed=1)
    slower = simulated(
        "--llmperf-compare=mine", "--llmperf-script=decode_tok_s=240,ttft_ms=33,load_ms=1,jitter_pct=0.2"
    )
    slower.assert_outcomes(failed=1)
    slower.stdout.fnmatch_lines(["gate regression (*): * is worse than the baseline's *"])
    changed = write(pytester.path / "team.jsonl", *ONE_MORE)
    refused = simulated("--llmperf-compare=mine")
    refused.assert_outcomes(failed=1)
    refused.stdout.fnmatch_lines(
        [
            f"*no stored session of *recording {changed.short_sha256}: writer 4 requests, critic 2 requests*"
            "critic 1 request: the recording was changed, so this is other work, not a slower server",
            "*next: *",
        ]
    )


@pytest.mark.slow
def test_agents_that_wait_for_others_are_recorded_so(tmp_path: Path) -> None:
    """In a run that only records: the critic starts when the writer has ended, and its first request says so."""

    def asking(text: str, times: int) -> AsyncAgent:
        async def agent(url: str) -> None:
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
                model = (await client.get("/api/tags")).json()["models"][0]["name"]
                body = {"model": model, "prompt": text, "options": {"num_predict": 4}}
                for _ in range(times):
                    (await client.post("/api/generate", json=body)).raise_for_status()

        return agent

    critic = ExternalAgent(name="critic", run=asking("judge", 1), after=("writer",))
    scenario = Scenario(name="team", agents=(critic, ExternalAgent(name="writer", run=asking("write", 2))))
    path = tmp_path / "team.jsonl"
    settings = Settings(backend="simulated", script=Script(ttft_ms=1, load_ms=1, decode_tok_s=2000))
    with Session(settings, root=tmp_path) as session:
        recorded = session.record(scenario, TopologyKind.SINGLE_PARALLEL, RecordingTarget(file=str(path)))
    assert (recorded.end, recorded.failure) == ("complete", None)
    requests = [(request.agent, request.after) for request in read_recording(path).requests]
    assert requests == [("writer", ()), ("writer", (1,)), ("critic", (2,))]


def test_what_cannot_be_replayed_fails_the_test_with_its_line(simulated, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(REPLAY)
    write(pytester.path / "team.jsonl", *TEAM)
    path = pytester.path / "team.jsonl"
    path.write_text(path.read_text().replace('"id": 2', '"id": 1'))
    result = simulated()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*team.jsonl, line 3: id 1 is there before*", "*next: correct the line*"])


RECORD = """
    import asyncio, httpx, os

    async def writer(url):
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            model = (await client.get("/api/tags")).json()["models"][0]["name"]
            def chat(text):
                messages = [{"role": "user", "content": text}]
                body = {"model": model, "messages": messages, "options": {"num_predict": 4}, "user": "bob"}
                return client.post("/api/chat", json=body)
            await chat("plan, with token=" + os.environ["MY_TOKEN"])
            await asyncio.gather(chat("left"), chat("right"))

    async def critic(url):
        await writer(url)

    def test_team(dual_ollama, run_agents):
        run_agents([writer, critic], on=dual_ollama, record="team.jsonl")
"""


@pytest.mark.slow
def test_the_first_round_is_recorded_and_replayed(
    simulated, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`record=` writes what both asked, without secrets; the file is replayed with the same counts."""
    monkeypatch.setenv("MY_TOKEN", "correct-horse-battery")
    pytester.makepyfile(RECORD)
    result = simulated("--llmperf-rounds=2", "--llmperf-max-rounds=2")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*recorded 6 requests of 2 agents in team.jsonl*"])
    recording = read_recording(pytester.path / "team.jsonl")
    assert "correct-horse" not in (pytester.path / "team.jsonl").read_text()
    assert recording.agents == ("writer", "critic")
    for agent in recording.agents:
        first, second, third = recording.of(agent)
        assert first.after == ()
        assert second.after == third.after == (first.id,)
        assert [request.output_tokens for request in (first, second, third)] == [4, 4, 4]
        assert first.body["messages"][0]["content"] == "plan, with token=***"
    pytester.makepyfile(REPLAY)
    replayed = simulated("--llmperf-json=run.json", "--llmperf-rounds=2", "--llmperf-max-rounds=2")
    replayed.assert_outcomes(passed=1)
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    assert [note for note in record["notes"] if "other token counts" in note] != []  # the secret is shorter now
    for round_ in record["measurement"]["rounds"]:
        assert [len(run["requests"]) for run in round_["together"]] == [3, 3]
