"""What is written beside a saved baseline, so that git merges it."""

import subprocess
from pathlib import Path

import pytest

from pytest_llmperf.judge import attributes, baselines
from pytest_llmperf.judge.attributes import ATTRIBUTES, keep_both_sides, top_of
from tests.judge.test_baselines import KEY, SESSION


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository with a baseline."""
    subprocess.run(("git", "init", "-q", tmp_path), check=True)
    (tmp_path / "perf" / "baselines").mkdir(parents=True)
    (tmp_path / "perf" / "baselines" / "main.toml").touch()
    return tmp_path


class TestAttributes:
    """Written once, beside a saved baseline, where nobody has said what git should do."""

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

        monkeypatch.setattr(attributes, "write_whole", refused)
        assert keep_both_sides(top / "perf" / "baselines" / "main.toml") is None


def test_the_top_of_a_repository(top: Path) -> None:
    """From any folder below; of a worktree, whose `.git` is a file, too."""
    assert top_of(top / "perf" / "baselines") == top
    (top / "perf" / ".git").write_text("gitdir: elsewhere")
    assert top_of(top / "perf" / "baselines") == top / "perf"


def test_a_save_and_an_update_write_them(top: Path) -> None:
    """Whoever calls them."""
    for work in (baselines.save, baselines.update):
        work("other", top / "new", [(KEY, SESSION)])
        (top / "new" / ".gitattributes").unlink()
