"""Matrices and rows for the tests, from a few plain figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Cell, Matrix
from pytest_llmperf.study.matrices.matrix_files import parse
from pytest_llmperf.study.rows.result_rows import Row
from pytest_llmperf.study.rows.round_rows import rows_of
from tests.judge.build import measurement_of, round_of


def matrix(**tables: Any) -> Matrix:
    """A matrix of these tables over one axis, unless they say otherwise."""
    return parse({"schema": 1, "scenario": "chimera_homo", "axes": {"num_ctx": [512, 1024]}, **tables}, name="m")


def record(*together_ms: Sequence[float], solo_ms: Sequence[float] = (100, 100), **measured) -> Record:
    """A record of rounds with these durations of the agents together."""
    rounds = [
        round_of(solo_ms[: len(durations)], durations, index=index) for index, durations in enumerate(together_ms)
    ]
    return Record(test="test", measurement=measurement_of(*rounds, **measured))


def rows(figures: Mapping[tuple[tuple[str, Any], ...], Sequence[float]]) -> tuple[Row, ...]:
    """Rows whose decode rate is given, by cell: `{(("num_ctx", 512),): [100, 101]}`."""
    made: list[Row] = []
    for axes, rates in figures.items():
        cell: Cell = dict(axes)
        template = rows_of("m", cell, record((100, 100)))[0]
        for rate in rates:
            values = {name: getattr(template, name) for name in template.__dataclass_fields__}
            made.append(Row(**{**values, "throughput_tok_s": float(rate)}))
    return tuple(made)
