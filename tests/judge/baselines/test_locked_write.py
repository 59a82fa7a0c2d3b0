"""What a saver that is killed, crowded or out of space leaves: the old file or the new one, and every session once."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.errors import BaselineError
from pytest_llmperf.judge.baselines import baseline_files, store
from tests.judge.baselines.test_store import KEY, SESSION

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork, SIGKILL and RLIMIT_FSIZE")

START = """
import os, random, signal, sys, time
from pathlib import Path
from pytest_llmperf.judge.baselines import baseline_files, store
from pytest_llmperf.judge.baselines.edits import trimmed
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.model import StoredSession
from pytest_llmperf.files.atomic_write import leftovers

folder = Path(sys.argv[1])
key = Key(test="t", scenario="s", topology="dual", workload="w")
rounds = {"efficiency_pct": tuple(float(i) for i in range(300))}

def save(name):
    store.save("mine", folder, [(key, StoredSession(saved_at=name, manifest={}, rounds=rounds))])
"""

KILLER = """
# Each turn: a child saves session after session, says so through a pipe, and is killed at a random moment; then the
# file must be whole and hold what it held, what the child said, and at most the one that it was saving.
path, times = folder / "mine.toml", random.Random(9)
counts = {"torn write": 0, "old file": 0, "new file": 0}
start = time.perf_counter()
save("first")
once_s = time.perf_counter() - start
known = ["first"]
for turn in range(int(sys.argv[2])):
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        for number in range(1000):
            save(f"{turn}.{number}")
            os.write(send, f"{turn}.{number}\\n".encode())
    os.close(send)
    time.sleep(times.uniform(0, 3 * once_s))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    said = os.fdopen(receive).read().split()
    counts["torn write"] += any(leftovers(path))
    held = [session.saved_at for session in baseline_files.load(path).stored[0].session]
    assert held[: len(known) + len(said)] == known + said, (turn, held[-5:], said)
    assert held[len(known) + len(said) :] in ([], [f"{turn}.{len(said)}"]), (turn, held[-5:], said)
    counts["new file" if len(held) > len(known) + len(said) else "old file"] += 1
    known = held
    if len(known) > 60:
        store.edit(path, lambda baseline: trimmed(baseline, 1))
        known = known[-1:]
save("last")
assert not list(folder.glob(".*.tmp"))
print(counts)
"""

CROWD = """
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    save(f"{sys.argv[2]}.{number}")
"""

OUT_OF_SPACE = """
import resource
save("first")
size = (folder / "mine.toml").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    save("second")
except store.BaselineError as error:
    print(error)
"""


def run(code: str, *arguments: object, timeout_s: float = 600) -> str:
    """What a Python of its own prints; an error there is one here."""
    command = [sys.executable, "-c", START + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """40 savers killed in the middle: never a torn file, never a session lost or there twice."""
    print(run(KILLER, tmp_path, 40))


@pytest.mark.long
def test_killed_at_500_random_moments(tmp_path: Path) -> None:
    """The same 500 times; some of the kills must have hit each part of a save."""
    printed = run(KILLER, tmp_path, 500)
    print(printed)
    assert "'torn write': 0," not in printed
    assert "'new file': 0" not in printed


def test_killed_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each call of the system that a save makes: the old file or the new one, and the lock is free."""
    path = store.save("mine", tmp_path, [(KEY, SESSION)])
    before = baseline_files.load(path)
    steps = 0
    while True:
        child = os.fork()
        if child == 0:
            calls = 0

            def hook(event: str, arguments: tuple) -> None:
                nonlocal calls
                if event in ("open", "os.rename", "os.remove", "os.chmod", "fcntl.flock", "os.truncate"):
                    if calls == steps:  # noqa: B023 - the child's own
                        os.kill(os.getpid(), signal.SIGKILL)
                    calls += 1

            sys.addaudithook(hook)
            store.save("mine", tmp_path, [(KEY, SESSION)])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        after = baseline_files.load(path)
        assert len(after.stored[0].session) - len(before.stored[0].session) in (0, 1)
        if status == 0:
            break
        before, steps = after, steps + 1
    assert steps > 5


def test_eight_savers_at_once_are_all_present(tmp_path: Path) -> None:
    """Four sessions each: thirty-two, none twice, each saver's own in their order."""
    command = [sys.executable, "-c", START + CROWD, str(tmp_path)]
    savers = [
        subprocess.Popen([*command, str(who), "4"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for who in range(8)
    ]
    for process in savers:
        assert process.stdout.readline() == "ready\n"
    for process in savers:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in savers:
        process.communicate(timeout=120)
    assert [process.returncode for process in savers] == [0] * 8
    (entry,) = baseline_files.load(tmp_path / "mine.toml").stored
    held = [session.saved_at for session in entry.session]
    assert sorted(held) == sorted(f"{who}.{number}" for who in range(8) for number in range(4))
    for who in range(8):
        assert [name for name in held if name.startswith(f"{who}.")] == [f"{who}.{number}" for number in range(4)]


def test_savers_of_names_that_begin_alike_do_not_touch_each_others_files(tmp_path: Path) -> None:
    """`main` and `main.nightly` have locks and temporary files of their own."""
    for neighbour in (tmp_path / ".main.nightly.toml.0123.tmp", tmp_path / ".main.toml.nightly.toml.0123.tmp"):
        neighbour.write_text("being written")
    store.save("main", tmp_path, [(KEY, SESSION)])
    assert len(list(tmp_path.glob(".*.tmp"))) == 2


def test_a_file_that_cannot_grow(tmp_path: Path) -> None:
    """The system refuses the write half-way (a limit of file sizes): an error that says so, the old file whole."""
    printed = run(OUT_OF_SPACE, tmp_path)
    assert "could not be saved" in printed
    assert "unchanged" in printed
    (entry,) = baseline_files.load(tmp_path / "mine.toml").stored
    assert [session.saved_at for session in entry.session] == ["first"]
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small tmpfs here (needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(small_disk: Path) -> None:
    """Saving until the disk is full: the error comes once, and the file holds every session saved before."""
    long = replace(SESSION, rounds={"efficiency_pct": tuple(float(number) for number in range(500))})
    saved = 0

    def fill() -> None:
        nonlocal saved
        for saved in range(100):  # noqa: B007 - counted for the test
            store.save("mine", small_disk, [(KEY, long)])

    with pytest.raises(BaselineError, match=r"No space left on device.*unchanged") as caught:
        fill()
    assert "free some space" in caught.value.next_step
    assert saved > 0
    assert len(baseline_files.load(small_disk / "mine.toml").stored[0].session) == saved
    assert not list(small_disk.glob(".*.tmp"))


def test_a_folder_that_cannot_be_synced_is_no_lost_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is in its place by then: some network file systems refuse to sync a folder."""
    sync = os.fsync

    def refused(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(22, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    assert baseline_files.load(store.save("mine", tmp_path / "new", [(KEY, SESSION)])).stored


def test_a_link_stays_a_link_and_rights_stay_rights(tmp_path: Path) -> None:
    """A baseline that is linked to from elsewhere, for a group to write."""
    (tmp_path / "shared").mkdir()
    real = store.save("mine", tmp_path / "shared", [(KEY, SESSION)])
    real.chmod(0o664)
    link = tmp_path / "mine.toml"
    link.symlink_to(real)
    store.save("mine", tmp_path, [(KEY, SESSION)])
    assert link.is_symlink()
    assert len(baseline_files.load(real).stored[0].session) == 2
    assert real.stat().st_mode & 0o777 == 0o664
