"""The JSON document and its published schema."""

import json

import pytest

from pytest_llmperf.report.document import storable
from tests.report.published_schema import PUBLISHED_SCHEMA


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda content: content.update(schema=1), "schema"),
        (lambda content: content.update(surprise=1), ""),
        (lambda content: content["records"][0].pop("measurement"), "records/0"),
        (
            lambda content: content["records"][0]["figures"].update(efficiency_pct="98"),
            "records/0/figures/efficiency_pct",
        ),
    ],
    ids=["another version", "an unknown key", "a missing key", "a figure as text"],
)
def test_what_the_schema_refuses(content, change, path: str) -> None:
    """Other versions, unknown keys, missing keys, wrong types."""
    PUBLISHED_SCHEMA.validate(content)
    change(content)
    (error,) = PUBLISHED_SCHEMA.iter_errors(content)
    assert "/".join(map(str, error.absolute_path)) == path


def test_every_text_can_be_written() -> None:
    """Half a character, of a server, a node id or a command, is spelt out; secrets are masked; figures stay."""
    content = storable({"a\udce9": ["x\udce9", ("token-123456", 1.5, None, True)]}, ("token-123456",))
    assert content == {"a\\udce9": ["x\\udce9", ["***", 1.5, None, True]]}
    json.dumps(content, ensure_ascii=False).encode()
