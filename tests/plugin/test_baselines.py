"""Stored baselines through the plugin: save, compare, other machines, refused saves."""

import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.baselines import baseline_files, store
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.model import Settings
from pytest_llmperf.session.session import Session
from tests.plugin.conftest import GATED

PLAIN = """
    from pair import PAIR

    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""

TWO = ("--llmperf-rounds=2", "--llmperf-max-rounds=2")
FIVE = ("--llmperf-max-rounds=5", "-W", "default")
"""For tests that do not depend on a decision: undecided regression gates warn while their baseline is young."""


def test_save_then_compare(simulated, pytester: pytest.Pytester) -> None:
    """A saved session becomes the limit of the next run; a second save adds a session."""
    pytester.makepyfile(PLAIN)
    for sessions in (1, 2):
        result = simulated("--llmperf-save=mine")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["saved 1 measurement to *mine.toml*"])
        with (pytester.path / "baselines" / "mine.toml").open("rb") as file:
            tables = tomllib.load(file)
        stored = list(tables["session"].values())
        assert len(stored) == sessions
        assert len(stored[-1]["rounds"]["efficiency_pct"].split()) == 5
        assert tables["machine"][stored[-1]["machine"]]["backend"] == "simulated"
    compared = simulated("--llmperf-compare=mine", "--llmperf-on-inconclusive=warn", *FIVE)
    assert compared.ret == pytest.ExitCode.OK
    compared.stdout.fnmatch_lines(["pair on dual *"])


def test_an_outlying_stored_session_is_named(simulated, pytester: pytest.Pytester) -> None:
    """A comparison notes which of the stored sessions is far from the others, and the command that removes it."""
    pytester.makepyfile(PLAIN)
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    (entry,) = baseline_files.load(pytester.path / "baselines" / "mine.toml").stored
    (session,) = entry.session
    for day, worse in enumerate((0.1, 0.2, 30.0, 0.0, 0.15), 1):
        rounds = {name: tuple(value - worse for value in values) for name, values in session.rounds.items()}
        again = replace(session, saved_at=f"2026-01-0{day}T00:00:00+00:00", rounds=rounds)
        store.save("mine", pytester.path / "baselines", [(Key.of(entry), again)])
    result = simulated("--llmperf-compare=mine", *FIVE)
    text = " ".join(result.stdout.str().split())
    assert "the stored session of 2026-01-03T00:00:00+00:00 is far from the others (efficiency_pct " in text
    assert f"pytest-llmperf remove mine {entry.test} --session 2026-01-03T00:00:00+00:00" in text


def test_a_regression_fails(simulated, pytester: pytest.Pytester) -> None:
    """The same test on one instance for both agents is worse than its baseline, and says by how much."""
    pytester.makepyfile(PLAIN)
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    # What a broken deployment does: the fixture still says dual, both agents reach slow servers.
    result = simulated(
        "--llmperf-compare=mine",
        "--llmperf-max-rounds=6",
        "--llmperf-script=decode_tok_s=67,ttft_ms=30,load_ms=1,jitter_pct=0.2",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["gate regression (*tok_s): *tok/s* is worse than the baseline's *"])


def test_compare_without_an_entry_is_an_error(simulated, pytester: pytest.Pytester) -> None:
    """A test that the baseline does not know fails with the command that saves it."""
    pytester.makepyfile(PLAIN)
    simulated("--llmperf-save=mine", *TWO).assert_outcomes(passed=1)
    pytester.makepyfile(test_other=PLAIN)
    result = simulated("--llmperf-compare=mine", "test_other.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BaselineError: *test_other.py::test_pair*", "*--llmperf-save*"])


def test_a_failed_test_is_not_saved(simulated, pytester: pytest.Pytester) -> None:
    """A baseline is an accepted measurement; what was refused is named."""
    pytester.makepyfile(GATED.format(fixture="single_ollama"))
    result = simulated("--llmperf-save=mine")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["nothing saved to baseline mine*not saved*::test_pair*"])
    assert not (pytester.path / "baselines" / "mine.toml").exists()


PASSES = "def test_it(): pass"


@pytest.mark.parametrize("option", ["--llmperf-save=mine", "--llmperf-update=mine"])
def test_nothing_to_save_is_a_failure_where_it_was_typed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """A job that says it saves must not end well without; `addopts` and the ini file also hold for runs without us."""
    pytester.makepyfile(PASSES)
    result = pytester.runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["nothing saved to baseline mine: no test passed with a measurement", "  next: ?*"])
    assert pytester.runpytest_inprocess(option, "--collect-only").ret == 0
    assert pytester.runpytest_inprocess(option, "-k", "absent").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    pytester.makeini(f"[pytest]\naddopts = {option}\n")
    assert pytester.runpytest_inprocess().ret == 0
    pytester.makeini(f"[pytest]\nllmperf_{option[10:].replace('=', ' = ')}\n")
    assert pytester.runpytest_inprocess().ret == 0


BROKEN_LATER = """
    import pytest
    from pair import PAIR

    @pytest.fixture
    def broken():
        yield
        assert False, "on the way out"

    def test_pair(dual_ollama, run_agents, broken):
        run_agents(PAIR, on=dual_ollama)
"""


def test_an_error_in_teardown_is_no_pass(simulated, pytester: pytest.Pytester) -> None:
    """The test's call passed, its teardown did not: nothing is saved, and the JSON does not say passed."""
    pytester.makepyfile(BROKEN_LATER)
    result = simulated("--llmperf-save=mine", "--llmperf-json=run.json", *TWO)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["nothing saved to baseline mine*not saved*::test_pair*"])
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    assert record["passed"] is False


TWICE = """
    from _pytest.runner import runtestprotocol

    def pytest_runtest_protocol(item, nextitem):
        for last in (False, True):
            item._initrequest()
            for report in runtestprotocol(item, nextitem=nextitem, log=False):
                if not last and report.when == "call" and report.failed:
                    report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
        return True
"""
XUNIT1 = ("-o", "junit_family=xunit1")
FAILS_ONCE = """
    from pair import PAIR

    tried = []

    def test_pair(dual_ollama, run_agents):
        record = run_agents(PAIR, on=dual_ollama)
        tried.append(record)
        assert len(tried) == 2
"""


def test_a_rerun_is_judged_and_saved_by_its_last_attempt(simulated, pytester: pytest.Pytester) -> None:
    """A plugin runs a failed test again: the first attempt's rounds are shown, and neither judged again nor saved."""
    pytester.makeconftest(TWICE)
    pytester.makepyfile(FAILS_ONCE)
    result = simulated("--llmperf-save=mine", "--llmperf-json=run.json", "--junitxml=junit.xml", *XUNIT1, *TWO)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["saved 1 measurement to *mine.toml"])
    for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase"):
        names = [entry.attrib["name"] for entry in case.iter("property")]
        assert len(names) == len(set(names)) > 5
    records = json.loads((pytester.path / "run.json").read_text())["records"]
    assert [record["passed"] for record in records] == [False, True]


def test_ratio_metrics_gate_across_machines(simulated, pytester: pytest.Pytester) -> None:
    """A baseline of another machine: efficiency is judged, tok/s and ms are shown as not comparable.

    One stored session says little, so a change has to be large to matter.
    """
    pytester.makepyfile(PLAIN)
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    file = pytester.path / "baselines" / "mine.toml"
    text = file.read_text()
    assert ".cpu = " in text
    file.write_text(re.sub(r"\.cpu = .*", '.cpu = "another"', text))
    result = simulated("--llmperf-compare=mine", "--llmperf-limit=regression=12", *FIVE)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "note: baseline mine: another machine, so tok/s and ms are not compared: cpu: another -> *",
            "pair on dual: gate regression (system_tok_s) is not comparable here: *cpu: baseline another, here *",
            "pair on dual: gate regression (ttft_ms) is not comparable here: *cpu: baseline another, here *",
        ]
    )
    assert not any("efficiency_pct" in line and "not comparable" in line for line in result.stdout.lines)


REGRESSION = """
    import pytest
    from pair import PAIR

    @pytest.mark.regression
    def test_pair(dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)
"""
SLOWER = "--llmperf-script=decode_tok_s=133,ttft_ms=30,load_ms=1,jitter_pct=0.2"


def test_an_accepted_change_updates_the_baseline(simulated, pytester: pytest.Pytester) -> None:
    """Slower on purpose: compare fails, update puts this run in the old sessions' place and says what changed."""
    pytester.makepyfile(REGRESSION)
    first = simulated("--llmperf-save=mine")
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(["note: *regression was not judged: this run makes baseline mine*"])
    again = simulated("--llmperf-save=mine", "--llmperf-compare=mine", *FIVE)
    assert again.ret == pytest.ExitCode.OK
    simulated("--llmperf-compare=mine", SLOWER).assert_outcomes(failed=1)
    updated = simulated("--llmperf-update=mine", SLOWER)
    updated.assert_outcomes(passed=1)
    updated.stdout.fnmatch_lines(
        [
            "llmperf: passing tests replace their sessions in baseline mine; regression gates are not judged",
            "note: *regression was not judged*",
            "updated 1 measurement in *mine.toml",
            "  *::test_pair (pair on dual): 1 session instead of 2: efficiency_pct *system_tok_s * -> * tok/s*",
        ]
    )
    assert simulated("--llmperf-compare=mine", *FIVE, SLOWER).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("marker", ["multiagent", "regression"])
def test_a_new_test_is_saved_beside_those_that_are_compared(simulated, pytester: pytest.Pytester, marker: str) -> None:
    """As in CI, which does both: it passes with a note, the stored one is compared; without saving it fails."""
    pytester.makepyfile(test_old=PLAIN)
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    pytester.makepyfile(test_new=REGRESSION.replace("regression", marker).replace("test_pair", "test_team"))
    simulated("--llmperf-compare=mine", *FIVE).assert_outcomes(passed=1, failed=1)
    both = simulated("--llmperf-save=mine", "--llmperf-compare=mine", *FIVE)
    both.assert_outcomes(passed=2)
    both.stdout.fnmatch_lines(["note: *not compared, but saved for the next run if it passes: baseline mine has no *"])
    simulated("--llmperf-compare=mine", *FIVE).assert_outcomes(passed=2)
    simulated("--llmperf-save=mine", "--llmperf-compare=mine", SLOWER).assert_outcomes(failed=2)


def test_nothing_is_measured_where_it_could_not_be_stored(simulated, pytester: pytest.Pytester) -> None:
    """No baseline to update, comments that would be lost, a folder that is none: found before any server starts."""
    pytester.makepyfile(PLAIN)
    (pytester.path / "baselines").mkdir()
    (pytester.path / "baselines" / "mine.toml").write_text("# why\nschema = 1\n")
    (pytester.path / "file").write_text("")
    for options, words in (
        (["--llmperf-update=other"], "other.toml does not exist"),
        (["--llmperf-save=mine"], "lose its comments"),
        (["--llmperf-save=new", "--llmperf-baselines-dir=file/x"], "is not a writable folder"),
    ):
        result = simulated(*options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert words in result.stderr.str()


LIMITS = 'schema = 1\ndescription = "{}"\n'
NAMED = """
    def test_it(llmperf, llmperf_baseline):
        assert (llmperf_baseline.description, llmperf.stored.description) == ("typed", "in the ini file")
"""


def test_a_file_is_found_from_any_folder(simulated, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typed path is of the folder where pytest was started, one in the ini file of that file's folder."""
    pytester.makepyfile(NAMED)
    below = pytester.mkdir("below")
    below.joinpath("limits.toml").write_text(LIMITS.format("typed"))
    pytester.path.joinpath("limits.toml").write_text(LIMITS.format("in the ini file"))
    pytester.makeini("[pytest]\nllmperf_compare = limits.toml\n")
    monkeypatch.chdir(below)
    result = simulated("--llmperf-baseline=limits.toml", "..")
    result.assert_outcomes(passed=1)


def test_a_script_gives_files_from_its_root(tmp_path: Path) -> None:
    """Without pytest, too, a relative file is one of the session's root."""
    tmp_path.joinpath("limits.toml").write_text(LIMITS.format("mine"))
    session = Session(Settings(backend="simulated", baseline="limits.toml"), root=tmp_path)
    assert session.baseline.description == "mine"


@pytest.mark.parametrize("option", ["save", "update"])
@pytest.mark.parametrize("name", ["decision_card", "embedded"])
def test_a_packaged_baseline_is_never_hidden(simulated, pytester: pytest.Pytester, option: str, name: str) -> None:
    """A file of that name without its thresholds would be found first: refused before any server starts."""
    pytester.makepyfile(PLAIN)
    result = simulated(f"--llmperf-{option}={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"*'{name}' names a baseline that comes with*", "*next: save under a name other than*"]
    )
    assert not (pytester.path / "baselines").exists()


@pytest.mark.parametrize("write", [store.save, store.update])
def test_a_script_hides_no_packaged_baseline_either(tmp_path: Path, write) -> None:
    """The same refusal without pytest."""
    with pytest.raises(UsageError, match="'embedded' names a baseline that comes with"):
        write("embedded", tmp_path, [])


def test_in_our_repository_sessions_are_added_as_anywhere(simulated, pytester: pytest.Pytester, monkeypatch) -> None:
    """Its `baselines` are the packaged ones, among which the user's then lie; those with comments stay as they are."""
    folder = pytester.path / "baselines"
    shutil.copytree(baseline_files.builtin_dir(), folder)
    for module in (baseline_files, store):
        monkeypatch.setattr(module, "builtin_dir", lambda: folder)
    pytester.makepyfile(PLAIN)
    for sessions in (1, 2):
        simulated("--llmperf-save=mine", *TWO).assert_outcomes(passed=1)
        (stored,) = baseline_files.load_named("mine", (folder,)).stored
        (stored,) = baseline_files.load_named("mine", (folder,)).stored
        assert len(stored.session) == sessions
    for name in ("decision_card", "embedded"):
        before = (folder / f"{name}.toml").read_text()
        assert simulated(f"--llmperf-save={name}").ret == pytest.ExitCode.USAGE_ERROR
        assert (folder / f"{name}.toml").read_text() == before


def test_policy_and_evidence_stand_in_every_output(simulated, pytester: pytest.Pytester) -> None:
    """Failure text, JUnit: the grade; JSON and the summary at -v: what the run lacks, and the policy in force."""
    pytester.makepyfile(GATED.format(fixture="single_ollama"))
    result = simulated("--junitxml=junit.xml", "--llmperf-json=run.json", "--llmperf-on-inconclusive=warn", "-v")
    lacks = "simulated, not a real engine; no alternative tried"
    result.stdout.fnmatch_lines(
        [
            "  SIMULATED, scenario pair, * rounds (evidence: simulated); *",
            "pair on single *",
            f"evidence: not decision-grade: {lacks}*: pair on single",
            "policy: an inconclusive limit gate only warns (--llmperf-on-inconclusive)",
            "policy: an inconclusive regression gate only warns until its baseline *",
            "policy: a gate whose limit comes from another machine fails its test *",
        ]
    )
    document = json.loads((pytester.path / "run.json").read_text())
    assert document["policy"][0].startswith("policy: an inconclusive limit gate only warns")
    evidence = document["records"][0]["evidence"]
    assert evidence["grade"] == "simulated"
    assert evidence["lacks"][:2] == lacks.split("; ")
    properties = ElementTree.parse(pytester.path / "junit.xml").getroot().findall(".//testcase/properties/property")
    named = {entry.get("name"): entry.get("value") for entry in properties}
    assert named["llmperf.pair.single.grade"] == "simulated"
    assert "publishable" not in result.stdout.str() + json.dumps(document) + (pytester.path / "junit.xml").read_text()
    assert document["records"][0]["figures"]["lacks"].startswith(lacks)
    assert not {"llmperf.pair.single.decision_grade", "llmperf.pair.single.lacks"} & set(named)  # of the whole run


def test_differing_manifests_are_named_old_against_new(simulated, pytester: pytest.Pytester) -> None:
    """What makes tok/s and ms not comparable, what voids the decision card by its own list, and what is only noted."""
    pytester.makepyfile(
        """
        import pytest
        from pair import PAIR

        @pytest.mark.efficiency
        def test_pair(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)
        """
    )
    simulated("--llmperf-save=mine").assert_outcomes(passed=1)
    file = pytester.path / "baselines" / "mine.toml"
    changed = re.sub(r"\.cpu = .*", '.cpu = "another"', file.read_text())
    file.write_text(re.sub(r"\.python = .*", '.python = "CPython 2.7"', changed))
    result = simulated("--llmperf-compare=mine", *FIVE, "--llmperf-json=run.json", "-v")
    result.stdout.fnmatch_lines(
        [
            "note: baseline decision_card: another machine, so tok/s and ms are not compared: gpu: NVIDIA *",
            "note: baseline decision_card: only its limits on ratios apply here*: gpu: NVIDIA * (GPU changed*",
            "note: baseline mine: another machine, so tok/s and ms are not compared: cpu: another -> *",
            "note: baseline mine: differs, too, but verdicts do not depend on it: python: CPython 2.7 -> *",
        ]
    )
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    assert {"baseline": "mine", "key": "cpu", "old": "another"}.items() <= record["differences"][-2].items()
