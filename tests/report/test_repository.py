"""The git repository around a folder."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.model import Settings
from pytest_llmperf.report import endings, repository
from pytest_llmperf.report.document import Run
from pytest_llmperf.report.endings import Ending
from pytest_llmperf.report.repository import ATTRIBUTES, inside, keep_both_sides, top_of
from pytest_llmperf.report.writing import write_all
from tests.report.conftest import run_of


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

        monkeypatch.setattr(repository, "write_whole", refused)
        assert keep_both_sides(top / "perf" / "baselines" / "main.toml") is None


def test_the_top_of_a_repository(top: Path) -> None:
    """From any folder below; of a worktree, whose `.git` is a file, too."""
    assert top_of(top / "perf" / "baselines") == top
    (top / "perf" / ".git").write_text("gitdir: elsewhere")
    assert top_of(top / "perf" / "baselines") == top / "perf"


class TestInside:
    """Where pytest's root folder is in its repository."""

    def test_by_the_repository(self, top: Path) -> None:
        """Its top, a folder below, one behind a link."""
        (top / "link").symlink_to(top / "perf")
        assert inside(top, {}) == ""
        assert inside(top / "perf" / "baselines", {}) == "perf/baselines"
        assert inside(top / "link", {}) == "perf"

    def test_by_the_ci_system(self, top: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        """GitLab names the project's folder, also of a submodule; GitHub's is asked only where there is no `.git`."""
        copy = tmp_path_factory.mktemp("copy")
        (copy / "perf").mkdir()
        assert inside(copy / "perf", {}) == ""
        for name in ("CI_PROJECT_DIR", "GITHUB_WORKSPACE"):
            assert inside(copy / "perf", {name: str(copy)}) == "perf"
            assert inside(copy / "perf", {name: "/elsewhere"}) == ""
        (top / "perf" / ".git").write_text("gitdir: elsewhere")
        assert inside(top / "perf", {"CI_PROJECT_DIR": str(top)}) == "perf"
        assert inside(top / "perf", {"GITHUB_WORKSPACE": str(top)}) == ""

    @pytest.mark.parametrize("ending", [Ending.FAILED, Ending.PASSED])
    def test_annotations_and_code_quality(self, top: Path, ending: Ending) -> None:
        """Of gates and of other failures, of tests below pytest's root and beside it."""
        run = run_of(together_ms=((195, 100),) * 5)
        tests = [
            *(replace(test, ending=ending) for test in run.tests),
            endings.Tested(test="t", ending=Ending.FAILED, text="boom", file="../beside/test_it.py", line=3),
        ]
        run = Run(records=run.records, tests=tests, settings=Settings(codequality="report.json"))
        written = write_all(run, top / "perf", {"GITHUB_ACTIONS": "true"})
        paths = {issue["location"]["path"] for issue in json.loads((top / "perf" / "report.json").read_text())}
        assert paths == {"perf/perf/test_team.py", "beside/test_it.py"}
        for path in paths:
            assert any(f" file={path}," in command for command in written.commands)
