"""The benchmarks run, on small loads, and their limits are of ratios; whether they hold is for `make bench` to say."""

import contextlib
import itertools
import re
from types import SimpleNamespace

import pytest

from benchmarks import peers, reload_leak, stopwatch, tap_cost, telemetry_cost
from benchmarks.rows import Row, show
from pytest_llmperf.measure.calibrate import Truth
from pytest_llmperf.measure.runtimes import Part
from pytest_llmperf.measure.wire.arrival import Piece
from pytest_llmperf.measure.wire.exchange import Exchange


def test_a_row_holds_or_falls_short(capsys) -> None:
    """Limits are inclusive; a row without one is only shown; one short row is exit code 1."""
    good = [Row("a", 1.0, "x", most=1.0), Row("b", 2.0, "x", least=2.0), Row("c", 9.0, "s", beside="as it was")]
    assert show(good) == 0
    assert "3 figures, all limits hold" in capsys.readouterr().out
    assert show([*good, Row("d", 1.01, "x", most=1.0)]) == 1
    assert show([Row("e", 1.99, "x", least=2.0)]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"at most 1 +FALLS SHORT", printed)
    assert "1 fall short" in printed


@pytest.mark.parametrize("limit", [{"most": 1.0}, {"least": 1.0}])
@pytest.mark.parametrize("unit", ["ms", "s", "MB", "%", "pp"])
def test_a_limit_is_one_of_a_ratio(unit: str, limit: dict[str, float]) -> None:
    """Anything else says more of the machine than of us."""
    with pytest.raises(ValueError, match=f"a limit is one of a ratio or a count, this is in {unit}"):
        Row("a", 1.0, unit, **limit)
    assert Row("a", 1.0, unit).holds


def test_errors_are_arrivals_minus_the_truth() -> None:
    """By hand: a token that left at 20 ms, arrived at 21 and was read at 25."""
    piece = Piece(21_000_000, 25_000_000, b'{"done": false}')
    last = Piece(30_000_000, 30_000_000, b'{"done": true, "context": [7]}')
    exchange = Exchange(sent_ns=1_000_000, pieces=(piece, last), source="kernel", label="a")
    part = Part(start_ns=0, exchanges=((exchange,),), cpu_ns=(0,), lag_ns=(0,))
    errors = stopwatch.errors_of(part, {7: Truth(1_500_000, (20_000_000, 30_000_000))})
    assert (errors.kernel, errors.read, errors.merged) == ([0.0, 1.0], [0.0, 5.0], 0.0)
    assert (errors.ttft, errors.read_ttft) == ([1.5], [5.5])
    assert stopwatch.p99([[1.0, 2.0], [3.0, 9.0], [5.0, 6.0]]) == 3.0
    assert stopwatch.best([[1.0, 9.0, 9.0], [2.0, 3.0, 9.0]], 0.5) == 3.0


class Lately:
    """Two answers whose chunks arrived this late by the kernel's time, and were read so late."""

    def __init__(self, kernel_ms: float, read_ms: float) -> None:
        self.errors = stopwatch.Errors([kernel_ms] * 9, [read_ms] * 9, [kernel_ms], [read_ms], 0.0)

    def rows(self, monkeypatch: pytest.MonkeyPatch, *, plain_ms: float | None = None) -> list[Row]:
        played = [self.errors]
        plain = None
        if plain_ms is not None:
            played.append(stopwatch.Errors([plain_ms] * 9, [plain_ms] * 9, [plain_ms], [plain_ms], 0.0))
            plain = lambda *_: None  # noqa: E731
        ahead = itertools.cycle(played)
        monkeypatch.setattr(stopwatch, "play", lambda *_: None)
        monkeypatch.setattr(stopwatch, "truths", lambda _: None)
        monkeypatch.setattr(stopwatch, "errors_of", lambda *_: next(ahead))
        monkeypatch.setattr(stopwatch, "paced_server", lambda **_: contextlib.nullcontext("http://x"))
        runtime = SimpleNamespace(name="threads")
        return stopwatch._arrival_rows(runtime, (2, 9, 9), 3, rank=0.9, plain=plain)


@pytest.mark.parametrize("slow", [1, 40], ids=["a fast machine", "a slow one"])
def test_arrival_rows_fail_where_the_kernels_time_is_not_used(monkeypatch, slow: int) -> None:
    """On any machine: what counts is how far below the times of the reads they are, ours or a plain reader's."""
    for plain_ms in (None, 0.5 * slow):
        exact, blunt = (Lately(error, 0.5 * slow).rows(monkeypatch, plain_ms=plain_ms) for error in (0.01, 0.5 * slow))
        assert all(row.holds for row in exact)
        assert [row.holds for row in blunt[:2]] == [False, False]
    early = Lately(-0.001, 0.5).rows(monkeypatch)
    assert not early[2].holds


@pytest.mark.parametrize(("tapped_ms", "holds"), [(0.1, True), (0.3, False)])
@pytest.mark.parametrize("slow", [1, 40])
def test_the_tap_is_held_against_a_plain_forwarder(tapped_ms: float, holds: bool, slow: int) -> None:
    """By calm repetitions: what else the machine does now and then is nobody's."""
    calm, disturbed = ([round(tapped_ms * slow * more * 1e6)] * 100 for more in (1, 90))
    delays_ns = {"tapped": [calm, disturbed, disturbed, calm], "forwarded": [[round(0.1 * slow * 1e6)] * 100] * 4}
    cost = tap_cost.TapCost(delays_ns=delays_ns, passage_ns=[], cpu_us=0, exact=True)
    assert (cost.ratio <= tap_cost.MOST) is holds


@pytest.mark.parametrize("part", ["cpu", "arrival", "efficiency"])
def test_every_part_gives_its_rows(part, monkeypatch, capsys) -> None:
    """On a load of a fraction of a second: the figures exist and each has its limit."""
    monkeypatch.setattr(stopwatch, "CPU_LOADS", ((2, 200, 10),))
    monkeypatch.setattr(stopwatch, "EFFICIENCY_LOADS", ((2, 200, 10),))
    monkeypatch.setattr(stopwatch, "BLOCKED_LOAD", (2, 200, 10))
    monkeypatch.setattr(stopwatch, "MANY_LOAD", (3, 200, 10))
    monkeypatch.setattr("sys.argv", ["stopwatch", "--repetitions", "1", "--only", part])
    assert stopwatch.main() in (0, 1)
    printed = capsys.readouterr().out
    assert printed.count("holds") + printed.count("FALLS SHORT") >= 1
    assert "figures, " in printed


def test_the_taps_cost_is_three_rows(monkeypatch) -> None:
    """Against a forwarder, as a difference, and chunk by chunk; behind the tap no chunk comes before it was at it."""
    monkeypatch.setattr(tap_cost, "TIMES", 1)
    ratio, added, passage = tap_cost.rows(1, tokens=12)
    assert (ratio.most, ratio.unit, added.most, passage.most) == (tap_cost.MOST, "x", None, None)
    assert ratio.value > 0
    assert passage.value > 0
    monkeypatch.setattr("sys.argv", ["tap_cost", "--tokens", "5", "--repetitions", "1", "--ordinary"])
    assert tap_cost.main() in (0, 1)


def test_the_cost_of_telemetry_is_four_rows(monkeypatch) -> None:
    """CPU, what it moves, and how long it keeps another thread waiting, each against what was measured beside it."""
    monkeypatch.setattr(telemetry_cost, "TOK_S", 1000)
    monkeypatch.setattr(telemetry_cost, "TOKENS", 100)
    monkeypatch.setattr(telemetry_cost, "EVERY_S", 0.05)
    cost, moved, dearest, held = telemetry_cost.rows(1)
    assert {row.unit for row in (cost, moved, held)} == {"x"}
    assert cost.most
    assert moved.least
    assert held.most
    assert cost.value > 0
    assert moved.value > 0
    assert dearest.value > 0
    assert held.value > 0


def test_peers_that_are_not_there_are_named(monkeypatch, capsys) -> None:
    """Nothing is compared silently."""
    monkeypatch.setattr(peers.shutil, "which", lambda _: None)
    assert peers.rows() == []
    assert "guidellm is not on PATH: not compared" in capsys.readouterr().out


def test_reloads_are_watched_from_outside() -> None:
    """The scripted engine has no model and keeps nothing; the benchmark measures the server's process."""
    (row,) = reload_leak.rows(5, backend="simulated")
    assert row.holds
    assert "once loaded " in row.beside
