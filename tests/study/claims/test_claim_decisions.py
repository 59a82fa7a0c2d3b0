"""Findings brought together: the verdict and the grade of each claim."""

from dataclasses import replace

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Claim
from pytest_llmperf.study.claims.claim_decisions import decide, lines, markdown
from pytest_llmperf.study.claims.claim_findings import Finding, Status

YES, NO, NOT_HERE = Status.REPRODUCED, Status.NOT_REPRODUCED, Status.NOT_TESTABLE


def finding(id_: str, status: Status, rounds: int = 5, why: str = "1 here") -> Finding:
    return Finding(claim=Claim(id=id_, claim="it is so", source="TR1"), status=status, why=why, rounds=rounds)


@pytest.mark.parametrize(
    ("statuses", "verdict", "grade"),
    [
        ((YES, YES), "reproduced", "publishable"),
        ((YES, NO), "not reproduced", "publishable"),
        ((YES, NOT_HERE), "reproduced in part (1 of 2 parts not testable here)", "publishable"),
        ((NO, NOT_HERE), "not reproduced (1 of 2 parts not testable here)", "publishable"),
        ((NOT_HERE,), "not testable here", "none"),
    ],
)
def test_a_claim_is_as_good_as_its_parts(statuses: tuple[Status, ...], verdict: str, grade: str) -> None:
    """One part that is not reproduced decides; an untestable part is listed and decides nothing."""
    findings = [finding(f"C1.{number}", status) for number, status in enumerate(statuses)]
    (claim,) = decide(findings, {"C1": "all is well"})
    assert (claim.verdict, claim.grade) == (verdict, grade)


def test_the_grade_is_that_of_the_weakest_part() -> None:
    """Three rounds are directional, whatever the other part has."""
    (claim,) = decide([finding("C1.a", YES, 50), finding("C1.b", YES, 3)], {"C1": "x"})
    assert claim.grade == "directional"


def test_what_is_simulated_is_no_evidence() -> None:
    """However many rounds, and though another part is real."""
    parts = [finding("C1.a", YES), replace(finding("C1.b", YES, 50), simulated=True)]
    assert decide(parts, {"C1": "x"})[0].grade == "simulated"


def test_no_finding_and_no_claim_is_lost() -> None:
    """A finding of no claim and a claim without a finding are errors that name them."""
    with pytest.raises(UsageError, match=r"findings without a claim: C9\.a"):
        decide([finding("C1.a", YES), finding("C9.a", YES)], {"C1": "x"})
    with pytest.raises(UsageError, match="claims without a finding: C2"):
        decide([finding("C1.a", YES)], {"C1": "x", "C2": "y"})


def test_in_words() -> None:
    """A count and a line a claim for the terminal; in Markdown a row, with the evidence of each part as plain text."""
    decided = decide([finding("C1.a", YES), finding("C2.a", NOT_HERE, why="no | GPU\n<b>")], {"C1": "x", "C2": "y"})
    assert lines(decided) == (
        "claims: 1 reproduced, 0 not reproduced, 1 not testable here",
        "  C1 reproduced, evidence publishable: x",
        "  C2 not testable here, evidence none: y",
    )
    part = decide([finding("C1.a", YES), finding("C1.b", NOT_HERE, why="no GPU")], {"C1": "x"})
    assert lines(part) == (
        "claims: 1 reproduced (1 of them in part), 0 not reproduced, 0 not testable here",
        "  C1 reproduced in part (1 of 2 parts not testable here), evidence publishable: x",
        "    not testable here: it is so: no GPU",
    )
    assert markdown(decided).splitlines()[4:] == [
        "| C1: x | reproduced | publishable | reproduced: it is so: 1 here |",
        r"| C2: y | not testable here | none | not testable here: it is so: no \| GPU \<b> |",
    ]
