"""An agent's whole work, from the marks that it sent to the tap."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.measure.tap.marks import BEGIN, END
from pytest_llmperf.measure.tap.recording import Capture, CapturedConnection
from pytest_llmperf.measure.wire.arrival import Raw, settle
from pytest_llmperf.model import RequestTiming, Workflow


def workflow_of(
    connections: Sequence[CapturedConnection], capture: Capture, requests: Sequence[RequestTiming]
) -> tuple[Workflow | None, str]:
    """The work between the marks of an agent, and what is wrong with its marks.

    Args:
        connections: the connections of the agent.
        capture: the part that they belong to.
        requests: its timed requests.

    Returns:
        None and nothing wrong if it sent no mark; None if its marks do not bound its requests, each of them once.
    """
    times: dict[str, list[int]] = {BEGIN: [], END: []}
    for connection in connections:
        reads = [Raw(mark.read_ns, mark.ancillary, mark.kind.encode()) for mark in connection.marks]
        for piece in settle(reads, capture.before_ns, capture.after_ns)[0]:
            times[piece.data.decode()].append(piece.arrival_ns)
    arrived = [connection.first_ns for connection in connections if connection.first_ns]
    handed = [chunk.handed_ns for connection in connections for chunk in connection.up.chunks if chunk.handed_ns]
    if not any(times.values()) or not requests or not arrived or not handed:
        return None, ""
    for kind, sent in times.items():
        if len(sent) != 1:
            return None, f"it sent its mark `{kind}` {f'{len(sent)} times' if sent else 'never'}"
    (begin_ns,), (end_ns,) = times.values()
    answered_ns = max((request.done_ns for request in requests if not request.cancelled), default=0)
    if begin_ns > min(arrived):
        return None, "it sent its mark `begin` after its first request"
    if end_ns < answered_ns:
        return None, "it sent its mark `end` before the end of its last answer"
    work = Workflow(
        before_ns=min(arrived) - begin_ns,
        after_ns=end_ns - max(answered_ns, *(request.sent_ns for request in requests)),
        total_ns=end_ns - begin_ns - max(0, min(handed) - min(arrived)),
    )
    return work, ""
