"""Evidence grades: by rounds, and what is missing to be decision-grade."""

from pytest_llmperf.judge.gates.evidence_grade import decision_grade, grade
from pytest_llmperf.model import IDENTITY, Manifest


def test_grades_of_the_decision_card() -> None:
    """1 to 2 exploratory, 3 to 4 directional, 5 and more publishable."""
    grades = [grade(rounds) for rounds in (1, 2, 3, 4, 5, 20)]
    assert grades == ["exploratory"] * 2 + ["directional"] * 2 + ["publishable"] * 2
    assert {grade(rounds, simulated=True) for rounds in (1, 3, 5, 20)} == {"simulated"}


def test_decision_grade_names_what_is_missing() -> None:
    """Five requirements (P.1); the keys of a GPU are required only on a machine with a GPU."""
    gpu = {"gpu", "gpu_driver", "cuda"}
    facts = {key: "known" for key in (*IDENTITY, "os_build", "git_commit") if key not in gpu}
    whole = {"rounds": 3, "cv_pct": 9.9, "boundaries": ("inference only",), "alternatives": ("single",)}
    assert decision_grade(**whole, manifest=Manifest(facts=facts)) == ()
    with_gpu = decision_grade(**whole, manifest=Manifest(facts={**facts, "gpu": "RTX"}))
    assert with_gpu == ("manifest lacks gpu_driver, cuda",)
    bare = decision_grade(rounds=2, cv_pct=None, boundaries=(), alternatives=(), manifest=Manifest(facts=facts))
    assert bare == (
        "2 rounds, wanted at least 3",
        "CV not known, wanted below 10 %",
        "no measurement boundary stated",
        "no alternative tried",
    )
    (noisy,) = decision_grade(**{**whole, "cv_pct": 10.0}, manifest=Manifest(facts=facts))
    assert noisy == "CV 10.0 %, wanted below 10 %"
