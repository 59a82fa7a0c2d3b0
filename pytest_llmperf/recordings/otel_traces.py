"""Traces of OpenTelemetry as recordings: exports in OTLP's JSON, with the attributes of the GenAI conventions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import UsageError
from pytest_llmperf.recordings.inferred_edges import Interval, inferred_edges
from pytest_llmperf.recordings.otel_bodies import body_of
from pytest_llmperf.recordings.otel_names import ATTRIBUTES, OPERATIONS, attribute
from pytest_llmperf.recordings.recorded_requests import RecordedRequest, Recording
from pytest_llmperf.recordings.recording_lines import KIND, parsed_line

_SERVICE = "service.name"
_SPANS = "resourceSpans"
_HEAD = 65_536
_NEXT = "export the traces in OTLP's JSON, e.g. by the file exporter of the collector"
_VALUES = {"stringValue": str, "boolValue": bool, "intValue": int, "doubleValue": float}
_WRONG = (ValueError, TypeError, OverflowError, RecursionError)
"""The errors of converting an invalid value: an infinite count, a list nested too deeply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """A span, with the names of its agent and service as far as it has them."""

    id: str
    trace: str
    parent: str
    sent_ns: int
    done_ns: int
    attributes: Mapping[str, Any]
    service: str
    line: int

    def get(self, name: str) -> Any:
        """The attribute, by its newest or an older name; None if it is not there."""
        return attribute(self.attributes, name)

    @property
    def path(self) -> str:
        """The path of its request; empty if it is none."""
        return OPERATIONS.get(str(self.get("operation")), "")


def has_traces(text: str) -> bool:
    """Whether a file is an export of traces, not a recording."""
    return f'"{_SPANS}"' in text[:_HEAD] and f'"{KIND}"' not in text.partition("\n")[0]


def recording_of_traces(path: Path, text: str) -> Recording:
    """The recording that an export of traces amounts to.

    Each span of a request to a model is a request of the agent whose span is around it. It waits for the requests in
    spans beside its own, or beside one around it, that had ended before.

    Raises:
        UsageError: a line is wrong, or there is no such span.
    """
    spans = {(span.trace, span.id): span for span in _spans(path, text)}
    inner = {key for span in spans.values() if span.path for key in _above(span, spans)}
    asked = sorted(
        (span for key, span in spans.items() if span.path and key not in inner),
        key=lambda span: (span.sent_ns, span.done_ns),
    )
    if not asked:
        raise UsageError(
            f"{path}: no span is a request to a model ({ATTRIBUTES['operation'][0]}: {', '.join(OPERATIONS)})",
            next_step=_NEXT,
        )
    names = [_agent_of(span, spans) for span in asked]
    ways = [[span, *(spans[key] for key in _above(span, spans))] for span in asked]

    def may_wait(index: int, earlier: int) -> bool:
        if asked[index].trace != asked[earlier].trace:
            return names[index] == names[earlier]
        return _came_after(ways[index], ways[earlier])

    edges = inferred_edges([Interval(span.sent_ns, span.done_ns) for span in asked], may_wait)
    requests = tuple(
        _request(path, index + 1, span, name, after=tuple(place + 1 for place in places), pause_ms=pause_ms)
        for index, (span, name, (places, pause_ms)) in enumerate(zip(asked, names, edges, strict=True))
    )
    models = [span.get("model") for span in asked if isinstance(span.get("model"), str)]
    return Recording(
        agents=tuple(dict.fromkeys(names)),
        requests=requests,
        model=max(models, key=models.count) if models else "",
        source="OpenTelemetry traces",
    )


def _spans(path: Path, text: str) -> Iterator[_Span]:
    whole = f'"{_SPANS}"' not in text.partition("\n")[0]
    lines = (
        [(1, text)] if whole else [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    )
    for number, line in lines:
        try:
            yield from _spans_of(parsed_line(line), number)
        except (*_WRONG, AttributeError, KeyError) as error:
            where = f"{path}, line {number}" if not whole else str(path)
            raise UsageError(f"{where}: it is not a readable trace export ({error})", next_step=_NEXT) from error


def _spans_of(export: Mapping[str, Any], line: int) -> Iterator[_Span]:
    for resource in export.get(_SPANS, ()):
        service = _attributes(resource.get("resource", {})).get(_SERVICE, "")
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                yield _Span(
                    id=str(span["spanId"]),
                    trace=str(span["traceId"]),
                    parent=str(span.get("parentSpanId") or ""),
                    sent_ns=int(span["startTimeUnixNano"]),
                    done_ns=int(span["endTimeUnixNano"]),
                    attributes=_attributes(span),
                    service=str(service),
                    line=line,
                )


def _attributes(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {pair["key"]: _value(pair.get("value", {})) for pair in owner.get("attributes", ())}


def _value(given: Mapping[str, Any]) -> Any:
    """The value of an attribute; OTLP's JSON has whole numbers as texts."""
    for key, kind in _VALUES.items():
        if key in given:
            return kind(given[key])
    if "arrayValue" in given:
        return [_value(value) for value in given["arrayValue"].get("values", ())]
    if "kvlistValue" in given:
        return {pair["key"]: _value(pair.get("value", {})) for pair in given["kvlistValue"].get("values", ())}
    return None


def _above(span: _Span, spans: Mapping[tuple[str, str], _Span]) -> list[tuple[str, str]]:
    """The spans around a span, the nearest first."""
    keys: list[tuple[str, str]] = []
    key = (span.trace, span.parent)
    while key in spans and key not in keys:
        keys.append(key)
        key = (span.trace, spans[key].parent)
    return keys


def _agent_of(span: _Span, spans: Mapping[tuple[str, str], _Span]) -> str:
    """The name of the nearest agent around a span; else of its service."""
    around = [span, *(spans[key] for key in _above(span, spans))]
    name = next((name for each in around if (name := each.get("agent"))), None)
    return str(name or span.service or "agent")


def _came_after(way: Sequence[_Span], other_way: Sequence[_Span]) -> bool:
    """Whether a span, or one around it, began after the span beside it that has the other one had ended."""
    shared = {span.id for span in way} & {span.id for span in other_way}
    span = [each for each in way if each.id not in shared][-1:]
    beside = [each for each in other_way if each.id not in shared][-1:]
    return bool(span and beside) and beside[0].done_ns <= span[0].sent_ns


def _request(
    path: Path, id: int, span: _Span, agent: str, *, after: tuple[int, ...], pause_ms: float
) -> RecordedRequest:
    finish = span.get("finish")
    try:
        body = body_of(span.path, span.attributes)
        return RecordedRequest(
            id=id,
            agent=agent,
            path=span.path,
            after=after,
            pause_ms=round(pause_ms, 3),
            body=body,
            stream=bool(span.get("stream")) and body is None,
            input_tokens=int(span.get("input_tokens") or 0),
            output_tokens=int(span.get("output_tokens") or 0),
            e2e_ms=round(max(0, span.done_ns - span.sent_ns) / 1e6, 3),
            done_reason=str(finish[0]) if isinstance(finish, list) and finish else "",
        )
    except _WRONG as error:
        raise UsageError(
            f"{path}, line {span.line}, span {span.id}: it cannot be replayed: {error}",
            next_step=f"record {ATTRIBUTES['input_tokens'][0]} or {ATTRIBUTES['messages'][0]}",
        ) from error
