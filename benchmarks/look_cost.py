"""What one look of a gate costs, over sorting the same values once; exit code 1 where a row falls short.

    python -m benchmarks.look_cost

A session looks after each round, so that a long session looks often at many values. A look is timed as it comes: the
one before has been made, and nothing that depends on the number of rounds is known yet. CPU time of the thread, the
best of some repetitions of either side: what else the machine does only ever adds to it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from benchmarks.rows import Row, show
from pytest_llmperf.judge.gates.evaluate import judge_values
from pytest_llmperf.model import Bound, Gate

ROUNDS = (1000, 5000)
MOST = 100.0
"""One look, in times that sorting the values takes."""


def gates_of(rounds: int) -> dict[str, tuple[Gate, Sequence[float], Sequence[float] | None]]:
    """Gates that `rounds` rounds leave undecided or decide late, with their values and an incumbent's values."""
    rng = random.Random(rounds)
    shares = [95 + rng.gauss(0, 1) for _ in range(rounds)]
    delays = [500 * 2.0 ** rng.gauss(0, 0.15) for _ in range(rounds)]
    contended = [float(rng.random() < 0.02) for _ in range(rounds)]
    sessions = {
        name: tuple(tuple(v[5 * i : 5 * i + 5]) for i in range(8)) for name, v in (("%", shares), ("ms", delays))
    }

    def gate(metric: str, bound: Bound, limit: float, **others: object) -> Gate:
        return Gate(marker="look", metric=metric, bound=bound, limit=limit, source="here", **others)  # type: ignore[arg-type]

    shares_drop, delays_drop = {"delta": 2.0}, {"delta": 20.0}
    return {
        "limit, mean": (gate("efficiency_pct", Bound.MIN, 95.0), shares, None),
        "limit, mean of rounded values": (gate("efficiency_pct", Bound.MIN, 95.0), [round(v, 1) for v in shares], None),
        "limit, mean by betting": (gate("efficiency_pct", Bound.MIN, 95.0, robust=True), shares, None),
        "limit, median by betting": (gate("ttft_ms", Bound.MAX, 500.0, robust=True), delays, None),
        "limit, rate": (gate("decode_tok_s", Bound.MIN, 95.0), shares, None),
        "limit, median": (gate("ttft_ms", Bound.MAX, 500.0), delays, None),
        "limit, CV": (gate("decode_tok_s_cv_pct", Bound.MAX, 1.05), shares, None),
        "limit, contended rounds": (gate("contention_rate_ttft", Bound.MAX, 0.019), contended, None),
        "stored sessions, mean": (
            gate("efficiency_pct", Bound.MIN, 0.0, reference=sessions["%"], **shares_drop),
            shares,
            None,
        ),
        "stored sessions, median": (
            gate("ttft_ms", Bound.MAX, 0.0, reference=sessions["ms"], **delays_drop),
            delays,
            None,
        ),
        "pairs, mean": (gate("efficiency_pct", Bound.MIN, 0.0, incumbent="old", **shares_drop), shares, shares[::-1]),
        "pairs, median": (gate("ttft_ms", Bound.MAX, 0.0, incumbent="old", **delays_drop), delays, delays[::-1]),
    }


def best_s(work: Callable[[int], object], repetitions: int) -> float:
    """The least CPU time; `work` is given the number of the repetition."""
    times = []
    for number in range(repetitions):
        start_s = time.thread_time()
        work(number)
        times.append(time.thread_time() - start_s)
    return min(times)


def rows(repetitions: int) -> list[Row]:
    """Each kind of gate at each number of rounds."""
    shown = []
    for rounds in ROUNDS:
        for name, (gate, values, incumbent) in gates_of(rounds + repetitions).items():

            def look(number: int, gate=gate, values=values, incumbent=incumbent, rounds=rounds) -> None:
                taken = rounds + number
                judge_values(gate, values[:taken], looks=taken, last=False, incumbent=incumbent and incumbent[:taken])

            look(-1)
            sorted_s = best_s(lambda number, values=values, rounds=rounds: sorted(values[: rounds + number]), 20)
            look_s = best_s(look, repetitions)
            beside = f"{1e3 * look_s:.1f} ms, sorted() {1e3 * sorted_s:.2f} ms"
            figure = f"one look, {name}, {rounds} rounds: over sorted()"
            shown.append(Row(figure, look_s / sorted_s, "x", most=MOST, beside=beside))
    return shown


if __name__ == "__main__":
    raise SystemExit(show(rows(5)))
