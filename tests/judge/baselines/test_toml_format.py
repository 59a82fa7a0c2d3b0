"""Layouts that are packed, the migration from older ones, and huge files; merges are in test_baselines_merging."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import huge_baselines
from pytest_llmperf.errors import BaselineError
from pytest_llmperf.judge.baselines import baseline_files, store
from tests.judge.baselines.test_store import KEY, SESSION, WHOLE, assert_fault_is_named, written

FACTS = {"cpu": "i9", "model": "m", "git_commit": "abc", "git_dirty": "no"}


@pytest.mark.parametrize("schema", [1, 2])
def test_an_older_file_is_read_and_written_as_the_newest(tmp_path: Path, schema: int) -> None:
    """Saved by release 0.1: its sessions are there as they were, and the next save writes the newest layout."""
    path = written(tmp_path, WHOLE.replace("schema = 1", f"schema = {schema}"))
    before = baseline_files.load(path)
    later = replace(SESSION, saved_at="2026-02-02T00:00:00+00:00", manifest=FACTS)
    store.save("mine", tmp_path, [(KEY, later)])
    assert tomllib.loads(path.read_text())["schema"] == 3
    after = baseline_files.load(path)
    assert after.stored[0].session == (SESSION, later)
    assert replace(after, schema=schema, stored=before.stored) == before


def test_a_reading_leaves_a_version_1_file_alone(tmp_path: Path) -> None:
    """Nothing is migrated behind the user's back."""
    path = written(tmp_path, WHOLE)
    baseline_files.load(path)
    assert path.read_text() == WHOLE


def test_manifests_stand_once_and_commits_by_the_session(tmp_path: Path) -> None:
    """Twenty sessions of one machine, each of another commit: one machine table, rounds on one line a metric."""
    sessions = [replace(SESSION, manifest={**FACTS, "git_commit": f"{number:x}"}) for number in range(20)]
    for session in sessions:
        path = store.save("mine", tmp_path, [(KEY, session)])
    text = path.read_text()
    tables = tomllib.loads(text)
    assert list(tables["machine"].values()) == [{"cpu": "i9", "model": "m"}]
    assert [session["commit"] for session in tables["session"].values()] == [f"{n:x}" for n in range(20)]
    assert text.count(".rounds.efficiency_pct = '95.5 96.0'\n") == 20
    assert baseline_files.load(path).stored[0].session == tuple(sessions)


PACKED = """
schema = 2
[machine.here]
cpu = "i9"
[[stored]]
test = "t.py::test_x"
scenario = "pair"
topology = "dual"
workload = "abc"
[[stored.session]]
saved_at = "2026-01-01T00:00:00+00:00"
commit = "abc"
machine = "here"
[stored.session.rounds]
efficiency_pct = '95.5 96'
"""


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    """The commit is a fact of the manifest, the text of numbers is rounds."""
    (entry,) = baseline_files.load(written(tmp_path, PACKED)).stored
    assert entry.session == (replace(SESSION, manifest={"cpu": "i9", "git_commit": "abc"}),)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("machine.here", "machine.there", "stored[0].session[0].machine: got 'here', and there is no table"),
        ('machine = "here"', "machine = 3", "stored[0].session[0].machine: got 3"),
        ('machine = "here"', "", "stored[0].session[0].commit: unknown key"),
        ("[machine.here]", "[machine]", "machine: wanted tables, each [machine.ID]"),
        ('cpu = "i9"', "cpu = 9", "stored[0].session[0].manifest.cpu: got 9, wanted text"),
        ("[stored.session.rounds]", "[stored.session.manifest]\n[stored.session.rounds]", "manifest: does not belong"),
        ("95.5 96", "95.5 nan", "stored[0].session[0].rounds.efficiency_pct[1]: got nan, wanted a finite number"),
        ("95.5 96", "95.5 inf", "stored[0].session[0].rounds.efficiency_pct[1]: got inf"),
        ("95.5 96", "95.5 9x6", "stored[0].session[0].rounds.efficiency_pct[1]: got a text, wanted a number"),
        ("95.5 96", " ", "stored[0].session[0].rounds: metrics have [0] values"),
        ("'95.5 96'", "95.5", "rounds.efficiency_pct: got 95.5, wanted a list of numbers, or a text of them"),
        ("[[stored]]", "[stored]", "stored: got a table, wanted a list"),
        ("[[stored.session]]", "[stored.session]", "stored[0].session: got a table, wanted a list"),
    ],
)
def test_faults_of_a_packed_file_name_their_key(tmp_path: Path, old: str, new: str, text: str) -> None:
    """Edited by hand and wrong: the file, the key, what is wrong, the next step."""
    assert_fault_is_named(tmp_path, PACKED, old, new, text)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, text: str) -> None:
    """What a crash of another tool may leave: no key schema, and it is not taken for a new file by a save."""
    path = written(tmp_path, text)
    with pytest.raises(BaselineError, match=r"has no key schema(.|\n)*restore the file"):
        baseline_files.load(path)
    with pytest.raises(BaselineError, match="has no key schema"):
        store.save("mine", tmp_path, [(KEY, SESSION)])
    assert path.read_text() == text


def test_10_000_rounds_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Every metric of 10,000 rounds; how long that takes is for benchmarks/huge_baselines.py."""
    baseline = huge_baselines.baseline_of(10, 20, 50)
    path = tmp_path / "huge.toml"
    store.edit(path, lambda _: baseline, new=baseline)
    assert baseline_files.load(path) == baseline


def test_the_benchmark_of_huge_files_runs() -> None:
    """On a small shape: a row with its limit, which is one of larger files (`make proofs`)."""
    (row,) = huge_baselines.rows(1, shapes=((2, 2, 5, 2.5),))
    assert (row.unit, row.most) == ("x", 2.5)
    assert row.figure == "load 2 tests of 2 sessions of 5 rounds: over a plain pass"
    assert huge_baselines.read_numbers("a = [1, -2.5e-3]\nb = 0.5") == [1.0, -0.0025, 0.5]
