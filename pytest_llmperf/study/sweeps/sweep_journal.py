"""What a sweep has finished, kept so that a kill at any moment loses and repeats no finished cell.

A journal has one line a cell, forced to the disk before the next cell begins. A line that a kill has torn is no
finished cell: it is cut off when the journal is opened again. A journal of other conditions is put aside under a name
of its own, and is taken up again where a run has its conditions.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.files.atomic_write import advice, read_bytes, write_whole
from pytest_llmperf.judge.baselines.git_attributes import TEMPORARY, keep_out
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import Cell

ELSEWHERE = "give another folder: --llmperf-results"


class Finished(NamedTuple):
    """A cell that was measured: its record, the VRAM of its instances in MB if known, and how long it took, s."""

    record: Record
    vram_mb: float | None
    took_s: float


class Journal:
    """The journal of one experiment; use it in a `with`.

    Args:
        folder: of the results.
        name: of the experiment.
        conditions: what must be the same for its cells to count, as digests by names that a reader understands.
        asked: what is asked of each cell, by `key_of`: a cell that was asked for something else does not count.
        resume: whether finished cells count at all.

    Attributes:
        finished: cells that count, by `key_of`.
        failed: cells that an earlier run tried in vain.
        notes: how many finished cells do not count, and why.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        conditions: Mapping[str, str],
        asked: Mapping[str, str],
        *,
        resume: bool = True,
    ) -> None:
        self.path = folder / f"{name}.partial.jsonl"
        self.finished: dict[str, Finished] = {}
        self.failed: set[str] = set()
        self.notes: tuple[str, ...] = ()
        self._name = name
        self._conditions = conditions
        self._asked = asked
        self._header = json.dumps({"conditions": dict(conditions)}, sort_keys=True).encode()
        self._resume = resume
        self._lock = FileLock(folder / f".{name}.lock")

    def __enter__(self) -> Journal:
        """Reads what is there; raises UsageError where another run writes it, LlmperfError where nobody can."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            keep_out(self.path.parent, (*TEMPORARY, "*.partial*.jsonl"))
            if self._resume:
                self._exchange()
            if self._resume and (length := self._read()):
                os.truncate(self.path, length)  # never written anew: a kill here must not lose what is there
            else:
                write_whole(self.path, self._header.decode() + "\n")
        except Timeout as error:
            raise UsageError(
                f"another run is writing {self.path} now", next_step="wait for it, or give another --llmperf-results"
            ) from error
        except OSError as error:
            self._lock.release()
            raise LlmperfError(f"cannot write {self.path}: {error}", next_step=advice(error, ELSEWHERE)) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def add(self, cell: Cell, finished: Finished) -> None:
        """Keeps a finished cell for good; raises LlmperfError where it cannot be written."""
        record = as_plain([finished.record])[0]
        self._append(cell, {"vram_mb": finished.vram_mb, "took_s": finished.took_s, "record": record})
        self.finished[key_of(cell)] = finished

    def add_failed(self, cell: Cell, why: str) -> None:
        """Keeps that a cell could not be measured: the next run tries it last. Raises as `add` does."""
        self._append(cell, {"failed": why})

    def remove(self) -> None:
        """Forgets it: everything is in the results now."""
        with suppress(OSError):
            self.path.unlink()

    def _append(self, cell: Cell, members: Mapping[str, Any]) -> None:
        line = json.dumps({"cell": cell, "asked": self._asked[key_of(cell)], **members})
        try:
            with self.path.open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LlmperfError(f"cannot write {self.path}: {error}", next_step=advice(error, ELSEWHERE)) from error

    def _lines(self) -> list[bytes]:
        """What is there, in whole lines."""
        try:
            return read_bytes(self.path).split(b"\n")[:-1]
        except FileNotFoundError:
            return []

    def _exchange(self) -> None:
        """Puts a journal of other conditions aside, and takes up the one of these, where it was put aside once."""
        header, *lines = self._lines() or [self._header]
        if header != self._header and (count := sum(b'"record": ' in line for line in lines)):
            aside = self._aside(header)
            self.path.replace(aside)
            self.notes += (
                f"{_cells(count)} of an earlier run {'does' if count == 1 else 'do'} not count: "
                f"{_differing(header, self._conditions)}; kept in {aside.name}, for a run under the former conditions",
            )
        own = self._aside(self._header)
        if own.exists() and (header != self._header or not lines):
            own.replace(self.path)

    def _aside(self, header: bytes) -> Path:
        """Where a journal that begins so lies while it does not count."""
        return self.path.with_name(f"{self._name}.{hashlib.sha256(header).hexdigest()[:8]}.partial.jsonl")

    def _read(self) -> int:
        """Takes the cells that count; says how many bytes the journal's whole lines are, 0: it is none of ours."""
        header, *lines = self._lines() or [b""]
        if header != self._header:
            return 0
        length, others = len(header) + 1, set[str]()
        for line in lines:
            try:
                entry = json.loads(line)
                key, counts = key_of(entry["cell"]), self._asked.get(key_of(entry["cell"])) == entry["asked"]
                if "failed" in entry:
                    self.failed |= {key} if counts else set()
                elif counts:
                    record = from_plain([entry["record"]])[0]
                    self.finished[key] = Finished(record, entry["vram_mb"], entry["took_s"])
                else:
                    others.add(key)
            except Exception:  # torn, or of another version: from here on nothing counts
                break
            length += len(line) + 1
        if changed := len((others & set(self._asked)) - set(self.finished)):
            self.notes += (
                f"{_cells(changed)} of an earlier run {'is' if changed == 1 else 'are'} measured again: "
                "agents, prompts, options, topology or what is played have changed",
            )
        if gone := len(others - set(self._asked)):
            self.notes += (f"{_cells(gone)} of an earlier run {'is' if gone == 1 else 'are'} none of the matrix now",)
        return length


def _cells(count: int) -> str:
    return f"{count} finished cell{'' if count == 1 else 's'}"


def _differing(header: bytes, conditions: Mapping[str, str]) -> str:
    """What is not the same in a journal that begins so, in words."""
    try:
        there = json.loads(header)["conditions"].items()
    except Exception:  # what somebody else has written
        return "another version of this plugin wrote them"
    names = dict.fromkeys(
        name for name, _ in (*there, *conditions.items()) if (name, conditions.get(name)) not in there
    )
    return f"{', '.join(names)} differ{'s' if len(names) == 1 else ''}"


def key_of(cell: Cell) -> str:
    """A cell as text, whatever the order of its axes."""
    return json.dumps(dict(cell), sort_keys=True)
