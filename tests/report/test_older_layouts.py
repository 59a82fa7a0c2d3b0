"""Files that older releases wrote are read: `data/session_schema_1.json` was written before layout 2."""

import json
from pathlib import Path

from pytest_llmperf.cli import main
from pytest_llmperf.judge.record import as_plain, from_plain, with_new_keys
from pytest_llmperf.plugin.options.option_table import OPTIONS
from tests.report.published_schema import PUBLISHED_SCHEMA

SESSION = Path(__file__).parent / "data" / "session_schema_1.json"
RECORDS = json.loads(SESSION.read_text(encoding="utf-8"))["records"]


def test_a_record_of_layout_1_has_every_value_under_its_new_name() -> None:
    (record,) = from_plain(RECORDS)
    assert [phase.part for phase in record.phase_regressions] == ["decode", "decode"]
    assert [str(incident) for incident in record.measurement.incidents] == [
        "round 2: instance b refused a connection; it was repeated"
    ]
    assert record.incumbent.measurement.incidents == record.measurement.incidents
    assert [drift.name for drift in (*record.soak.drifts, *record.soak.leaks)] == ["decode_tok_s", "memory of ollama"]


def test_every_other_value_of_layout_1_is_kept() -> None:
    """What is read and written again has all that the old file has, by the same keys but for the renamed ones."""
    (new,) = as_plain(from_plain(RECORDS))
    old = {name: value for name, value in with_new_keys(RECORDS[0]).items() if name in new}
    assert lost(old, json.loads(json.dumps(new))) == []
    assert as_plain(from_plain([new])) == [new]


def lost(old: object, new: object, place: str = "") -> list[str]:
    """The places of values that the new one does not have; it may have more keys."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [text for key in old for text in lost(old[key], new.get(key), f"{place}/{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            text for number, pair in enumerate(zip(old, new, strict=True)) for text in lost(*pair, f"{place}/{number}")
        ]
    return [] if old == new else [place]


def test_the_command_record_reads_a_session_of_layout_1(capsys) -> None:
    assert main(["record", "validation", str(SESSION)]) == 0
    assert "## pair on dual" in capsys.readouterr().out


def test_the_schema_describes_every_option() -> None:
    """With the text of `--help`."""
    described = PUBLISHED_SCHEMA.schema["$defs"]["Settings"]["properties"]
    assert {option.field: option.help_text for option in OPTIONS} == {
        option.field: described[option.field]["description"] for option in OPTIONS
    }
