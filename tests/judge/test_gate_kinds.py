"""The table of gate kinds: complete, right about the catalogue, and the only thing to touch for a new kind."""

from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.gate_kinds import GATE_KINDS, GateKind, Judged
from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.judge.gates.limit_lookup import _RESOLVERS, Baselines, resolve
from pytest_llmperf.judge.gates.target import Target
from pytest_llmperf.judge.marker_keywords import Keyword, number
from pytest_llmperf.judge.markers import build, count_gates, usual_metric
from pytest_llmperf.judge.metrics.catalogue import CATALOGUE
from pytest_llmperf.model import Baseline, Bound, Settings, Threshold
from pytest_llmperf.plugin.marker_table import marker_lines
from pytest_llmperf.plugin.options.parsers import limits
from tests.judge.build import measurement_of, round_of

PAGE = Path(__file__).parents[2] / "docs" / "baselines.md"


def limited_metrics(kind: GateKind, limit: Keyword) -> list[str]:
    """Every metric that a limit can be about, by the values of the kind's other keywords."""
    rows = [row for row in kind.keywords if row.choices]
    return [
        build(kind.name, kwargs=dict(zip([row.name for row in rows], values, strict=True))).metric(limit)
        for values in product(*(row.choices for row in rows))
    ]


LIMITS = [(kind, limit) for kind in GATE_KINDS.values() if kind.judged == "limit" for limit in kind.limits]


@pytest.mark.parametrize(("kind", "limit"), LIMITS, ids=lambda row: row.name)
def test_a_limit_is_about_metrics_of_the_catalogue(kind: GateKind, limit: Keyword) -> None:
    """With the direction that its name says; further thresholds belong to metrics that it can have."""
    metrics = limited_metrics(kind, limit)
    assert {CATALOGUE[metric].good for metric in metrics} == {Bound(limit.name.partition("_")[0])}
    assert set(limit.also) <= set(metrics)


def test_every_way_of_judging_has_a_resolver() -> None:
    """And each is used by a kind."""
    assert set(_RESOLVERS) == set(get_args(Judged)) == {kind.judged for kind in GATE_KINDS.values()}


def test_reports_name_the_metric_unless_the_gate_says_it() -> None:
    """The gate's name implies the first limit's usual metric; kinds with several metrics always name theirs."""
    assert {name: usual_metric(name) for name in (*GATE_KINDS, "against")} == {
        "efficiency": "efficiency_pct",
        "scaling": "scaling_efficiency_pct",
        "contention": "contention_rate_ttft",
        "throughput": "decode_tok_s",
        "ttft": "ttft_ms",
        "itl": "itl_ms",
        "tpot": "tpot_ms",
        "e2e": "e2e_s",
        "goodput": "goodput_share",
        "speedup": "speedup",
        "makespan": "makespan_s",
        "critical_path": "critical_queue_share",
        "memory": "vram_gib",
        "thermal": "gpu_temperature_c",
        **dict.fromkeys(("consistency", "cost", "quality", "regression", "against"), ""),
    }


def test_the_table_of_the_page_on_baselines() -> None:
    """A row for each kind whose limit may be a threshold: names of thresholds, and units."""
    rows = []
    for kind in GATE_KINDS.values():
        if kind.judged != "limit":
            continue
        named, units = {}, {}
        for limit in kind.limits:
            metrics = limited_metrics(kind, limit)
            shown = [limit.metric.replace("{", "<").replace("}", ">")] if len(metrics) > 2 else metrics
            named |= dict.fromkeys((*shown, *limit.also.values()))
            units |= dict.fromkeys(CATALOGUE[metric].unit for metric in metrics)
        cells = (", ".join(f"`{name}`" for name in names) for names in ([kind.name], named, units))
        rows.append(f"| {' | '.join(cells)} |")
    expected = "\n".join(("| marker | metric in a threshold | unit |", "|---|---|---|", *rows))
    assert expected in PAGE.read_text(encoding="utf-8"), f"the table is to be:\n{expected}"


WAITING = GateKind("waiting", "a request waits longer than the limit, ms", (number("max_ms", metric="queue_ms"),))


def test_a_new_kind_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation, `--markers`, `--llmperf-limit`, count, limit, verdict and report follow the table."""
    with pytest.raises(ValueError, match="unknown gate marker 'waiting'"):
        build("waiting")
    monkeypatch.setitem(GATE_KINDS, "waiting", WAITING)
    assert any(line.startswith("waiting(max_ms=None): fails if a request waits") for line in marker_lines())
    with pytest.raises(ValueError, match="waiting: max_ms is -1, wanted a number above 0"):
        build("waiting", kwargs={"max_ms": -1})
    with pytest.raises(ValueError, match="waiting: max_ms is 0"):
        limits("waiting=0")
    marker = build("waiting")
    assert (str(marker), count_gates([marker], compare=False), usual_metric("waiting")) == ("waiting()", 1, "queue_ms")
    here = Target(key=Key(test="t.py::t", scenario="s", topology="dual", workload="w"), facts={})
    threshold = Threshold(metric="queue_ms", level="validation", bound=Bound.MAX, value=80, unit="ms", source="here")
    none, card = (Baseline(schema=1, name="card", threshold=rows) for rows in ((), (threshold,)))
    with pytest.raises(UsageError, match=r"marker waiting\(\) on t.py::t has no limit"):
        resolve(marker, here, Baselines(in_force=none))
    (stated,) = resolve(marker, here, Baselines(in_force=card))
    assert (stated.limit, stated.bound, stated.not_comparable) == (80, Bound.MAX, "the baseline states no machine")
    settings = Settings(limits=limits("waiting=30"))
    (gate,) = resolve(marker, Target(key=here.key, facts={}, settings=settings), Baselines(in_force=card))
    waits = {"total_duration_ns": 100_000_000, "prompt_eval_duration_ns": 0}  # 50 ms of it are decoding
    measured = measurement_of(*(round_of((100, 100), (100, 100), index=index, **waits) for index in range(5)))
    verdict = judge(gate, measured, looks=1)
    assert (verdict.outcome, verdict.value) == ("fail", 50.0)
    assert "is above the maximum 30 ms" in verdict.reason
