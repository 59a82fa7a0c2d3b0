"""The markers' vocabulary: every fault is an error that lists what is valid."""

import math
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from pytest_llmperf.judge import markers
from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.judge.markers import build, count_gates

PERCENT = [("efficiency", "min_pct"), ("scaling", "min_pct"), ("consistency", "max_cv_pct")]
OPEN = [
    ("throughput", "min_tok_s"),
    ("ttft", "max_ms"),
    ("ttft", "max_ratio"),
    ("speedup", "min_x"),
    ("regression", "delta"),
]
NUMBERS = [*PERCENT, *OPEN, ("contention", "max_rate")]


@pytest.mark.parametrize(("name", "keyword"), NUMBERS)
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf])
def test_numbers_out_of_range(name: str, keyword: str, value: float) -> None:
    """Negative, NaN and infinite limits are refused, with marker, keyword, value and range."""
    with pytest.raises(ValueError, match=f"{name}: {keyword} is .*, wanted a number") as caught:
        build(name, kwargs={keyword: value})
    for row in GATE_KINDS[name].keywords:
        wanted = f"wanted {row.valid}" if row.name == keyword else f"{row.name}: {row.valid}"
        assert wanted in str(caught.value)


@pytest.mark.parametrize(("name", "keyword"), NUMBERS)
@pytest.mark.parametrize("value", ["95", True, (95,), b"1", 1j])
def test_numbers_of_the_wrong_type(name: str, keyword: str, value: object) -> None:
    """Text, truth values, tuples: a TypeError with the same words."""
    with pytest.raises(TypeError, match=f"{name}: {keyword} is .*, wanted a number"):
        build(name, kwargs={keyword: value})


@pytest.mark.parametrize(
    ("name", "keyword", "value", "valid"),
    [
        *(
            (name, keyword, value, valid)
            for name, keyword in PERCENT
            for value, valid in [(0, False), (100, True), (100.1, False)]
        ),
        *((name, keyword, value, valid) for name, keyword in OPEN for value, valid in [(0, False), (1e6, True)]),
        *(("contention", "max_rate", value, valid) for value, valid in [(0, True), (1, True), (1.01, False)]),
    ],
)
def test_the_ends_of_the_ranges(name: str, keyword: str, value: float, *, valid: bool) -> None:
    """(0, 100] for percent, [0, 1] for a rate, above 0 for the rest."""
    if valid:
        assert build(name, kwargs={keyword: value})[keyword] == value
    else:
        with pytest.raises(ValueError, match=keyword):
            build(name, kwargs={keyword: value})


@pytest.mark.parametrize("name", GATE_KINDS)
def test_keywords_only_and_only_its_own(name: str) -> None:
    """Positional arguments and unknown keywords are TypeErrors that list the valid ones."""
    with pytest.raises(TypeError, match=f"{name} takes keywords only, got 95; {name} takes"):
        build(name, (95,))
    with pytest.raises(TypeError, match=f"{name} has no keyword 'nonsense'; {name} takes") as caught:
        build(name, kwargs={"nonsense": 1})
    for row in GATE_KINDS[name].keywords:
        assert row.name in str(caught.value)


def test_an_unknown_marker() -> None:
    """Its name is refused with the list."""
    with pytest.raises(ValueError, match="unknown gate marker 'eficiency', wanted one of efficiency, scaling"):
        build("eficiency")


@pytest.mark.parametrize(
    ("name", "keyword", "value", "error"),
    [
        ("contention", "detector", "vibes", ValueError),
        ("contention", "detector", 3, TypeError),
        ("throughput", "of", "everyone", ValueError),
        ("throughput", "of", None, TypeError),
        ("consistency", "metric", "itl_ms", ValueError),
        ("consistency", "metric", ("ttft_ms",), TypeError),
        ("quality", "same", 1, TypeError),
        ("quality", "samples", 2, ValueError),
        ("quality", "samples", 3.0, TypeError),
        ("regression", "metrics", "ttft_ms", TypeError),
        ("regression", "metrics", 5, TypeError),
        ("regression", "metrics", (5,), TypeError),
        ("regression", "metrics", (), ValueError),
        ("regression", "metrics", ("ttft_ms", "nonsense"), ValueError),
        ("regression", "metrics", ("ttft_ms", "ttft_ms"), ValueError),
    ],
)
def test_choices(name: str, keyword: str, value: object, error: type[Exception]) -> None:
    """Words that are none of the choices, and values that are no words."""
    with pytest.raises(error, match=f"{name}: {keyword} is .*wanted"):
        build(name, kwargs={keyword: value})


def test_every_marker_without_arguments_is_valid() -> None:
    """Its limit then comes from elsewhere; every other keyword has a default."""
    for name, kind in GATE_KINDS.items():
        marker = build(name)
        assert marker.values == tuple(row.default for row in kind.keywords)
        assert marker[kind.limits[0].name] is None
        assert str(marker) == f"{name}()"


def test_a_list_of_metrics_becomes_a_tuple() -> None:
    """Natural to write, frozen to hold."""
    marker = build("regression", kwargs={"metrics": ["ttft_ms"], "delta": 3})
    assert marker["metrics"] == ("ttft_ms",)
    assert str(marker) == "regression(metrics=('ttft_ms',), delta=3)"
    with pytest.raises(FrozenInstanceError):
        marker.values = ()


def test_gates_are_counted_by_what_markers_ask_for() -> None:
    """A marker `ttft` with both limits counts two, `regression` one a metric; `--llmperf-compare` adds its metrics."""
    assert count_gates((), compare=False) == 0
    assert count_gates((), compare=True) == len(build("regression")["metrics"]) == 4
    plain = (build("efficiency"), build("contention"), build("ttft"))
    assert count_gates(plain, compare=False) == 3
    assert count_gates(plain, compare=True) == 7
    both = build("ttft", kwargs={"max_ms": 9, "max_ratio": 2})
    regression = build("regression", kwargs={"metrics": ("ttft_ms", "speedup")})
    assert count_gates((both, regression), compare=True) == 4
    assert count_gates((both, regression), compare=False, against=True) == 4
    assert count_gates((both, regression), compare=True, against=True) == 6
    assert count_gates((), compare=False, against=True) == 4


def test_the_module_needs_only_the_standard_library() -> None:
    """Collection imports it in every project that has us installed."""
    code = f"import sys; before = set(sys.modules); import {markers.__name__}; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign == {"pytest_llmperf"}
    assert {name for name in loaded if name.startswith("pytest_llmperf.")} == {
        "pytest_llmperf.judge",
        "pytest_llmperf.judge.gate_kinds",
        "pytest_llmperf.judge.marker_keywords",
        "pytest_llmperf.judge.markers",
    }
