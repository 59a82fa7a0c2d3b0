"""Files are written whole or not at all; what is no plain file is written to and stays; nothing makes us wait."""

import contextlib
import errno
import os
import select
import socket
import stat
import threading
from pathlib import Path

import pytest

from pytest_llmperf.files import atomic_write, special_files
from pytest_llmperf.files.atomic_write import leftovers, probe, read_text, replacement_of, write_whole
from tests.disk import full


class TestLinks:
    """A link stays a link."""

    def test_what_it_leads_to_is_replaced(self, tmp_path: Path) -> None:
        """Also through several, and into another folder; the folder of the link gets nothing else."""
        (tmp_path / "real").mkdir()
        target = tmp_path / "real" / "report.json"
        target.write_text("old")
        (tmp_path / "first").symlink_to("second")
        (tmp_path / "second").symlink_to(target)
        probe(tmp_path / "first")
        write_whole(tmp_path / "first", "new")
        assert target.read_text() == "new"
        assert [path.is_symlink() for path in sorted(tmp_path.iterdir())] == [True, False, True]
        assert os.listdir(target.parent) == ["report.json"]  # noqa: PTH208 - hidden ones too

    def test_one_that_leads_nowhere_yet(self, tmp_path: Path) -> None:
        """Its file is made."""
        (tmp_path / "link").symlink_to(tmp_path / "new" / "file")
        probe(tmp_path / "link")
        write_whole(tmp_path / "link", "text")
        assert (tmp_path / "new" / "file").read_text() == "text"
        assert (tmp_path / "link").is_symlink()

    def test_a_circle(self, tmp_path: Path) -> None:
        """An error of the system's, before anything is measured."""
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        for work in (probe, lambda path: write_whole(path, "text")):
            with pytest.raises(OSError, match="links") as caught:
                work(tmp_path / "a")
            assert caught.value.errno == errno.ELOOP


def test_no_name_beside_it_can_be_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links of every name that was ever used lead to a file that stays as it was; even of one that is guessed."""
    victim, place = tmp_path / "victim", tmp_path / "report.json"
    victim.write_text("precious")
    for name in (f".report.json.{os.getpid()}.tmp", ".report.json.tmp", ".report.json.guessed.tmp"):
        (tmp_path / name).symlink_to(victim)
    write_whole(place, "text")
    assert place.read_text() == "text"
    monkeypatch.setattr(atomic_write.secrets, "token_hex", lambda _: "guessed")
    with pytest.raises(FileExistsError):
        write_whole(place, "other")
    with pytest.raises(FileExistsError):
        probe(place)
    assert victim.read_text() == "precious"
    assert place.read_text() == "text"


def test_the_mode_is_the_old_files_or_the_users(tmp_path: Path) -> None:
    """A report for a group stays one; a new file is as the umask says."""
    place = tmp_path / "report"
    before = os.umask(0o027)
    try:
        write_whole(place, "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    place.chmod(0o664)
    write_whole(place, "text")
    assert stat.S_IMODE(place.stat().st_mode) == 0o664


@pytest.mark.parametrize("durable", [False, True], ids=["report", "baseline"])
def test_a_name_as_long_as_can_be(tmp_path: Path, durable: bool) -> None:
    """What is written beside it has no longer name; one letter more is an error that says so."""
    place = tmp_path / ("n" * 255)
    probe(place)
    write_whole(place, "text", durable=durable)
    assert [path.name for path in tmp_path.iterdir()] == [place.name]
    for work in (probe, lambda path: write_whole(path, "text")):
        with pytest.raises(OSError, match="File name too long") as caught:
            work(tmp_path / ("n" * 256))
        assert atomic_write.advice(caught.value, "give another") == "use a shorter name, or give another"


def test_half_written_files_are_known_by_the_files_name_alone(tmp_path: Path) -> None:
    """Half-written files of other files whose names begin alike are not matched, however long the names."""
    long = "n" * 240
    for place in (tmp_path / "main", tmp_path / "main.nightly", tmp_path / long, tmp_path / f"{long}x"):
        with full(most_bytes=1), contextlib.suppress(OSError), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "unlink", lambda _: None)  # as of one that is killed
            write_whole(place, "text")
        (only,) = leftovers(place)
        assert only.parent == tmp_path
    assert len(list(tmp_path.iterdir())) == 4


def test_halves_of_characters_are_spelt_out(tmp_path: Path) -> None:
    """They come from names of files and arguments that are no UTF-8."""
    write_whole(tmp_path / "report", '{"a": "\udce9"}')
    assert (tmp_path / "report").read_text() == '{"a": "\\udce9"}'


class TestWhatIsNoPlainFile:
    """It is written to, and stays what it is."""

    def test_the_null_device(self) -> None:
        """Takes everything, also when two reports go there."""
        before = Path("/dev/null").stat()
        probe(Path("/dev/null"))
        write_whole(Path("/dev/null"), "text")
        assert Path("/dev/null").stat().st_ino == before.st_ino
        assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)

    def test_a_fifo_with_a_reader(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """More than its buffer holds, to a reader that begins when that is full."""
        fifo, got = tmp_path / "fifo", bytearray()
        os.mkfifo(fifo)
        receive = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(receive, True)

        def read() -> None:
            while piece := os.read(receive, 1000):
                got.extend(piece)

        reader, poll = threading.Thread(target=read), select.poll

        def waiting() -> select.poll:
            if reader.ident is None:
                reader.start()
            return poll()

        probe(fifo)
        monkeypatch.setattr(select, "poll", waiting)
        write_whole(fifo, "x" * 2_000_000)
        reader.join()
        os.close(receive)
        assert bytes(got) == b"x" * 2_000_000
        assert stat.S_ISFIFO(fifo.lstat().st_mode)

    def test_a_fifo_that_nobody_reads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error: at once without a reader, after a while with a reader that takes nothing."""
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        probe(fifo)  # whoever reads it may come later
        with pytest.raises(OSError, match="nobody reads it") as caught:
            write_whole(fifo, "text")
        assert atomic_write.advice(caught.value, "give another") == "start what reads it first, or give another"
        monkeypatch.setattr(special_files, "_STALLED_MS", 10)
        receive = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(TimeoutError, match="its reader takes nothing"):
            write_whole(fifo, "x" * 2_000_000)
        os.close(receive)
        assert stat.S_ISFIFO(fifo.lstat().st_mode)

    @pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
    def test_a_descriptor_of_ours_that_is_a_file(self, tmp_path: Path, name: str) -> None:
        """As `pytest > log`: what was written there before stays, and what follows comes behind it."""
        log = tmp_path / "log"
        with log.open("wb", buffering=0) as file:
            file.write(b"before\n")
            path = Path(name.format(file.fileno()))
            if name == "link":
                path = tmp_path / name
                path.symlink_to(f"/proc/self/fd/{file.fileno()}")
            probe(path)
            write_whole(path, "report\n")
            file.write(b"after\n")
        assert log.read_text() == "before\nreport\nafter\n"

    def test_standard_output(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Behind what was printed."""
        print("before", end=" ")
        write_whole(Path("/dev/stdout"), "report")
        print(" after")
        assert capfd.readouterr().out == "before report after\n"

    def test_what_takes_no_text(self, tmp_path: Path) -> None:
        """A folder and a socket are errors, before anything is measured."""
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "socket", tmp_path):
            for work in (probe, lambda path: write_whole(path, "text")):
                with pytest.raises(OSError, match=r"socket|directory"):
                    work(path)


class TestReading:
    """Plain files only."""

    def test_a_byte_order_mark_and_other_line_ends(self, tmp_path: Path) -> None:
        """As editors of another system write them."""
        (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa\r\nb\n")
        assert read_text(tmp_path / "file") == "a\nb\n"

    def test_what_could_make_us_wait(self, tmp_path: Path) -> None:
        """A FIFO, a socket, a device, a folder: named for what they are."""
        os.mkfifo(tmp_path / "FIFO")
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="it is a FIFO, wanted a plain file"):
            read_text(tmp_path / "FIFO")
        with pytest.raises(OSError, match="it is a device"):
            read_text(Path("/dev/zero"))
        with pytest.raises(OSError, match=r"it is a folder|Is a directory"):
            read_text(tmp_path)
        with pytest.raises(OSError, match=r"No such device"):
            read_text(tmp_path / "socket")


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV])
def test_a_file_that_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A container's report on the host: no other file can take its place, so that the text goes over the old one."""
    place = tmp_path / "report"
    place.write_text("old and longer")

    def refused(*_) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "replace", refused)
    probe(place)
    write_whole(place, "new")
    assert place.read_text() == "new"
    with replacement_of(place) as file:  # as a model is assembled
        file.write(b"in pieces")
    assert place.read_text() == "in pieces"
    write_whole(place, "new")
    assert place.read_text() == "new"
    assert os.listdir(tmp_path) == ["report"]  # noqa: PTH208 - hidden ones too
    with pytest.raises(OSError, match=os.strerror(code)) as caught:  # a baseline is whole or not at all
        write_whole(place, "newer", durable=True)
    assert atomic_write.advice(caught.value, "give another") == "mount the folder instead of the file, or give another"
    assert place.read_text() == "new"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_file_in_a_folder_that_takes_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Mounted into a read-only container: overwritten, if it may be written; what is not there yet is an error."""
    place = tmp_path / "report"
    place.write_text("old and longer")

    def refused(*_) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic_write, "_new", refused)
    probe(place)
    write_whole(place, "new")
    assert place.read_text() == "new"
    for work in (probe, lambda path: write_whole(path, "text")):
        with pytest.raises(OSError, match=os.strerror(code)):
            work(tmp_path / "other")
    monkeypatch.setattr(os, "access", lambda *_: False)  # a file that may not be written, of whoever runs this
    for work in (probe, lambda path: write_whole(path, "text")):
        with pytest.raises(OSError, match=os.strerror(code)):
            work(place)
    assert place.read_text() == "new"


def test_a_mounted_baseline_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename would fail at the end; the system lists what is mounted, with octal escapes."""
    place = tmp_path / "my baseline.toml"
    place.write_text("old")
    escaped = str(place).replace(" ", r"\040")
    listed = f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:1 /x {escaped} rw - ext4 - rw"
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, *more: listed if path.name == "mountinfo" else read(path, *more)
    )
    probe(place)
    with pytest.raises(OSError, match="mounted by itself"):
        probe(place, durable=True)
    probe(tmp_path / "other.toml", durable=True)


def test_a_disk_that_knows_no_modes_takes_files_all_the_same(tmp_path, monkeypatch):
    """SMB and FAT refuse `chmod`: the report of a long run is not lost for that."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    place = tmp_path / "report.json"
    place.write_text("old")
    monkeypatch.setattr(os, "chmod", refused)
    monkeypatch.setattr(Path, "chmod", refused)
    write_whole(place, "new")
    assert place.read_text() == "new"
    assert list(tmp_path.iterdir()) == [place]
