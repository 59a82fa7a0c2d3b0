"""Curves over numbers of agents: which rows they have, findings in words, and their files."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.study.rows.result_rows import Row
from pytest_llmperf.study.scaling import curve_files
from pytest_llmperf.study.scaling.curve_files import chart_of, write_curves
from pytest_llmperf.study.scaling.scaling_curve import curve_lines, curves_as_csv, curves_of, findings_of
from tests.study.build import rows

SIZES = (1, 2, 4, 8, 16)
WOBBLE = (0.99, 1.0, 1.01)


def measured(topology: str, contention: float, coherency: float = 0.0, sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """Rounds of a law."""
    made = []
    for agents in sizes:
        rate = 100 * agents / (1 + contention * (agents - 1) + coherency * agents * (agents - 1))
        cell = (("topology", topology), ("agents", agents))
        for row, factor in zip(rows({cell: [1.0] * 3}), WOBBLE, strict=True):
            made.append(
                replace(
                    row,
                    agents=agents,
                    system_tok_s=rate * factor,
                    ttft_ms=10.0 * agents * factor,
                    contention_detected=agents > 2 if agents > 1 else None,
                )
            )
    return made


def test_a_curve_for_each_topology() -> None:
    """In the order of sizes, each with its own law; figures are medians over rounds."""
    serial, fleet = curves_of([*reversed(measured("single", 1.0)), *measured("fleet", 0.0)])
    assert (serial.name, fleet.name) == ("single", "fleet")
    assert [size.agents for size in serial.sizes] == list(SIZES)
    size = fleet.sizes[2]
    assert (size.system_tok_s, size.low_tok_s, size.high_tok_s) == pytest.approx((400, 396, 404))
    assert (size.ttft_ms, size.most_ttft_ms, size.contended_pct, size.rounds) == pytest.approx((40, 40.4, 100, 3))
    assert fleet.sizes[0].contended_pct is None
    assert size.fit_low_tok_s < 400 < size.fit_high_tok_s
    assert curves_of(rows({(("num_ctx", 512),): [1.0]})) == ()


@pytest.mark.parametrize(
    ("law", "wanted"),
    [
        ((0.0, 0.0), ("throughput grows linearly from 1 to 16 agents", "no fall of throughput is shown up to 16")),
        ((1.0, 0.0), ("throughput saturates from 1 to 16 agents: with 16, each has 6 %", "no fall")),
        ((0.05, 0.02), ("throughput grows, then falls", "most throughput with about 6.9 agents (95 % CI 6.")),
    ],
)
def test_what_is_said(law: tuple[float, float], wanted: tuple[str, str]) -> None:
    """The kind of growth, the number of agents of most throughput, contention and coherency with intervals."""
    (curve,) = curves_of(measured("single", *law))
    growth, peak, parameters = findings_of(curve)
    assert growth.startswith(wanted[0])
    assert peak.startswith(wanted[1])
    assert parameters.startswith(f"contention {100 * law[0]:.0f}.0 % (95 % CI ")


def test_a_knee_is_said() -> None:
    """With the number of agents at which throughput changes."""
    flat = [replace(row, system_tok_s=100.0 * min(row.agents, 4)) for row in measured("single", 0.0)]
    (finding,) = findings_of(curves_of(flat)[0])
    assert finding.startswith("throughput from 1 to 16 agents follows no smooth law: it changes at about 4 agents, ")


def test_too_few_sizes_have_no_law() -> None:
    """The table is still there, with the reason below it."""
    *table, reason = curve_lines(curves_of(measured("single", 0.2, sizes=(1, 2, 4))))
    assert table[0] == "scaling of single:"
    assert table[2].split()[:2] == ["1", "100.0"]
    assert len(table) == 5
    assert reason == "  no scaling law: throughput was measured with 3 numbers of agents, a law needs 4"


def test_csv() -> None:
    """A line for each number of agents; undefined figures are empty."""
    lines = list(csv.DictReader(io.StringIO(curves_as_csv(curves_of(measured("single", 0.2))))))
    assert [line["agents"] for line in lines] == [str(size) for size in SIZES]
    assert lines[0]["contended_pct"] == ""
    assert float(lines[1]["fitted_tok_s"]) == pytest.approx(200 / 1.2, rel=0.01)


def test_the_files(tmp_path: Path) -> None:
    """CSV, and the chart in three formats; the page escapes names."""
    curves = curves_of([*measured("single", 0.2), *measured("fleet", 0.0)])
    paths = write_curves(curves, tmp_path / "new", "scale", "How <many>?")
    assert [path.name for path in paths] == [f"scale.scaling.{ending}" for ending in ("csv", "svg", "png", "html")]
    assert paths[1].read_text("utf-8").startswith("<svg")
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    page = paths[3].read_text("utf-8")
    assert "<h1>How &lt;many&gt;?</h1>" in page
    assert "scaling of fleet:" in page
    assert len(chart_of(curves, "")["layer"]) == 4
    assert len(chart_of(curves_of(measured("single", 0.2, sizes=(1, 2))), "")["layer"]) == 2  # no law


def test_without_the_extra_there_is_no_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CSV needs nothing."""
    monkeypatch.setattr(curve_files, "find_spec", lambda _: None)
    (path,) = write_curves(curves_of(measured("single", 0.2)), tmp_path, "scale", "")
    assert path.name == "scale.scaling.csv"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """The error names the file and the next step."""
    tmp_path.joinpath("results").write_text("", encoding="utf-8")
    with pytest.raises(LlmperfError, match=r"cannot write .*scale\.scaling\.csv"):
        write_curves(curves_of(measured("single", 0.2)), tmp_path / "results", "scale", "")
