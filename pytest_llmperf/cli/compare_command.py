"""`compare A B`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.judge.baselines.manifest_diff import differences_of
from pytest_llmperf.judge.diagnosis.outlying_session import outlying_session
from pytest_llmperf.judge.gates.baseline_comparison import Compared, compare_stored, only_in
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.judge.gates.reasons import signed
from pytest_llmperf.judge.gates.verdict_policy import action
from pytest_llmperf.judge.metrics.catalogue import metric_of
from pytest_llmperf.model import Baseline, Bound, Outcome, Settings, Verdict
from pytest_llmperf.model.texts import counted
from pytest_llmperf.report.wording.amounts import amount
from pytest_llmperf.report.wording.baseline_text import aligned


def compare(given: Namespace) -> int:
    """Prints a table of metrics per measurement; the command's help has the exit codes."""
    standard, candidate = (load_named(name, (given.dir,)) for name in (given.standard, given.candidate))
    settings = Settings(
        limits={} if given.delta is None else {"regression": given.delta},
        on_inconclusive_regression=given.on_inconclusive,
        min_sessions=given.min_sessions,
        on_mismatch="warn",
    )
    compared = compare_stored(standard, candidate, settings=settings, metrics=tuple(given.metric or ()))
    for measurement in compared:
        print("\n".join(_block(measurement, standard, candidate)))
        for name, entry in ((given.standard, measurement.old), (given.candidate, measurement.new)):
            if (outlying := outlying_session(entry)) is not None:
                print(f"  {name}: {outlying.advice(name, str(given.dir))}")
        print()
    for first, second in ((standard, candidate), (candidate, standard)):
        for key in only_in(first, second):
            print(f"only in {first.name}: {key}")
    return _end(compared, standard, candidate, settings)


def _end(compared: Sequence[Compared], standard: Baseline, candidate: Baseline, settings: Settings) -> int:
    """Prints the result and returns the exit code."""
    verdicts = [verdict for measurement in compared for verdict in measurement.verdicts]
    judged = [verdict for verdict in verdicts if verdict.outcome is not Outcome.NOT_COMPARABLE]
    pair = f"{candidate.name} against {standard.name}"
    if not judged:
        why = "no comparable measurement" if verdicts else "no measurement (test, scenario, topology, work) in common"
        print(f"{pair}: {why}")
        return 2
    counts = ", ".join(
        f"{sum(verdict.outcome is outcome for verdict in verdicts)} {outcome.value}"
        for outcome in Outcome
        if any(verdict.outcome is outcome for verdict in verdicts)
    )
    failing = [verdict for verdict in judged if action(verdict, verdicts, settings) == "fail"]
    worse = any(verdict.outcome is Outcome.FAIL for verdict in failing)
    end = "worse" if worse else "inconclusive" if failing else "no regression detected"
    rules = ", ".join(dict.fromkeys(verdict.rule for verdict in judged if verdict.rule))
    print(f"judged by rule: {rules} (docs/verdicts.md)")
    print(f"{pair}: {end} ({counts} of {counted(len(verdicts), 'metric')})")
    return 1 if failing else 0


def _block(measurement: Compared, standard: Baseline, candidate: Baseline) -> list[str]:
    """One measurement: its metrics, the reasons of verdicts other than a pass, and the differences of the manifests."""
    rows = [["metric", standard.name, candidate.name, "change", "rounds", "evidence", "verdict"]]
    newest = measurement.new.session[-1].manifest
    rows += [_row(verdict, simulated=newest.get("backend") == "simulated") for verdict in measurement.verdicts]
    sessions = [
        f"{side.name} {len(entry.session)}"
        for side, entry in ((standard, measurement.old), (candidate, measurement.new))
    ]
    lines = [
        measurement.key.test,
        f"  scenario {measurement.key.scenario}, topology {measurement.key.topology}; sessions: {', '.join(sessions)}",
        *(f"  {line}" for line in aligned(rows)),
    ]
    lines += [
        f"  {verdict.gate.metric} {verdict.outcome}: {verdict.reason}"
        for verdict in measurement.verdicts
        if verdict.outcome is not Outcome.PASS
    ]
    lines += [f"  {metric}: {candidate.name} has no comparable rounds" for metric in measurement.lacking]
    differing = differences_of(
        standard.name, measurement.old.session[-1].manifest, measurement.new.session[-1].manifest, whole=True
    )
    if differing:
        lines.append(f"  the newest sessions differ in {'; '.join(map(str, differing))}")
    return lines


def _row(verdict: Verdict, *, simulated: bool) -> list[str]:
    gate, change = verdict.gate, "?"
    if verdict.worse_by is not None:
        sign = -1 if gate.bound is Bound.MIN else 1
        change = f"{signed(sign * verdict.worse_by)} {metric_of(gate.metric).change_unit}"
    return [
        gate.metric,
        amount(gate.limit, gate.metric),
        amount(verdict.value, gate.metric),
        change,
        str(verdict.rounds),
        grade(verdict.rounds, simulated=simulated),
        str(verdict.outcome),
    ]
