"""The shipped agents behind the tap: all do the same, and an agent that does not is found."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.agent_parity import SentRequest, check_parity, run_for_parity, run_team_for_parity
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.model import ExternalTeam, Scenario, Script, Settings, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.study.agents.agent_programs import AgentBuilds, AgentProgram, read_agents

TABLE = Path(__file__).parents[3] / "perf_suites" / "agents" / "agents.toml"
SMALL = ("python-httpx", "python-ollama", "python-aiohttp", "python-uvloop", "go", "node")
"""Those that are built in seconds and from what is here; cargo asks its registry, also for one binary."""

Run = Callable[..., tuple[SentRequest, ...]]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBuilds]:
    """Builds in a folder of this run, or in that of `make languages`, which keeps it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = os.environ.get("LLMPERF_AGENTS_BUILD") or str(tmp_path_factory.mktemp("build"))
        patch.setenv("LLMPERF_AGENTS_BUILD", folder)
        yield AgentBuilds()


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """`run(program, *words)`: the requests of a program behind the tap, its server scripted."""
    script = Script(ttft_ms=1, prefill_tok_s=100_000, decode_tok_s=5_000, load_ms=0)
    settings = Settings(backend="simulated", script=script)
    with choose(settings).open(TopologyKind.SINGLE, 1) as opened, contextlib.closing(Tap()) as tap:
        url, model = opened.topology.instances[0].url, opened.topology.model

        def run_program(command: tuple[str, ...], *words: str) -> tuple[SentRequest, ...]:
            member = Member(label="agent x", url=url, run=(*command, *words))
            return run_for_parity(member, tap=tap, model=model, timeout_s=120)

        yield run_program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of the three kinds, and one that is not read."""
    files = tmp_path / "files"
    files.mkdir()
    for number in range(4):
        (files / f"run{number}.csv").write_text(f"request,tok_s\n1,{90 + number}.27\n2,101.5\n", encoding="utf-8")
        (files / f"config{number}.json").write_text(json.dumps({"name": f"c{number}"}), encoding="utf-8")
        (files / f"notes{number}.md").write_text("# Notes\n\nslower than  before\n", encoding="utf-8")
    (files / "other.txt").write_text("not read", encoding="utf-8")
    return files


def selected(names: tuple[str, ...] | None) -> dict[str, AgentProgram]:
    agents = read_agents(TABLE)
    present = {name: agents[name] for name in names or agents if not agents[name].missing}
    missing = sorted({program for name in names or agents for program in agents[name].missing})
    if missing:
        print(f"passed over, not on PATH: {', '.join(missing)}")
    return present


def check_all(names: tuple[str, ...] | None, run: Run, builds: AgentBuilds, folder: Path, reports: Path) -> None:
    requests, written = {}, {}
    for mode in (("plain",), ("workflow", str(folder))):
        for name, program in selected(names).items():
            builds.build(name, program)
            place = reports / mode[0] / name
            place.mkdir(parents=True)
            requests[name] = run(program.run, *mode, str(place))
            if name != "null":
                written[name] = (place / "agent.md").read_bytes()
        check_parity(requests, written)
        name, report = next(iter(written.items()))
        first, second = requests[name]
        assert first.body["prompt"] != second.body["prompt"]
        assert first.streamed
        assert (first.connection, second.connection) == (0, 1)
        assert report.decode() == f"# Report\n\n## Analysis\n\n{first.answer}\n\n## Report\n\n{second.answer}\n"
        assert first.answer


@pytest.mark.slow
@pytest.mark.parametrize("program", ["go", "node"])
def test_the_language_is_there(program: str) -> None:
    """Says in the summary which agents the next test passes over."""
    if shutil.which(program) is None:
        pytest.skip(f"no {program} on PATH: its agents are not tested")


@pytest.mark.slow
def test_the_small_agents_do_the_same(run: Run, builds: AgentBuilds, folder: Path, tmp_path: Path) -> None:
    """Requests and reports, in both modes."""
    check_all(SMALL, run, builds, folder, tmp_path / "reports")


@pytest.mark.long
def test_all_agents_do_the_same(run: Run, builds: AgentBuilds, folder: Path, tmp_path: Path) -> None:
    """With every runtime of Rust, whose first build takes minutes."""
    check_all(None, run, builds, folder, tmp_path / "reports")


@pytest.mark.slow
def test_a_shipped_agent_as_a_team(builds: AgentBuilds, tmp_path: Path) -> None:
    """Both agents in one program, with their marks; each alone and together sends the same requests."""
    program = read_agents(TABLE)["python-httpx"]
    builds.build("python-httpx", program)
    names = ("collector", "insight")
    team = ExternalTeam(name="duo", run=(*program.run, "plain", str(tmp_path)), agents=names)
    script = Script(ttft_ms=1, prefill_tok_s=100_000, decode_tok_s=5_000, load_ms=0)
    with (
        choose(Settings(backend="simulated", script=script)).open(TopologyKind.DUAL, 2) as opened,
        contextlib.closing(Tap()) as tap,
    ):
        scenario = Scenario(name="team", agents=(team,))
        rounds = Rounds(scenario, opened.topology, runtime=runtime_of("threads"), timeout_s=120, tap=tap)
        result = rounds.run(0)
        members = [
            Member(label=f"agent {name}", url=instance.url, run=team.run, team="duo", team_agents=names)
            for name, instance in zip(names, opened.topology.instances, strict=True)
        ]
        sent = run_team_for_parity(members, tap=tap, model=opened.topology.model, timeout_s=120)
    check_parity(dict(zip(names, sent, strict=True)), {})
    for run in (*result.solo, *result.together):
        assert len(run.requests) == 2
        assert run.workflow is not None
        assert run.process is not None
        assert run.process.agents == (names if run in result.together else (run.agent,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["collector.md", "insight.md"]


AGENT = """
import http.client, json, os, uuid
host = os.environ["LLMPERF_BASE_URL"].removeprefix("http://")
kept = http.client.HTTPConnection(host)
def ask(path="/api/generate", keep=False, **changes):
    body = {"model": os.environ["LLMPERF_MODEL"], "prompt": uuid.uuid4().hex + " Hello", "stream": True, **changes}
    connection = kept if keep else http.client.HTTPConnection(host)
    connection.request("POST", path, json.dumps(body))
    connection.getresponse().read()
    if not keep:
        connection.close()
"""

WRONG = {
    "GOOD; ask(options={'seed': 43})": "request 2: body.options.seed: wanted 42, got 43",
    "GOOD; ask()": "request 2: body.options",
    "GOOD; GOOD; GOOD": "request 3: wanted no request, got POST /api/generate",
    "GOOD": "request 2: wanted POST /api/generate, got no request",
    "GOOD; ask(options={'seed': 42}, stream=False)": "request 2: streaming: wanted True, got False",
    "KEPT; KEPT": "request 2: connection: wanted 1, got 0",
    "GOOD; ask(options={'seed': 42}, prompt='Hello')": "request 2: body.prompt: .*no prefix",
}


@pytest.fixture(scope="module")
def good(run: Run) -> tuple[SentRequest, ...]:
    """What an agent that keeps to the specification asks."""
    return run((sys.executable, "-c", AGENT + "ask(options={'seed': 42}); ask(options={'seed': 42})"))


@pytest.mark.slow
@pytest.mark.parametrize("code", WRONG)
def test_a_difference_is_found(run: Run, good: tuple[SentRequest, ...], code: str) -> None:
    """One field, one request, no streaming, a kept connection, no prefix."""
    code_run = code.replace("GOOD", "ask(options={'seed': 42})").replace("KEPT", "ask(options={'seed': 42}, keep=True)")
    wrong = run((sys.executable, "-c", AGENT + code_run))
    with pytest.raises(MeasurementError, match="wrong differs from good in " + WRONG[code]):
        check_parity({"good": good, "wrong": wrong}, {})


def test_another_report_is_found() -> None:
    """The first line that differs; other answers of the server are no difference."""

    def asked(answer: str) -> tuple[SentRequest, ...]:
        return (SentRequest(method="POST", path="/", body=None, streamed=True, connection=0, answer=answer),)

    requests = {"a": asked("sea"), "b": asked("sky")}
    check_parity(requests, {"a": b"# Report\nsea\n", "b": b"# Report\nsky\n"})
    with pytest.raises(
        MeasurementError, match=r"b differs from a in its report: line 2: wanted b'\(answer 1\)', got b'sk'"
    ):
        check_parity(requests, {"a": b"# Report\nsea\n", "b": b"# Report\nsk\n"})
