"""The package `study` is optional: the core measures, judges, reports and saves without it."""

import subprocess
import sys

import pytest

from tests.plugin.conftest import GATED

WITHOUT_STUDY = """
import sys


class NoStudy:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".study")[0] == "pytest_llmperf" and ".study" in name:
            raise ImportError(f"{name} is not installed")


sys.meta_path.insert(0, NoStudy())
"""


def test_a_measured_run(simulated, pytester: pytest.Pytester) -> None:
    """Every report is written and the baseline saved; only what asks for an experiment needs the package."""
    pytester.makeconftest(WITHOUT_STUDY)
    pytester.makepyfile(
        GATED.format(fixture="dual_ollama"),
        test_matrix="def test_matrix(run_matrix): run_matrix({'schema': 1})",
    )
    reports = ("run.json", "run.html", "run.md", "quality.json", "metrics.txt", "baselines/main.toml")
    options = ("json", "html", "markdown", "codequality", "openmetrics")
    named = [f"--llmperf-{option}={name}" for option, name in zip(options, reports, strict=False)]
    result = simulated(*named, "--llmperf-save=main", own_process=True)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*ImportError: pytest_llmperf.study* is not installed*"])
    assert [name for name in reports if not (pytester.path / name).exists()] == []


def test_the_command() -> None:
    """Every command but `record` works without it."""
    code = f"{WITHOUT_STUDY}\nfrom pytest_llmperf.cli import main\nsys.exit(main(['list']))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "decision_card" in printed
