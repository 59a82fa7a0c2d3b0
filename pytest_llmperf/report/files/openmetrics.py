"""The figures as OpenMetrics text: for Prometheus' textfile collector, a push gateway, or GitLab's metrics report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmperf.judge.metrics.series import CATALOGUE
from pytest_llmperf.report.document import Document, endings_of
from pytest_llmperf.report.session_outcomes import Ending

_Sample = tuple[dict[str, str], float]

_OTHERS = {
    "rounds": "rounds that were judged",
    "discarded_rounds": "rounds that do not count, since the client was saturated",
    "decision_grade": "1 where the evidence is decision-grade",
    "client_cost_pp": "percentage points of efficiency that the harness itself cost at most, mean of the rounds",
    "client_cpu_cores": "cores that the client used by its own clock, mean of the rounds",
    "busy_cores": "cores of this machine in use while rounds ran",
    "client_cores": "cores that the client used while rounds ran, as the telemetry saw it",
    "neighbour_cores": "cores that processes of others used while rounds ran",
    "soak_s": "seconds that a soak lasted",
    "soak_failed": "1 where a soak failed",
    "soak_alarms": "levels that a soak went beyond",
}
"""Figures that are no metric of the catalogue."""

_INCUMBENT = "incumbent."
_GATES = {
    "gate_value": "value of a gate's metric",
    "gate_limit": "what it was held to",
    "gate_passed": "1 where the gate passed",
}


def page(content: Document) -> str:
    """Families of gauges `llmperf_...`, a sample a measurement (or gate), and the end mark.

    Args:
        content: the session's document.
    """
    families: dict[str, tuple[str, list[_Sample]]] = {
        "passed": ("1 where the test passed, 0 where it failed", []),
        **{name: (definition, []) for name, definition in _GATES.items()},
    }
    endings = endings_of(content)
    for record, labels in _labelled(content):
        for name, value in record["figures"].items():
            if not isinstance(value, str) and name not in labels:
                families.setdefault(name.replace(".", "_"), (_what(name), []))[1].append((labels, value))
        if endings.get(record["test"]) not in (Ending.SKIPPED, Ending.XFAILED):
            families["passed"][1].append((labels, int(record["passed"])))
        for verdict in record["verdicts"]:
            gate = verdict["gate"]
            of_gate = labels | {"gate": gate["marker"], "metric": gate["metric"]}
            families["gate_limit"][1].append((of_gate, gate["limit"]))
            families["gate_passed"][1].append((of_gate, int(verdict["outcome"] == "pass")))
            if verdict["value"] is not None:
                families["gate_value"][1].append((of_gate, verdict["value"]))
    return "".join(_family(name, *family) for name, family in families.items() if family[1]) + "# EOF\n"


def _what(name: str) -> str:
    """What a figure is, with its unit."""
    if name.startswith(_INCUMBENT):
        return f"of the incumbent that took turns; {_what(name.removeprefix(_INCUMBENT))}"
    if name in CATALOGUE:
        return f"{CATALOGUE[name].unit}: {CATALOGUE[name].definition}"
    return _OTHERS.get(name, name.replace("_", " "))


def _labelled(content: Document) -> Iterator[tuple[Mapping[str, Any], dict[str, str]]]:
    """Each record with labels that no other has: what one test measures several times is numbered."""
    seen: Counter[str] = Counter()
    for record in content["records"]:
        seen[record["test"]] += 1
        measurement = record["measurement"]
        yield (
            record,
            {
                "test": record["test"],
                "measurement": str(seen[record["test"]]),
                "scenario": measurement["scenario"]["name"],
                "topology": measurement["topology"]["kind"],
                "backend": measurement["topology"]["backend"],
                "model": measurement["topology"]["model"],
                "simulated": str(record["figures"]["simulated"]).lower(),
            },
        )


def _family(name: str, definition: str, samples: list[_Sample]) -> str:
    lines = [f"# TYPE llmperf_{name} gauge", f"# HELP llmperf_{name} {_escaped(definition)}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"llmperf_{name}{{{inside}}} {value + 0!r}")  # a truth is 0 or 1
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
