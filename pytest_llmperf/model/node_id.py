"""Parts of a test's node id, as pytest writes it: `FILE::CLASS::FUNCTION[PARAMETERS]`; parameters may hold anything."""

from __future__ import annotations


def file_of(test: str) -> str:
    """The file; all of a script's own name."""
    return test.partition("::")[0]


def short_name(test: str) -> str:
    """The function with its parameters; all of a script's own name.

    >>> short_name("perf/t.py::TestX::test_y[a::b]")
    'test_y[a::b]'
    """
    inside = test.partition("::")[2] or test
    path, bracket, parameters = inside.partition("[")
    return f"{path.rpartition('::')[2]}{bracket}{parameters}"


def function_of(test: str) -> str:
    """The function; empty for a script's own name."""
    return short_name(test).partition("[")[0] if "::" in test else ""
