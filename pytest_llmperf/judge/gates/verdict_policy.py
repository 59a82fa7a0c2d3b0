"""The effect of a verdict on its test by the settings, and the settings in words for every summary."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.model import Outcome, Settings, Verdict


def action(verdict: Verdict, verdicts: Sequence[Verdict], settings: Settings) -> str:
    """The effect of a verdict on its test: `pass`, `fail`, `warn` or `skip`.

    The settings override what a marker demands. A gate that `--llmperf-compare` adds only warns if its baseline is of
    another machine and another gate of the test compares something; if none does, it follows the settings.

    Args:
        verdict: the verdict to act on.
        verdicts: all of its measurement.
        settings: the settings of the session.
    """
    if verdict.outcome is Outcome.PASS:
        return "pass"
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return _undecided(verdict, settings)
    if verdict.outcome is not Outcome.NOT_COMPARABLE:
        return "fail"
    added = {verdict.outcome for verdict in verdicts if not verdict.gate.demanded}
    if not verdict.gate.demanded and not added.isdisjoint((Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE)):
        return "warn"
    return settings.on_mismatch


def in_words(settings: Settings) -> tuple[str, ...]:
    """The policy of a session: a line each for limit gates, regression gates and limits of another machine."""
    acts = {"fail": "fails its test", "warn": "only warns", "skip": "skips its test"}
    regression = acts.get(
        settings.on_inconclusive_regression,
        f"only warns until its baseline has {settings.min_sessions} sessions, then fails its test"
        + ("; against an incumbent it fails its test" if settings.against else ""),
    )
    machine = acts[settings.on_mismatch]
    if settings.compare and settings.on_mismatch != "warn":
        machine += "; a gate that --llmperf-compare adds only warns if another such gate of its test can be compared"
    return (
        f"policy: an inconclusive limit gate {acts[settings.on_inconclusive]} (--llmperf-on-inconclusive)",
        f"policy: an inconclusive regression gate {regression} (--llmperf-on-inconclusive-regression)",
        f"policy: a gate whose limit comes from another machine {machine} (--llmperf-on-mismatch)",
    )


def _undecided(verdict: Verdict, settings: Settings) -> str:
    """The effect of an inconclusive gate: a regression gate only warns until its baseline has enough sessions."""
    if verdict.gate.delta is None:
        return settings.on_inconclusive
    if settings.on_inconclusive_regression != "young":
        return settings.on_inconclusive_regression
    if verdict.gate.incumbent:
        return "fail"  # no baseline that is still to grow
    return "warn" if len(verdict.gate.reference) < settings.min_sessions else "fail"
