"""`trend NAME`."""

from __future__ import annotations

from argparse import Namespace
from itertools import groupby

from pytest_llmperf.judge.baselines.packaged_baselines import builtin_names, to_save
from pytest_llmperf.judge.baselines.store import load_named
from pytest_llmperf.judge.baselines.trend import METRICS, trends
from pytest_llmperf.report.wording.baseline_history import said
from pytest_llmperf.report.wording.baseline_text import counted


def trend(given: Namespace) -> int:
    """Prints what changed over the sessions; 1 where something is lost, 2 where there are too few of them."""
    baseline = load_named(given.name, (given.dir,))
    trends_ = trends(baseline, tuple(given.metric or METRICS), given.delta)
    for key, own in groupby(trends_, key=lambda trend_: trend_.key):
        print(f"{key.test}\n  scenario {key.scenario}, topology {key.topology}, work {key.workload}")
        for trend_ in own:
            others = f" ({counted(trend_.left_out, 'session')} of another machine left out)" if trend_.left_out else ""
            print("\n".join(f"  {line}{others}" for line in said(trend_)))
        print()
    if not any(trend_.enough for trend_ in trends_):
        if baseline.stored or baseline.name not in builtin_names():
            print(f"baseline {baseline.name}: too few sessions to see a change: {to_save(baseline.name)}")
        else:
            print(f"baseline {baseline.name} comes with pytest-llmperf and has no sessions; yours: pytest-llmperf list")
        return 2
    lost = [trend_ for trend_ in trends_ if trend_.worse]
    seen = sum(len(trend_.breaks) for trend_ in trends_)
    print(
        f"baseline {baseline.name}: {counted(seen, 'change')} seen, "
        f"{counted(len(lost), 'metric')} of {len(trends_)} lost something that is still lost"
    )
    return 1 if lost else 0
