"""docs/experiments.md is complete: its example is a valid matrix, and its tables name every key and column."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.model import Claim, Matrix
from pytest_llmperf.study.claims.claim_faults import faults_of
from pytest_llmperf.study.matrices.matrix_files import parse
from pytest_llmperf.study.rows.result_rows import COLUMNS

TEXT = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text("utf-8")


def names_in(section: str) -> list[str]:
    """The names in the first column of a section's table, in their order."""
    lines = TEXT.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines()
    return [name for line in lines if line.startswith("| `") for name in re.findall(r"`(\w+)`", line.split("|")[1])]


def test_its_example_is_a_matrix() -> None:
    """It is read, and its claim makes sense."""
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert faults_of(parse(tomllib.loads(block), name="mine"), load_named("decision_card", ())) == ()


def test_every_key_and_column_is_explained() -> None:
    """Those of a matrix, of a claim, and of the results, the last in their order."""
    assert set(names_in("The matrix")) == {field.name for field in fields(Matrix)} - {"name"}
    assert set(names_in("Claims and findings")) == {field.name for field in fields(Claim)} - {"order", "tolerance"}
    assert tuple(names_in("Rows")) == COLUMNS
