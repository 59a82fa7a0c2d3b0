"""The machine's lock: the same for every user, TMPDIR and container that can share one; nobody can lead it astray."""

import fcntl
import gc
import json
import os
import signal
import socket
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_llmperf.errors import ServerError, UsageError
from pytest_llmperf.model import Settings, TopologyKind
from pytest_llmperf.session.lock import lock_file, lock_holder
from pytest_llmperf.session.lock.lock_file import LOCK_DIR, shared_folder
from pytest_llmperf.session.lock.machine_lock import NAME, MachineLock
from pytest_llmperf.session.progress_listener import SilentListener
from pytest_llmperf.session.server_lease import ServerLease
from pytest_llmperf.session.session import Session


@contextmanager
def held_elsewhere(make: Callable[[], MachineLock], *, uid: int | None = None) -> Iterator[int]:
    """Another process, of another user where one is given, holds the lock inside; its pid."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            lock = make()
            os.write(send, b"1" if lock.acquire(timeout_s=0) else b"0")
            signal.pause()
        finally:
            os._exit(1)
    os.close(send)
    try:
        assert os.read(receive, 1) == b"1", "the other process did not get the lock"
        yield child
    finally:
        os.close(receive)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_another_process_holds_it(tmp_path: Path) -> None:
    """It is refused, its holder is named, and it is free when that has died, however it died."""
    mine = MachineLock(tmp_path)
    with held_elsewhere(lambda: MachineLock(tmp_path)) as pid:
        assert not mine.acquire(timeout_s=0)
        holder = mine.holder()
        assert holder is not None
        assert holder.pid == pid
        assert str(holder).startswith(f"process {pid} of {holder.user} on {socket.gethostname()}, since 20")
    assert mine.acquire(timeout_s=0)
    assert mine.holder().pid == os.getpid()
    mine.release()
    assert (tmp_path / NAME).read_bytes() == b"", "what was run is nobody's business afterwards"


def test_waiting_ends_with_the_time_or_with_the_holder(tmp_path: Path) -> None:
    """By the clock that it is given."""
    now_s, waits = [0.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now_s[0] += seconds

    mine = MachineLock(tmp_path, clock=lambda: now_s[0], sleep=sleep)
    with held_elsewhere(lambda: MachineLock(tmp_path)) as pid:
        assert not mine.acquire(timeout_s=2)
        assert 2 <= now_s[0] < 2.5
        mine = MachineLock(tmp_path, sleep=lambda _: os.kill(pid, signal.SIGKILL))
        assert mine.acquire()
    mine.release()


def test_it_counts_and_a_second_one_of_this_process_is_told_so(tmp_path: Path) -> None:
    """It would wait for itself for ever; what was dropped without a release holds nothing."""
    first, second = MachineLock(tmp_path), MachineLock(tmp_path)
    assert first.acquire()
    assert first.acquire()
    first.release()
    with pytest.raises(UsageError, match=r"another Session of this process holds servers open.*\n  next: .*close"):
        second.acquire()
    first.release()
    assert second.acquire(timeout_s=0)
    del second
    gc.collect()
    assert first.acquire(timeout_s=0)
    first.release()


def test_a_second_session_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same, before it starts anything."""
    monkeypatch.setenv(LOCK_DIR, str(tmp_path))
    first = MachineLock()
    first.acquire()
    session = Session(Settings(backend="simulated"), root=tmp_path)
    with pytest.raises(UsageError, match="another Session of this process"):
        session.open(TopologyKind.SINGLE)
    first.release()


class Told(SilentListener):
    """Keeps the messages."""

    def __init__(self, said: list[str], *, only_steps: bool) -> None:
        self._said = said
        self._only_steps = only_steps

    def say(self, text: str) -> None:
        if not self._only_steps:
            self._said.append(text)

    def step(self, text: str) -> None:
        self._said.append(text)


def leased(lock, said: list[str], limit_s: float = 3600, *, only_steps: bool = False) -> ServerLease:
    """A lease with this lock that tells the list."""
    settings = Settings(backend="simulated", lock_timeout_s=limit_s)
    return ServerLease(settings, listener=Told(said, only_steps=only_steps), lock=lock, unrestored=[])


def test_a_session_that_waits_says_for_whom(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Process, user, since when, what it runs."""
    monkeypatch.setenv(LOCK_DIR, str(tmp_path))
    lock, said = MachineLock(), []
    lease = leased(lock, said)
    with held_elsewhere(MachineLock) as pid:
        monkeypatch.setattr(lock, "_sleep", lambda _: os.kill(pid, signal.SIGKILL))
        lease._acquire()
    lease.close()
    assert f"to end: process {pid} of " in said[0]


class Busy:
    """A lock that another process has for a number of tries."""

    def __init__(self, tries: int) -> None:
        self.asked: list[float] = []
        self._left = tries

    def keep(self, tries: int) -> None:
        """Holds it again."""
        self._left = tries

    def acquire(self, *, timeout_s: float) -> bool:
        self.asked.append(timeout_s)
        self._left -= 1
        return self._left < 0

    def holder(self) -> str:
        return "process 7 of joe on ci, since noon (pytest)"

    def release(self) -> None:
        pass


def waiting(tries: int, limit_s: float) -> tuple[ServerLease, Busy, list[str]]:
    """A lease of that limit, its lock, and its long steps."""
    busy, said = Busy(tries), []
    return leased(busy, said, limit_s, only_steps=True), busy, said


def test_waiting_is_said_again_and_again() -> None:
    """For whom, since when, for how long at most, how long so far."""
    lease, busy, said = waiting(2, 100)
    lease._acquire()
    assert busy.asked == [0, 60, 40]
    assert "process 7 of joe on ci, since noon (pytest) (at most 100 s for this process)" in said[0]
    assert "(at most 100 s for this process, 60 s so far)" in said[1]


def test_waiting_has_a_limit() -> None:
    """An error that names the holder and the option."""
    lease, busy, said = waiting(1000, 150)
    words = r"process 7 of joe on ci, since noon .*; waited 150 s .*\n.*--llmperf-lock-timeout"
    with pytest.raises(ServerError, match=words):
        lease._acquire()
    assert busy.asked == [0, 60, 60, 30]
    assert len(said) == 3


def test_other_holders_have_the_limit_anew() -> None:
    """Xdist workers wait for each other's tests in turn; a second wait is a line only when it lasts."""
    lease, busy, said = waiting(5, 100)
    names = iter("aabbc")
    busy.holder = lambda: next(names)
    lease._acquire()
    assert busy.asked == [0, 60, 40, 60, 40, 60]
    assert len(said) == 5
    busy.keep(2)
    busy.holder = lambda: "d"
    lease._acquire()
    assert len(said) == 6


class TestPlace:
    """Where its file is."""

    def test_the_same_for_every_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """TMPDIR, HOME and the user's id do not matter; LLMPERF_LOCK_DIR does."""
        monkeypatch.delenv(LOCK_DIR, raising=False)
        path = MachineLock().path
        for name in ("TMPDIR", "HOME", "XDG_RUNTIME_DIR"):
            monkeypatch.setenv(name, "/elsewhere")
        monkeypatch.setattr(os, "getuid", lambda: 4711)
        assert MachineLock().path == path
        monkeypatch.setenv(LOCK_DIR, "/somewhere")
        assert MachineLock().path == Path("/somewhere") / NAME

    def test_a_folder_that_all_users_share(self, tmp_path: Path) -> None:
        """The first one that is everybody's and sticky."""
        modes = {"missing": None, "private": 0o700, "open": 0o777, "sticky": 0o1777, "second": 0o1777}
        for name, mode in modes.items():
            if mode is not None:
                (tmp_path / name).mkdir()
                (tmp_path / name).chmod(mode)
        assert shared_folder(tuple(str(tmp_path / name) for name in modes)) == tmp_path / "sticky"

    def test_no_folder_that_can_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a container with a read-only disk, a message for the user says what to do."""

        def none() -> str:
            raise FileNotFoundError

        monkeypatch.setattr("tempfile.gettempdir", none)
        assert shared_folder((str(tmp_path),)) == tmp_path

    def test_containers_that_share_the_network(self, tmp_path: Path) -> None:
        """Each has a folder of its own; a name of the network's keeps them apart."""
        name = f"\0{uuid.uuid4().hex}"
        mine = MachineLock(tmp_path / "mine", socket_name=name)
        with held_elsewhere(lambda: MachineLock(tmp_path / "theirs", socket_name=name)):
            assert not mine.acquire(timeout_s=0)
            assert mine.holder() is None
        assert mine.acquire(timeout_s=0)
        mine.release()


class TestUsers:
    """Several users of one machine."""

    def test_the_file_is_everybodys(self, tmp_path: Path) -> None:
        """Whatever the umask of whoever came first."""
        before = os.umask(0o077)
        try:
            MachineLock(tmp_path).acquire()
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o666

    @pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
    def test_another_user_holds_it_and_has_made_it(self, tmp_path: Path) -> None:
        """As before; also the other way round, with a file that is there."""
        folder = Path("/tmp") / f"llmperf-{uuid.uuid4().hex}"
        folder.mkdir()
        folder.chmod(0o1777)
        try:
            mine = MachineLock(folder)
            for uid in (65534, 65533):
                with held_elsewhere(lambda: MachineLock(folder), uid=uid) as pid:
                    assert not mine.acquire(timeout_s=0)
                    assert mine.holder().pid == pid
                assert mine.acquire(timeout_s=0)
                mine.release()
        finally:
            (folder / NAME).unlink(missing_ok=True)
            folder.rmdir()

    def test_a_kernel_that_protects_files_of_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """fs.protected_regular: O_CREAT is refused in sticky folders where the file is another user's."""
        (tmp_path / NAME).touch()
        system = os.open

        def protected(path, flags, *mode, **more) -> int:
            if flags & os.O_CREAT and Path(path).exists():
                raise PermissionError(13, "Permission denied")
            return system(path, flags, *mode, **more)

        monkeypatch.setattr(os, "open", protected)
        mine = MachineLock(tmp_path)
        assert mine.acquire(timeout_s=0)
        mine.release()

    def test_a_file_of_another_user_that_is_closed_to_us(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Never measured without the lock: an error that says whose it is to remove, and what else helps."""

        def refused(path, *_, **__) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refused)
        monkeypatch.setattr(lock_file.time, "sleep", lambda _: None)
        with pytest.raises(
            ServerError, match=rf"{NAME}, cannot be opened: Permission denied\n  next: .*owner.*{LOCK_DIR}"
        ):
            MachineLock(tmp_path).acquire(timeout_s=0)


def as_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def as_dangling_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("not there"))


def as_hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def as_fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def as_folder(path: Path, _: Path) -> None:
    path.mkdir()


def as_socket(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    "put", [as_link, as_dangling_link, as_hard_link, as_fifo, as_folder, as_socket], ids=lambda put: put.__name__
)
def test_what_is_no_plain_file_of_its_own_is_refused(put, tmp_path: Path) -> None:
    """At once, and what it leads to is as it was."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    put(tmp_path / NAME, victim)
    lock = MachineLock(tmp_path)
    with pytest.raises(ServerError, match=rf"the lock of this machine, .*{NAME}, .*\n  next: .*{LOCK_DIR}=DIR"):
        lock.acquire(timeout_s=0)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "not there").exists()
    lock.holder()  # does not hang either


def test_a_folder_that_takes_nothing(tmp_path: Path) -> None:
    """A file where the folder should be; a full disk says the same."""
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"cannot be (made|opened): Not a directory\n  next: "):
        MachineLock(tmp_path / "file").acquire(timeout_s=0)


def test_a_file_that_is_removed_while_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of a file without a name excludes nobody: the next one is taken."""
    system, times = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        if not times:
            (tmp_path / NAME).unlink()
        times.append(how)
        system(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = MachineLock(tmp_path)
    assert lock.acquire(timeout_s=0)
    assert len(times) == 2
    assert lock.holder().pid == os.getpid()
    lock.release()


def free_for_others(folder: Path) -> bool:
    """Whether another process would get the lock."""
    child = os.fork()
    if child == 0:
        os._exit(7 if MachineLock(folder).acquire(timeout_s=0) else 8)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_fork_that_releases_frees_nothing(tmp_path: Path) -> None:
    """Its copies of the descriptors are closed; what they lock stays the parent's."""
    mine = MachineLock(tmp_path)
    assert free_for_others(tmp_path)
    mine.acquire()
    child = os.fork()
    if child == 0:
        mine.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert not free_for_others(tmp_path)
    assert mine.holder().pid == os.getpid()
    mine.release()
    assert free_for_others(tmp_path)


@pytest.mark.parametrize(
    "written",
    [b"", b"\x00\xff", b"[]", b"{}", b'{"pid": "x"}', b"[" * 4000, json.dumps({"pid": 1, "user": 2}).encode()],
    ids=repr,
)
def test_a_record_that_says_nothing(tmp_path: Path, written: bytes) -> None:
    """Anybody can write there."""
    (tmp_path / NAME).write_bytes(written)
    assert MachineLock(tmp_path).holder() is None


def test_a_record_that_steers_the_terminal_is_spelt_out(tmp_path: Path) -> None:
    """The same of every text in it, however long."""
    evil = dict.fromkeys(("user", "host", "since", "command"), "\x1b[2J" + "x" * 900)
    (tmp_path / NAME).write_text(json.dumps({"pid": 7, **evil}))
    text = str(MachineLock(tmp_path).holder())
    assert text.isprintable()
    assert len(text) < 1000


def test_secrets_of_a_command_are_not_written() -> None:
    """What the file says, every user can read."""
    text = lock_holder._command(["/usr/bin/pytest", "perf", "--llmperf-urls=http://me:secret@host:1"])
    assert text == "pytest perf --llmperf-urls=http://***@host:1"
    text = lock_holder._command(["/x/pytest", "--api-key=secret", "--token", "secret"])
    assert text == "pytest --api-key=*** --token ***"
    assert lock_holder._command(["/x/pytest/__main__.py", "-q"]) == "pytest -q"
