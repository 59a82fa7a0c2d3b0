"""The files that a run leaves, from outside."""

import json
import re
from xml.etree import ElementTree

import pytest

from pytest_llmperf.judge.record import from_plain
from pytest_llmperf.report.document import VERSION
from pytest_llmperf.study.rows.result_rows import from_csv
from tests.plugin.conftest import GATED, assert_clear
from tests.report.published_schema import PUBLISHED_SCHEMA

SHORT = ("--llmperf-rounds=2", "--llmperf-max-rounds=2", "-W", "default")


@pytest.mark.parametrize("options", [(), pytest.param(("-n1",), marks=pytest.mark.slow)], ids=["alone", "xdist"])
def test_a_session_s_document(simulated, pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    """It validates, has its version, each test's place and every timing; records can be restored from it."""
    test = pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    simulated("--llmperf-json=run.json", *SHORT, *options)
    document = json.loads((pytester.path / "run.json").read_text())
    PUBLISHED_SCHEMA.validate(document)
    assert document["schema"] == VERSION
    (record,) = document["records"]
    assert record["location"] == {"file": test.name, "line": 4}
    own = {key: record[key] for key in ("test", "measurement", "verdicts", "differences")}
    (back,) = from_plain([own])
    requests = [request for r in back.measurement.rounds for run in (*r.solo, *r.together) for request in run.requests]
    assert len(requests) == 8
    assert all(len(request.arrivals_ns) == request.eval_count == 16 for request in requests)
    assert record["figures"]["efficiency_pct"] == round(back.summary("efficiency_pct").mean, 4)


def test_without_a_terminal(simulated, pytester: pytest.Pytester, capfd: pytest.CaptureFixture[str]) -> None:
    """Without it and its options, a failing gate fails the run, and the document is written."""
    pytester.makepyfile(test_it=GATED.format(fixture="single_ollama"))
    result = simulated("-p", "no:terminal", "--llmperf-json=run.json", "--llmperf-rounds=1", "--llmperf-max-rounds=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED, capfd.readouterr()
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    assert "pass" not in {verdict["outcome"] for verdict in record["verdicts"]}


def test_what_cannot_be_written_starts_nothing(simulated, pytester: pytest.Pytester, aftermath) -> None:
    """Two files of one name: a usage error before any server starts, under xdist, too."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    for options in ((), ("-n1",)):
        result = simulated("--llmperf-json=.", *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*--llmperf-json: cannot write*", "*next: give another --llmperf-json"])


def test_every_number_is_the_json_s(simulated, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """JUnit, CSV and OpenMetrics hold its figures, Markdown its verdicts; in a GitHub job, annotations."""
    summary = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    test = pytester.makepyfile(GATED.format(fixture="single_ollama"))
    files = (
        "--llmperf-json=run.json",
        "--llmperf-markdown=run.md",
        "--llmperf-openmetrics=run.txt",
        "--llmperf-csv=run.csv",
    )
    result = simulated(*files, *SHORT, "--junitxml=junit.xml")
    result.assert_outcomes(failed=1)
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    figures = record["figures"]
    junit = ElementTree.parse(pytester.path / "junit.xml").iter("property")
    shown = {entry.get("name"): entry.get("value") for entry in junit}
    of_the_run = {"decision_grade", "lacks"}
    own = {name: str(value) for name, value in figures.items() if name not in of_the_run}
    assert shown == {f"llmperf.pair.single.{name}": value for name, value in own.items()}
    metrics = (pytester.path / "run.txt").read_text()
    assert re.findall(r"^llmperf_efficiency_pct{.*} (.*)$", metrics, re.MULTILINE) == [repr(figures["efficiency_pct"])]
    rows = from_csv((pytester.path / "run.csv").read_text())
    assert [row.parallel_efficiency_pct for row in rows] == record["series"]["efficiency_pct"]
    assert [row.ttft_ms for row in rows] == record["series"]["ttft_ms"]
    assert [row.scaling_efficiency_pct for row in rows] == record["series"]["scaling_efficiency_pct"]
    assert {row.config_name for row in rows} == {"pair_single"}
    assert summary.read_text() == (pytester.path / "run.md").read_text()
    assert f"{figures['efficiency_pct']:.1f} %" in summary.read_text()
    result.stdout.fnmatch_lines([f"::error file={test.name},line=4,title=test_pair%3A*::gate *"])


MIXED = """
import pytest
from pair import PAIR

def test_well(dual_ollama, run_agents):
    run_agents(PAIR, on=dual_ollama)

def test_body(dual_ollama, run_agents):
    assert run_agents(PAIR, on=dual_ollama).summary("speedup").mean > 99, "too slow <b>for us</b>"

def test_broken(single_ollama, run_agents):
    run_agents([["/nonexistent/agent"]], on=single_ollama)

@pytest.mark.efficiency(min_pct=99.999)
@pytest.mark.xfail(reason="known", strict=True)
def test_known(dual_ollama, run_agents):
    run_agents(PAIR, on=dual_ollama)

@pytest.mark.skip(reason="not today")
def test_later(dual_ollama, run_agents):
    run_agents(PAIR, on=dual_ollama)

def test_other_people_s():
    assert False
"""

FILES = ("json", "html", "markdown", "codequality", "openmetrics")


@pytest.mark.parametrize("options", [(), pytest.param(("-n1",), marks=pytest.mark.slow)], ids=["alone", "xdist"])
def test_tests_count_as_pytest_counts_them(
    simulated, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Also those that failed without a measurement or a verdict; what is expected to fail fails nowhere."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    test = pytester.makepyfile(MIXED).name
    result = simulated(*(f"--llmperf-{name}=run.{name}" for name in FILES), *SHORT, *options)
    result.assert_outcomes(passed=1, failed=3, xfailed=1, skipped=1)
    text = {name: (pytester.path / f"run.{name}").read_text() for name in FILES}
    document = json.loads(text["json"])
    PUBLISHED_SCHEMA.validate(document)
    assert {
        test["test"].partition("::")[2]: (test["ending"], test["text"][:28].strip()) for test in document["tests"]
    } == {
        "test_well": ("passed", ""),
        "test_body": ("failed", "AssertionError: too slow <b>"),
        "test_broken": ("failed", "MeasurementError: agent agen"),
        "test_known": ("xfailed", ""),
        "test_later": ("skipped", "not today"),
    }
    assert "### llmperf: 2 of 5 tests failed, 1 skipped, 1 xfailed (SIMULATED)" in text["markdown"]
    assert "<h1>2 of 5 tests failed, 1 skipped, 1 xfailed (SIMULATED)</h1>" in text["html"]
    assert "too slow &lt;b&gt;for us&lt;/b&gt;" in text["html"]
    errors = [line for line in result.outlines if line.startswith("::error ")]
    assert [re.search(r"title=(\w+)", line)[1] for line in errors] == ["test_body", "test_broken"]
    assert f"::error file={test},line=7,title=test_body%3A AssertionError::AssertionError: too slow" in errors[0]
    assert [line for line in result.outlines if line.startswith("::notice ") and "test_known" in line]
    severe = [issue for issue in json.loads(text["codequality"]) if issue["severity"] == "major"]
    assert [issue["check_name"] for issue in severe] == ["llmperf.test"] * 2
    passed = re.findall(r'llmperf_passed{test="[^"]*::(\w+)".*} (\d)', text["openmetrics"])
    assert passed == [("test_well", "1"), ("test_body", "0")]


YESTERDAY = {
    "json": '{"schema": 1, "plugin_version": "0.1"}',
    "html": "<!doctype html><title>pytest-llmperf: all passed</title>",
    "markdown": "### llmperf: all passed",
    "codequality": "[]",
    "openmetrics": "# EOF",
}


def test_failures_alone_are_reported(simulated, pytester: pytest.Pytester) -> None:
    """If nothing was measured, the reports say why, and replace the reports of an earlier run."""
    pytester.makepyfile(MIXED)
    for name in FILES:
        (pytester.path / f"run.{name}").write_text(YESTERDAY[name])
    simulated(*(f"--llmperf-{name}=run.{name}" for name in FILES), "-k", "broken").assert_outcomes(failed=1)
    text = {name: (pytester.path / f"run.{name}").read_text() for name in FILES}
    assert json.loads(text["json"])["records"] == []
    assert text["markdown"].startswith("### llmperf: 1 of 1 test failed\n")
    assert text["openmetrics"] == "# EOF\n"
    assert all("/nonexistent/agent" in text[name] for name in FILES if name != "openmetrics")


PLAN = """
[[fault]]
kind = "slow_decode"
instance = "{}"
factor = 0.9

[[fault]]
kind = "reset"
requests = 9999
"""


def test_a_fault_plan_says_which_faults_have_fired(simulated, pytester: pytest.Pytester, aftermath) -> None:
    """The header says that it is in force; a note in the summary and the document names the faults that never fired."""
    pytester.makepyfile(
        """
        import pytest
        from pair import PAIR

        def test_dual(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)

        def test_single(single_ollama, run_agents):
            run_agents(PAIR, on=single_ollama)
        """
    )
    pytester.makefile(".toml", faults=PLAN.format("b"))
    options = (
        "--llmperf-faults=faults.toml",
        "--llmperf-rounds=1",
        "--llmperf-max-rounds=1",
        "--llmperf-json=run.json",
    )
    result = simulated(*options)
    result.assert_outcomes(passed=2)
    reset = "fault 2 (reset, every instance, requests 9999)"
    dual = f"fault plan faults.toml: 1 of 2 never fired: {reset}"
    single = f"fault plan faults.toml: 2 of 2 never fired: fault 1 (slow_decode, instance b, requests 1-); {reset}"
    result.stdout.fnmatch_lines_random(
        ["llmperf: simulated, *, where things go wrong by the fault plan *faults.toml (*", f"note: *dual: {dual}"]
    )
    records = json.loads((pytester.path / "run.json").read_text())["records"]
    assert [record["measurement"]["notes"][-1] for record in records] == [dual, single]
    pytester.makefile(".toml", faults=PLAN.format("B"))
    assert_clear(simulated(*options), pytest.ExitCode.USAGE_ERROR, "*fault 1 (slow_decode): instance = 'B', wanted *")
