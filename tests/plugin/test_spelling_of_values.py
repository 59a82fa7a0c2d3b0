"""Misspelled values of options, markers and files: the error names the nearest valid value."""

from collections.abc import Callable

import pytest

from pytest_llmperf.errors import UsageError, did_you_mean
from pytest_llmperf.judge.markers import build
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.model import NamedDeployment
from pytest_llmperf.plugin.options import option_table, parsers

CHOICES = [option for option in option_table.OPTIONS if "one_of" in option.parse.__qualname__]


@pytest.mark.parametrize("option", CHOICES, ids=lambda option: option.field)
def test_every_option_with_choices_guesses(option) -> None:
    """A letter too few of any of its words."""
    with pytest.raises(ValueError, match="wanted one of ") as raised:
        option.parse("nothing-like-it")
    assert "did you mean" not in str(raised.value)
    for word in str(raised.value).removeprefix("wanted one of ").split(", "):
        with pytest.raises(ValueError, match=f"did you mean '{word}'"):
            option.parse(word[:-1])


@pytest.mark.parametrize(
    ("make", "near"),
    [
        (lambda: parsers.limits("eficiency=95"), "efficiency"),
        (lambda: parsers.script("ttft_m=3"), "ttft_ms"),
        (lambda: parsers.switch("flase"), "false"),
        (lambda: metric_of("ttft"), "ttft_ms"),
        (lambda: build("contention", kwargs={"detector": "tftt"}), "ttft"),
        (lambda: build("regression", kwargs={"metrics": ("eficiency_pct",)}), "efficiency_pct"),
        (lambda: build("consistency", kwargs={"metric": "decode_tok"}), "decode_tok_s"),
        (lambda: NamedDeployment(backend="Embeded"), "embedded"),
        (lambda: NamedDeployment(backend="embedded", topology="dul"), "dual"),
    ],
)
def test_other_values_are_guessed(make: Callable[[], object], near: str) -> None:
    """For limits, scripts, switches, metrics, markers' keywords, and deployments."""
    with pytest.raises((ValueError, UsageError)) as raised:
        make()
    assert f"did you mean {near!r}?" in str(raised.value)


def test_what_is_like_nothing_is_not_guessed() -> None:
    """Nor is what is no text."""
    assert did_you_mean("ray", ("threads", "asyncio")) == ""
    assert did_you_mean(None, ("threads",)) == ""


def test_metrics_are_listed_once() -> None:
    """In the error about them; a list of them is a value as a tuple is."""
    with pytest.raises(
        ValueError, match=r"metrics is .*wanted a list of one or more of .*; regression also takes"
    ) as raised:
        build("regression", kwargs={"metrics": ["efficiency"]})
    assert str(raised.value).count("scaling_speedup") == 1
    assert "did you mean 'efficiency_pct'?" in str(raised.value)
    assert build("regression", kwargs={"metrics": ["speedup"]}) == build("regression", kwargs={"metrics": ("speedup",)})
