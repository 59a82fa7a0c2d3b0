"""Every text of a report that pytest shows or hands on is without secrets."""

import warnings

import pytest

from pytest_llmperf.plugin.results.secret_scrubbing import scrub, scrub_warning

TOKEN = "c4nary-" + "q" * 20


def test_the_reason_of_an_expected_failure() -> None:
    """It is shown with `-rx`, and is a message of JUnit's."""
    report = pytest.TestReport("x", ("x", 1, "x"), {}, "skipped", None, "call")
    report.wasxfail = f"the token is {TOKEN}"
    scrub(report, [TOKEN])
    assert report.wasxfail == "the token is ***"


def test_a_warning() -> None:
    """Its category stays; one that holds no secret is what it was."""
    for text, shown in ((f"the token is {TOKEN}", "the token is ***"), ("old", "old")):
        warning = warnings.WarningMessage(DeprecationWarning(text), DeprecationWarning, "x.py", 1)
        scrub_warning(warning, [TOKEN])
        assert (str(warning.message), warning.category) == (shown, DeprecationWarning)
