"""The header lines about a session: what is measured, and what the run does with baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_llmperf.judge.gates.robust.betting_costs import cost_lines
from pytest_llmperf.judge.markers import Marker
from pytest_llmperf.model import Settings
from pytest_llmperf.session.session import Session


def header(session: Session, markers_by_test: Mapping[str, Sequence[Marker]]) -> list[str]:
    """Backend, its place, model and the reason for it; incumbent and baseline; what betting will cost.

    Args:
        session: a session whose settings have been checked.
        markers_by_test: gate markers by the test's name.
    """
    backend, baseline, incumbent = session.backend, session.baseline, session.incumbent
    lines = [f"llmperf: {backend.kind}, model {backend.model}, {backend.where} ({backend.reason})"]
    if session.unused:
        lines.append(f"llmperf: {session.unused}")
    if incumbent is not None:
        servers = f"{incumbent.kind}, model {incumbent.model}, {incumbent.where}"
        lines.append(f"llmperf: rounds alternate with the incumbent {session.settings.against}: {servers}")
    lines.append(f"llmperf: baseline {baseline.name}")
    if intent := _intent(session.settings):
        lines.append(f"llmperf: {intent}")
    stored = [session.stored] if session.stored is not None else []
    lines += [f"llmperf: {line}" for line in cost_lines(markers_by_test, session.settings, [baseline, *stored])]
    if backend.kind == "simulated":
        lines.append("llmperf: SIMULATED: all figures come from a scripted server, not from a real engine")
    return lines


def _intent(settings: Settings) -> str:
    """What the run does with stored baselines."""
    if settings.update:
        return f"passing tests replace their sessions in baseline {settings.update}; regression gates are not judged"
    saving = f"passing tests are saved as a session of baseline {settings.save}" if settings.save else ""
    comparing = f"compared with baseline {settings.compare}" if settings.compare else ""
    return "; ".join(filter(None, (comparing, saving)))
