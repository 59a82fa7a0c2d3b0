"""The Markdown report, for a comment on a pull request and the summary page of a CI job."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.model.node_id import short_name
from pytest_llmperf.report.comparisons import (
    NOISE_ONLY,
    NOISE_ONLY_NOTE,
    Judged,
    by_source,
    cells,
    comparisons,
    is_comparison,
    judged,
    wide_passes,
)
from pytest_llmperf.report.document import Document, failing_remark, headline, unexplained
from pytest_llmperf.report.severity_order import merged
from pytest_llmperf.report.wording.amounts import amount, digits_in
from pytest_llmperf.report.wording.contention_text import detector_of
from pytest_llmperf.report.wording.critical_path_text import PATH
from pytest_llmperf.report.wording.program_text import AGENT

_SHOWN = (
    ("balance", "efficiency_pct"),
    ("scaling", "scaling_efficiency_pct"),
    ("contended", ""),
    ("worst TTFT", "ttft_ms"),
    ("system", "system_tok_s"),
)
_OF_GRAPHS = (("makespan", "makespan_s"), ("graph efficiency", "graph_efficiency_pct"))
"""Columns that are shown if some agents wait for others."""

_SIGNS = {"pass": "✅", "fail": "❌", "invalid": "❌"}


def page(content: Document) -> str:
    """Verdicts, failures, and the figures of each measurement.

    Args:
        content: the session's document.
    """
    return "\n".join(_lines(content)) + "\n"


def escaped(text: str) -> str:
    r"""A text on one line, with Markdown, HTML and mentions of users escaped.

    >>> print(escaped("a|b <i> @you *x*"))
    a\|b &lt;i&gt; &#64;you \*x\*
    """
    one_line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#!|~])", r"\\\1", one_line).replace("@", "&#64;").replace("://", "&#58;//")


def row(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table(*header: str) -> list[str]:
    """The head of a table."""
    return [row(*header), row(*("---" for _ in header))]


def _lines(content: Document) -> Iterator[str]:
    records = sorted(content["records"], key=lambda record: record["passed"])
    yield from (f"### llmperf: {headline(content)}", "")
    verdicts, failed = judged(records), unexplained(content)
    yield from _limits(content, records, [verdict for verdict in verdicts if not is_comparison(verdict[2])])
    yield from _compared(comparisons(verdicts))
    for record in records:
        texts = [words["text"] for _, words, _ in judged([record]) if words["outcome"] != "pass"]
        texts += [remark["text"] for remark in record["remarks"] if remark["level"] != "note"]
        if texts:
            yield from _folded(_name(record), merged(texts))
    for test in failed:
        yield from _folded(_short(test["test"]), test["text"])
    if not records:
        return
    graphs = [record for record in records if any(agent.get("after") for agent in _agents(record))]
    columns = (*_SHOWN, *_OF_GRAPHS) if graphs else _SHOWN
    yield from ("", *table("measurement", "rounds", *(title for title, _ in columns)))
    for record in records:
        figures = record["figures"]
        names = [name or _judged_contention(record) for _, name in columns]
        values = (amount(figures[name], name) if name in figures else "-" for name in names)
        yield row(_name(record), f"{figures['rounds']} ({figures['grade']})", *values)
    said = [(record, note) for record in records for note in record["notes"] if note.startswith((PATH, AGENT))]
    if said:
        yield from ("", *(f"- {_name(record)}: {escaped(note)}" for record, note in said))
    facts = records[0]["measurement"]["manifest"]["facts"]
    shown = ", ".join(f"{key} {facts[key]}" for key in ("backend", "model", "gpu", "cpu") if key in facts)
    yield from ("", f"pytest-llmperf {content['plugin_version']}, {content['written_at']}: {escaped(shown)}")


def _limits(content: Document, records: Sequence[Mapping[str, Any]], verdicts: Sequence[Judged]) -> Iterator[str]:
    """Failures without a gate, then verdicts on limits, and why some pass although their interval exceeds the limit."""
    failed = unexplained(content)
    soaked = [(record, text) for record in records if (text := failing_remark(record))]
    if verdicts or failed or soaked:
        yield from table("verdict", "test", "gate", "value", "95 % CI", "against")
    for test in failed:
        yield row(
            f"{_SIGNS['fail']} fail", _short(test["test"]), "-", "-", "-", escaped(test["text"].partition("\n")[0])
        )
    for record, text in soaked:
        yield row(f"{_SIGNS['fail']} fail", _name(record), "-", "-", "-", escaped(text))
    for record, words, verdict in verdicts:
        more = digits_in(verdict)
        ends = [amount(verdict[end], words["metric"], more).split()[0] for end in ("low", "high")]
        yield row(
            _outcome(words),
            _name(record),
            f"{words['gate']} ({escaped(words['metric'])})",
            amount(verdict["value"], words["metric"], more),
            "-" if None in (verdict["low"], verdict["high"]) else " to ".join(ends),
            escaped(words["limit"]),
        )
    if wide := wide_passes(verdicts):
        yield from ("", *dict.fromkeys(f"- {_name(record)}: {escaped(text)}" for record, text in wide))


def _compared(verdicts: Sequence[Judged]) -> Iterator[str]:
    """Comparisons grouped by source, the worst first: old, new, change, allowed change."""
    for source, own in by_source(verdicts).items():
        yield from ("", f"Compared with {escaped(source)}:", "")
        yield from table("verdict", "test", "metric", "old", "new", "change", "allowed")
        for record, words, verdict in own:
            yield row(_outcome(words), _name(record), escaped(words["metric"]), *cells(verdict))
        if any(NOISE_ONLY in cells(verdict) for *_, verdict in own):
            yield from ("", NOISE_ONLY_NOTE)


def _agents(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    agents: Sequence[Mapping[str, Any]] = record["measurement"]["scenario"]["agents"]
    return agents


def _judged_contention(record: Mapping[str, Any]) -> str:
    """The contention metric, by the detector of the gate."""
    return f"contention_rate_{detector_of(verdict['gate']['metric'] for verdict in record['verdicts'])}"


def _outcome(words: Mapping[str, Any]) -> str:
    return f"{_SIGNS.get(words['outcome'], '⚠️')} {words['outcome']}"


def _name(record: Mapping[str, Any]) -> str:
    measurement = record["measurement"]
    simulated = " (SIMULATED)" if record["figures"]["simulated"] else ""
    name = f"{measurement['scenario']['name']} on {measurement['topology']['kind']}"
    return f"{_short(record['test'])}: {escaped(name)}{simulated}"


def _short(test: str) -> str:
    return escaped(short_name(test))


def _folded(name: str, text: str) -> list[str]:
    return ["", f"<details><summary>{name}</summary>", "", *_fenced(text), "</details>"]


def _fenced(text: str) -> list[str]:
    """A text between fences that are longer than any fence in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]
