"""What a person sees: one screen for a red gate, nothing twice, no line that is broken in a word."""

from collections.abc import Callable

import pytest

from tests.plugin.conftest import FAST, GATED
from tests.plugin.terminal import Terminal

pytestmark = pytest.mark.slow

QUICK = "--llmperf-script=decode_tok_s=267,ttft_ms=5,load_ms=1,jitter_pct=0.2"


@pytest.fixture
def project(pytester: pytest.Pytester, simulated) -> pytest.Pytester:
    """One test whose gate of contention fails where its agents share an instance."""
    pytester.makepyfile(GATED.replace("    @pytest.mark.efficiency(min_pct=85)\n", "").format(fixture="dual_ollama"))
    return pytester


@pytest.fixture
def screen(project: pytest.Pytester, scripted_time: tuple[str, ...]) -> Callable[..., list[str]]:
    """`screen(*options, columns=, rows=)`: the lines that a failing run leaves on a terminal without colour."""

    def run(*options: str, columns: int, rows: int = 40) -> list[str]:
        options = (*FAST, *scripted_time, QUICK, *options)
        terminal = Terminal(project.path, *options, columns=columns, rows=rows, colour=False)
        assert terminal.run() == pytest.ExitCode.TESTS_FAILED, terminal.seen
        shown = terminal.screen()
        while not shown[-1]:
            shown.pop()
        return shown

    return run


def test_a_failing_gate_fits_one_screen(screen: Callable[..., list[str]]) -> None:
    """The whole output of a run with one failing gate fits a terminal of 100 x 40, and shows the gate once."""
    shown = screen("--llmperf-topology=single", columns=100, rows=40)
    text = "\n".join(shown)
    assert len(shown) <= 40, text
    assert text.count("is above the maximum 20 %") == 1
    assert text.count("requests wait for a slot") == 1
    assert "policy:" not in text
    assert "decision-grade" not in text


def test_eighty_columns_without_colour(screen: Callable[..., list[str]]) -> None:
    """Only commands to copy are longer; continuation lines are indented further; the table is complete."""
    shown = screen("--llmperf-topology=single", columns=80)
    start = next(index for index, line in enumerate(shown) if line.startswith("llmperf:"))
    assert not [
        line for line in shown[start:] if len(line) >= 80 and not set(line) & set("=_") and "[100%]" not in line
    ]
    (row,) = [line for line in shown if line.startswith("pair on single ")]
    assert row.split()[-1] == "fail"


def test_a_terminal_that_knows_no_other_letters(
    project: pytest.Pytester, simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is printed, letters spelt out, each line on a line of its own; the exit code is that of the gate."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (test,) = project.path.glob("test_*.py")
    test.rename(project.path / "test_größer.py")
    options = ("--llmperf-topology=single", "--llmperf-save=mine", "-v", QUICK)
    result = simulated(*options, own_process=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    assert text.isascii()
    assert "nothing saved to baseline mine: no test passed with a measurement; not saved" in text
    assert "test_gr\\xf6\\xdfer.py::test_pair\n  next: run tests that measure" in text
    assert "\\n" not in text


@pytest.mark.alone
def test_a_comparison_that_fails_explains_itself_on_one_screen(
    simulated, project: pytest.Pytester, screen: Callable[..., list[str]]
) -> None:
    """What became slower, since when, and what to type, in 40 lines; the triage adds few."""
    project.makepyfile(
        """
        import pytest
        from pair import PAIR

        @pytest.mark.regression(metrics=("ttft_ms",))
        def test_pair(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)
        """
    )
    calm, slow = (f"--llmperf-script=decode_tok_s=67,ttft_ms={ms},load_ms=1,jitter_pct=0.2" for ms in (5, 40))
    simulated(calm, "--llmperf-save=mine").assert_outcomes(passed=1)
    options = (slow, "--llmperf-compare=mine", "--llmperf-telemetry=off")
    shown = screen(*options, columns=100)
    assert len(shown) <= 40, "\n".join(shown)
    for columns in (100, 80):
        shown = screen(*options, "--llmperf-diagnose", columns=columns)
        text = "\n".join(shown)
        begun = next(index for index, line in enumerate(shown) if line.startswith("triage of "))
        assert not all(line.startswith("  ") for line in shown[begun + 1 : begun + 10]), text
        start = next(index for index, line in enumerate(shown) if line.startswith("gate regression"))
        assert all(len(line) <= columns for line in shown[start:]), text
        assert " ".join(text.split()).count("is worse than the baseline's") == 1
        assert "  cause: prefill of " in text
        assert "as long as in baseline mine (1 session, " in " ".join(text.split()), text
        assert text.count("  cause: ") <= 2, text
        assert "  found      baseline  prefill of " in text
        assert "  ok         alive, versions, model, context, memory, others" in text, text


def test_quiet_runs_show_what_was_asked_for(simulated, project: pytest.Pytester) -> None:
    """At -q no notes, no evidence, no policy and no cost of the client; with -v all of them."""
    quiet, loud = (simulated(QUICK, "--llmperf-topology=single", option).stdout.str() for option in ("-q", "-v"))
    for words in ("\nnote: ", "\nclient overhead: ", "\npolicy: ", "\nevidence: "):
        assert words not in quiet
    for words in ("\nclient overhead: ", "\npolicy: ", "\nevidence: "):
        assert words in loud
    assert "pair on single" in quiet
    assert "SIMULATED" in quiet


def test_without_failure_texts_the_summary_says_it(simulated, project: pytest.Pytester) -> None:
    """With --tb=no the failing gate and its next step are printed below the table, since no failure text has them."""
    text = simulated(QUICK, "--llmperf-topology=single", "--tb=no").stdout.str()
    assert text.count("\npair on single: gate contention: 100 % (") == 1
    assert "next: run one instance per agent" in text


def test_two_tests_of_one_scenario_are_told_apart(simulated, project: pytest.Pytester) -> None:
    """Each test's name is printed above its lines."""
    project.makepyfile(
        """
        import pytest
        from pair import PAIR

        @pytest.mark.parametrize("again", (1, 2))
        def test_pair(dual_ollama, run_agents, again):
            run_agents(PAIR, on=dual_ollama)
        """
    )
    result = simulated(QUICK)
    result.stdout.fnmatch_lines(["test_pair[[]1]", "  pair on dual *", "test_pair[[]2]", "  pair on dual *"])


def test_warnings_that_are_errors(simulated, project: pytest.Pytester) -> None:
    """An undecided gate that only warns fails its test in a line, not in a traceback through our code."""
    few = ("--llmperf-rounds=1", "--llmperf-max-rounds=1", "--llmperf-on-inconclusive=warn", "-W", "error")
    result = simulated(QUICK, *few)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["pair on dual: not decided: contention*", "  next: warnings are errors here*GateWarning'"]
    )
    assert "running.py" not in result.stdout.str()


def test_interrupted(project: pytest.Pytester, simulated) -> None:
    """Ctrl-C while an agent hangs: exit code 2, and pytest prints what was running."""
    project.makepyfile(
        """
        from pytest_llmperf import Agent, Scenario

        async def hangs(url):
            raise KeyboardInterrupt

        def test_it(dual_ollama, run_agents):
            run_agents([hangs, Agent(name="other", prompts=("go",))], on=dual_ollama, name="team")
        """
    )
    result = simulated(QUICK)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*llmperf: interrupted; team on dual: warming up*"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("run_agents(PAIR, on=None)", "*on=None): wanted one of the server fixtures"),
        ("run_agents('curl x', on=dual_ollama)", "*wanted a scenario or a list of agents, got a text; *conversation"),
        ("run_agents(['curl', 'x'], on=dual_ollama)", "*a command is a list of words of its own, got a text"),
        ("run_agents(3, on=dual_ollama)", "*wanted a scenario or a list of agents, got a value of type int"),
    ],
)
def test_wrong_arguments_are_no_traceback(simulated, project: pytest.Pytester, call: str, words: str) -> None:
    """What was given, what is wanted, and how to write it."""
    project.makepyfile(f"from pair import PAIR\ndef test_it(dual_ollama, run_agents): {call}")
    result = simulated(QUICK)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([words, "  next: *"])
    assert "fixtures.py" not in result.stdout.str()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--llmperf-runtime=uvloop",), "*the runtime uvloop needs uvloop*"),
        (("--llmperf-backend=embedded", "--llmperf-gguf=nowhere.gguf"), "*nowhere.gguf does not exist*"),
        (("--llmperf-backend=attach", "--llmperf-urls=http://127.0.0.1:9"), "*http://127.0.0.1:9): nothing answers*"),
    ],
)
def test_what_cannot_work_is_found_before_anything_starts(
    simulated, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    """A runtime that is not installed, a file that is not there, a server that is not there: exit code 4."""
    monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    result = simulated(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([words])


def test_a_shared_instance_is_loaded_once_in_words(simulated, pytester: pytest.Pytester) -> None:
    """However many agents share it."""
    pytester.makepyfile(GATED.format(fixture="single_ollama"))
    result = simulated("-q", "--llmperf-rounds=1", "--llmperf-max-rounds=1")
    lines = [line for line in result.errlines if "loading" in line]
    assert lines == ["llmperf: loading simulated:scripted on instance a"]


@pytest.mark.parametrize("quiet", ["-q", "-qq"])
def test_what_takes_long_is_said_without_a_terminal(simulated, project: pytest.Pytester, quiet: str) -> None:
    """A line each for starting and loading, wherever tests are printed; the second test loads nothing anew."""
    result = simulated(quiet, "--llmperf-rounds=1", "--llmperf-max-rounds=1")
    lines = [line for line in result.errlines if line.startswith("llmperf: ")]
    assert lines[0].startswith("llmperf: starting ")
    assert [line for line in lines if "loading" in line] == [
        f"llmperf: loading simulated:scripted on instance {name}" for name in "ab"
    ]
    assert not any("round" in line for line in lines)
