"""The JSON document and its published schema."""

import jsonschema
import pytest

from pytest_llmperf.report import schema

VALIDATOR = jsonschema.Draft202012Validator(schema.schema())


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda found: found.update(schema=2), "schema"),
        (lambda found: found.update(surprise=1), ""),
        (lambda found: found["records"][0].pop("measurement"), "records/0"),
        (lambda found: found["records"][0]["figures"].update(efficiency_pct="98"), "records/0/figures/efficiency_pct"),
    ],
    ids=["another version", "an unknown key", "a missing key", "a figure as text"],
)
def test_what_the_schema_refuses(found, change, path: str) -> None:
    """Other versions, unknown keys, missing keys, wrong types."""
    VALIDATOR.validate(found)
    change(found)
    (error,) = VALIDATOR.iter_errors(found)
    assert "/".join(map(str, error.absolute_path)) == path
