"""Recordings as scenarios."""

from pathlib import Path

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.baselines.lookup import fingerprint
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import Instance, Measurement, Scenario, Topology, TopologyKind, Workload, steps_of
from pytest_llmperf.model.workload.recorded_agent import recorded_agents
from pytest_llmperf.recordings.recorded_requests import RecordedRequest, Recording
from pytest_llmperf.recordings.recording_file import RecordingTarget, write_recording


def asked(id_: int, agent: str, *after: int, pause_ms: float = 0.0, **body: object) -> RecordedRequest:
    body = {"options": {"num_ctx": 2048, "num_predict": 5}, **body}
    return RecordedRequest(id=id_, agent=agent, path="/api/chat", after=after, pause_ms=pause_ms, body=body)


TEAM = Recording(
    agents=("planner", "worker"),
    requests=(
        asked(1, "planner"),
        asked(2, "worker", 1, pause_ms=4000),
        asked(3, "worker", 2, pause_ms=100),
        asked(4, "planner", 3, pause_ms=500),
    ),
    end="interrupted",
)


def written(tmp_path: Path, recording: Recording = TEAM) -> Path:
    path = tmp_path / "team.jsonl"
    write_recording(RecordingTarget(file=path), recording)
    return path


def test_a_recording_is_a_scenario(tmp_path: Path) -> None:
    """Named after its file; the source says which it is, and that it is not complete."""
    scenario = Scenario.from_recording(written(tmp_path))
    assert [agent.name for agent in scenario.agents] == ["planner", "worker"]
    assert scenario.name == "team"
    assert scenario.source == f"recording team.jsonl (sha256 {TEAM.short_sha256}), not complete: interrupted"
    assert scenario.recording == f"{TEAM.short_sha256}: planner 2 requests, worker 2 requests"
    assert not scenario.external
    assert not scenario.ours
    assert scenario.agents[0].options.num_ctx == 2048
    assert Scenario.from_recording(str(tmp_path / "team.jsonl"), name="crew").name == "crew"


def test_requests_wait_for_those_of_other_agents_and_their_own(tmp_path: Path) -> None:
    """The planner's second request waits for the worker's last, and so for its own first, which it needs alone."""
    scenario = Scenario.from_recording(written(tmp_path))
    assert scenario.graph
    planner, worker = steps_of(scenario.agents)
    assert [set(step.waits_for) for step in planner] == [set(), {(0, 0), (1, 1)}]
    assert [set(step.waits_for) for step in worker] == [{(0, 0)}, {(1, 0)}]
    assert [step.think_ns for step in worker] == [4_000_000_000, 100_000_000]
    (alone,) = steps_of(scenario.agents[:1])
    assert [step.waits_for for step in alone] == [(), ((0, 0),)]


@pytest.mark.parametrize(("most", "pauses_ms"), [(None, [4000, 100]), (2, [2000, 100]), (0, [0, 0])])
def test_pauses_are_cut(tmp_path: Path, most: float | None, pauses_ms: list[float]) -> None:
    scenario = Scenario.from_recording(written(tmp_path), max_pause_s=most)
    assert [step.pause_ms for step in scenario.agents[1].steps] == pauses_ms
    assert ("pauses of at most" in scenario.source) == (most is not None)


@pytest.mark.parametrize("wrong", [-1, float("inf"), float("nan"), "2"])
def test_a_wrong_limit_of_pauses_is_an_error(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"max_pause_s is .*, wanted seconds, 0 or more"):
        Scenario.from_recording(written(tmp_path), max_pause_s=wrong)


def test_a_long_recording_is_read_as_a_short_one_is() -> None:
    """Thousands of requests in turn, of two agents: each knows the one of its own agent that it waits for."""
    count = 4000
    requests = tuple(asked(id_, "ab"[id_ % 2], *range(max(1, id_ - 1), id_)) for id_ in range(1, count + 1))
    for agent in recorded_agents(Recording(agents=("a", "b"), requests=requests)):
        assert len(agent.steps) == count // 2
        for step in agent.steps:
            assert step.after == tuple(id_ for id_ in (step.id - 2, step.id - 1) if id_ > 0)


def test_a_missing_recording_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.jsonl cannot be read"):
        Scenario.from_recording(tmp_path / "none.jsonl")


def test_the_fingerprint_is_that_of_the_requests_and_their_pauses() -> None:
    """Another request, body, edge or pause is other work; the file's notes and the workload of a baseline are not."""

    def of(*requests: RecordedRequest, **more: object) -> str:
        recording = Recording(agents=("planner", "worker"), requests=requests)
        return fingerprint(Scenario(name="x", agents=recorded_agents(recording, **more)))

    same = of(*TEAM.requests)
    assert same == of(*TEAM.requests)
    first, second, third, _ = TEAM.requests
    assert len({same, of(first, second, third), of(first, second, third, asked(4, "planner", 3, pause_ms=501))}) == 3
    assert same != of(*TEAM.requests, max_pause_ms=1000)
    assert same != of(first, second, third, asked(4, "planner", 3, pause_ms=500, seed=1))
    assert same != of(first, second, third, asked(4, "planner", 2, 3, 1, pause_ms=500))
    scenario = Scenario(name="x", agents=recorded_agents(TEAM))
    assert scenario.scaled(Workload(reason="small", num_predict=1)) is scenario


def test_a_record_keeps_the_hash_and_not_the_requests() -> None:
    """As JSON and to a pytest-xdist controller; what was read back still has its fingerprint and its edges."""
    scenario = Scenario(name="x", agents=recorded_agents(TEAM))
    topology = Topology(kind=TopologyKind.SINGLE, instances=(Instance(name="a", url="u"),), model="m", backend="x")
    record = Record(test="t", measurement=Measurement(scenario=scenario, topology=topology, rounds=()))
    (plain,) = as_plain([record])
    assert set(plain["measurement"]["scenario"]["agents"][0]) == {"name", "recording", "work", "steps"}
    (read,) = from_plain([plain])
    again = read.measurement.scenario
    assert (again.recording, fingerprint(again)) == (scenario.recording, fingerprint(scenario))
    assert steps_of(again.agents) == steps_of(scenario.agents)
