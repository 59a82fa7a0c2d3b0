"""The OpenMetrics report, for Prometheus' textfile collector, a push gateway, or GitLab's metrics report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmperf.judge.metrics.series import CATALOGUE
from pytest_llmperf.report.document import Document, endings_of
from pytest_llmperf.report.session_outcomes import Ending

_Sample = tuple[dict[str, str], float]

_OTHERS = {
    "rounds": "rounds that count",
    "discarded_rounds": "rounds discarded because the client was saturated",
    "decision_grade": "1 if the evidence is decision-grade",
    "client_cost_pp": "client overhead in percentage points of efficiency, upper bound, mean of the rounds",
    "client_cpu_cores": "cores used by the client according to its own clock, mean of the rounds",
    "busy_cores": "cores of this machine in use during rounds",
    "client_cores": "cores used by the client during rounds, according to telemetry",
    "neighbour_cores": "cores used by other processes during rounds",
    "soak_s": "duration of a soak in seconds",
    "soak_failed": "1 if a soak failed",
    "soak_alarms": "number of levels that a soak exceeded",
}
"""Figures that are not in the catalogue of metrics."""

_INCUMBENT = "incumbent."
_GATES = {
    "gate_value": "value of a gate's metric",
    "gate_limit": "limit of a gate, or the value it is compared with",
    "gate_passed": "1 if the gate passed",
}


def page(content: Document) -> str:
    """Gauges `llmperf_...`, with a sample per measurement or gate, and the end mark.

    Args:
        content: the session's document.
    """
    families: dict[str, tuple[str, list[_Sample]]] = {
        "passed": ("1 if the test passed, 0 if it failed", []),
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
    """The help text of a figure, with its unit."""
    if name.startswith(_INCUMBENT):
        return f"of the incumbent that took turns with the candidate; {_what(name.removeprefix(_INCUMBENT))}"
    if name in CATALOGUE:
        return f"{CATALOGUE[name].unit}: {CATALOGUE[name].definition}"
    return _OTHERS.get(name, name.replace("_", " "))


def _labelled(content: Document) -> Iterator[tuple[Mapping[str, Any], dict[str, str]]]:
    """Each record with unique labels: several measurements of a test are numbered."""
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
