"""The matrices that come with us: each claim of each is reproduced by the report's own figures, and not by others."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.model import Cell, Claim, Matrix
from pytest_llmperf.plugin.marker_table import marker_lines
from pytest_llmperf.study.claims.claim_faults import faults_of, reference_of
from pytest_llmperf.study.claims.claim_findings import Status, compare
from pytest_llmperf.study.matrices.matrix_cells import cells_of
from pytest_llmperf.study.matrices.matrix_files import load
from pytest_llmperf.study.rows.result_rows import Row
from tests.study.build import rows

FOLDER = Path(__file__).parents[2] / "perf_suites" / "matrices"
MATRICES = [load(path) for path in sorted(FOLDER.glob("*.toml"))]
CARD = load_named("decision_card", ())
BASE = 100.0
CLAIMS = [(matrix, claim) for matrix in MATRICES for claim in matrix.claim if not claim.untestable]


def row(cell: Cell, claim: Claim, value: float) -> Row:
    """A row of a cell with this figure."""
    (made,) = rows({tuple(cell.items()): [1.0]})
    figure: object = value
    if claim.metric == "contention_detected":
        figure = bool(value)
    return replace(made, client_saturated=claim.saturated, **{claim.metric: figure})


def made_of(claim: Claim, figure: float) -> Iterator[Row]:
    """Rows in which the claim's figure is this one, as nearly as truth values allow."""
    if claim.figure == "value":
        for number in range(20):
            value = float(number < figure * 20) if claim.metric == "contention_detected" else figure
            if claim.statistic == "sd":
                value = BASE + figure * (19 / 20) ** 0.5 * (-1) ** number
            yield row(claim.of, claim, value)
    elif claim.figure in ("spread", "spread_pct"):
        middle = BASE + figure / 2  # so that the spread is as many percent of it, nearly
        for place, value in (("low", middle - figure / 2), ("high", middle + figure / 2)):
            for _ in range(3):
                yield row({**claim.of, claim.over: place}, claim, value)
    elif claim.statistic == "variance":
        for cell, width in ((claim.of, figure**0.5), (claim.against, 1.0)):
            for step in (-1, 0, 1):
                yield row(cell, claim, BASE + step * width)
    else:
        values = {"difference": BASE + figure, "change_pct": BASE * (1 + figure / 100), "ratio": BASE * figure}
        for _ in range(3):
            yield row(claim.of, claim, values[claim.figure])
            yield row(claim.against, claim, BASE)


def status_of(matrix: Matrix, claim: Claim, made: list[Row]) -> Status:
    """What becomes of it."""
    alone = replace(matrix, claim=(claim,))
    (finding,) = compare(alone, made, CARD, same_machine=True, real_gpu=True)
    return finding.status


@pytest.mark.parametrize("matrix", MATRICES, ids=lambda matrix: matrix.name)
def test_it_makes_sense(matrix: Matrix) -> None:
    """Its claims name columns and rows of the decision card, and its cells hold what the claims are about."""
    assert faults_of(matrix, CARD) == ()
    cells = cells_of(matrix)
    named = {axis for cell in cells for axis in cell} | ({"config"} if matrix.name == "workflow_3_replicate" else set())
    for claim in matrix.claim:
        assert {*claim.of, *claim.against} <= named, claim.id
        assert not claim.over or claim.over in named, claim.id


@pytest.mark.parametrize(("matrix", "claim"), CLAIMS, ids=[f"{matrix.name}-{claim.id}" for matrix, claim in CLAIMS])
def test_each_claim_can_be_reproduced_and_can_fail(matrix: Matrix, claim: Claim) -> None:
    """The report's figure is reproduced; altered against the claim by more than it allows, it is not."""
    if claim.figure == "order":
        right = [row({**claim.of, claim.over: value}, claim, BASE - i) for i, value in enumerate(claim.order)]
        wrong = [row({**claim.of, claim.over: value}, claim, BASE + i) for i, value in enumerate(claim.order)]
    else:
        reference = reference_of(claim, CARD)
        reported = claim.limit if reference is None else reference.value
        assert reported is not None
        beyond = 1.5 * claim.tolerance + 0.3 * abs(reported) + (0.2 if claim.metric == "contention_detected" else 1.0)
        if claim.holds == "direction":
            altered = 0.0 if claim.figure != "ratio" else 1.0
        else:
            altered = reported - beyond if claim.holds == "at least" else reported + beyond
        if claim.metric == "contention_detected" and claim.holds in ("at least", "near"):
            altered = 0.0
        if claim.statistic == "variance":
            altered = 1.0
        right, wrong = list(made_of(claim, reported)), list(made_of(claim, altered))
    assert status_of(matrix, claim, right) is Status.REPRODUCED
    assert status_of(matrix, claim, wrong) is Status.NOT_REPRODUCED


def test_texts_name_only_markers_that_there_are() -> None:
    """What a matrix or a page says to select can be selected."""
    root = FOLDER.parents[1]
    pages = [*FOLDER.glob("*.toml"), *root.glob("docs/*.md"), root / "README.md"]
    texts = "\n".join(page.read_text("utf-8") for page in pages)
    named = set(re.findall(r"\(marker `?(\w+)|pytest [^\n`]*-m ([a-z]\w*)", texts))
    ours = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"]["markers"]
    known = {re.split(r"[(:]", line)[0] for line in (*marker_lines(), *ours)}
    assert {name for names in named for name in names if name} <= known
