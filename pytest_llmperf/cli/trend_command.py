"""`trend NAME`."""

from __future__ import annotations

from argparse import Namespace
from itertools import groupby

from pytest_llmperf.judge.baselines.baseline_files import builtin_names, load_named, to_save
from pytest_llmperf.judge.baselines.trend import trends
from pytest_llmperf.model.texts import counted
from pytest_llmperf.report.wording.baseline_history import said


def trend(given: Namespace) -> int:
    """Prints the changes over the sessions; returns 1 after an unrecovered loss, 2 if there are too few sessions."""
    baseline = load_named(given.name, (given.dir,))
    histories = trends(baseline, tuple(given.metric or ()), given.delta)
    for key, own in groupby(histories, key=lambda history: history.key):
        print(f"{key.test}\n  scenario {key.scenario}, topology {key.topology}, work {key.workload}")
        for history in own:
            excluded = f" ({counted(history.left_out, 'session')} of another machine excluded)"
            suffix = excluded if history.left_out else ""
            print("\n".join(f"  {line}{suffix}" for line in said(history)))
        print()
    if not any(history.enough for history in histories):
        if baseline.stored or baseline.name not in builtin_names():
            print(f"baseline {baseline.name}: too few sessions to detect a change: {to_save(baseline.name)}")
        else:
            print(f"baseline {baseline.name} is part of pytest-llmperf and has no sessions: see pytest-llmperf list")
        return 2
    lost = [history for history in histories if history.worse]
    changes = sum(len(history.breaks) for history in histories)
    print(
        f"baseline {baseline.name}: {counted(changes, 'change')} detected, "
        f"{len(lost)} of {counted(len(histories), 'metric')} not recovered from a loss"
    )
    return 1 if lost else 0
