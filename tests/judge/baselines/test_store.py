"""Baseline files: read strictly, found by name, written whole or not at all."""

import errno
import os
import socket
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmperf.errors import BaselineError, UsageError
from pytest_llmperf.files import atomic_write
from pytest_llmperf.judge.baselines import baseline_files, locked_write, lookup, store
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.metrics.series import all_series
from pytest_llmperf.model import CHIMERA_HOMO, SCHEMA, Agent, Bound, GenerationOptions, Loop, Scenario, StoredSession
from tests.judge.build import measurement_of, round_of

KEY = Key(test="t.py::test_x", scenario="pair", topology="dual", workload="abc")
SESSION = StoredSession(
    saved_at="2026-01-01T00:00:00+00:00", manifest={"cpu": "i9"}, rounds={"efficiency_pct": (95.5, 96.0)}
)
WHOLE = """
schema = 1
description = "all tables"
[workload]
reason = "small machine"
num_predict = 64
temperature = 0
[manifest]
cpu = "i9"
[[threshold]]
metric = "efficiency_pct"
level = "validation"
bound = "min"
value = 95
unit = "%"
source = "E.1 #6"
topology = "dual"
[[reference]]
report = "TR114_v2"
metric = "efficiency_pct"
statistic = "mean"
value = 98.281
unit = "%"
source = "5.7"
[[valid_under]]
text = "one GPU"
source = "card"
keys = ["gpu", "gpu_driver"]
[[invalidated_by]]
text = "another GPU"
source = "card"
[[stored]]
test = "t.py::test_x"
scenario = "pair"
topology = "dual"
workload = "abc"
[[stored.session]]
saved_at = "2026-01-01T00:00:00+00:00"
[stored.session.manifest]
cpu = "i9"
[stored.session.rounds]
efficiency_pct = [95.5, 96]
"""


def written(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def assert_fault_is_named(folder: Path, good: str, old: str, new: str, text: str) -> None:
    """A good file with one change is an error that names the file and the fault, and says what to do next."""
    assert old in good
    path = written(folder, good.replace(old, new, 1))
    with pytest.raises(BaselineError) as caught:
        baseline_files.load(path)
    assert str(path) in str(caught.value)
    assert text in str(caught.value)
    assert caught.value.next_step


def test_every_table_is_read(tmp_path: Path) -> None:
    """Each table becomes its value; the name is the stem; whole numbers serve as floats."""
    baseline = baseline_files.load(written(tmp_path, WHOLE))
    assert (baseline.schema, baseline.name, baseline.description) == (1, "mine", "all tables")
    assert baseline.workload.num_predict == 64
    assert baseline.workload.num_ctx is None
    assert baseline.manifest == {"cpu": "i9"}
    assert (baseline.threshold[0].bound, baseline.threshold[0].value) == (Bound.MIN, 95.0)
    assert baseline.reference[0].report == "TR114_v2"
    assert baseline.valid_under[0].keys == ("gpu", "gpu_driver")
    assert baseline.invalidated_by[0].keys == ()
    assert baseline.stored[0].session == (SESSION,)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("schema = 1", "schema = 4", "schema 4, this release reads up to 3: written by a newer release"),
        ("schema = 1", "schema = 0", "schema 0, wanted 1 to 3"),
        ("schema = 1", "", "has no key schema"),
        ("schema = 1", 'schema = "1"', "has schema = '1'"),
        ("schema = 1", "schema = true", "has schema = True"),
        ("schema = 1", 'schema = 1\nname = "other"', "name: a baseline's name is its file's stem"),
        ("schema = 1", "schema = 1\nnmae = 1", "nmae: unknown key, wanted one of schema, description"),
        ("num_predict = 64", 'num_predict = "64"', "workload.num_predict: got a text, wanted a whole number"),
        ("num_predict = 64", "num_predict = true", "workload.num_predict: got True"),
        ("num_predict = 64", "num_predikt = 64", "workload.num_predikt: unknown key, wanted one of reason, num_ctx"),
        ('reason = "small machine"', "", "workload.reason: missing"),
        ("temperature = 0", "temperature = inf", "workload.temperature: got inf, wanted a finite number"),
        ('cpu = "i9"\n[[thr', "cpu = 9\n[[thr", "manifest.cpu: got 9, wanted text"),
        ("[manifest]\n", "[manifest.inner]\n", "manifest.inner: got a table, wanted text"),
        (
            'metric = "efficiency_pct"\nlevel',
            'metric = "eficiency"\nlevel',
            "threshold[0].metric: unknown metric 'eficiency'",
        ),
        ('bound = "min"', 'bound = "mim"', "threshold[0].bound: got 'mim', wanted 'min' or 'max'"),
        ('bound = "min"', 'bound = "max"', "threshold[0].bound: 'max', wanted 'min' for efficiency_pct"),
        ("value = 95", "value = nan", "threshold[0].value: got nan, wanted a finite number"),
        ("value = 95", "value = -95", "threshold[0].value: -95 is out of range"),
        ("value = 95", 'value = "95"', "threshold[0].value: got a text, wanted a number"),
        ("value = 95", "value = true", "threshold[0].value: got True, wanted a number"),
        ("value = 95\n", "", "threshold[0].value: missing"),
        ('unit = "%"\nsource = "E.1 #6"', 'unit = "ratio"\nsource = "E"', "threshold[0].unit: 'ratio', wanted '%'"),
        ('report = "TR114_v2"', "raport = 1", "reference[0].raport: unknown key"),
        ('keys = ["gpu", "gpu_driver"]', 'keys = "gpu"', "valid_under[0].keys: got a text, wanted a list"),
        ('keys = ["gpu", "gpu_driver"]', "keys = [1]", "valid_under[0].keys[0]: got 1, wanted text"),
        ("[[stored.session]]\nsaved_at", "[stored.session]\nsaved_at", "stored[0].session: got a table, wanted a list"),
        ("[95.5, 96]", "[95.5, nan]", "stored[0].session[0].rounds.efficiency_pct[1]: got nan"),
        ("[95.5, 96]", "[]", "stored[0].session[0].rounds: metrics have [0] values"),
        ("[95.5, 96]", "[95.5, 96]\nspeedup = [1.0]", "rounds: metrics have [1, 2] values"),
        ("efficiency_pct = [95.5", "eff_pct = [95.5", "rounds.eff_pct: unknown metric"),
    ],
)
def test_every_fault_names_file_and_key(tmp_path: Path, old: str, new: str, text: str) -> None:
    """One change to a good file: an error with the file, the key, what is wrong, and the next step."""
    assert_fault_is_named(tmp_path, WHOLE, old, new, text)


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    """A wrong type and an unknown key in two tables: both in one error."""
    with pytest.raises(BaselineError, match=r"(?s)workload.num_ctx.*threshold\[0\].why"):
        baseline_files.load(
            written(tmp_path, WHOLE.replace("num_predict = 64", 'num_ctx = "x"').replace("value = 95", "why = 1"))
        )


def test_stored_without_a_session_is_refused(tmp_path: Path) -> None:
    """And a workload or a list item that is no table."""
    start = WHOLE.index("[[stored.session]]")
    with pytest.raises(BaselineError, match=r"stored\[0\].session: empty"):
        baseline_files.load(written(tmp_path, WHOLE[:start] + "session = []\n"))
    for text, fault in (
        ("workload = 3", "workload: got 3, wanted a table"),
        ("threshold = [3]", r"threshold\[0\]: got 3"),
    ):
        with pytest.raises(BaselineError, match=fault):
            baseline_files.load(written(tmp_path, f"schema = 1\n{text}\n"))


@pytest.mark.parametrize(
    ("metric", "unit", "value", "fine"),
    [
        ("contention_rate", "ratio", 0.01, True),
        ("contention_rate", "%", 1, False),
        ("contention_rate", "ratio", 1.5, False),
        ("cv_pct", "%", 5, True),
        ("vram_gib", "GiB", 11, True),
        ("num_gpu", "layers", 120, True),
    ],
)
def test_validation_thresholds_are_held_to_their_unit(
    tmp_path: Path, metric: str, unit: str, value: float, *, fine: bool
) -> None:
    """A rate in percent would be a gate that cannot fail; figures that no gate measures may be stated."""
    text = (
        f'schema = 1\n[[threshold]]\nmetric = "{metric}"\nlevel = "validation"\nbound = "max"\nvalue = {value}\n'
        f'unit = "{unit}"\nsource = "s"\n'
    )
    if fine:
        assert baseline_files.load(written(tmp_path, text)).threshold[0].metric == metric
    else:
        with pytest.raises(BaselineError, match=r"threshold\[0\]"):
            baseline_files.load(written(tmp_path, text))
        # Other levels are for the reader: no gate takes them at their word.
        baseline_files.load(written(tmp_path, text.replace("validation", "warning")))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, not UTF-8, torn anywhere: never another exception, never half a baseline."""
    with pytest.raises(BaselineError, match="does not exist"):
        baseline_files.load(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(BaselineError, match="cannot be read"):
        baseline_files.load(tmp_path / "folder.toml")
    (tmp_path / "latin.toml").write_bytes(b'schema = 1\ndescription = "\xff"\n')
    with pytest.raises(BaselineError, match="not UTF-8"):
        baseline_files.load(tmp_path / "latin.toml")
    whole = WHOLE.strip()
    refused = 0
    for end in range(0, len(whole), 7):
        try:
            baseline_files.load(written(tmp_path, whole[:end]))
        except BaselineError:
            refused += 1
    assert refused > len(whole) / 7 / 2


def test_lookup_by_name_and_path(tmp_path: Path) -> None:
    """The first folder that has it wins; a path ends in .toml; ours come last."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        written(folder, f'schema = 1\ndescription = "{folder.name}"\n')
    dirs = (tmp_path / "absent", first, second)
    assert baseline_files.load_named("mine", dirs).description == "first"
    assert baseline_files.load_named(str(second / "mine.toml"), dirs).description == "second"
    assert baseline_files.load_named("decision_card", dirs).name == "decision_card"


@pytest.mark.parametrize("name", ["golden", "", "../mine", ".hidden", "sub/mine"])
def test_an_unknown_name_lists_those_that_exist(tmp_path: Path, name: str) -> None:
    """Also for names that are no names; nothing outside the folders is found."""
    folder = tmp_path / "baselines"
    folder.mkdir()
    written(folder, "schema = 1\n", "nightly")
    written(tmp_path, "schema = 1\n")
    with pytest.raises(BaselineError, match=r"(?s)no baseline.*decision_card.*nightly"):
        baseline_files.load_named(name, (folder,))


def test_the_packaged_folder_comes_before_the_repositorys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel has the baselines inside the package, the repository next to it."""
    package = tmp_path / "site" / "pytest_llmperf" / "judge" / "baselines"
    package.mkdir(parents=True)
    monkeypatch.setattr(baseline_files, "__file__", str(package / "baseline_files.py"))
    assert baseline_files.builtin_dir() == tmp_path / "site" / "baselines"
    with pytest.raises(BaselineError, match="available: none"):
        baseline_files.load_named("golden", ())
    (package / "packaged").mkdir()
    assert baseline_files.builtin_dir() == package / "packaged"


def test_the_baselines_that_come_with_us_are_valid() -> None:
    """Each file is readable, and the decision card has what the gates need."""
    names = {path.stem for path in baseline_files.builtin_dir().glob("*.toml")}
    assert "decision_card" in names
    for name in names:
        assert baseline_files.load_named(name, ()).threshold
    card = baseline_files.load_named("decision_card", ())
    gated = {(t.metric, t.value) for t in card.threshold if t.level == "validation"}
    assert {("efficiency_pct", 95.0), ("contention_rate", 0.01)} <= gated


def test_save_then_load(tmp_path: Path) -> None:
    """A new file with one session; again: two sessions; another measurement: a second entry; no leftovers."""
    folder = tmp_path / "new" / "baselines"
    path = store.save("mine", folder, [(KEY, SESSION)], description="nightly")
    assert path == folder / "mine.toml"
    (folder / ".mine.toml.tmp").write_text("of a saver that was killed")
    later = replace(SESSION, saved_at="2026-02-02T00:00:00+00:00")
    on_single = replace(KEY, topology="single")
    store.save("mine", folder, [(KEY, later), (on_single, SESSION)])
    baseline = baseline_files.load(path)
    assert (baseline.schema, baseline.description) == (SCHEMA, "nightly")
    assert [(entry.topology, entry.session) for entry in baseline.stored] == [
        ("dual", (SESSION, later)),
        ("single", (SESSION,)),
    ]
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))
    assert "name" not in tomllib.loads(path.read_text())


def test_what_one_run_measures_twice_is_one_session(tmp_path: Path) -> None:
    """Two measurements of one key tell nothing of the spread between sessions: their rounds stand together."""
    second = replace(SESSION, rounds={"efficiency_pct": (94.0,), "speedup": (1.9,)})
    path = store.save("mine", tmp_path, [(KEY, SESSION), (KEY, second)])
    (session,) = baseline_files.load(path).stored[0].session
    assert session.rounds == {"efficiency_pct": (95.5, 96.0, 94.0)}


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
FIGURES = st.lists(st.floats(0, 1e12), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=3), FIGURES)
def test_what_is_saved_is_read_back(
    tmp_path: Path, test: str, at: str, facts: dict[str, str], values: list[float]
) -> None:
    """Any text and any finite figures survive, bit by bit."""
    path = tmp_path / "round_trip.toml"
    path.unlink(missing_ok=True)
    key = replace(KEY, test=test)
    session = StoredSession(saved_at=at, manifest=facts, rounds={"system_tok_s": tuple(values)})
    store.save("round_trip", tmp_path, [(key, session)])
    (entry,) = baseline_files.load(path).stored
    assert entry.session == (session,)
    assert baseline_files.load(path).stored[0].test == test


def test_thresholds_of_a_file_survive_a_save(tmp_path: Path) -> None:
    """The file keeps its content and gains one session; None is never written."""
    before = baseline_files.load(written(tmp_path, WHOLE))
    after = baseline_files.load(store.save("mine", tmp_path, [(KEY, SESSION)]))
    assert after == replace(before, schema=SCHEMA, stored=after.stored)
    assert after.stored[0].session == (SESSION, SESSION)


def test_comments_are_not_lost(tmp_path: Path) -> None:
    """A file with comments of a person is left alone."""
    path = written(tmp_path, "# why 95\n" + WHOLE)
    with pytest.raises(BaselineError, match="would lose its comments"):
        store.save("mine", tmp_path, [(KEY, SESSION)])
    assert path.read_text().startswith("# why 95")


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".x", "x y", "x.toml", "x\n"])
def test_names_that_are_no_file_names(tmp_path: Path, name: str) -> None:
    """Refused before anything is written."""
    with pytest.raises(UsageError, match="cannot name a baseline"):
        store.save(name, tmp_path, [(KEY, SESSION)])
    assert not list(tmp_path.iterdir())


def test_nothing_to_save_is_an_error(tmp_path: Path) -> None:
    """An empty baseline would be a gate with nothing behind it."""
    with pytest.raises(UsageError, match="nothing to save"):
        store.save("mine", tmp_path, [])


@pytest.mark.parametrize("rounds", [{"efficiency_pct": (float("nan"),)}, {}, {"nonsense": (1.0,)}])
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, rounds: dict) -> None:
    """NaN, no rounds, unknown metrics: refused, the old file as it was."""
    path = store.save("mine", tmp_path, [(KEY, SESSION)])
    before = path.read_bytes()
    with pytest.raises(BaselineError):
        store.save("mine", tmp_path, [(KEY, replace(SESSION, rounds=rounds))])
    assert path.read_bytes() == before


def test_a_torn_file_is_not_overwritten(tmp_path: Path) -> None:
    """What cannot be read is for a person to restore."""
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(BaselineError, match="not UTF-8"):
        store.save("latin", tmp_path, [(KEY, SESSION)])
    path = written(tmp_path, "schema = 1\n[[stored")
    with pytest.raises(BaselineError, match="not TOML"):
        store.save("mine", tmp_path, [(KEY, SESSION)])
    assert path.read_text() == "schema = 1\n[[stored"


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "os.fdopen"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whichever step fails: a BaselineError, the old file bit by bit, no temporary file."""
    path = store.save("mine", tmp_path, [(KEY, SESSION)])
    before = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(step, full)
        if step == "os.fdopen":  # reading the old file must work: only the new one finds no room
            patch.setattr(atomic_write, "read_bytes", lambda _: before)
        with pytest.raises(BaselineError, match=r"No space left on device.*unchanged") as caught:
            store.save("mine", tmp_path, [(KEY, SESSION)])
    assert "free some space" in caught.value.next_step
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))
    store.save("mine", tmp_path, [(KEY, SESSION)])
    assert len(baseline_files.load(path).stored[0].session) == 2


def test_an_interrupt_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a save: it goes through, and nothing is left behind."""
    path = store.save("mine", tmp_path, [(KEY, SESSION)])
    before = path.read_bytes()

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save("mine", tmp_path, [(KEY, SESSION)])
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BaselineError, match="could not be saved"):
        store.save("mine", tmp_path / "file" / "baselines", [(KEY, SESSION)])


def test_a_lock_that_is_never_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that holds the lock for too long is named as the reason."""
    monkeypatch.setattr(locked_write, "LOCK_TIMEOUT_S", 0.0)
    with FileLock(tmp_path / ".mine.lock"), pytest.raises(BaselineError, match="locked by another process"):
        store.save("mine", tmp_path, [(KEY, SESSION)])


def test_systems_that_cannot_open_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no O_DIRECTORY: saving works without it."""
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    assert baseline_files.load(store.save("mine", tmp_path, [(KEY, SESSION)])).stored


def test_the_fingerprint_follows_the_work() -> None:
    """Equal work has one fingerprint, whatever the scenario is called; any change of prompt, name or option another."""
    agent = Agent(name="x", prompts=("go",), options=GenerationOptions(num_predict=64))

    def printed(*agents: Agent, name: str = "pair") -> str:
        return lookup.fingerprint(Scenario(name=name, agents=agents))

    base = printed(agent)
    assert base == printed(agent, name="other")
    assert len(base) == 16
    others = {
        printed(replace(agent, name="y")),
        printed(replace(agent, prompts=("go", "on"))),
        printed(replace(agent, prompts=("goon",))),
        printed(replace(agent, options=GenerationOptions(num_predict=65))),
        printed(replace(agent, options=GenerationOptions(num_predict=64, seed=1))),
        printed(agent, replace(agent, name="y")),
        printed(replace(agent, name="y"), agent),
    }
    assert len(others | {base}) == 8
    first = replace(agent, name="first")
    graphs = {
        printed(first, replace(agent, **changed))
        for changed in (
            {},
            {"after": ("first",)},
            {"after": ("first",), "loop": Loop(back_to="first", times=2)},
            {"after": ("first",), "loop": Loop(back_to="first", times=3)},
            {"think_s": 1},
            {"tool_s": 1},
        )
    }
    assert len(graphs) == 6
    assert lookup.fingerprint(CHIMERA_HOMO) == lookup.fingerprint(replace(CHIMERA_HOMO, name="renamed"))


def test_a_measurement_is_stored_under_its_key(tmp_path: Path) -> None:
    """Key and rounds of a measurement go to a file and come back."""
    measured = measurement_of(
        round_of((100, 100), (100, 200)), round_of((100, 100), (100, 150), index=1), facts={"cpu": "i9"}
    )
    key = lookup.key_of("t.py::test_x", measured)
    assert (key.scenario, key.topology) == ("pair", "dual")
    assert key.workload == lookup.fingerprint(measured.scenario)
    session = StoredSession(saved_at="now", manifest=measured.manifest.facts, rounds=all_series(measured))
    (entry,) = baseline_files.load(store.save("mine", tmp_path, [(key, session)])).stored
    assert entry.session[0].rounds["efficiency_pct"] == (75, pytest.approx(250 / 3))
    assert entry.session[0].manifest == {"cpu": "i9"}


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    path.mkdir()


def as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put", [as_fifo, as_folder, as_socket, as_device], ids=lambda put: put.__name__)
def test_what_is_no_plain_file(tmp_path: Path, put) -> None:
    """Under a baseline's name: an error at once, by name, by path, for a save and for an edit; never a wait."""
    path = tmp_path / "mine.toml"
    put(path)
    for work in (
        lambda: baseline_files.load(path),
        lambda: baseline_files.load_named("mine", (tmp_path,)),
        lambda: baseline_files.load_named(str(path), ()),
        lambda: store.check_editable(path, must_exist=False),
        lambda: store.save("mine", tmp_path, [(KEY, SESSION)]),
        lambda: store.edit(path, lambda baseline: baseline),
    ):
        with pytest.raises(BaselineError, match=r"mine\.toml|/dev/zero") as caught:
            work()
        assert caught.value.next_step


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    """Nothing of that name is there; nothing can be saved under it, which is found before anything is measured."""
    name = "n" * 300
    with pytest.raises(BaselineError, match="there is no baseline"):
        baseline_files.load_named(name, (tmp_path,))
    for work in (
        lambda: store.check_editable(store.target_of(name, tmp_path), must_exist=False),
        lambda: store.save(name, tmp_path, [(KEY, SESSION)]),
    ):
        with pytest.raises(
            BaselineError, match=r"could not be saved.*File name too long(.|\n)*next: use a shorter name"
        ):
            work()
    assert baseline_files.load(store.save("n" * 245, tmp_path, [(KEY, SESSION)])).stored


def test_a_circle_of_links(tmp_path: Path) -> None:
    """Under a baseline's name: an error, as of any file that cannot be."""
    (tmp_path / "mine.toml").symlink_to("other.toml")
    (tmp_path / "other.toml").symlink_to("mine.toml")
    for work in (
        lambda: baseline_files.load_named("mine", (tmp_path,)),
        lambda: store.check_editable(store.target_of("mine", tmp_path), must_exist=False),
        lambda: store.save("mine", tmp_path, [(KEY, SESSION)]),
    ):
        with pytest.raises(BaselineError, match="symbolic links"):
            work()
