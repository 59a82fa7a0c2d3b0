"""The table of agents, and builds."""

import sys
from pathlib import Path

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.study.agents.agent_programs import AgentBuilds, AgentProgram, read_agents

SHIPPED = Path(__file__).parents[3] / "perf_suites" / "agents" / "agents.toml"


def program(*build: str, requires: tuple[str, ...] = ()) -> AgentProgram:
    return AgentProgram(language="python", runtime="none", run=("true",), build=build, requires=requires)


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_the_shipped_table_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All languages, each with files that exist, and no place left open."""
    monkeypatch.setenv("LLMPERF_AGENTS_BUILD", str(tmp_path))
    agents = read_agents(SHIPPED)
    assert {agent.language for agent in agents.values()} == {"python", "rust", "go", "node"}
    words = [word for agent in agents.values() for word in (*agent.run, *agent.build)]
    assert [word for word in words if "{" in word] == []
    assert [word for word in words if word.startswith(str(SHIPPED.parent)) and not Path(word).exists()] == []
    for agent in agents.values():
        name = Path(agent.run[0]).name
        if agent.language == "rust" and name != "null":
            assert (SHIPPED.parent / "rust" / "src" / "bin" / f"{name}.rs").exists()


def test_an_agent_in_five_lines(tmp_path: Path) -> None:
    """What a team writes for its own agent."""
    table = tmp_path / "agents.toml"
    table.write_text(
        '[agents.ours]\nlanguage = "java"\nruntime = "loom"\nrun = ["java", "{agents}/A.java"]\n'
        'requires = ["no-such-java"]\n',
        encoding="utf-8",
    )
    agent = read_agents(table)["ours"]
    assert agent.run == ("java", str(tmp_path.resolve() / "A.java"))
    assert agent.missing == ("no-such-java",)
    with pytest.raises(UsageError, match="agent ours: no-such-java is not on PATH"):
        AgentBuilds().build("ours", agent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wanted tables"),
        ("[agents", "agents.toml: "),
        ('[agents.a]\nlanguage = "c"\nruntime = "x"\nrun = ["a"]\nbild = ["cc"]\n', "bild: unknown key.*build"),
        ('[agents.a]\nlanguage = 3\nruntime = "x"\nrun = ["a"]\n', "language: got 3, wanted text"),
        ('[agents.a]\nlanguage = "c"\nruntime = "x"\nrun = []\n', "run: wanted a program"),
    ],
)
def test_a_wrong_table(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "agents.toml"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_agents(table)


def test_a_build_runs_once(tmp_path: Path) -> None:
    """Though several agents share it."""
    command = python(f"open({str(tmp_path / 'log')!r}, 'a').write('x')")
    builds = AgentBuilds()
    builds.build("a", program(*command))
    builds.build("b", program(*command))
    assert (tmp_path / "log").read_text(encoding="utf-8") == "x"


def test_a_failed_build_shows_its_output() -> None:
    with pytest.raises(UsageError, match=r"(?s)agent a: the build ended with 3: .*error: no such crate"):
        AgentBuilds().build("a", program(*python("print('error: no such crate'); raise SystemExit(3)")))


def test_a_build_that_hangs_is_stopped() -> None:
    with pytest.raises(UsageError, match=r"took longer than 0\.1 s"):
        AgentBuilds(timeout_s=0.1).build("a", program(*python("import signal; signal.pause()")))
