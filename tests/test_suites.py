"""The suites that users copy, run as they are on the scripted engine; and the card's own limits, met and missed."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK = ("--llmperf-script=decode_tok_s=400,ttft_ms=10,load_ms=1,jitter_pct=0.2", "--llmperf-baseline=embedded")


@pytest.fixture
def suite(pytester: pytest.Pytester):
    """`suite(*options)`: runs the suites, as a user has who copied them."""
    shutil.copytree(ROOT / "perf_suites", pytester.path / "perf_suites", ignore=shutil.ignore_patterns("__pycache__"))
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")

    def run(*options: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("perf_suites", "--llmperf-backend=simulated", *options)

    return run


def test_the_ordering_of_topologies(suite) -> None:
    """In turn, with slots, on two instances: each stands in the table, and the suite's own assertions hold."""
    result = suite("-m", "topology", *QUICK)
    result.assert_outcomes(passed=1, deselected=3)
    result.stdout.fnmatch_lines_random(
        [
            "chimera_homo  single  * publishable *7?.? *[45]?.? *100% * no gate",
            "chimera_homo  single_parallel  * publishable *9?.? *9?.? * no gate",
            "chimera_homo  dual  * publishable *9?.? *9?.? * no gate",
        ]
    )


@pytest.mark.parametrize("forced", ["single", "dual"])
def test_the_ordering_is_really_asserted(suite, forced: str) -> None:
    """Three times the same deployment, whichever, is no ordering: the suite fails by its own assertions."""
    result = suite("-m", "topology", f"--llmperf-topology={forced}", "--llmperf-rounds=1", *QUICK)
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(["E *assert *"])
