"""The journal of a sweep: a kill at any moment neither loses nor repeats a finished cell.

A journal has a line per cell, synced to disk before the next cell begins. An incomplete last line is cut off when the
journal is opened again. A journal written under other conditions is renamed, and used again by a run with its
conditions.
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
from pytest_llmperf.model.texts import counted

ELSEWHERE = "give another folder: --llmperf-results"


class Finished(NamedTuple):
    """A cell that was measured: its record, the VRAM of its instances in MB if known, and how long it took, s."""

    record: Record
    vram_mb: float | None
    took_s: float


class Journal:
    """The journal of one experiment; use it in a `with`.

    Args:
        folder: the folder of the results.
        name: the name of the experiment.
        conditions: digests, by readable names, that must be equal for finished cells to count.
        asked: a digest per cell, by `key_of`; a finished cell with another digest does not count.
        resume: whether finished cells count at all.

    Attributes:
        finished: cells that count, by `key_of`.
        failed: cells that failed in an earlier run.
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
        """Reads the journal; raises UsageError if another run writes it, LlmperfError if it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            keep_out(self.path.parent, (*TEMPORARY, "*.partial*.jsonl"))
            if self._resume:
                self._exchange()
            if self._resume and (length := self._read()):
                os.truncate(self.path, length)  # not rewritten: a kill here must not lose finished cells
            else:
                write_whole(self.path, self._header.decode() + "\n")
        except Timeout as error:
            raise UsageError(
                f"another run is writing {self.path}", next_step="wait for it, or use another --llmperf-results"
            ) from error
        except OSError as error:
            self._lock.release()
            raise LlmperfError(f"cannot write {self.path}: {error}", next_step=advice(error, ELSEWHERE)) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def add(self, cell: Cell, finished: Finished) -> None:
        """Stores a finished cell; raises LlmperfError if it cannot be written."""
        record = as_plain([finished.record])[0]
        self._append(cell, {"vram_mb": finished.vram_mb, "took_s": finished.took_s, "record": record})
        self.finished[key_of(cell)] = finished

    def add_failed(self, cell: Cell, why: str) -> None:
        """Stores a failed cell, which the next run tries last; raises as `add` does."""
        self._append(cell, {"failed": why})

    def remove(self) -> None:
        """Deletes the journal once the results are written."""
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
        """The complete lines of the file."""
        try:
            return read_bytes(self.path).split(b"\n")[:-1]
        except FileNotFoundError:
            return []

    def _exchange(self) -> None:
        """Renames a journal written under other conditions, and restores the one of these conditions, if any."""
        header, *lines = self._lines() or [self._header]
        if header != self._header and (count := sum(b'"record": ' in line for line in lines)):
            aside = self._aside(header)
            self.path.replace(aside)
            self.notes += (
                f"{_cells(count)} of an earlier run not used because {_differing(header, self._conditions)}; "
                f"kept in {aside.name} for a run with the earlier conditions",
            )
        own = self._aside(self._header)
        if own.exists() and (header != self._header or not lines):
            own.replace(self.path)

    def _aside(self, header: bytes) -> Path:
        """The name of a journal with this header while it is not used."""
        return self.path.with_name(f"{self._name}.{hashlib.sha256(header).hexdigest()[:8]}.partial.jsonl")

    def _read(self) -> int:
        """Reads the cells that count; returns the length of the complete lines, or 0 for a journal that is not used."""
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
            except Exception:  # damaged, or of another version: the rest does not count
                break
            length += len(line) + 1
        if changed := len((others & set(self._asked)) - set(self.finished)):
            self.notes += (
                f"{_cells(changed)} of an earlier run measured again: "
                "agents, prompts, options, topology or script have changed",
            )
        if gone := len(others - set(self._asked)):
            self.notes += (f"{_cells(gone)} of an earlier run no longer in the matrix",)
        return length


def _cells(count: int) -> str:
    return counted(count, "finished cell")


def _differing(header: bytes, conditions: Mapping[str, str]) -> str:
    """The conditions that differ from those in a journal's header, in words."""
    try:
        there = json.loads(header)["conditions"].items()
    except Exception:  # not written by this version
        return "another version of this plugin wrote them"
    names = dict.fromkeys(
        name for name, _ in (*there, *conditions.items()) if (name, conditions.get(name)) not in there
    )
    return f"{', '.join(names)} differ{'s' if len(names) == 1 else ''}"


def key_of(cell: Cell) -> str:
    """A cell as text, independent of the order of its axes."""
    return json.dumps(dict(cell), sort_keys=True)
