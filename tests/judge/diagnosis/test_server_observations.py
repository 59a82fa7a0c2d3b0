"""What was observed of the servers: written and recognised by one phrase, so that no rewording breaks a diagnosis."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import pytest_llmperf
from pytest_llmperf.judge.diagnosis.diagnose import diagnose
from pytest_llmperf.model import Incident, TopologyKind
from pytest_llmperf.model.results import server_observations
from pytest_llmperf.model.results.server_observations import Observed
from tests.judge.build import measurement_of, round_of

READER = "diagnose.py"
TREES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in Path(pytest_llmperf.__file__).parent.rglob("*.py")
    if path != Path(server_observations.__file__)
}


def printed(tree: ast.AST) -> Iterator[str]:
    """The texts of a module that are no docstrings."""
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.value


@pytest.mark.parametrize("phrase", Observed)
@pytest.mark.parametrize("noted", ["a note", "an incident"])
def test_every_observation_explains(phrase: Observed, noted: str) -> None:
    """A note or an incident with its phrase is the first fact of a diagnosis, with a cause and a next step."""
    measured = measurement_of(*(round_of((100, 100), (110, 110), index=index) for index in range(5)))
    text = f"before {phrase} after"
    if phrase is Observed.FEWER_SLOTS:
        measured = replace(measured, topology=replace(measured.topology, kind=TopologyKind.SINGLE_PARALLEL))
        noted = "a note"  # it comes from the check before the rounds
    if noted == "a note":
        measurement = replace(measured, notes=(text,))
    else:
        measurement = replace(measured, incidents=(Incident(when="round 2", problem=text, handling="it counts"),))
    diagnosis = diagnose(measurement)
    assert diagnosis is not None
    assert [text in fact for fact in diagnosis.facts] == [True]
    assert diagnosis.cause
    assert diagnosis.next_step


@pytest.mark.parametrize("phrase", Observed)
def test_a_phrase_is_written_by_its_name(phrase: Observed) -> None:
    """No module spells it out, and one at least that does not read it names it."""
    assert [path.name for path, tree in TREES.items() if any(phrase in text for text in printed(tree))] == []
    named = {
        path.name
        for path, tree in TREES.items()
        if any(isinstance(node, ast.Attribute) and node.attr == phrase.name for node in ast.walk(tree))
    }
    assert named - {READER}
