"""The files that a run leaves, from outside."""

import json

import jsonschema
import pytest

from pytest_llmperf.judge.record import from_plain
from pytest_llmperf.report import schema
from tests.plugin.conftest import GATED

SHORT = ("--llmperf-rounds=2", "--llmperf-max-rounds=2", "-W", "default")


@pytest.mark.parametrize("options", [(), ("-n1",)], ids=["alone", "xdist"])
def test_a_session_s_document(simulated, pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    """It validates, states its version, where each test stands, and every timing: the records can be had back."""
    test = pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    simulated("--llmperf-json=run.json", *SHORT, *options)
    found = json.loads((pytester.path / "run.json").read_text())
    jsonschema.Draft202012Validator(schema.schema()).validate(found)
    assert found["schema"] == schema.VERSION
    (record,) = found["records"]
    assert record["location"] == {"file": test.name, "line": 4}
    own = {key: record[key] for key in ("test", "measurement", "verdicts", "differences")}
    (back,) = from_plain([own])
    requests = [one for r in back.measurement.rounds for run in (*r.solo, *r.together) for one in run.requests]
    assert len(requests) == 8
    assert all(len(one.arrivals_ns) == one.eval_count == 48 for one in requests)
    assert record["figures"]["efficiency_pct"] == round(back.summary("efficiency_pct").mean, 4)


def test_what_cannot_be_written_starts_nothing(simulated, pytester: pytest.Pytester, aftermath) -> None:
    """Two files of one name: a usage error before any server starts, under xdist, too."""
    pytester.makepyfile(GATED.format(fixture="dual_ollama"))
    for options in ((), ("-n1",)):
        result = simulated("--llmperf-json=.", *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*--llmperf-json: cannot write*", "*next: give another --llmperf-json"])
