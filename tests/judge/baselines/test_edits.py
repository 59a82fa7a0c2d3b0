"""Edits of stored sessions: values in, values out, and only the intended change."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import BaselineError, UsageError
from pytest_llmperf.judge.baselines import baseline_files, store
from pytest_llmperf.judge.baselines.edits import (
    renamed,
    trimmed,
    with_replaced,
    with_sessions,
    without,
    without_session,
)
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.gates.comparison_gates import without_regression
from pytest_llmperf.judge.markers import build
from pytest_llmperf.model import Baseline, Settings, StoredSession

TESTS = ("a.py::test_x", "a.py::test_x[1]", "a.py::TestC::test_x", "ab.py::test_x", "nightly")
EMPTY = Baseline(schema=2, name="main", description="kept")


def key(test: str = TESTS[0], scenario: str = "pair", topology: str = "dual", workload: str = "w") -> Key:
    return Key(test=test, scenario=scenario, topology=topology, workload=workload)


def session(at: str, *values: float) -> StoredSession:
    return StoredSession(saved_at=at, manifest={"cpu": "i9"}, rounds={"speedup": values or (1.9,)})


def held(baseline: Baseline) -> dict[tuple[str, ...], list[str]]:
    """Times of the sessions by their key."""
    return {
        (entry.test, entry.scenario, entry.topology, entry.workload): [each.saved_at for each in entry.session]
        for entry in baseline.stored
    }


def times(baseline: Baseline) -> list[str]:
    return sorted(at for times in held(baseline).values() for at in times)


SAVES = st.lists(
    st.builds(
        key, st.sampled_from(TESTS), st.sampled_from(["pair", "trio"]), st.sampled_from(["dual", "single"]),
        st.sampled_from(["w", "v"]),
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip


def stored(keys: Sequence[Key]) -> Baseline:
    """A session of each key, saved one after the other."""
    baseline = EMPTY
    for number, key in enumerate(keys):
        baseline = with_sessions(baseline, [(key, session(f"2026-01-01T00:00:{number:02}+00:00"))])
    return baseline


@given(SAVES)
def test_no_session_is_lost_or_there_twice(keys: list[Key]) -> None:
    """Whatever is saved in whatever order; each key has one entry, the oldest session first."""
    baseline = stored(keys)
    assert times(baseline) == [f"2026-01-01T00:00:{number:02}+00:00" for number in range(len(keys))]
    assert all(times == sorted(times) for times in held(baseline).values())
    assert len(held(baseline)) == len(baseline.stored)
    assert baseline.description == "kept"


@given(SAVES, st.sampled_from(TESTS), st.sampled_from([*TESTS, "new.py::test"]))
def test_a_renaming_loses_nothing_and_leaves_others_alone(keys: list[Key], old: str, new: str) -> None:
    """Where both names are there, their sessions come together in the order of their time."""
    before = stored(keys)
    if not any(entry.test == old for entry in before.stored):
        with pytest.raises(BaselineError, match="has no session of test"):
            renamed(before, old, new)
        return
    after = renamed(before, old, new)
    assert times(after) == times(before)
    assert old == new or not any(entry.test == old for entry in after.stored)
    others = {name: times for name, times in held(before).items() if name[0] not in (old, new)}
    assert {name: times for name, times in held(after).items() if name[0] not in (old, new)} == others
    assert all(times == sorted(times) for times in held(after).values())


def test_a_file_name_moves_its_tests_only() -> None:
    """Tests of a file whose name begins alike stay, and so does the name of a script."""
    after = renamed(stored([key(test) for test in TESTS]), "a.py", "perf/b.py")
    assert [entry.test for entry in after.stored] == [
        "perf/b.py::test_x", "perf/b.py::test_x[1]", "perf/b.py::TestC::test_x", "ab.py::test_x", "nightly",
    ]  # fmt: skip
    assert [entry.test for entry in without(after, "perf/b.py").stored] == ["ab.py::test_x", "nightly"]


def test_times_of_several_zones_are_ordered_as_times() -> None:
    """Saved by a developer in Berlin and by CI in UTC; what is no time comes first."""
    late, early, none = "2026-01-01T12:00:00+00:00", "2026-01-01T12:30:00+02:00", "once"
    both = with_sessions(EMPTY, [(key("old"), session(late))])
    for at in (early, none):
        both = with_sessions(both, [(key("new"), session(at))])
    assert times(renamed(both, "old", "new")) == sorted((late, early, none))
    assert [session.saved_at for session in renamed(both, "old", "new").stored[0].session] == [none, early, late]


def test_trimming_keeps_the_newest_of_each() -> None:
    """Entries with fewer stay as they are."""
    after = trimmed(stored([key(), key(), key(), key(topology="single")]), 2)
    assert [len(entry.session) for entry in after.stored] == [2, 1]
    assert after.stored[0].session[-1].saved_at.endswith(":02+00:00")


def test_an_update_replaces_what_was_measured_again_and_only_that() -> None:
    """Also under another work (that is why one updates); other topologies, scenarios and tests stay."""
    before = stored([key(), key(), key(workload="older"), key(topology="single"), key(scenario="trio"), key("nightly")])
    after = with_replaced(before, [(key(workload="new"), session("now"))])
    expected = {name: times for name, times in held(before).items() if name[:3] != (TESTS[0], "pair", "dual")}
    assert held(after) == {**expected, (TESTS[0], "pair", "dual", "new"): ["now"]}


def test_what_one_run_measures_twice_of_one_test_is_one_session() -> None:
    """In an update as in a save."""
    saved = [(key(), session("first", 1.0)), (key(), session("second", 2.0)), (key("nightly"), session("third"))]
    for change in (with_sessions, with_replaced):
        (first, second) = change(EMPTY, saved).stored
        (saved_session,) = first.session
        assert (saved_session.saved_at, saved_session.rounds["speedup"]) == ("first", (1.0, 2.0))
        assert len(second.session) == 1


def test_an_update_of_what_is_not_there(tmp_path: Path) -> None:
    """No file, no name, nothing measured: each an error, and nothing is written."""
    with pytest.raises(BaselineError, match=r"main.toml does not exist\n.*--llmperf-save main"):
        store.update("main", tmp_path / "baselines", [(key(), session("now"))])
    with pytest.raises(UsageError, match="cannot name a baseline"):
        store.update("a/b", tmp_path, [(key(), session("now"))])
    with pytest.raises(UsageError, match="nothing to save"):
        store.update("main", tmp_path, [])
    assert not list(tmp_path.rglob("*.toml"))


def test_regression_is_not_judged_by_what_it_makes() -> None:
    """Never with --llmperf-update; with --llmperf-save only if there is a baseline to compare with; else always."""
    specs, full = (build("efficiency", kwargs={"min_pct": 95}), build("regression")), stored([key()])
    for settings, baseline, compared, judged in (
        (Settings(), EMPTY, None, True),
        (Settings(save="main"), EMPTY, None, False),
        (Settings(save="main"), full, None, True),
        (Settings(save="main", compare="x"), EMPTY, full, True),
        (Settings(update="main"), full, None, False),
    ):
        kept, notes = without_regression(specs, settings, baseline, compared)
        assert (kept == specs, bool(notes)) == (judged, not judged)
    assert without_regression(specs[:1], Settings(update="main"), full, None) == (specs[:1], ())


def test_what_can_be_changed_is_known_beforehand(tmp_path: Path) -> None:
    """A new file in a new folder can be made; an update needs a file; a link leads to what it names."""
    path = store.path_of("main", tmp_path / "new" / "folder")
    store.check_editable(path, must_exist=False)
    with pytest.raises(BaselineError, match="does not exist"):
        store.check_editable(path, must_exist=True)
    real = store.save("real", tmp_path, [(key(), session("now"))])
    (tmp_path / "link.toml").symlink_to(real)
    assert store.path_of("link", tmp_path) == real
    store.check_editable(real, must_exist=True)


def test_a_change_says_what_was_and_what_is(tmp_path: Path) -> None:
    """Before and after, as read from the file; a change that fails leaves it alone."""
    path = store.save("main", tmp_path, [(key(), session("now"))])
    change = store.edit(path, lambda baseline: replace(baseline, description="other"))
    assert (change.path, change.before.description, change.after.description) == (path, "", "other")
    assert baseline_files.load(path) == change.after
    with pytest.raises(BaselineError, match="has no session of test"):
        store.edit(path, lambda baseline: without(baseline, "none"))
    assert baseline_files.load(path) == change.after


def test_one_session_is_removed() -> None:
    """By its time or the beginning of it; nothing else changes, and the last one takes the measurement along."""
    whole = with_sessions(stored([key()] * 3), [(key(TESTS[3]), session("2026-01-01T00:00:01+00:00"))])
    left = without_session(whole, TESTS[0], "2026-01-01T00:00:01+00:00")
    assert times(left) == [f"2026-01-01T00:00:0{number}+00:00" for number in (0, 1, 2)]
    assert len(left.stored) == 2
    left = without_session(without_session(left, TESTS[0], "2026-01-01T00:00:00"), TESTS[0], "2026")
    assert [entry.test for entry in left.stored] == [TESTS[3]]


def test_one_session_must_be_meant() -> None:
    """A time that no session has, or several, is an error with the sessions that there are; an empty one, too."""
    whole = with_sessions(stored([key()] * 2), [(key(topology="single"), session("2026-01-01T00:00:01+00:00"))])
    for at in ("2025", ""):
        with pytest.raises(
            BaselineError, match=r"no session saved at .*\n  2026-01-01T00:00:00\+00:00: a.py::test_x, "
        ):
            without_session(whole, TESTS[0], at)
    with pytest.raises(BaselineError, match=r"(?s)has 3 sessions .*\n  next: give the whole time of one of these"):
        without_session(whole, "a.py", "2026-01")
    with pytest.raises(BaselineError, match=r"(?s)has 2 sessions .*topology single.*\n  next: delete the lines"):
        without_session(whole, TESTS[0], "2026-01-01T00:00:01+00:00")
    with pytest.raises(BaselineError, match="has no session of test"):
        without_session(whole, "b.py::test_x", "2026")
