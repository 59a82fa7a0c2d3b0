"""Agents that we did not write, in a test as a user writes it."""

import json
import re

import pytest

from pytest_llmperf.judge.baselines import baseline_files

pytestmark = pytest.mark.slow

SUITE = """
    import sys
    import httpx
    import pytest
    from pytest_llmperf import Agent, ExternalAgent, GenerationOptions, Scenario

    async def writer(url):
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            model = (await client.get("/api/tags")).json()["models"][0]["name"]
            body = {"model": model, "prompt": "tell me more", "options": {"num_predict": 48}}
            async with client.stream("POST", "/api/generate", json=body) as answer:
                assert [line async for line in answer.aiter_lines()]

    @pytest.mark.efficiency(min_pct=50)
    def test_team(dual_ollama, run_agents):
        record = run_agents([writer, [sys.executable, "critic.py"]], on=dual_ollama)
        assert [agent.name for agent in record.measurement.scenario.agents] == ["writer", "critic"]
"""

CRITIC = """
import json, os, urllib.request
url, model = os.environ["OLLAMA_HOST"], os.environ["LLMPERF_MODEL"]
body = {"model": model, "messages": [{"role": "user", "content": "and?"}], "options": {"num_predict": 48}}
urllib.request.urlopen(url + "/api/chat", json.dumps(body).encode()).read()
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_team=SUITE)
    (pytester.path / "critic.py").write_text(CRITIC)
    return pytester


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_function_and_a_command(simulated, suite: pytest.Pytester, aftermath, options: tuple[str, ...]) -> None:
    """They are measured, gated, shown, written to JSON and saved, in this process as in xdist workers."""
    result = simulated(*options, "--llmperf-json=run.json", "--llmperf-save=mine", own_process=bool(options))
    result.assert_outcomes(passed=1)
    (row,) = [line for line in result.stdout.lines if line.startswith("test_team on dual ")]
    assert row.split()[-1] == "pass"
    assert "a server's prompt cache may speed up later rounds" in result.stdout.str()
    (record,) = json.loads((suite.path / "run.json").read_text())["records"]
    agents = record["measurement"]["scenario"]["agents"]
    assert agents[0] == {"name": "writer", "run": "test_team.writer", "after": [], "team": ""}
    assert agents[1]["name"] == "critic"
    assert agents[1]["run"][1:] == ["critic.py"]
    assert record["measurement"]["manifest"]["facts"]["runtime"] == "tap"
    runs = [run for round_ in record["measurement"]["rounds"] for run in (*round_["solo"], *round_["together"])]
    assert {request["eval_count"] for run in runs for request in run["requests"]} == {48}
    used = {(run["agent"], run["process"] and tuple(run["process"]["agents"])) for run in runs}
    assert used == {("writer", None), ("critic", ("critic",))}
    assert [row["agent"] for row in record["external_agents"]] == ["writer"] * 2 + ["critic"] * 2
    result.stdout.fnmatch_lines(["note: *agent critic: start-up *; boundary: barrier to last answer"])
    assert len(baseline_files.load(suite.path / "baselines" / "mine.toml").stored) == 1


TEAM = """
import json, os, threading, urllib.request
def ask(name):
    url = os.environ["LLMPERF_BASE_URL_" + name.upper()]
    body = {"model": os.environ["LLMPERF_MODEL"], "prompt": name, "options": {"num_predict": 48}}
    urllib.request.urlopen(url + "/api/generate", json.dumps(body).encode()).read()
for name in os.environ["LLMPERF_AGENTS"].split(","):
    threading.Thread(target=ask, args=[name]).start()
"""


def test_one_program_that_is_two_agents(simulated, pytester: pytest.Pytester, aftermath) -> None:
    """It is gated, recorded for replay and written to every report like two agents."""
    pytester.makepyfile(
        test_team="""
        import sys
        import pytest
        from pytest_llmperf import ExternalTeam, Scenario

        @pytest.mark.efficiency(min_pct=30)
        def test_duo(dual_ollama, run_agents):
            team = ExternalTeam(name="duo", run=[sys.executable, "team.py"], agents=("collector", "insight"))
            run_agents([team], on=dual_ollama, record="duo.jsonl")
            replayed = Scenario.from_recording("duo.jsonl")
            assert [agent.name for agent in replayed.agents] == ["collector", "insight"]
        """
    )
    (pytester.path / "team.py").write_text(TEAM)
    result = simulated("--llmperf-json=run.json", "--llmperf-html=run.html")
    result.assert_outcomes(passed=1)
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    agents = record["measurement"]["scenario"]["agents"]
    assert [(agent["name"], agent["team"]) for agent in agents] == [("collector", "duo"), ("insight", "duo")]
    programs = {row["part"]: row["program"] for row in record["external_agents"] if row["agent"] == "insight"}
    assert programs == {"alone": ["insight"], "together": ["collector", "insight"]}
    assert "one program: collector, insight" in (pytester.path / "run.html").read_text("utf-8")
    result.stdout.fnmatch_lines(["note: *agent collector: start-up * (one program with insight); boundary: *"])


def test_a_warm_up_of_its_own(simulated, pytester: pytest.Pytester, aftermath) -> None:
    """`ollama_warmup` runs such agents as well, and a scenario may mix them with our own."""
    pytester.makepyfile(
        """
        import httpx
        from pytest_llmperf import Agent, ExternalAgent, GenerationOptions, Scenario

        ran = []

        async def work(url):
            ran.append(url)
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                body = {"model": "simulated:scripted", "prompt": "x", "options": {"num_predict": 20}}
                await client.post("/api/generate", json=body)

        MIXED = Scenario(name="mixed", agents=(
            Agent(name="own", prompts=("x",), options=GenerationOptions(num_predict=20)),
            ExternalAgent(name="other", run=work),
        ))

        def test_mixed(single_ollama, ollama_warmup, run_agents):
            ollama_warmup(MIXED, on=single_ollama, times=3)
            assert len(ran) == 3
            assert len(set(ran)) == 3
            record = run_agents(MIXED, on=single_ollama)
            assert len(ran) == 3 + 1 + 2 * len(record.measurement.rounds)
        """
    )
    result = simulated()
    result.assert_outcomes(passed=1)


def test_agents_that_do_not_stream(simulated, pytester: pytest.Pytester, aftermath) -> None:
    """Two that share a slot are contended by its queue; where nobody tells a queue, that is no pass, nor is a TTFT."""
    pytester.makepyfile(
        """
        import httpx
        import pytest
        from pytest_llmperf import ExternalAgent, Scenario

        def team(path):
            async def work(url):
                async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
                    model = (await client.get("/api/tags")).json()["models"][0]["name"]
                    asked = {"messages": [{"role": "user", "content": "hi"}]} if "v1" in path else {"prompt": "hi"}
                    body = {"model": model, "stream": False, "max_tokens": 24, "options": {"num_predict": 24}, **asked}
                    (await client.post(path, json=body)).raise_for_status()
            return Scenario(name="team", agents=tuple(ExternalAgent(name=name, run=work) for name in "ab"))

        @pytest.mark.contention(max_rate=0.2)
        def test_shared(single_ollama, run_agents):
            run_agents(team("/api/generate"), on=single_ollama)

        @pytest.mark.contention(max_rate=0.2)
        def test_untold(dual_ollama, run_agents):
            run_agents(team("/v1/chat/completions"), on=dual_ollama)

        @pytest.mark.ttft(max_ms=1e6)
        def test_first(dual_ollama, run_agents):
            run_agents(team("/api/generate"), on=dual_ollama)
        """
    )
    result = simulated("--llmperf-rounds=3", "--llmperf-max-rounds=3")
    result.assert_outcomes(failed=3)
    shown = result.stdout.str()
    assert re.search(r"on single .* 3 of 3 .*(fail|inconclusive)", shown)
    assert "contention cannot be determined in 3 of 3 rounds: the" in shown
    assert "next: have the agents stream" in shown
    assert "an answer that is not" in shown
    assert "answers were not streamed" in shown


@pytest.mark.parametrize(
    ("agents", "says"),
    [
        ("['curl http://x']", "UsageError: run_agents: a command is a list of words"),
        ("[print]", "ended without a generation request|raised TypeError"),
        ("[]", "UsageError: run_agents: .*needs at least one agent"),
        ("[[sys.executable, '-c', 'import sys; sys.exit(\"no words\")']]", r"ended with exit code 1\n  \| no words"),
    ],
    ids=["text", "no async function", "nobody", "a failing command"],
)
def test_what_cannot_be_run(simulated, pytester: pytest.Pytester, aftermath, agents: str, says: str) -> None:
    """Each fails its test with what is wrong."""
    pytester.makepyfile(
        f"""
        import sys

        def test_it(single_ollama, run_agents):
            run_agents({agents}, on=single_ollama, name="mine")
        """
    )
    result = simulated()
    result.assert_outcomes(failed=1)
    assert re.search(says, result.stdout.str())
