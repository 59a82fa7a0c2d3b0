"""What is written beside a saved baseline, so that git merges it."""

import subprocess
from pathlib import Path

import pytest

from pytest_llmperf.judge.baselines import git_attributes, store
from pytest_llmperf.judge.baselines.git_attributes import ATTRIBUTES, keep_both_sides, keep_out, top_of
from pytest_llmperf.study.sweeps.sweep_journal import Journal
from tests.judge.baselines.test_store import KEY, SESSION


class TestAttributes:
    """Git attributes are written once, next to a saved baseline, unless the user has configured git already."""

    def test_written_once(self, top: Path) -> None:
        baseline = top / "perf" / "baselines" / "main.toml"
        path = keep_both_sides(baseline)
        assert path == baseline.with_name(".gitattributes")
        assert path.read_text() == ATTRIBUTES
        assert keep_both_sides(baseline) is None

    @pytest.mark.parametrize("folder", ["perf/baselines", "perf", "."])
    def test_what_somebody_has_said_stays(self, top: Path, folder: str) -> None:
        """There or in a folder above."""
        said = top / folder / ".gitattributes"
        said.write_text("*.toml -merge\n")
        assert keep_both_sides(top / "perf" / "baselines" / "main.toml") is None
        assert said.read_text() == "*.toml -merge\n"

    def test_outside_of_a_repository(self, tmp_path: Path) -> None:
        (tmp_path / "main.toml").touch()
        assert keep_both_sides(tmp_path / "main.toml") is None
        assert [path.name for path in tmp_path.iterdir()] == ["main.toml"]

    def test_without_git(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The repository may be shared with a container that has none."""
        monkeypatch.setenv("PATH", "")
        assert keep_both_sides(top / "perf" / "baselines" / "main.toml") is not None

    def test_where_it_cannot_be_written(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then not: the save itself is done."""

        def refused(*_) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(git_attributes, "write_whole", refused)
        assert keep_both_sides(top / "perf" / "baselines" / "main.toml") is None


def test_the_top_of_a_repository(top: Path) -> None:
    """From any folder below; of a worktree, whose `.git` is a file, too."""
    assert top_of(top / "perf" / "baselines") == top
    (top / "perf" / ".git").write_text("gitdir: elsewhere")
    assert top_of(top / "perf" / "baselines") == top / "perf"


def test_a_save_and_an_update_write_them(top: Path) -> None:
    """Whoever calls them."""
    for work in (store.save, store.update):
        work("other", top / "new", [(KEY, SESSION)])
        (top / "new" / ".gitattributes").unlink()


class TestLeftOut:
    """Locks and half-written files are none of git's, whoever saves first."""

    def untracked(self, top: Path) -> str:
        """What `git add -A` would commit."""
        command = ("git", "-C", top, "status", "--porcelain", "--untracked-files=all")
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def test_a_save(self, top: Path) -> None:
        """Only the baseline and the git attributes are new."""
        store.save("main", top / "new", [(KEY, SESSION)])
        (top / "new" / ".main.toml.0123.tmp").touch()
        assert (top / "new" / ".main.lock").exists()
        names = {line.split("/")[-1] for line in self.untracked(top).splitlines() if "new/" in line}
        assert names == {".gitattributes", ".gitignore", "main.toml"}

    def test_an_experiment(self, top: Path) -> None:
        """Neither the lock nor the journal."""
        with Journal(top / "results", "topology", {}, {}):
            assert {line[3:] for line in self.untracked(top).splitlines() if "results" in line} == {
                "results/.gitignore"
            }

    @pytest.mark.parametrize("folder", ["perf/baselines", "perf", "."])
    def test_what_is_ignored_already(self, top: Path, folder: str) -> None:
        """There or in a folder above: nothing is written."""
        (top / folder / ".gitignore").write_text("*.lock\n*.tmp\n")
        assert keep_out(top / "perf" / "baselines") is None
        assert len(list(top.rglob(".gitignore"))) == 1

    def test_what_is_ignored_in_part(self, top: Path) -> None:
        """A folder above leaves out half-written files only: locks are left out beside the baseline."""
        (top / ".gitignore").write_text("*.tmp\n")
        assert keep_out(top / "perf" / "baselines") == top / "perf" / "baselines" / ".gitignore"

    def test_a_file_of_the_users_stays(self, top: Path) -> None:
        """Also one that leaves out something else."""
        said = top / "perf" / "baselines" / ".gitignore"
        said.write_text("old.toml\n")
        assert keep_out(said.parent) is None
        assert said.read_text() == "old.toml\n"

    def test_outside_of_a_repository(self, tmp_path: Path) -> None:
        assert keep_out(tmp_path) is None
        assert list(tmp_path.iterdir()) == []
