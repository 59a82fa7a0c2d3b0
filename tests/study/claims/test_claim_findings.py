"""Claims against rows: each relation holds and fails, and what cannot be tested says why."""

from dataclasses import replace

import pytest

from pytest_llmperf.errors import MeasurementError, UsageError
from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.study.claims.claim_faults import faults_of, reference_of
from pytest_llmperf.study.claims.claim_findings import Status, compare
from pytest_llmperf.study.rows.axis_effects import consistency, effects, ranking, split
from tests.study.build import matrix, rows

CARD = load_named("decision_card", ())
Q4_OVER_Q8 = {"report": "TR108", "metric": "decode_tok_s", "statistic": "delta", "context": "Q4_0 over Q8_0"}  # 64 %
CLAIM = {"id": "c", "claim": "words", "source": "TR108", "metric": "throughput_tok_s"}

AXES = {"model": ["q4", "q8"], "num_ctx": [512, 1024]}


def finding_of(figures: dict, *, same_machine: bool = True, skipped: tuple[str, ...] = (), **claim):
    made = matrix(axes=AXES, claim=[{**CLAIM, **claim}])
    assert faults_of(made, CARD) == ()
    measured = rows({tuple(cell): rates for cell, rates in figures.items()})
    return compare(made, measured, CARD, same_machine=same_machine, skipped=skipped)[0]


def models(q4: list[float], q8: list[float]) -> dict:
    return {(("model", "q4"),): q4, (("model", "q8"),): q8}


CHANGE = {"figure": "change_pct", "of": {"model": "q4"}, "against": {"model": "q8"}, "reference": Q4_OVER_Q8}


@pytest.mark.parametrize(
    ("claim", "good", "bad"),
    [
        ({**CHANGE, "holds": "direction"}, ([120, 121, 122], [100, 101, 102]), ([100, 101, 102], [100, 101, 102])),
        ({**CHANGE, "holds": "near", "tolerance": 1}, ([164], [100]), ([166], [100])),
        ({**CHANGE, "holds": "at least", "tolerance": 4}, ([160], [100]), ([159], [100])),
        ({**CHANGE, "holds": "at most"}, ([164], [100]), ([165], [100])),
        (
            {"figure": "ratio", "of": {"model": "q4"}, "against": {"model": "q8"}, "limit": 1.5, "holds": "direction"},
            ([130, 131, 132], [100, 101, 102]),
            ([100, 90, 80], [100, 101, 102]),
        ),
        (
            {
                "figure": "difference",
                "of": {"model": "q4"},
                "against": {"model": "q8"},
                "limit": -5,
                "holds": "direction",
            },
            ([99], [100]),
            ([101], [100]),
        ),
        ({"figure": "spread", "over": "model", "limit": 5, "holds": "at most"}, ([100], [105]), ([100], [106])),
        ({"figure": "spread_pct", "over": "model", "limit": 5, "holds": "at most"}, ([100], [105]), ([100], [106])),
        ({"figure": "value", "of": {"model": "q4"}, "limit": 7, "tolerance": 1}, ([8], [0]), ([9], [0])),
        ({"statistic": "max", "limit": 7, "holds": "at most"}, ([6, 7], [5]), ([6, 7], [8])),
        ({"statistic": "cv_pct", "limit": 5, "holds": "at most"}, ([100, 101], [100]), ([100, 201], [100])),
        (
            {"figure": "order", "over": "model", "order": ["q4", "q8"], "holds": "order"},
            ([101, 101], [100, 100]),
            ([99, 99], [100, 100]),
        ),
    ],
)
def test_each_relation_holds_and_fails(claim: dict, good: tuple, bad: tuple) -> None:
    """The comparison can fail: figures altered beyond what the claim allows are not reproduced."""
    holding, failing = finding_of(models(*good), **claim), finding_of(models(*bad), **claim)
    assert holding.status is Status.REPRODUCED, holding.why
    assert failing.status is Status.NOT_REPRODUCED, failing.why
    assert failing.why


def test_a_direction_must_be_beyond_doubt() -> None:
    """A mean on the right side does not do where its interval holds the other; without one, the sign decides."""
    noisy = finding_of(models([150, 90, 70], [100, 101, 102]), **CHANGE, holds="direction")
    assert noisy.value is not None
    assert noisy.value > 0
    assert noisy.status is Status.NOT_REPRODUCED
    assert noisy.low < 0 < noisy.high
    short = finding_of(models([120], [100]), **CHANGE, holds="direction")
    assert short.status is Status.REPRODUCED
    assert "too few rounds" in short.why


def test_the_interval_knows_blocks() -> None:
    """Rounds are resampled within their cell, so that differences between cells do not widen the interval."""
    figures = {
        (("model", model), ("prompt", prompt)): [base + prompt * 50 + jitter for jitter in (0, 0.1, 0.2)]
        for model, base in (("q4", 101.0), ("q8", 100.0))
        for prompt in (1, 2)
    }
    assert finding_of(figures, **CHANGE, holds="direction").status is Status.REPRODUCED


def test_the_same_rows_give_the_same_finding() -> None:
    """Resampling has a seed of its own."""
    figures = models([150, 90, 70], [100, 101, 102])
    assert finding_of(figures, **CHANGE, holds="direction") == finding_of(figures, **CHANGE, holds="direction")


@pytest.mark.parametrize(
    ("figures", "claim", "why"),
    [
        (models([1], [1]), {"untestable": "nobody judges banter"}, "nobody judges banter"),
        (models([1], [1]), {**CHANGE, "needs": "machine"}, "the report's hardware"),
        (models([1], [1]), {**CHANGE, "of": {"model": "q5"}}, "no measured cell has model q5; model q5: not here"),
        (models([1], [1]), {"figure": "spread", "over": "num_ctx", "limit": 1}, "a second value of num_ctx"),
        (
            models([1], [1]),
            {"figure": "order", "over": "model", "order": ["q4", "q5"], "holds": "order"},
            "no measured cell has model q5",
        ),
        (models([1], [0]), {**CHANGE}, "its base is 0"),
        (models([1], [1]), {"metric": "vram_mb", "limit": 1}, "vram_mb is undefined in 1 of 1 rounds"),
        ({(): [1]}, {"statistic": "sd", "limit": 1}, "a single round has no standard deviation"),
    ],
)
def test_what_cannot_be_tested_here_says_why(figures: dict, claim: dict, why: str) -> None:
    """A missing cell, another machine, an undefined figure: never a failure, never a success."""
    skipped = ("model q5: not here",) if "q5" in why else ()
    finding = finding_of(figures, same_machine=False, skipped=skipped, **claim)
    assert finding.status is Status.NOT_TESTABLE
    assert why in finding.why


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        ({"figure": "sum", "limit": 1}, "figure: got 'sum', wanted one of value"),
        ({"statistic": "mode", "limit": 1}, "statistic: got 'mode'"),
        ({"holds": "exactly", "limit": 1}, "holds: got 'exactly'"),
        ({"needs": "luck", "limit": 1}, "needs: got 'luck', wanted one of machine"),
        ({"metric": "speed", "limit": 1}, "metric: got 'speed', wanted one of throughput_tok_s"),
        ({"figure": "ratio", "limit": 1}, "against: missing"),
        ({"figure": "spread", "limit": 1}, "over: missing"),
        ({"figure": "order", "over": "model", "holds": "order"}, "wanted all three"),
        ({}, "reference and limit: wanted one of them"),
        ({"limit": 1, "reference": Q4_OVER_Q8}, "reference and limit: wanted one of them"),
        (
            {"reference": {"report": "TR108", "metric": "decode_tok_s"}},
            "rows of the decision card match, wanted 1: Gemma3",
        ),
        ({"reference": {"report": "TR999"}}, "0 rows of the decision card match, wanted 1: none"),
        ({"reference": {"reports": "TR108"}}, "unknown key reports"),
    ],
)
def test_claims_that_make_no_sense(claim: dict, fault: str) -> None:
    """They are found before anything is measured."""
    (text, *_) = faults_of(matrix(axes=AXES, claim=[{**CLAIM, **claim}]), CARD)
    assert fault in text


def test_a_column_to_show_that_is_none() -> None:
    """Found before anything is measured, too."""
    assert "show: got 'speed', wanted one of" in faults_of(matrix(show=["speed"]), CARD)[0]


def test_the_reports_figure_is_looked_up() -> None:
    """No figure is typed where the decision card has it."""
    claim = matrix(axes=AXES, claim=[{**CLAIM, **CHANGE}]).claim[0]
    reference = reference_of(claim, CARD)
    assert reference is not None
    assert (reference.value, reference.unit) == (64.0, "%")
    assert finding_of(models([150], [100]), **CHANGE).reported == 64.0


def test_how_much_each_axis_matters() -> None:
    """Two axes that add up: shares by hand, and nothing left; noise is the residual."""
    figures = {
        (("a", a), ("b", b)): [10.0 * a + 1.0 * b] * 2 for a in (0, 1) for b in (0, 1)
    }  # sums of squares: a 8 * 25, b 8 * 0.25
    first, second, rest = effects(rows(figures), "throughput_tok_s")
    assert (first.axis, first.best, first.worst) == ("a", 1, 0)
    assert first.share_pct == pytest.approx(100 * 200 / 202)
    assert second.share_pct == pytest.approx(100 * 2 / 202)
    assert first.spread_pct == pytest.approx(100 * 10 / 5.5)
    assert (rest.axis, rest.share_pct) == ("residual", pytest.approx(0, abs=1e-9))
    assert ranking(rows(figures), "a", "throughput_tok_s") == ((1, 10.5), (0, 0.5))
    noisy = effects(rows({(("a", 0),): [1, 3], (("a", 1),): [2, 4]}), "throughput_tok_s")
    assert [round(effect.share_pct) for effect in noisy] == [20, 80]
    (flat,) = effects(rows({(("a", 0),): [1, 1]}), "throughput_tok_s")
    assert flat.axis == "residual"


def test_what_needs_a_gpu_needs_a_real_one() -> None:
    """A script does not do."""
    made = matrix(axes=AXES, claim=[{**CLAIM, "limit": 1, "needs": "gpu"}])
    for real, status in ((False, Status.NOT_TESTABLE), (True, Status.REPRODUCED)):
        (finding,) = compare(made, rows({(): [1]}), CARD, same_machine=True, real_gpu=real)
        assert finding.status is status


def test_rounds_that_do_not_count_are_in_no_claim_that_does_not_ask() -> None:
    """And no others in one that does."""
    bad = [replace(row, client_saturated=True) for row in rows({(("model", "q8"),): [7]})]
    made = matrix(
        axes=AXES, claim=[{**CLAIM, "limit": 7, "saturated": asks} | {"id": str(asks)} for asks in (True, False)]
    )
    findings = compare(made, [*rows({(("model", "q4"),): [1]}), *bad], CARD, same_machine=True)
    assert [finding.value for finding in findings] == [7, 1]


def test_the_steadiest_is_first() -> None:
    """By standard deviation, however good the best round of another is."""
    figures = {(("runtime", "a"),): [90, 100], (("runtime", "b"),): [93, 94], (("runtime", "c"),): [99]}
    groups = consistency(rows(figures), "runtime", "throughput_tok_s")
    assert [(group.value, group.mean, group.min) for group in groups] == [("b", 93.5, 93), ("a", 95, 90), ("c", 99, 99)]
    assert groups[-1].sd is None


def test_where_the_wall_time_went() -> None:
    """Means over requests times their number, and the agent's own time, over the wall time."""
    (measured,) = rows({(): [1]})
    told = {"load_ms": 5.0, "queue_ms": 1.0, "prefill_ms": 10.0, "decode_ms": 30.0, "own_ms": 8.0}
    (phases,) = [split([replace(measured, total_time_s=0.1, requests=2, agents=1, **told)])]
    assert (phases.own_pct, phases.waiting_pct) == (pytest.approx(8), pytest.approx(12))
    assert (phases.prefill_pct, phases.decode_pct) == (pytest.approx(20), pytest.approx(60))
    with pytest.raises(MeasurementError, match="load_ms is undefined"):
        split([measured])


def test_an_unknown_reference_key() -> None:
    """`reference_of` says so itself, for whoever calls it alone."""
    with pytest.raises(UsageError, match="unknown key speed"):
        reference_of(matrix(axes=AXES, claim=[{**CLAIM, "reference": {"speed": "1"}}]).claim[0], CARD)
