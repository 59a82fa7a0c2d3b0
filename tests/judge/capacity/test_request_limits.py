"""Limits of single requests."""

import pytest

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.capacity.request_limits import LIMITS, RequestLimits
from pytest_llmperf.model import RequestTiming
from tests.judge.build import MS, request, run

REQUEST = request(ttft_ms=20, total_ms=100, tokens=9)
"""TTFT 20 ms, then 8 tokens in 80 ms: 10 ms a token, 100 tok/s; 0.1 s in all."""


@pytest.mark.parametrize(
    ("name", "keeps", "breaks"),
    [("ttft_ms", 20, 19.9), ("tpot_ms", 10, 9.9), ("tok_s", 100, 100.1), ("e2e_s", 0.1, 0.0999)],
)
def test_a_limit_itself_is_kept(name: str, keeps: float, breaks: float) -> None:
    """Only what is beyond it breaks it; `tok_s` is a minimum, the others are maximums."""
    assert RequestLimits(**{name: keeps}).broken(REQUEST) == ()
    assert RequestLimits(**{name: breaks}).broken(REQUEST) == (name,)
    assert RequestLimits(**{name: breaks}).kept([run("x", REQUEST, REQUEST)]) == (0, 2)


def test_every_kind_has_a_field() -> None:
    """In the same order; none is given unless it is."""
    assert tuple(kind.name for kind in LIMITS) == tuple(RequestLimits.__dataclass_fields__)
    assert RequestLimits().given == ()


def test_what_breaks_most() -> None:
    """The kind that most requests break, and the median of the values that break it."""
    slow = [request(ttft_ms=ms, total_ms=1000, tokens=9) for ms in (300, 500, 900)]
    limits = RequestLimits(ttft_ms=250, e2e_s=0.99)
    kind, value = limits.most_broken([run("x", REQUEST, *slow[:2]), run("y", slow[2])])
    assert (kind.name, value) == ("ttft_ms", 500)
    assert limits.most_broken([run("x", REQUEST)]) is None
    assert limits.medians([run("x", REQUEST, *slow)]) == {"ttft_ms": 500, "e2e_s": 1}
    assert limits.medians([]) == {}


def test_tokens_that_arrive_at_once_keep_every_rate() -> None:
    """No time passed between the first and the last."""
    at_once = RequestTiming(sent_ns=0, done_ns=9 * MS, arrivals_ns=(5 * MS, 5 * MS), eval_count=4)
    assert RequestLimits(tok_s=1e6, tpot_ms=0.001).broken(at_once) == ()


@pytest.mark.parametrize(
    ("name", "timing"),
    [
        ("ttft_ms", RequestTiming(sent_ns=0, done_ns=9, arrivals_ns=(5,), eval_count=4, streamed=False)),
        ("tpot_ms", RequestTiming(sent_ns=0, done_ns=9, arrivals_ns=(5,), eval_count=4)),
        ("tok_s", RequestTiming(sent_ns=0, done_ns=9, arrivals_ns=(5,), eval_count=1)),
    ],
)
def test_an_undefined_value_is_an_error(name: str, timing: RequestTiming) -> None:
    """Neither kept nor broken."""
    with pytest.raises(MeasurementError, match="undefined"):
        RequestLimits(**{name: 1.0}).broken(timing)
