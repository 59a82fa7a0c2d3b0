"""The git repository around a folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.model import Settings
from pytest_llmperf.report import session_outcomes
from pytest_llmperf.report.document import Run
from pytest_llmperf.report.files.session_outputs import write_all
from pytest_llmperf.report.repository_paths import inside
from pytest_llmperf.report.session_outcomes import Ending
from tests.report.conftest import run_of


class TestInside:
    """Where pytest's root folder is in its repository."""

    def test_by_the_repository(self, top: Path) -> None:
        """Its top, a folder below, one behind a link."""
        (top / "link").symlink_to(top / "perf")
        assert inside(top, {}) == ""
        assert inside(top / "perf" / "baselines", {}) == "perf/baselines"
        assert inside(top / "link", {}) == "perf"

    def test_by_the_ci_system(self, top: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        """GitLab's variable names the project's folder, also of a submodule; GitHub's is used only without a `.git`."""
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
        """For gates and for other failures, in tests below pytest's root and beside it."""
        run = run_of(together_ms=((195, 100),) * 5)
        tests = [
            *(replace(test, ending=ending) for test in run.tests),
            session_outcomes.Tested(test="t", ending=Ending.FAILED, text="boom", file="../beside/test_it.py", line=3),
        ]
        run = Run(records=run.records, tests=tests, settings=Settings(codequality="report.json"))
        written = write_all(run, top / "perf", {"GITHUB_ACTIONS": "true"})
        paths = {issue["location"]["path"] for issue in json.loads((top / "perf" / "report.json").read_text())}
        assert paths == {"perf/perf/test_team.py", "beside/test_it.py"}
        for path in paths:
            assert any(f" file={path}," in command for command in written.commands)
