"""Two branches that both changed a baseline: git merges it, by itself or with `merge=union`, and nothing is lost."""

import itertools
import random
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.errors import BaselineError
from pytest_llmperf.judge.baselines import baseline_files, store
from pytest_llmperf.judge.baselines.edits import renamed, trimmed, without
from pytest_llmperf.model import Baseline
from tests.judge.baselines.test_store import KEY, SESSION, WHOLE, written

FACTS = {"cpu": "i9", "model": "m", "git_commit": "abc"}
OTHER = replace(KEY, test="t.py::test_y")
THIRD = replace(KEY, test='t.py::test_z["a\\b"]')  # a name that TOML escapes
Work = Callable[[Path], object]


def save(*when: str, keys: Iterable = (KEY,), facts: dict | None = None) -> Work:
    """A run that saves a session at each of these times, of each of these tests."""

    def work(folder: Path) -> None:
        for time, key in itertools.product(when, keys):
            session = replace(SESSION, saved_at=time, manifest=facts or FACTS)
            store.save("main", folder, [(key, session)])

    return work


def change(how: Callable[[Baseline], Baseline]) -> Work:
    return lambda folder: store.edit(folder / "main.toml", how)


def update(when: str) -> Work:
    session = replace(SESSION, saved_at=when, manifest=FACTS)
    return lambda folder: store.update("main", folder, [(KEY, session)])


def schema(number: int) -> Work:
    """A file of an older release."""
    return lambda folder: written(folder, WHOLE.replace("schema = 1", f"schema = {number}"), "main")


def held(path: Path) -> set[tuple[str, str]]:
    """Test and time of each session."""
    return {(entry.test, session.saved_at) for entry in baseline_files.load(path).stored for session in entry.session}


class Sides:
    """Three versions of a baseline in folders of their own, for git to merge; what it made of them is in `path`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "main.toml"
        self.folder = folder

    def merge(self, base: Work | None, ours: Work, theirs: Work, *words: str) -> int:
        """The number of conflicts; `git merge` merges a file just so."""
        versions = []
        for name, work in (("base", None), ("ours", ours), ("theirs", theirs)):
            folder = self.folder / name
            folder.mkdir()
            for step in filter(None, (base, work)):
                step(folder)
            versions.append(folder / "main.toml")
            versions[-1].touch()
        first, second, third = versions
        done = subprocess.run(
            ("git", "merge-file", "-p", *words, second, first, third), capture_output=True, check=False
        )
        self.path.write_bytes(done.stdout)
        return done.returncode


A, B, C, D = (f"2026-0{month}-01T00:00:00+00:00" for month in (2, 3, 4, 5))
NAMES = {KEY.test: "x", OTHER.test: "y", THIRD.test: "z"}
CASES = {
    "both add to one test": (save(A), save(B), save(C), "xA xB xC"),
    "both add several": (save(A), save(B, C), save(D), "xA xB xC xD"),
    "both add to several tests": (
        save(A, keys=(KEY, OTHER, THIRD)),
        save(B, keys=(KEY, OTHER, THIRD)),
        save(C, keys=(KEY, OTHER, THIRD)),
        "xA yA zA xB yB zB xC yC zC",
    ),
    "each adds a test": (save(A), save(B, keys=(OTHER,)), save(C, keys=(THIRD,)), "xA yB zC"),
    "both add the same test": (save(A), save(B, keys=(OTHER,)), save(C, keys=(OTHER,)), "xA yB yC"),
    "both make the file": (None, save(B), save(C), "xB xC"),
    "both make the file, of other tests": (None, save(B, keys=(KEY, OTHER)), save(C, keys=(THIRD,)), "xB yB zC"),
    "on other machines": (save(A), save(B, facts={"cpu": "i7"}), save(C, facts={"cpu": "i3", "gpu": "1"}), "xA xB xC"),
    "machines that know nothing": (save(A), save(B, facts={"git_commit": "b"}), save(C), "xA xB xC"),
    "one session on both": (save(A), save(B, C), save(B, D), "xA xB xC xD"),
    "the same on both": (save(A), save(B), save(B), "xA xB"),
    "from a file of schema 1": (schema(1), save(B), save(C), "x0 xB xC"),
    "from a file of schema 2": (schema(2), save(B, keys=(KEY, OTHER)), save(C, keys=(OTHER,)), "x0 xB yB yC"),
    "one renames": (save(A), change(lambda b: renamed(b, KEY.test, OTHER.test)), save(B), "yA xB"),
}
AT_LEAST = {
    "one updates": (save(A), update(B), save(C), "xB xC", "xA"),
    "one removes another test": (
        save(A, keys=(KEY, OTHER)),
        change(lambda b: without(b, OTHER.test)),
        save(B),
        "xA xB",
        "yA",
    ),
}
"""What one side took away may come back; what either added is there."""


def wanted(text: str) -> set[tuple[str, str]]:
    tests, times = (
        {short: test for test, short in NAMES.items()},
        {"A": A, "B": B, "C": C, "D": D, "0": SESSION.saved_at},
    )
    return {(tests[test], times[time]) for test, time in text.split()}


@pytest.mark.parametrize("turned", [False, True], ids=["ours first", "theirs first"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
class TestMerges:
    """Either branch into the other."""

    def test_union(self, tmp_path: Path, case: tuple, turned: bool) -> None:
        """Clean; every session of both is there with all that was known of it, once; and the next save goes on."""
        base, ours, theirs, there = case
        sides = Sides(tmp_path)
        assert sides.merge(base, *((theirs, ours) if turned else (ours, theirs)), "--union") == 0
        assert held(sides.path) == wanted(there)
        sessions = [session for entry in baseline_files.load(sides.path).stored for session in entry.session]
        assert len(sessions) == len(wanted(there))
        assert {session.rounds["efficiency_pct"] for session in sessions} == {(95.5, 96.0)}
        assert all(session.manifest.keys() & {"cpu", "git_commit"} for session in sessions)
        save("2026-12-01T00:00:00+00:00", keys=(OTHER,))(tmp_path)
        assert held(sides.path) == wanted(there) | {(OTHER.test, "2026-12-01T00:00:00+00:00")}

    def test_marks(self, tmp_path: Path, case: tuple, turned: bool) -> None:
        """Without `merge=union`: git merges, or an error names the lines of its marks, without which all is right."""
        base, ours, theirs, there = case
        sides = Sides(tmp_path)
        if sides.merge(base, *((theirs, ours) if turned else (ours, theirs))):
            with pytest.raises(BaselineError, match=r"git conflict markers in lines \d.*\d+\n  next: delete") as caught:
                baseline_files.load(sides.path)
            numbers = caught.value.args[0].partition(" in lines ")[2].split(", ")
            lines = sides.path.read_text().splitlines(keepends=True)
            kept = [line for number, line in enumerate(lines, 1) if str(number) not in numbers]
            assert not any(line.startswith(("<<<", "===", ">>>")) for line in kept)
            sides.path.write_text("".join(kept))
        assert held(sides.path) == wanted(there)


def test_branches_that_saved_other_tests_are_merged_without_a_setting(tmp_path: Path) -> None:
    """Sessions of different tests are at different places in the file, grouped by test."""
    sides = Sides(tmp_path)
    assert sides.merge(save(A, keys=(KEY, OTHER)), save(B, keys=(KEY,)), save(C, keys=(OTHER,))) == 0
    assert held(sides.path) == wanted("xA yA xB yC")


@pytest.mark.parametrize("case", AT_LEAST.values(), ids=AT_LEAST)
def test_what_one_side_takes_away(tmp_path: Path, case: tuple) -> None:
    """It may come back with union; it is read, nothing new is lost, and taking it away again helps."""
    base, ours, theirs, there, perhaps = case
    sides = Sides(tmp_path)
    assert sides.merge(base, ours, theirs, "--union") == 0
    assert wanted(there) <= held(sides.path) <= wanted(f"{there} {perhaps}")
    store.edit(sides.path, lambda baseline: trimmed(baseline, 2))
    assert wanted(there) <= held(sides.path)


def test_two_branches_of_a_repository(tmp_path: Path) -> None:
    """`git merge` itself, with the attributes that a save writes beside its baseline."""

    def git(*words: str) -> None:
        settings = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        subprocess.run(("git", "-C", tmp_path, *settings, *words), capture_output=True, check=True)

    def commit(work: Work) -> None:
        work(tmp_path / "baselines")
        git("add", "-A")
        git("commit", "-q", "-m", "x")

    git("init", "-q", "-b", "main")
    (tmp_path / ".gitignore").write_text(".*.lock\n")
    commit(save(A))
    assert (tmp_path / "baselines" / ".gitattributes").exists()
    commit(save(B))
    git("checkout", "-q", "-b", "other")
    commit(save(C, keys=(KEY, OTHER)))
    git("checkout", "-q", "main")
    commit(save(D))
    git("merge", "-q", "other")
    assert held(tmp_path / "baselines" / "main.toml") == wanted("xA xB xC yC xD")


def test_lines_in_any_order(tmp_path: Path) -> None:
    """However they come to stand, each some times: the same baseline, but for the order of what is equally old."""
    save(A, B, keys=(KEY, OTHER, THIRD))(tmp_path)
    path = tmp_path / "main.toml"
    before, lines = baseline_files.load(path), path.read_text().splitlines(keepends=True)
    for seed in range(20):
        mixed = [*lines, *random.Random(seed).choices(lines, k=30)]
        random.Random(seed).shuffle(mixed)
        path.write_text("".join(mixed))
        after = baseline_files.load(path)
        assert sorted(after.stored, key=lambda entry: entry.test) == sorted(before.stored, key=lambda entry: entry.test)


def test_sessions_are_read_by_their_time(tmp_path: Path) -> None:
    """The newest comes last, wherever a merge has put it, in whatever zone it is written."""
    save("2026-03-01T00:00:00+00:00", "2026-02-28T23:30:00-01:00", "2026-02-01T00:00:00+00:00")(tmp_path)
    (entry,) = baseline_files.load(tmp_path / "main.toml").stored
    assert [session.saved_at[:16] for session in entry.session] == [
        "2026-02-01T00:00",
        "2026-03-01T00:00",
        "2026-02-28T23:30",
    ]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            ".rounds.efficiency_pct = '95.5 96.0'",
            ".rounds.efficiency_pct = '95.5 nan'",
            r"session\.ID\.rounds\.eff.*got nan",
        ),
        ('.scenario = "pair"', ".scenario = 3", r"session\.ID\.scenario: got 3, wanted text"),
        ('.scenario = "pair"', '.scenaro = "pair"', r"session\.ID\.scenario: got None, wanted text"),
        (".rounds.", ".rouds.", r"session\.ID\.rouds: unknown key"),
        ('.saved_at = "2026', '.saved_at = "x"\nschema = 3 # "', r"not TOML|session\.ID"),
        ('.machine = "', '.machine = "0', r"session\.ID\.machine: got '0.*there is no table"),
    ],
)
def test_faults_name_the_session(tmp_path: Path, old: str, new: str, text: str) -> None:
    """By the letters that its lines begin with, which a search finds."""
    save(A)(tmp_path)
    path = tmp_path / "main.toml"
    name = path.read_text().partition("session.")[2].partition(".")[0]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BaselineError, match=text.replace("ID", name)):
        baseline_files.load(path)


def test_two_values_of_one_line(tmp_path: Path) -> None:
    """Both sides have renamed it: which is right, nobody can say."""
    save(A)(tmp_path)
    path = tmp_path / "main.toml"
    text = path.read_text()
    path.write_text(text + text.replace("t.py::test_x", "t.py::test_w"))
    with pytest.raises(BaselineError, match=r"session\.\w+\.test is there twice, with two values\n  next: restore"):
        baseline_files.load(path)


@pytest.mark.parametrize("style", ["merge", "diff3"])
def test_marks_in_an_older_file(tmp_path: Path, style: str) -> None:
    """There a session is no block: one side is kept."""
    base = "||||||| 1234\nthird\n" if style == "diff3" else ""
    path = written(tmp_path, f"schema = 2\n<<<<<<< HEAD\nfirst\n{base}=======\nsecond\n>>>>>>> theirs\n")
    lines = "2, 4, 6, 8" if style == "diff3" else "2, 4, 6"
    with pytest.raises(BaselineError, match=rf"conflict markers in lines {lines}\n  next: keep one side.*--ours"):
        baseline_files.load(path)


def test_a_line_of_equals_signs_alone_is_no_mark(tmp_path: Path) -> None:
    """As a ruler in a text of several lines."""
    path = written(tmp_path, 'schema = 1\ndescription = """\nTitle\n=======\n"""\n')
    assert baseline_files.load(path).description == "Title\n=======\n"


class TestOtherSystems:
    """What editors and git of another system make of our files."""

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["CRLF", "BOM and CRLF"])
    def test_a_file_of_ours_is_still_ours(self, tmp_path: Path, mark: bytes) -> None:
        """Read, and added to."""
        save(A)(tmp_path)
        path = tmp_path / "main.toml"
        path.write_bytes(mark + path.read_bytes().replace(b"\n", b"\r\n"))
        assert held(path) == wanted("xA")
        save(B)(tmp_path)
        assert held(path) == wanted("xA xB")

    def test_one_by_hand_is_still_by_hand(self, tmp_path: Path) -> None:
        """Its comments would be lost."""
        path = written(tmp_path, "# mine\r\nschema = 1\r\n")
        with pytest.raises(BaselineError, match="written by hand"):
            store.save(path.stem, tmp_path, [(KEY, SESSION)])
