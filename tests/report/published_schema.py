"""The JSON Schema that is part of the package."""

import json
from importlib.resources import files

import jsonschema

PUBLISHED_SCHEMA = jsonschema.Draft202012Validator(
    json.loads(files("pytest_llmperf.report").joinpath("llmperf.schema.json").read_text(encoding="utf-8"))
)
"""Validates a document; a test of the rooms compares it with the values of today."""
