"""The formats for machines and comments: each number is the JSON's, and texts of others stay texts."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.judge.record import Incumbent
from pytest_llmperf.judge.soak import Alarm, Level, Soak
from pytest_llmperf.model import Bound, Settings
from pytest_llmperf.report import html
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.files import ci_annotations, markdown, openmetrics
from pytest_llmperf.report.files.session_outputs import write_all
from pytest_llmperf.report.session_outcomes import Ending
from pytest_llmperf.report.wording.amounts import amount
from pytest_llmperf.study.records import appendix_s
from tests.judge.build import gate, observed, sample
from tests.report.conftest import run_of
from tests.report.published_schema import PUBLISHED_SCHEMA

NOT_WATCHED = ("no leak of y watched", "no GPU seen")
UNEVEN = ((100, 60), (100, 58), (100, 61), (100, 59.5), (100, 62))
HOSTILE = 'a|b `c` <script> @someone [x](http://e) "q" \\ \n::error::x %0A,y'


@pytest.fixture
def failed():
    """The document of a run that fails, of three measurements, two of one test."""
    run = run_of(together_ms=UNEVEN, tests=("test_pair", "test_pair", "test_other"))
    return json.loads(as_text(document(run)))


def hostile() -> dict:
    run = run_of(together_ms=UNEVEN, tests=(f"test[{HOSTILE}]",), scenario=HOSTILE)
    return json.loads(as_text(document(run)))


class TestMarkdown:
    def cells(self, content: dict) -> list[list[str]]:
        """The cells of every row of every table."""
        lines = re.findall(r"^\| (.*) \|$", markdown.page(content), re.MULTILINE)
        return [re.split(r"(?<!\\) \| ", line) for line in lines]

    def test_numbers_are_those_of_the_json(self, failed) -> None:
        """Value, interval and limit of every gate, and the figures of every measurement, rounded for reading."""
        rows = self.cells(failed)
        gates = [row for row in rows if row[0].split()[-1] in ("pass", "fail")]
        expected = []
        for record in failed["records"]:
            for verdict, words in zip(record["verdicts"], record["judged"], strict=True):
                ends = [amount(verdict[end], words["metric"]).split()[0] for end in ("low", "high")]
                expected.append((amount(verdict["value"], words["metric"]), " to ".join(ends), words["outcome"]))
        assert [(row[3], row[4], row[0].split()[-1]) for row in gates] == expected
        assert len(expected) == 6
        measured = rows[-3:]
        for row, record in zip(measured, failed["records"], strict=True):
            figures = record["figures"]
            assert row[1] == f"{figures['rounds']} (simulated)"
            names = ("efficiency_pct", "scaling_efficiency_pct", "contention_rate_ttft", "ttft_ms", "system_tok_s")
            assert row[2:] == [amount(figures[name], name) for name in names]

    def test_what_failed_is_explained(self, failed, content) -> None:
        """The terminal's text, folded; a run that passes has none of it, and says so in the first line."""
        page = markdown.page(failed)
        assert page.startswith("### llmperf: 2 of 2 tests failed (SIMULATED)")
        assert failed["records"][0]["judged"][0]["text"] in page
        assert markdown.page(content).startswith("### llmperf: 1 test passed")
        assert "<details>" not in markdown.page(content)

    def test_texts_of_others_stay_texts(self) -> None:
        """No cell is split, no HTML, no mention, no link; a fence is longer than those inside."""
        page = markdown.page(hostile())
        outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", page, flags=re.MULTILINE | re.DOTALL)
        assert "<script>" not in outside
        assert "@someone" not in outside
        assert "](http" not in outside
        assert {len(row) for row in self.cells(hostile())} == {6, 7}


def test_values_are_told_apart_from_their_limit_everywhere() -> None:
    """In the tables of the comment and of the page as in the text: 89.97 % is below 90, not 90.0 %."""
    run = run_of(together_ms=[(100, 79.94)] * 5, gates=[gate(marker="efficiency", limit=90)])
    content = json.loads(as_text(document(run)))
    assert "| 89.97 % | 89.97 to 89.97 | the minimum 90.0 %" in markdown.page(content)
    shown = re.findall(r"<data value=[^>]*>([^<]*)<", html.page(content))
    assert shown[(at := shown.index("89.97 %")) : at + 3] == ["89.97 %", "89.97", "89.97"]
    (issue,) = json.loads(ci_annotations.code_quality(content))
    assert "efficiency: 89.97 %" in issue["description"]


class TestOpenMetrics:
    def samples(self, content: dict) -> dict:
        """By name and labels, as an independent parser reads them."""
        families = list(text_string_to_metric_families(openmetrics.page(content)))
        assert {family.type for family in families} == {"gauge"}
        assert all(family.documentation for family in families)
        return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}

    def test_numbers_are_those_of_the_json(self, failed) -> None:
        """Every figure and gate of every measurement, to the last digit."""
        samples = self.samples(failed)
        for record, number in zip(failed["records"], "121", strict=True):
            labels = (record["test"], number, "pair", "dual", "simulated", "m", "true")
            for name in ("efficiency_pct", "ttft_ratio", "contention_rate_ttft", "rounds"):
                assert samples[f"llmperf_{name}", labels] == record["figures"][name]
            assert samples["llmperf_passed", labels] == record["passed"] == 0
            for verdict in record["verdicts"]:
                of_gate = (*labels, verdict["gate"]["marker"], verdict["gate"]["metric"])
                assert samples["llmperf_gate_value", of_gate] == verdict["value"]
                assert samples["llmperf_gate_limit", of_gate] == verdict["gate"]["limit"]
                assert samples["llmperf_gate_passed", of_gate] == (verdict["outcome"] == "pass")

    def test_every_figure_that_is_a_number_is_there(self) -> None:
        """Also of an incumbent, a soak, telemetry and discarded rounds; booleans are 0 and 1, texts are labels."""
        run = run_of()
        (record,) = run.records
        own = record.measurement
        incumbent = Incumbent(name="old", measurement=own)
        soak = Soak(asked_s=60.0, lasted_s=61.5)
        seen = observed(*(sample(at / 2, busy_s=at / 2, client_s=at / 20) for at in range(7)))
        measurement = replace(own, discarded=own.rounds[:1], telemetry=seen.telemetry)
        whole = replace(record, measurement=measurement, incumbent=incumbent, soak=soak)
        content = json.loads(as_text(document(replace(run, records=[whole], accepted=[whole]))))
        figures = content["records"][0]["figures"]
        numbers = {name: value for name, value in figures.items() if not isinstance(value, str) and name != "simulated"}
        assert numbers.keys() > {"busy_cores", "client_cpu_cores", "discarded_rounds", "soak_s", "incumbent.ttft_ms"}
        families = {name: value for (name, _), value in self.samples(content).items()}
        assert {name: families[f"llmperf_{name.replace('.', '_')}"] for name in numbers} == numbers

    def test_texts_of_others_stay_texts(self) -> None:
        """Labels come back as they were."""
        content = hostile()
        assert {labels[0] for _, labels in self.samples(content)} == {content["records"][0]["test"]}
        assert {labels[2] for _, labels in self.samples(content)} == {HOSTILE}


class TestAnnotations:
    def test_github(self, failed) -> None:
        """An error at the test's line for each measurement that fails, with all of its text."""
        commands = ci_annotations.github(failed)
        assert len(commands) == 3
        assert commands[0].startswith("::error file=perf/test_team.py,line=7,title=test_pair%3A efficiency fail::gate")
        text = commands[0].partition("::gate")[2].replace("%0A", "\n").replace("%25", "%")
        assert f"gate{text}" == failed["records"][0]["judged"][0]["text"]

    def test_gitlab(self, failed) -> None:
        """An entry a verdict; two runs of the same fault have the same fingerprint, others another."""
        issues = json.loads(ci_annotations.code_quality(failed))
        assert [issue["check_name"] for issue in issues] == ["llmperf.efficiency"] * 3
        assert issues[0]["location"] == {"path": "perf/test_team.py", "lines": {"begin": 7}}
        assert issues[0]["severity"] == "major"
        assert issues[0]["fingerprint"] == issues[1]["fingerprint"] != issues[2]["fingerprint"]

    def test_nothing_failed(self, content) -> None:
        """No annotation; a report without entries, which says that all is mended."""
        assert ci_annotations.github(content) == []
        assert json.loads(ci_annotations.code_quality(content)) == []

    def test_texts_of_others_start_no_command(self) -> None:
        """Line ends, commas and colons of names are escaped: one command, one line."""
        (command,) = ci_annotations.github(hostile())
        assert "\n" not in command
        assert command.count("::") - command.partition("title=")[2].partition("::")[2].count("::") == 2

    def test_a_test_whose_place_is_not_known(self, failed) -> None:
        """The first line of its file."""
        for record in failed["records"]:
            del record["location"]
        assert ci_annotations.github(failed)[0].startswith("::error file=perf/test_team.py,line=1,")


class TestOnGitHub:
    def test_the_summary_page_is_added_to(self, tmp_path: Path) -> None:
        """After what other steps wrote."""
        page = tmp_path / "summary.md"
        page.write_text("before\n")
        written = write_all(
            run_of(together_ms=UNEVEN), tmp_path, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)}
        )
        assert page.read_text().startswith("before\n### llmperf: 1 of 1 test failed")
        assert written.commands[0].startswith("::error ")

    def test_a_page_that_cannot_be_written(self, tmp_path: Path) -> None:
        """One line; it fails nothing."""
        written = write_all(run_of(), tmp_path, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path)})
        ((_, _), (message, failed)) = written.messages
        assert message.startswith("the summary page of this job was not written: ")
        assert not failed

    @pytest.mark.parametrize(
        ("settings", "environ"),
        [(Settings(github=False), {"GITHUB_ACTIONS": "true"}), (Settings(), {}), (Settings(), {"CI": "true"})],
        ids=["switched off", "at home", "another CI"],
    )
    def test_nothing_is_said_elsewhere(self, settings: Settings, environ: dict, tmp_path: Path) -> None:
        """No page, no command."""
        run = run_of(together_ms=UNEVEN)
        page = tmp_path / "summary.md"
        run = Run(records=run.records, settings=settings)
        written = write_all(run, tmp_path, {**environ, "GITHUB_STEP_SUMMARY": str(page)})
        assert written.commands == ()
        assert not page.exists()


def test_one_file_that_fails_costs_no_other(tmp_path: Path) -> None:
    """The other files and the baseline are written; one line names the failed file and the next step."""
    (tmp_path / "folder").mkdir()
    settings = Settings(html="folder", json="run.json", markdown="run.md", openmetrics="run.txt", save="main")
    run = run_of()
    run = Run(records=run.records, accepted=run.accepted, settings=settings)
    messages = write_all(run, tmp_path, {}).messages
    ((bad, _),) = [message for message in messages if message[1]]
    assert bad.startswith(f"LlmperfError: cannot write {tmp_path}/folder")
    assert "\n  next: give another --llmperf-html" in bad
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock") == [
        "main.toml",
        "run.json",
        "run.md",
        "run.txt",
    ]


class TestRemarks:
    """What is to be said besides verdicts reaches every format: here a soak that ended on a critical level."""

    def test_among_the_risks(self, soaked) -> None:
        """The risks of a decision: what ended the soak, its failure without a gate, and warnings."""
        text = appendix_s.decision(soaked, load_named("decision_card", ()))
        assert "| 1. pair on dual, simulated m | soak fail |" in text
        assert "- pair on dual, simulated m: soak: efficiency\\_pct critical: 80.0 % over 5 min" in text

    @pytest.fixture
    def soaked(self) -> dict:
        level = Level(metric="efficiency_pct", level="critical", bound=Bound.MIN, limit=90.0, source="here")
        alarm = Alarm(level=level, at_s=400.0, value=80.0, window_s=300.0, rounds=5)
        run = run_of(together_ms=UNEVEN, gates=())
        record = replace(run.records[0], soak=Soak(asked_s=1800.0, lasted_s=400.0, alarms=(alarm,), notes=NOT_WATCHED))
        tests = [replace(run.tests[0], ending=Ending.FAILED)]
        return json.loads(as_text(document(replace(run, records=[record], accepted=[], tests=tests))))

    def test_everywhere(self, soaked) -> None:
        """In the page, the comment, the annotation and the Code Quality report; and the schema knows it."""
        PUBLISHED_SCHEMA.validate(soaked)
        text = "soak: efficiency_pct critical: 80.0 % over 5 min (5 rounds) is below 90.0 % (here), after 7 min"
        assert text in html.page(soaked)
        assert "7 min of 30 min, 5 rounds" in html.page(soaked)
        assert '<p class="quiet">no leak of y watched</p><p class="quiet">no GPU seen</p>' in html.page(soaked)
        assert "| ❌ fail | test\\_pair: " in markdown.page(soaked)
        assert text in markdown.page(soaked)
        (command,) = ci_annotations.github(soaked)
        assert command.startswith("::error file=perf/test_team.py,line=7,title=test_pair%3A soak::soak: efficiency_pct")
        (issue,) = json.loads(ci_annotations.code_quality(soaked))
        assert (issue["check_name"], issue["severity"]) == ("llmperf.soak", "major")
        assert issue["description"].startswith(text)
