"""The types of what fixtures return can be imported, to annotate tests with."""

import inspect

import pytest

from pytest_llmperf.plugin import fixture_types, fixtures


@pytest.mark.parametrize("name", ["run_agents", "run_matrix", "economics", "decide_claims", "write_record"])
def test_a_fixture_that_returns_a_function_has_a_type(name: str) -> None:
    """What the fixture's annotation names exists."""
    function = inspect.unwrap(getattr(fixtures, name))
    function = getattr(function, "_fixture_function", function)
    assert hasattr(fixture_types, function.__annotations__["return"])
