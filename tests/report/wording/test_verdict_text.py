"""Wording of the report: the cause in a failing gate's text, and the line if no gate fails."""

import json
import re
from dataclasses import replace

import pytest

from pytest_llmperf.judge.diagnosis.phase_findings import PhaseRegression
from pytest_llmperf.judge.gates.evaluate import judge
from pytest_llmperf.judge.record import Record
from pytest_llmperf.model import Bound, Outcome, Settings, TopologyKind
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.figures import value_of
from pytest_llmperf.report.files import markdown
from pytest_llmperf.report.wording.amounts import digits_apart
from pytest_llmperf.report.wording.footnotes import notes
from pytest_llmperf.report.wording.verdict_text import explain, limit_words, one_line
from tests.judge.build import gate, measurement_of, observed, round_of, sample

ONE_IS_LONGER = "one agent takes longer than the other"
BOTH_ARE_SLOWER = "the agents are slower together than alone"


@pytest.mark.parametrize(
    ("solo_ms", "together_ms", "efficiencies", "words", "noted"),
    [
        ((100, 87.5), (100, 62.5), (81.25, 93.75), ONE_IS_LONGER, True),
        ((110, 110), (100, 84), (92.0, 110.0), ONE_IS_LONGER, False),
        ((100, 100), (200, 200), (100.0, 50.0), BOTH_ARE_SLOWER, True),
        ((92, 92), (100, 100), (100.0, 92.0), BOTH_ARE_SLOWER, False),
        ((100, 100), (100, 100), (100.0, 100.0), "", False),
    ],
)
def test_lost_efficiency_is_explained(solo_ms, together_ms, efficiencies, words: str, noted: bool) -> None:
    """A failing gate's text names the cause of a point or more; a note tells of it from ten points on, once."""
    measurement = measurement_of(*(round_of(solo_ms, together_ms, index=index) for index in range(5)))
    verdict = judge(gate(limit=101), measurement, looks=1)
    record = Record(test="test", measurement=measurement, verdicts=(verdict,))
    values = tuple(value_of(record, name) for name in ("efficiency_pct", "scaling_efficiency_pct"))
    assert values == pytest.approx(efficiencies)
    seen = [line for line in explain(record, (verdict,)).splitlines() if line.startswith("  cause: ")]
    assert [line.startswith(f"  cause: {words}") for line in seen] == ([True] if words else [])
    assert any(words in line for line in notes([record])) is noted or not words
    assert not any(
        cause in line for cause in (ONE_IS_LONGER, BOTH_ARE_SLOWER) for line in notes([record], explained=["test"])
    )


@pytest.mark.parametrize(
    ("first_limit", "label"), [(101, "cause"), (80, "seen")], ids=["the worst fails", "none fails"]
)
def test_a_cause_is_named_only_of_a_failure(first_limit: float, label: str) -> None:
    """What is known of a loss that fails no gate was seen, and caused nothing; merged texts use one label."""
    measurement = measurement_of(*(round_of((100, 87.5), (100, 62.5), index=index) for index in range(5)))
    verdicts = tuple(judge(gate(limit=limit), measurement, looks=1) for limit in (first_limit, 70))
    assert [verdict.outcome is Outcome.FAIL for verdict in verdicts] == [label == "cause", False]
    text = explain(Record(test="test", measurement=measurement, verdicts=verdicts), verdicts)
    labels = [line.strip().partition(": ")[0] for line in text.splitlines() if line.startswith("  ")]
    assert [name for name in labels if name in ("cause", "seen")] == [label]


@pytest.mark.parametrize("metric", ["efficiency_pct", "scaling_efficiency_pct", "speedup", "decode_tok_s"])
@pytest.mark.parametrize("kind", [TopologyKind.SINGLE, TopologyKind.DUAL])
def test_what_one_agent_can_do_about_its_gates(metric: str, kind: TopologyKind) -> None:
    """No other topology gives it a balance, or an instance of its own, which it has."""
    measured = measurement_of(*(round_of((100,), (100,), index=index) for index in range(5)))
    measurement = replace(measured, topology=replace(measured.topology, kind=kind))
    verdict = judge(gate(metric, limit=1e6), measurement, looks=1)
    text = explain(Record(test="test", measurement=measurement, verdicts=(verdict,)), (verdict,))
    (step,) = [line for line in text.splitlines() if line.startswith("  next: ")]
    assert step.startswith("  next: run at least two agents") is (metric != "decode_tok_s")
    assert "dual_ollama" not in text


def test_where_the_loss_goes_is_said_on_demand() -> None:
    """At -v a line a measurement with its largest shares, which add up to the loss but for what is next to nothing."""
    measurement = measurement_of(*(round_of((100, 100), (200, 180), index=index) for index in range(5)))
    record = Record(test="test", measurement=measurement)
    assert not any(line.startswith("lost: ") for line in notes([record]))
    (line,) = [line for line in notes([record], verbosity=1) if line.startswith("lost: ")]
    head, _, shares = line.rpartition(": ")
    assert head == "lost: pair on dual: 50.0 pp of scaling"
    assert sum(float(share.split()[-1]) for share in shares.split(", ")) == pytest.approx(50, abs=0.3)
    alone = measurement_of(*(round_of((100,), (100,), index=index) for index in range(5)))
    assert not any(line.startswith("lost: ") for line in notes([Record(test="t", measurement=alone)], verbosity=1))


@pytest.mark.parametrize(
    ("together_ms", "limit", "words"),
    [
        ((100, 99), 99.99, "99.5 % (95 % CI 99.5 to 99.5) is below the minimum 99.99 %"),
        ((100, 79.94), 90.0, "89.97 % (95 % CI 89.97 to 89.97) is below the minimum 90.0 %"),
        ((100, 60), 95, "80.0 % (95 % CI 80.0 to 80.0) is below the minimum 95.0 %"),
        ((100, 60.00001), 80 + 1 / 3000, "80.0000 % (95 % CI 80.0000 to 80.0000) is below the minimum 80.0003 %"),
    ],
)
def test_a_limit_is_shown_as_given_and_values_apart_from_it(together_ms, limit: float, words: str) -> None:
    """No digit of a limit is rounded away, and a value that fails never reads like the limit; nor in the reason."""
    measurement = measurement_of(*(round_of((100, 100), together_ms, index=index) for index in range(5)))
    verdict = judge(gate(limit=limit), measurement, looks=1)
    record = Record(test="test", measurement=measurement, verdicts=(verdict,))
    assert explain(record, (verdict,)).startswith(f"gate test (efficiency_pct): {words} (here)")
    value, least = (part.split()[0] for part in re.split(r"interval|minimum ", verdict.reason)[1:])
    assert float(value) < float(least)


def test_ends_of_an_interval_and_rates_are_told_apart_from_the_limit() -> None:
    """What keeps a limit narrowly does so as it is read; rates are in percent, of which none is lost."""
    holds = replace(
        judge(gate(limit=90), measurement_of(*[round_of((100, 100), (100, 100))] * 5), looks=1),
        value=90.04,
        low=90.003,
        high=90.08,
    )
    record = Record(test="test", measurement=measurement_of(round_of((1, 1), (1, 1))))
    assert "90.040 % (95 % CI 90.003 to 90.080) against the minimum 90.0 %" in one_line(record, holds)
    contended = replace(holds, gate=gate("contention_rate_ttft", 0.9999, Bound.MAX), value=1.0, low=None, high=None)
    assert limit_words(contended) == "the maximum 99.99 % (here)"
    assert digits_apart("efficiency_pct", 90.0, [90.0, None, 90.0 + 1e-12]) == 0


def test_rules_are_named_at_v() -> None:
    """Each once, with the measurements it judged; not without -v."""
    measurement = measurement_of(*(round_of((100, 100), (100, 99), index=index) for index in range(5)))
    verdict = judge(gate(limit=90), measurement, looks=1)
    verdicts = (verdict, *[replace(verdict, rule="stored 7")] * 2)
    record = Record(test="test", measurement=measurement, verdicts=verdicts)
    named = f"rules: interval 2, stored 7: {measurement.scenario.name} on {measurement.topology.kind}"
    assert notes([record], verbosity=1).count(named) == 1
    assert "interval 2" not in " ".join(notes([record]))


def test_a_shorter_comparison_says_so() -> None:
    """If stored sessions are longer, only their first rounds are compared: the text names their centre as the limit."""
    measurement = measurement_of(*(round_of((100, 100), (100, 90), index=index) for index in range(5)))
    stored = ((97.0,) * 5 + (87.0,) * 5,) * 4
    verdict = judge(gate(limit=92.0, delta=2.0, reference=stored), measurement, looks=1)
    assert limit_words(verdict) == "the baseline's 97.0 % (first 5 rounds of each session; here)"
    equal = judge(gate(limit=97.0, delta=2.0, reference=((97.0,) * 5,) * 4), measurement, looks=1)
    assert limit_words(equal) == "the baseline's 97.0 % (here)"


@pytest.mark.parametrize(
    ("client_s", "commit", "first", "step"),
    [
        (1.3, "abc1234", "decode of x and y", "git log --oneline abc1234..HEAD"),
        (1.3, "", "decode of x and y", "model and quantization"),
        (0.1, "abc1234", "decode of x and y", "git log --oneline abc1234..HEAD"),
    ],
    ids=["a commit", "no commit", "a neighbour that took nearly all"],
)
def test_what_explains_most_comes_first(client_s: float, commit: str, first: str, step: str) -> None:
    """What takes longer than it did; the load of this machine is a note, however large."""
    measured = measurement_of(*(round_of((100, 100), (102, 100), index=index) for index in range(5)))
    telemetry = observed(sample(0), sample(1, busy_s=1.9, client_s=client_s)).telemetry
    measurement = replace(measured, telemetry=telemetry)
    stored = gate("decode_tok_s", 400.0, delta=20.0, reference=((400.0,) * 5,) * 4, baseline="main")
    verdict = judge(stored, measurement, looks=1)
    assert verdict.outcome == "fail"
    longer = [
        PhaseRegression(
            part="decode", where="alone", agent=agent, instance="a", before_ms=60, now_ms=100, baseline="main", count=4,
            commit=commit,
        )
        for agent in "xy"
    ]  # fmt: skip
    record = Record(test="test", measurement=measurement, verdicts=(verdict,), phase_regressions=tuple(longer))
    lines = explain(record, (verdict,)).splitlines()
    assert next(line for line in lines if line.startswith("  cause: ")).startswith(f"  cause: {first}")
    assert step in next(line for line in lines if line.startswith("  next: "))
    assert [line[: len("  note: other processes")] for line in lines[-2:-1]] == ["  note: other processes"]


def test_a_comparison_lists_all_findings_the_strongest_first_and_every_step_last() -> None:
    """Two parts of y are slower while others use this machine: terminal and Markdown say the same, in one order."""
    measured = measurement_of(*(round_of((100, 100), (102, 160), index=index) for index in range(5)))
    telemetry = observed(sample(0), sample(1, busy_s=1.9, client_s=0.1)).telemetry
    measurement = replace(measured, telemetry=telemetry)
    gates = [
        gate("decode_tok_s", 300.0, delta=20.0, reference=((300.0,) * 5,) * 4, baseline="main", marker="regression"),
        gate("ttft_ms", 3.0, Bound.MAX, delta=20.0, reference=((3.0,) * 5,) * 4, baseline="main", marker="regression"),
    ]
    verdicts = tuple(judge(gate, measurement, looks=1) for gate in gates)
    assert [str(verdict.outcome) for verdict in verdicts] == ["fail", "fail"]
    parts = {"decode": (100, 200), "prefill": (30, 99)}
    longer = tuple(
        PhaseRegression(
            part=part, where="alone", agent="y", instance="b", before_ms=before, now_ms=now, baseline="main", count=4
        )
        for part, (before, now) in parts.items()
    )  # fmt: skip
    record = Record(test="test", measurement=measurement, verdicts=verdicts, phase_regressions=longer)
    lines = explain(record, verdicts).splitlines()
    heads = [line.partition(" (")[0] for line in lines if line.startswith("gate ")]
    assert heads == ["gate regression", "gate regression"]
    assert ["ttft_ms" in line for line in lines[:2]] == [True, False]
    labels = [line.split(":")[0].strip() for line in lines[3:]]
    assert labels == ["cause", "cause", "cause", "note", "next", "next"]
    assert ["prefill of y" in lines[3], "decode of y" in lines[4], "other processes" in lines[6]] == [True] * 3
    assert not any("end what else runs here" in line for line in lines)
    page = markdown.page(json.loads(as_text(document(Run(records=[record], settings=Settings())))))
    _, *fence = page.split("```")[1].strip().splitlines()
    assert fence == lines


def test_limits_of_one_session_are_named_once_at_v() -> None:
    """One line for all gates; not if the stored sessions tell how much sessions differ."""
    measurement = measurement_of(*(round_of((100, 100), (100, 99), index=index) for index in range(5)))
    verdict = judge(gate(limit=90), measurement, looks=1)
    record = Record(test="test", measurement=measurement, verdicts=(verdict, verdict))
    assert sum("about this session only" in line for line in notes([record, record], verbosity=1)) == 1
    charged = replace(verdict, gate=replace(verdict.gate, reference=((97.0, 98.0),) * 4))
    assert not any("this session only" in line for line in notes([replace(record, verdicts=(charged,))], verbosity=1))
