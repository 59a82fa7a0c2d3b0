"""Rows in the schema of appendix R.1, R.2 derived; written and read back."""

import csv
import io
from dataclasses import replace

import pytest

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.study.rows.result_rows import COLUMNS, as_csv, from_csv, value_of, values_of
from pytest_llmperf.study.rows.round_rows import derived, rows_of
from tests.judge.build import measurement_of, request, round_of, run
from tests.study.build import record, rows

R1 = (
    "run_id config_name model language runtime throughput_tok_s ttft_ms total_tokens total_time_s "
    "parallel_efficiency_pct concurrency_speedup contention_detected num_gpu num_ctx temperature vram_mb timestamp"
).split()
R2 = "cv_throughput efficiency_spread_pp cost_per_1M_tokens memory_efficiency".split()
CELL = {"num_ctx": 512, "prompt": 2}


def test_the_columns_are_those_of_the_appendix() -> None:
    """R.1 in its order, then R.2, then ours."""
    assert list(COLUMNS[: len(R1) + len(R2)]) == R1 + R2


def test_what_is_written_is_read_back() -> None:
    """Every value of every row, the undefined and the odd ones too; twice the same text."""
    made = rows_of("m", {**CELL, "model": 'a,"b"\n'}, record((100, 80), (100, 90)), vram_mb=3379.2)
    made = derived(made, usd_per_hour=0.5)
    assert from_csv(as_csv(made)) == made
    assert as_csv(from_csv(as_csv(made))) == as_csv(made)
    first = next(csv.DictReader(io.StringIO(as_csv(made))))
    assert first["contention_detected"] == "false"
    assert first["num_gpu"] == ""  # undefined, not 0
    assert float(first["total_time_s"]) == 0.1
    assert float(first["parallel_efficiency_pct"]) == 90.0


def test_a_row_is_a_round() -> None:
    """With the figures of its together part, in the units of R.1."""
    first, second = rows_of("m", CELL, record((100, 80), (100, 100)))
    assert (first.total_time_s, first.total_tokens, first.round, second.round) == (0.1, 20, 1, 2)
    assert (first.parallel_efficiency_pct, first.concurrency_speedup) == (pytest.approx(90), pytest.approx(1.8))
    assert first.throughput_tok_s == 200  # 10 tokens in 50 ms of decoding, by the server's clock
    assert first.ttft_ms == 10
    assert first.contention_detected is False
    assert first.config_name == "ctx512"
    assert first.run_id != second.run_id
    assert (first.experiment, first.backend, first.topology, first.language) == ("m", "simulated", "dual", "python")


def test_one_agent_has_no_efficiency() -> None:
    """Nor speedup, nor contention: with one agent none of them could be bad."""
    (row,) = rows_of("m", CELL, record((100,)))
    assert row.parallel_efficiency_pct is None
    assert row.concurrency_speedup is None
    assert row.contention_detected is None
    assert row.scaling_efficiency_pct is None


def test_where_the_time_went() -> None:
    """Load, prefill, decode and queue are means over requests, by the server's clock; the rest is the agent's own."""
    server = {"load_duration_ns": 1_000_000, "prompt_eval_duration_ns": 4_000_000, "total_duration_ns": 60_000_000}
    steps = (request(total_ms=100, **server), request(sent_ms=150, total_ms=50, **server))
    round_ = replace(round_of([200], [200]), solo=(run("x", *steps),), together=(run("x", *steps),))
    measured = replace(record((100,)), measurement=measurement_of(round_))
    (row,) = rows_of("m", {}, measured)
    assert (row.load_ms, row.prefill_ms, row.decode_ms, row.queue_ms) == (1, 4, 50, 5)
    assert row.server_ttft_ms == 5
    assert row.own_ms == 50
    assert rows_of("m", {}, record((100,)))[0].load_ms is None  # a server that tells nothing


def test_rounds_that_do_not_count() -> None:
    """Where the client was saturated in all of them, they are rows that say so; what it is about may ask for them."""
    measured = record((100, 80))
    held_up = replace(measured.measurement, rounds=(), discarded=measured.measurement.rounds)
    (row,) = rows_of("m", {}, replace(measured, measurement=held_up))
    assert row.client_saturated
    assert row.parallel_efficiency_pct == pytest.approx(90)
    assert not rows_of("m", {}, measured)[0].client_saturated


def test_how_large_the_model_is() -> None:
    """In MB, where the server tells one number."""
    assert rows_of("m", {}, record((1,), facts={"model_size_bytes": "2500000"}))[0].model_mb == 2.5
    assert rows_of("m", {}, record((1,), facts={"model_size_bytes": "a: 1, b: 2"}))[0].model_mb is None


def test_when_a_round_began() -> None:
    """As long after the measurement's start as it was after the first round."""
    measurement = measurement_of(round_of([1], [1]), replace(round_of([1], [1]), solo=(run("x", start_ms=1500),)))
    later = replace(measurement.rounds[1], together=(run("x", start_ms=1500),))
    started = replace(measurement, started_at="2026-11-24T10:00:00+00:00", rounds=(measurement.rounds[0], later))
    timed = rows_of("m", {}, replace(record((100,)), measurement=started))
    assert [row.timestamp for row in timed] == ["2026-11-24T10:00:00.000+00:00", "2026-11-24T10:00:01.500+00:00"]


def test_what_r2_derives() -> None:
    """By configuration; the prompt is no part of one. A.7 and A.8 of the report as examples."""
    made = rows({(("num_ctx", 512), ("prompt", 1)): [100, 110], (("num_ctx", 512), ("prompt", 2)): [90]})
    made += tuple(replace(row, system_tok_s=114.54) for row in rows({(("num_ctx", 1024),): [60]}))
    made = derived([replace(row, vram_mb=3.3 * 2**30 / 1e6) for row in made], usd_per_hour=0.5)
    assert [round(row.cv_throughput or 0, 6) for row in made] == [10, 10, 10, 0]
    assert made[3].cost_per_1M_tokens == pytest.approx(1.21, abs=0.005)
    assert made[0].memory_efficiency == pytest.approx(100 / 3.3)
    assert {row.efficiency_spread_pp for row in made} == {0}
    (bare,) = derived(rows({(): [102.85]}))
    assert (bare.cost_per_1M_tokens, bare.memory_efficiency, bare.cv_throughput) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "columns differ in"),
        ("a,b\n", "columns differ in a, agents"),
        (",".join(reversed(COLUMNS)), "their order"),
        (",".join(COLUMNS) + "\n1,2\n", "line 2: got 2 values"),
        (as_csv(rows({(): [1]})).replace(",20,", ",many,"), "line 2, column total_tokens"),
        (as_csv(rows({(): [1]})).replace("false", "no"), "line 2, column contention_detected: got 'no'"),
        (as_csv(rows({(): [1]})).replace("{}", "[]"), "line 2, column cell"),
    ],
)
def test_other_files_are_no_results(text: str, fault: str) -> None:
    """They are refused, by line and column."""
    with pytest.raises(UsageError, match=fault):
        from_csv(text)


def test_figures_by_their_column() -> None:
    """A truth value counts as 1 or 0; what is no figure, or undefined somewhere, is an error."""
    made = rows({(): [1, 2]})
    assert values_of(made, "throughput_tok_s") == (1, 2)
    assert value_of(made[0], "contention_detected") == 0
    with pytest.raises(UsageError, match="no figure 'model'"):
        value_of(made[0], "model")
    with pytest.raises(MeasurementError, match="vram_mb is undefined in 2 of 2 rounds"):
        values_of(made, "vram_mb")
