"""An experiment of a user's: a matrix and a few lines of test, run, killed, resumed, and read in the terminal."""

import json
import re
import signal
from pathlib import Path

import pytest

from pytest_llmperf.study.rows.result_rows import from_csv
from tests.plugin.conftest import FAST, Aftermath, assert_clear, until
from tests.plugin.test_lifecycle import Inner

MATRIX = """
schema = 1
topology = "single"
prompts = ["Say something about"]
options = { num_predict = 8, seed = 1 }
rounds = 2
show = ["throughput_tok_s"]

[axes]
num_ctx = [512, 1024, 2048]

[[claim]]
id = "context"
claim = "the context hardly matters"
source = "TR108, 5.1.2"
reference = { report = "TR108", metric = "decode_tok_s", statistic = "spread" }
figure = "spread_pct"
metric = "throughput_tok_s"
over = "num_ctx"
holds = "at most"
tolerance = 900
"""

TEST = """
    import pytest

    @pytest.mark.single
    def test_my_contexts(run_matrix):
        results = run_matrix("mine.toml")
        assert results.finding("context").status == "reproduced"
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """An inner project with one experiment."""
    pytester.makepyfile(test_it=TEST)
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")
    (pytester.path / "mine.toml").write_text(MATRIX)
    return pytester.path


@pytest.mark.parametrize("xdist", [(), pytest.param(("-n", "1"), marks=pytest.mark.slow)], ids=["alone", "xdist"])
def test_five_lines_and_a_matrix(pytester: pytest.Pytester, project: Path, xdist: tuple[str, ...]) -> None:
    """Cells in the table, what ranks how, the finding beside the report's figure, rows in the folder asked for."""
    result = pytester.runpytest_inprocess(
        *FAST, "--llmperf-results=out", "-m", "single", "--llmperf-json=a.json", *xdist
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "mine_ctx512 * single *",
            "experiment mine: 3 cells, 6 rounds: out/mine.csv",
            "  SIMULATED: *",
            "  throughput_tok_s by num_ctx: *",
            "  variance of throughput_tok_s: num_ctx *%, residual *%",
            "  reproduced: the context hardly matters (TR108, 5.1.2): * here*; expected at most 1 (tolerance 900)*1 %",
        ]
    )
    lines = [line for line in result.stderr.lines if line]
    if not xdist:  # a line for each round, with the experiment's progress, and no word of verdicts that nobody wants
        rounds = [line for line in lines if ": round " in line]
        assert len(rounds) == 6
        assert rounds[0] == "llmperf: mine 1/3, unknown time left: ctx512: round 1"
        assert re.fullmatch(r"llmperf: mine 3/3, .* left: ctx2048: round 2", rounds[5])
        slow = [line.rpartition(": ")[2] for line in lines if line not in rounds]
        assert slow == ["starting single (simulated)", "loading simulated:scripted on instance a"]
    rows = from_csv((project / "out" / "mine.csv").read_text())
    assert [row.num_ctx for row in rows] == [512, 512, 1024, 1024, 2048, 2048]
    assert {row.backend for row in rows} == {"simulated"}
    assert len(json.loads((project / "a.json").read_text())["records"]) == 3


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_sweep(project: Path, aftermath: Aftermath) -> None:
    """SIGKILL while the third cell runs: the next run measures that cell only, and has all the rows."""
    partial = project / "llmperf-results" / "mine.partial.jsonl"
    (project / "mine.toml").write_text(MATRIX.replace("rounds = 2", "rounds = 8"))
    with Inner(project, *FAST) as inner:
        inner.wait_for("3/3")
        until(lambda: partial.read_text().count("\n") == 3, lambda: "the second cell was never finished")
        inner.signal(signal.SIGKILL)
        assert inner.ends() == -signal.SIGKILL
    aftermath.assert_nothing_left()
    kept = [json.loads(line)["record"] for line in partial.read_text().splitlines()[1:]]
    assert [record["measurement"]["scenario"]["name"] for record in kept] == ["mine_ctx512", "mine_ctx1024"]
    (project / "phases").unlink()
    with Inner(project, *FAST) as inner:
        assert inner.ends() == 0, inner.output()
    assert "mine: 3 cells, 2 of them finished by an earlier run, 24 rounds" in inner.output()
    said = (project / "phases").read_text()
    assert "ctx2048: warming up" in said.replace("mine_ctx2048 on single", "ctx2048").replace(
        "ctx2048: ctx2048", "ctx2048"
    )
    assert "ctx512" not in said
    assert "ctx1024" not in said
    rows = from_csv((project / "llmperf-results" / "mine.csv").read_text())
    assert [row.num_ctx for row in rows] == [512] * 8 + [1024] * 8 + [2048] * 8
    assert len({row.run_id for row in rows}) == 24
    assert rows[0].timestamp[:19] == kept[0]["measurement"]["started_at"][:19]
    assert not partial.exists()


def test_ctrl_c_in_the_middle_of_a_sweep(project: Path) -> None:
    """The output names the interrupted cell, and says that the same command continues."""
    (project / "mine.toml").write_text(MATRIX.replace("rounds = 2", "rounds = 50"))
    # A Ctrl-C may leave a socket to the garbage collection: no error of the session, as `filterwarnings` would have it.
    with Inner(project, *FAST, "--llmperf-max-rounds=50", "-W", "default") as inner:
        inner.wait_for("rounds done: 2")
        inner.signal(signal.SIGINT)
        assert inner.ends() == pytest.ExitCode.INTERRUPTED, inner.output()
    assert "llmperf: interrupted; mine 1/3, unknown time left: ctx512: " in inner.output()
    assert "; finished cells are kept, the same command goes on" in inner.output()


def test_a_gate_that_fails_in_a_cell(pytester: pytest.Pytester, project: Path) -> None:
    """It fails the test, and says in which cell; a runtime of the test's is every cell's."""
    (project / "mine.toml").write_text(
        MATRIX.replace("[512, 1024, 2048]", "[512]").partition("[[claim]]")[0].replace("rounds = 2", "rounds = 3")
    )
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.runtime("asyncio")
        @pytest.mark.throughput(min_tok_s=1e6)
        def test_my_contexts(run_matrix):
            results = run_matrix("mine.toml", name="other")
            assert {row.runtime for row in results.rows} == {"asyncio"}
        """
    )
    result = pytester.runpytest_inprocess(*FAST, "--llmperf-max-rounds=5")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gate throughput: *", "  SIMULATED, scenario other_ctx512, topology single, *"])


def test_a_cell_that_cannot_be_measured(pytester: pytest.Pytester, project: Path) -> None:
    """The others are measured, shown and written; the test fails by that cell, and then measures only that."""
    (project / "mine.toml").write_text(MATRIX.replace("[512, 1024, 2048]", "[512, 2, 1024]"))
    for earlier in ("", ", 2 of them finished by an earlier run"):
        result = pytester.runpytest_inprocess(*FAST)
        assert_clear(
            result,
            pytest.ExitCode.TESTS_FAILED,
            "MeasurementError: experiment mine: 1 cell could not be measured; 2 finished cells kept",
            "  num_ctx=2: *exceed*",
        )
        result.stdout.fnmatch_lines(
            [
                "mine_ctx1024 * single *",
                f"experiment mine: 2 cells{earlier}, 4 rounds: llmperf-results/mine.csv",
                "  FAILED: num_ctx=2: *",
            ]
        )
    assert len(from_csv((project / "llmperf-results" / "mine.csv").read_text())) == 4
    (project / "mine.toml").write_text(MATRIX.replace("[512, 1024, 2048]", "[512, 1024]"))
    result = pytester.runpytest_inprocess(*FAST)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["experiment mine: 2 cells, 2 of them finished by an earlier run, 4 rounds: *"])


def test_a_journal_of_other_conditions(pytester: pytest.Pytester, project: Path) -> None:
    """The cells that do not count are listed before anything is measured, and again in the summary."""
    (project / "mine.toml").write_text(MATRIX.replace("[512, 1024, 2048]", "[512, 2]"))
    pytester.runpytest_inprocess(*FAST)
    result = pytester.runpytest_inprocess(*FAST, "--llmperf-warmups=2")
    line = (
        "1 finished cell of an earlier run not used because --llmperf-warmups differs; kept in mine.*.partial.jsonl *"
    )
    result.stdout.fnmatch_lines([f"  {line}"])
    result.stderr.fnmatch_lines([f"llmperf: experiment mine: {line}"])


def test_agents_of_ones_own_in_a_cell(pytester: pytest.Pytester, project: Path) -> None:
    """A function that gives a list of agents for each cell."""
    (project / "mine.toml").write_text('schema = 1\nrounds = 1\naxes = { words = [2, 9] }\ntopology = "dual"\n')
    pytester.makepyfile(
        test_it="""
        from pytest_llmperf import Agent, GenerationOptions

        def talkers(cell):
            options = GenerationOptions(num_predict=cell["words"])
            return [Agent(name=name, prompts=("go",), options=options) for name in "xy"]

        def test_words(run_matrix):
            results = run_matrix("mine.toml", agents=talkers)
            assert [row.total_tokens for row in results.rows] == [4, 18]
            assert results.ranking("words", "total_tokens") == ((9, 18), (2, 4))
        """
    )
    pytester.runpytest_inprocess(*FAST).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("[]", "scenario '*' needs at least one agent"),
        ("None", "wanted a scenario or a list of agents, got None"),
        ("'text'", "wanted a scenario or a list of agents, got a text"),
        ("[Agent(name='a', prompts=('go',))] * 2", "scenario '*' has two agents of one name: *"),
    ],
)
def test_agents_that_are_none(pytester: pytest.Pytester, project: Path, made: str, words: str) -> None:
    """One clear screen with the function, the cell, and what was wanted; no server is started."""
    pytester.makepyfile(
        test_it=f"""
        from pytest_llmperf import Agent

        def talkers(cell):
            return {made}

        def test_words(run_matrix):
            run_matrix("mine.toml", agents=talkers)
        """
    )
    assert_clear(
        pytester.runpytest_inprocess(*FAST),
        pytest.ExitCode.TESTS_FAILED,
        f"UsageError: run_matrix(..., agents=talkers): of cell {{'num_ctx': 512}}: {words}",
    )


def test_two_tests_of_one_name(pytester: pytest.Pytester, project: Path) -> None:
    """The second would overwrite the first one's results: it says so, and what to do; a name of its own helps."""
    (project / "mine.toml").write_text('schema = 1\nrounds = 1\nprompts = ["go"]\noptions = { num_predict = 2 }\n')
    pytester.makepyfile(
        test_it="""
        import pytest, tomllib
        from pathlib import Path

        @pytest.mark.parametrize("tokens", [2, 3])
        def test_file(run_matrix, tokens):
            run_matrix("mine.toml")

        @pytest.mark.parametrize("tokens", ["2 o", 3])
        def test_tables(run_matrix, tokens):
            run_matrix(tomllib.loads(Path(__file__).with_name("mine.toml").read_text()))

        def test_named(run_matrix):
            run_matrix("mine.toml", name="another")
            with pytest.raises(pytest.fail.Exception, match=r"name 'a b': wanted letters.*name="):
                run_matrix("mine.toml", name="a b")
        """
    )
    result = pytester.runpytest_inprocess(*FAST, "-q")
    result.assert_outcomes(passed=4, failed=1)
    assert_clear(
        result,
        pytest.ExitCode.TESTS_FAILED,
        "UsageError: experiment mine: its results would replace those of test_it.py::test_file?2?",
        '  next: give each a name of its own: run_matrix(..., name="NAME")',
    )
    written = {path.name for path in (project / "llmperf-results").glob("*.csv")}
    assert written == {"mine.csv", "test_tables-2-o.csv", "test_tables-3.csv", "another.csv"}


@pytest.mark.parametrize(
    ("matrix", "lines"),
    [
        (None, ["UsageError: matrix *mine.toml cannot be read: No such file*"]),
        ("schema = 1\naxis = 1", ["UsageError: *mine.toml is wrong:", "*axis: unknown key, wanted one of*"]),
        (
            MATRIX.replace("2048]", "512.5, -1]")
            .replace('over = "num_ctx"', 'over = "num_ctxx"')
            .replace("[[claim]]", "[[played]]\nwhen = { ctx = 1 }\n[[claim]]"),
            [
                "*axes.num_ctx: got 512.5, wanted a whole number",
                "*axes.num_ctx: got -1, wanted 1 or more",
                "*played?0?.when: got 'ctx', wanted an axis: num_ctx",
                "*claim 'context': over: got 'num_ctxx', wanted an axis: num_ctx",
            ],
        ),
        ("schema = 1\naxes = { files = [1] }", ["UsageError: matrix mine: axis files is neither an option nor*"]),
    ],
)
def test_a_wrong_matrix(pytester: pytest.Pytester, project: Path, matrix: str | None, lines: list[str]) -> None:
    """One clear screen; no server is started."""
    (project / "mine.toml").unlink()
    if matrix is not None:
        (project / "mine.toml").write_text(matrix)
    assert_clear(pytester.runpytest_inprocess(*FAST), pytest.ExitCode.TESTS_FAILED, *lines)
