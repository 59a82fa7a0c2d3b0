"""The envelope of the verdicts: its cells, its results and its page; and the simulation that shares no code with us."""

import ast
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import envelope, independent
from benchmarks.envelope_cells import NOISES, Cell, grid, losses, values_of

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "envelope.md"
USUAL = Cell(group="distributions", rule="stored")


@pytest.mark.parametrize("name", NOISES)
def test_noise_has_mean_0_and_sd_1(name: str) -> None:
    """In both simulations, so that cells differ by shape only; the bad side has the longer tail."""
    shape = (400, 1000)
    for values in (
        NOISES[name](np.random.default_rng(3), shape),
        independent.bad_noise(np.random.default_rng(4), name, shape),
    ):
        assert abs(values.mean()) < 0.02
        assert abs(values.std() - 1) < (0.2 if name in ("Student 3", "lognormal 1") else 0.02)
        if name not in ("normal", "uniform", "Student 3", "45 % low"):
            assert (values**3).mean() > 0.1


def test_cells_have_names_of_their_own() -> None:
    """The results are found by them."""
    names = [cell.name for cell in grid()]
    assert len(set(names)) == len(names)
    assert len(names) >= 500
    assert {cell.rule for cell in envelope.chosen(grid())} == set(envelope.PROMISES)


def test_what_a_cell_says_of_its_rounds() -> None:
    """Memory, drift, rounding and the ceiling of a limit gate are in the values."""
    rng = np.random.default_rng(5)
    alike = losses(replace(USUAL, memory=0.6), rng, (2000, 20))
    assert np.corrcoef(alike[:, 5], alike[:, 6])[0, 1] == pytest.approx(0.6, abs=0.06)
    drifting = losses(replace(USUAL, drift=0.5), rng, (4000, 20))
    assert (drifting[:, 19] - drifting[:, 9]).mean() == pytest.approx(5, abs=0.1)
    rounded = values_of(replace(USUAL, step=0.1), rng.standard_normal((10, 10)))
    assert np.abs(rounded * 10 - np.round(rounded * 10)).max() < 1e-6
    limited = replace(USUAL, rule="limit", centre=98.0)
    assert values_of(limited, np.full((1, 1), -5.0)) == 100


def test_a_run_goes_on_where_it_was_interrupted(tmp_path, capsys, monkeypatch) -> None:
    """What is in the file with runs enough is not simulated again; more runs, or a new version of the rule, are."""
    few = (USUAL, replace(USUAL, spread=1.0), Cell(group="distributions", rule="pairs"))
    monkeypatch.setattr(envelope, "grid", lambda: few)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{envelope.MARK}\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    path = tmp_path / "results.csv"

    def simulated(*more: str) -> str:
        arguments = ["--processes", "1", "--csv", str(path), "--page", str(page), *more]
        assert envelope.main(arguments) == 0
        return capsys.readouterr().out.splitlines()[0]

    assert simulated("--runs", "20", "--shard", "1/2").startswith("2 of 3 cells")
    assert simulated("--runs", "20").startswith("1 of 3 cells")
    assert simulated("--runs", "20").startswith("0 of 3 cells")
    assert simulated("--runs", "30").startswith("3 of 3 cells")
    path.write_text(path.read_text(encoding="utf-8").replace("pairs ", "pairs of old "), encoding="utf-8")
    assert simulated("--runs", "30").startswith("1 of 3 cells")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| stored | distributions | spread 0, 1 | 2 | 30 |" in text


def test_a_broken_promise_is_listed() -> None:
    """Beyond three standard errors, by its cell; within them it is not."""
    result = envelope.Result(runs=20_000, fails=1.3, passes=0.2, open=5.0, rounds=7.0)
    lines = envelope.table([USUAL], {USUAL.name: ("stored 2", result)})
    assert "| 1.30 | 0.20 | 5 | in 0 of 1 |" in lines[2]
    assert lines[-1] == "| stored | efficiency: as usual | 1.30 | 0.20 | 5 |"
    held = replace(result, fails=1.2)
    assert envelope.table([USUAL], {USUAL.name: ("stored 2", held)})[2].endswith("| in all |")


def test_the_page_has_the_results_of_the_file() -> None:
    """The table of the docs is what the command makes of the committed results."""
    lines = envelope.table(grid(), envelope.read(envelope.RESULTS))
    assert "\n".join(lines) in PAGE.read_text(encoding="utf-8"), "run: make verdicts-wide"


def test_the_second_simulation_shares_no_code() -> None:
    """It imports the standard library, numpy and scipy."""
    tree = ast.parse((ROOT / "benchmarks" / "independent.py").read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in modules if module} <= {
        *("__future__", "argparse", "csv", "math", "pathlib", "random", "zlib"),
        *("numpy", "scipy"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        replace(USUAL, sessions=4, spread=1.0),
        replace(USUAL, noise="gamma 1.15", most=10),
        Cell(group="distributions", rule="pairs", most=10),
        Cell(group="distributions", rule="compare", sessions=4, spread=1.0),
        Cell(group="sd", rule="limit", most=10),
        Cell(group="distributions", rule="betting", most=40, noise="one in ten"),
    ],
    ids=lambda cell: cell.name,
)
def test_both_simulations_agree(cell: Cell) -> None:
    """Wrong verdicts, and how often there is none: within four standard errors."""
    runs = 1000
    ours = envelope.simulate((cell, runs))[1]
    row = {name: getattr(cell, name) for name in cell.__dataclass_fields__}
    theirs = independent.simulate({"cell": cell.name, **row}, runs)
    for mine, other_share in zip((ours.fails, ours.passes, ours.open), theirs, strict=True):
        share = max((mine + other_share) / 200, 1 / runs)
        assert abs(mine - other_share) <= 400 * math.sqrt(share * (1 - share) * 2 / runs)
