"""The stored session that is far from the others: which is named, when, and how often a healthy history names one."""

from dataclasses import replace

import numpy as np
import pytest

from pytest_llmperf.judge.diagnosis.outlying_session import ERROR, outlying_index, outlying_session
from tests.judge.baselines.test_trend import baseline_of

HEALTHY = [98.0, 97.6, 98.3, 97.9, 98.2, 98.1]


def test_a_bad_session_is_named_with_the_command() -> None:
    """By its time; the folder is part of the command if the command would not look there."""
    (entry,) = baseline_of([*HEALTHY, 88.0]).stored
    outlying = outlying_session(entry)
    assert outlying is not None
    assert (outlying.saved_at, outlying.metric, outlying.count) == ("2026-01-07T00:00:00+00:00", "efficiency_pct", 6)
    assert outlying.value == pytest.approx(88, abs=0.5)
    assert outlying.others == pytest.approx(98, abs=0.5)
    command = "pytest-llmperf remove main t.py::test_pair --session 2026-01-07T00:00:00+00:00"
    assert outlying.advice("main").endswith(f"remove it: {command}")
    assert outlying.advice("main", "perf/base").endswith(f"{command} --dir perf/base")


def test_nothing_to_name() -> None:
    """A healthy history, a short one, equal sessions, two levels, and a distance too small to change a verdict."""
    for levels in (HEALTHY, [98, 98, 98, 88], [98.0] * 8, [98] * 4 + [90] * 4):
        (entry,) = baseline_of(levels).stored
        assert outlying_session(entry) is None
    (entry,) = baseline_of([*[98.0] * 8, 96.5], sd=0.01).stored
    assert outlying_session(entry) is None


def test_sessions_of_another_machine_are_no_outliers() -> None:
    """tok/s are compared only with sessions of the newest session's machine."""
    facts = {"facts": lambda number: {"cpu": "i5" if number == 0 else "i9"}}
    (entry,) = baseline_of([50] + [100] * 7, metric="system_tok_s", **facts).stored
    assert outlying_session(entry) is None
    same = tuple(replace(session, manifest=entry.session[-1].manifest) for session in entry.session)
    outlying = outlying_session(replace(entry, session=same))
    assert outlying is not None
    assert outlying.saved_at == entry.session[0].saved_at


@pytest.mark.parametrize("count", [6, 12])
def test_how_often_a_healthy_history_names_one(count: int) -> None:
    """In at most ERROR of histories (and 3 standard errors); one 10 sd off is named nine times of ten."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((4000, count))
    assert (outlying_index(centres, ERROR, 0.0) >= 0).mean() <= ERROR + 3 * (ERROR * (1 - ERROR) / 4000) ** 0.5
    centres[:, 2] -= 10
    assert (outlying_index(centres, ERROR, 0.0) == 2).mean() > 0.88
