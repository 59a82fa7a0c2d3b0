"""`capacity [URL]`: how many agents the servers carry, without a test."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_llmperf.cli.measuring.server_choice import diarist, settings_of
from pytest_llmperf.errors import LlmperfError, UsageError, clean
from pytest_llmperf.judge.capacity.capacity_answer import CapacityAnswer, TriedAgents
from pytest_llmperf.judge.capacity.request_limits import LIMITS, RequestLimits
from pytest_llmperf.model import TopologyKind
from pytest_llmperf.report.capacity_text import capacity_table, capacity_text
from pytest_llmperf.report.terminal.progress_line import ProgressLine
from pytest_llmperf.report.terminal.wrapping import width, wrapped
from pytest_llmperf.report.wording.baseline_text import aligned
from pytest_llmperf.session.capacity_run import CapacityPlan, CapacityRun
from pytest_llmperf.session.session import Session
from pytest_llmperf.session.session_header import header


def capacity(given: Namespace) -> int:
    """Searches, and prints the table, a sentence and the next step.

    Returns:
        0: a number of agents was confirmed, and it is not below `--min-agents`; 1: not; 2: it was interrupted.
    """
    limits, settings = _limits(given), settings_of(given)
    if len(settings.urls) > 1:
        raise UsageError(
            f"{len(settings.urls)} addresses: all agents share one server",
            next_step="give one address; for several servers, that of what distributes the requests to them",
        )
    interrupted, failure = False, None
    listener = ProgressLine(None, None, steps=True)
    with Session(settings, root=Path.cwd(), listener=listener) as session:
        session.check()
        for line in header(session, {}):
            print(clean(wrapped(line, width())), file=sys.stderr if given.json else sys.stdout, flush=True)
        run = session.capacity(_plan(given, limits))
        try:
            run.run()
        except KeyboardInterrupt:
            interrupted = True
        except LlmperfError as error:
            if not run.search.tried:
                raise
            failure = error
    for text in dict.fromkeys(session.unrestored):
        print(clean(text), file=sys.stderr)
    answer = run.answer
    if not answer.tried:
        raise failure or LlmperfError("interrupted before a round had ended: nothing was measured")
    _print(run, answer, "interrupted" if interrupted else "", as_json=given.json)
    if failure is not None:
        raise failure
    if interrupted:
        return 2
    return 0 if (answer.agents or 0) >= (given.least_agents or 1) else 1


def _limits(given: Namespace) -> RequestLimits:
    """The limits of every request. Raises UsageError if there is none."""
    limits = RequestLimits(**{kind.name: getattr(given, kind.name) for kind in LIMITS})
    if not limits.given:
        raise UsageError(
            "no limit is given that requests must keep",
            next_step="give one or more, e.g. --ttft-ms 2000 --tok-s 20",
        )
    return limits


def _plan(given: Namespace, limits: RequestLimits) -> CapacityPlan:
    return CapacityPlan(
        agent=diarist("agent", given.tokens),
        kind=TopologyKind.SINGLE,
        most_agents=given.most_agents,
        limits=limits,
        share=given.share,
        correlation=given.correlation,
        seconds=given.seconds,
    )


def _print(run: CapacityRun, answer: CapacityAnswer, end: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"capacity": _document(run, answer, end)}, indent=2))
        return
    sentence, step = capacity_text(answer)
    print()
    for line in aligned(capacity_table(answer)):
        print(clean(line))
    print()
    print(clean(wrapped(f"{end}; {sentence}" if end else sentence, width())))
    print(clean(f"  next: {step}"))


def _document(run: CapacityRun, answer: CapacityAnswer, end: str) -> dict[str, Any]:
    """The answer for programs; see docs/capacity.md."""
    topology = run.topology
    return {
        "agents": answer.agents,
        "at_most": answer.at_most,
        "share": answer.share,
        "limits": {kind.name: limit for kind, limit in answer.limits.given},
        "correlation": run.plan.correlation,
        "max_agents": answer.most_agents,
        "ended": end or answer.ended,
        "backend": topology.backend if topology else "",
        "model": topology.model if topology else "",
        "tried": list(map(_row, answer.tried)),
    }


def _row(tried: TriedAgents) -> dict[str, Any]:
    row = asdict(tried)
    row["broken"] = None if tried.broken is None else {"limit": tried.broken[0].name, "median": tried.broken[1]}
    return row
