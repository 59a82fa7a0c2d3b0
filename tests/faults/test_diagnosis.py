"""What the simulated servers do wrong is what the diagnosis names, first; its shares are the whole loss."""

import json

import pytest

from pytest_llmperf.judge.diagnosis import diagnose
from pytest_llmperf.model import Settings, TopologyKind
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.servers.faults.plan import Fault, FaultPlan
from tests.faults.conftest import PAIR, slow

ENDLESS = 10**6
SLOW = slow(ttft_ms=40, decode_tok_s=100)
ALWAYS = {"instance": "b", "first": 1, "last": ENDLESS}


@pytest.mark.parametrize(
    ("fault", "kind", "cause", "settings"),
    [
        (Fault(kind="slow_decode", factor=0.2, **ALWAYS), TopologyKind.DUAL, "decode alone", {}),
        (Fault(kind="slow_prefill", factor=0.1, **ALWAYS), TopologyKind.DUAL, "prefill alone", {}),
        (Fault(kind="traffic", instance="b", first=2, last=2, tokens=200), TopologyKind.DUAL, "another client", {}),
        (Fault(kind="unload", instance="b", first=4, last=4), TopologyKind.DUAL, "model left", {}),
        (Fault(kind="spill", factor=0.4, **ALWAYS), TopologyKind.DUAL, "spilled to the CPU", {}),
        (
            Fault(kind="throttle", factor=0.3, seconds=2.0, **ALWAYS),
            TopologyKind.DUAL,
            "decode alone",
            {"min_rounds": 5, "max_rounds": 5},
        ),
        (None, TopologyKind.SINGLE, "queue together", {}),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_the_injected_cause_is_named(fault: Fault | None, kind: TopologyKind, cause: str, settings, attached) -> None:
    """Found by real requests to real servers; the JSON document holds the same figures."""
    session, _ = attached(FaultPlan(faults=(fault,) if fault else ()), SLOW, **settings)
    record = session.measure(PAIR, kind, test="t")
    session.close()
    diagnosis = diagnose(record.measurement)
    assert diagnosis is not None
    assert diagnosis.cause == cause
    assert sum(diagnosis.shares_pp.values()) == pytest.approx(diagnosis.loss_pp, abs=1e-9)
    (plain,) = json.loads(as_text(document(Run(records=[record], settings=Settings()))))["records"]
    assert plain["diagnosis"]["shares_pp"] == diagnosis.shares_pp
    assert plain["diagnosis"]["cause"] == cause
