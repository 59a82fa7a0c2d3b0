"""The benchmarks run, on small loads; whether their limits hold is for a quiet machine to say (`make bench`)."""

import pytest

from benchmarks import peers, reload_leak, stopwatch, tap_cost, telemetry_cost
from benchmarks.rows import Row, show
from pytest_llmperf.measure.arrival import Piece
from pytest_llmperf.measure.calibrate import Truth
from pytest_llmperf.measure.runtimes import Part
from pytest_llmperf.measure.wire import Exchange


def test_a_row_holds_or_falls_short(capsys) -> None:
    """Limits are inclusive; a row without one is only shown; one short row is exit code 1."""
    good = [Row("a", 1.0, "x", most=1.0), Row("b", 2.0, "ms", least=2.0), Row("c", 9.0, "s", beside="as it was")]
    assert show(good) == 0
    assert "3 figures, all limits hold" in capsys.readouterr().out
    assert show([*good, Row("d", 1.01, "x", most=1.0)]) == 1
    assert show([Row("e", 1.99, "x", least=2.0)]) == 1
    printed = capsys.readouterr().out
    assert "at most 1      FALLS SHORT" in printed
    assert "1 fall short" in printed


def test_errors_are_arrivals_minus_the_truth() -> None:
    """By hand: a token that left at 20 ms, arrived at 21 and was read at 25."""
    piece = Piece(21_000_000, 25_000_000, b'{"done": false}')
    last = Piece(30_000_000, 30_000_000, b'{"done": true, "context": [7]}')
    exchange = Exchange(sent_ns=1_000_000, pieces=(piece, last), source="kernel", label="a")
    part = Part(start_ns=0, exchanges=((exchange,),), cpu_ns=(0,), lag_ns=(0,))
    found = stopwatch.errors_of(part, {7: Truth(1_500_000, (20_000_000, 30_000_000))})
    assert (found.kernel, found.read, found.ttft, found.merged) == ([0.0, 1.0], [0.0, 5.0], [1.5], 0.0)
    assert stopwatch.p99([[1.0, 2.0], [3.0, 9.0], [5.0, 6.0]]) == 3.0


@pytest.mark.parametrize("part", ["cpu", "arrival", "efficiency"])
def test_every_part_gives_its_rows(part, monkeypatch, capsys) -> None:
    """On a load of a fraction of a second: the figures exist and each has its limit."""
    monkeypatch.setattr(stopwatch, "CPU_LOADS", ((2, 200, 10),))
    monkeypatch.setattr(stopwatch, "EFFICIENCY_LOADS", ((2, 200, 10, 99.95),))
    monkeypatch.setattr(stopwatch, "BLOCKED_LOAD", (2, 200, 10, 0.2))
    monkeypatch.setattr(stopwatch, "MANY_LOAD", (3, 200, 10, 0.5))
    monkeypatch.setattr("sys.argv", ["stopwatch", "--repetitions", "1", "--only", part])
    assert stopwatch.main() in (0, 1)
    printed = capsys.readouterr().out
    assert printed.count("holds") + printed.count("FALLS SHORT") >= 1
    assert "figures, " in printed


def test_the_taps_cost_is_two_rows(monkeypatch) -> None:
    """What it adds as a difference and chunk by chunk; behind the tap no chunk comes before it was at the tap."""
    monkeypatch.setattr(tap_cost, "TOKENS", 12)
    added, passage = tap_cost.rows(1)
    assert (added.most, passage.most) == (0.15, None)
    assert passage.value > 0
    monkeypatch.setattr("sys.argv", ["tap_cost", "--tokens", "5", "--pairs", "1", "--ordinary"])
    assert tap_cost.main() in (0, 1)


def test_the_cost_of_telemetry_is_four_rows(monkeypatch) -> None:
    """CPU and what it moves, both against limits; what a sample is, and how long it keeps another thread waiting."""
    monkeypatch.setattr(telemetry_cost, "TOK_S", 1000)
    monkeypatch.setattr(telemetry_cost, "TOKENS", 100)
    monkeypatch.setattr(telemetry_cost, "EVERY_S", 0.05)
    cost, moved, dearest, held = telemetry_cost.rows(1)
    assert (cost.most, moved.most, held.most) == (1.0, 0.05, 1.0)
    assert 0 < cost.value < 50
    assert 0 <= moved.value < 20
    assert 0 < dearest.value < 50
    assert held.value > 0


def test_peers_that_are_not_there_are_named(monkeypatch, capsys) -> None:
    """Nothing is compared silently."""
    monkeypatch.setattr(peers.shutil, "which", lambda _: None)
    assert peers.rows() == []
    assert "guidellm is not on PATH: not compared" in capsys.readouterr().out


def test_reloads_are_watched_from_outside() -> None:
    """The scripted engine holds no model and keeps nothing; the server's process is the one that is weighed."""
    (row,) = reload_leak.rows(5, backend="simulated")
    assert row.holds
    assert "once loaded " in row.beside
