"""The share of requests: what requests of one round are worth, and the interval that follows."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import request_shares
from pytest_llmperf.judge.stats.requests import share_of_requests
from pytest_llmperf.judge.stats.requests.share_of_requests import (
    MOST_CORRELATION,
    design_effects,
    effective_counts,
    excluded,
    largest_effect,
    share_interval,
)

EIGHT = [8] * 40


@pytest.mark.parametrize("each", [1, 2, 64])
@pytest.mark.parametrize("bad", [0, 1])
def test_where_all_requests_are_alike_the_largest_correlation_counts(each: int, bad: int) -> None:
    """No request is bad, or every one: nothing shows how bad requests spread over rounds."""
    sizes = [each] * 20
    (effect,) = design_effects([[bad * each] * 20], sizes)
    assert effect == pytest.approx(1 + (each - 1) * MOST_CORRELATION) == largest_effect(sizes)


def test_requests_that_are_bad_together_are_worth_less() -> None:
    """The same share: spread evenly over rounds, and in whole rounds; single requests of a round need no correction."""
    evenly, together = [1, 0] * 20, [8, 0, 0, 0] + [0] * 36
    together[20:24], together[9] = [4, 0, 4, 0], 4
    assert sum(evenly) == sum(together) == 20
    spread, whole = (float(design_effects([bad], EIGHT)[0]) for bad in (evenly, together))
    assert 1 < spread < whole <= largest_effect(EIGHT) * 1.01
    assert design_effects([[1, 0, 0, 1, 1]], [1] * 5)[0] >= 1


def test_the_interval_is_that_of_the_effective_counts() -> None:
    """Clopper and Pearson's, by scipy's beta distribution; the method says what the requests are worth."""
    bad = [0, 2, 1, 0, 3, 0, 1, 1, 0, 2] * 4
    count, whole = (float(value) for value in effective_counts(bad, EIGHT))
    known = share_interval(bad, EIGHT, 0.035)
    assert whole < sum(EIGHT)
    assert count / whole == pytest.approx(sum(bad) / sum(EIGHT))
    assert known.low == pytest.approx(stats.beta.ppf(0.0175, count, whole - count + 1))
    assert known.high == pytest.approx(stats.beta.ppf(0.9825, count + 1, whole - count))
    assert f"320 requests of 40 rounds count as {int(whole)} independent" in known.method


@pytest.mark.parametrize(("bad", "low", "high"), [([0] * 20, 0.0, None), ([8] * 20, None, 1.0)])
def test_the_ends_of_what_a_share_can_be(bad: list[int], low: float | None, high: float | None) -> None:
    """Nothing below 0 or above 1; the other end still leaves room."""
    known = share_interval(bad, [8] * 20, 0.05)
    assert known.low == low if low is not None else 0 < known.low < 1
    assert known.high == high if high is not None else 0 < known.high < 1


def test_what_is_excluded_is_outside_the_interval() -> None:
    """`excluded` and `share_interval` are one rule."""
    rng = np.random.default_rng(1)
    for bad in rng.binomial(8, rng.beta(0.5, 4, (60, 20))).tolist():
        known = share_interval(bad, [8] * 20, 0.035)
        count, whole = (float(value) for value in effective_counts(bad, [8] * 20))
        for share in (0.05, 0.1, 0.2, 0.4):
            assert excluded(count, whole, share, 0.035) == (known.high <= share, known.low >= share)


def test_rows_are_judged_alike_alone_and_together() -> None:
    """Arrays of many sessions give what each gives by itself, also if rounds have different numbers of requests."""
    rng, sizes = np.random.default_rng(2), np.array([4, 8, 2, 8, 4, 8, 2, 8, 4, 8])
    bad = rng.binomial(sizes, 0.2, (30, 10))
    together = design_effects(bad, sizes)
    assert together.tolist() == [float(design_effects(row, sizes)) for row in bad]


def test_a_broken_promise_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    """The simulation exits with 1, names the cell, and writes the table between its marks."""
    monkeypatch.setattr(share_of_requests, "MOST_CORRELATION", 0.0)
    monkeypatch.setattr(share_of_requests, "PSEUDO_ROUNDS", 0)
    cell = request_shares.Cell("share", "rare", 0.3, 0.6, 64, 8)
    monkeypatch.setattr(request_shares, "cells", lambda: (cell,))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{request_shares.MARK}\nold\n{request_shares.END}\nafter\n", encoding="utf-8")
    assert request_shares.main(["--runs", "200", "--processes", "1", "--page", str(page)]) == 1
    assert "BROKEN Cell(rule='share', kind='rare'" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{request_shares.MARK}\n200 runs")
    assert "| share | rare | 70 | 8 rounds |" in text
    assert text.endswith(f"{request_shares.END}\nafter\n")
    assert "old" not in text


@pytest.mark.parametrize("cell", [cell for cell in request_shares.cells() if cell.most == 20], ids=repr)
def test_shares_of_rounds_have_the_mean_and_the_correlation_of_their_cell(cell: request_shares.Cell) -> None:
    """What is simulated is what the page says."""
    bad = request_shares.bad_requests(np.random.default_rng(3), cell, 2000).astype(float)
    m, p = cell.requests, cell.limit
    variance = m * p * (1 - p) * (1 + (m - 1) * cell.correlation)
    assert bad.mean() == pytest.approx(m * p, abs=6 * (variance / bad.size) ** 0.5)
    assert bad.var() == pytest.approx(variance, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["spread", "rare"])
@pytest.mark.parametrize("correlation", request_shares.CORRELATIONS)
def test_errors_are_within_the_promise(kind: str, correlation: float) -> None:
    """A small part of `make verdicts-wide`, with seeds of its own: P95 with 8 requests a round."""
    cell = request_shares.Cell("share", kind, 0.05, correlation, 8, 60)
    _, result = request_shares.simulate((cell, 1000))
    assert not request_shares.broken(cell, result, 1000)
