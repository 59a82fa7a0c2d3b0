"""What a sweep has finished, kept so that a kill at any moment loses and repeats no finished cell.

A journal has one line a cell, forced to the disk before the next cell begins. A line that a kill has torn is no
finished cell: it is cut off when the journal is opened again.
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
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import Cell
from pytest_llmperf.whole import write_whole

FULL_DISK = "free some space, or give another folder: --llmperf-results"


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
        conditions: what must be the same for a cell to count; another journal's cells are dropped.
        resume: whether finished cells count at all.
    """

    def __init__(self, folder: Path, name: str, conditions: Mapping[str, Any], *, resume: bool = True) -> None:
        self.path = folder / f"{name}.partial.jsonl"
        self.finished: dict[str, Finished] = {}
        self._conditions = hashlib.sha256(json.dumps(conditions, sort_keys=True, default=str).encode()).hexdigest()
        self._resume = resume
        self._lock = FileLock(folder / f".{name}.lock")

    def __enter__(self) -> Journal:
        """Reads what is there; raises UsageError where another run writes it, LlmperfError where nobody can."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            if self._resume and (length := self._read()):
                os.truncate(self.path, length)  # never written anew: a kill here must not lose what is there
            else:
                self._begin()
        except Timeout as error:
            raise UsageError(
                f"another run is writing {self.path} now", next_step="wait for it, or give another --llmperf-results"
            ) from error
        except OSError as error:
            self._lock.release()
            raise LlmperfError(f"cannot write {self.path}: {error}", next_step=FULL_DISK) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def add(self, cell: Cell, finished: Finished) -> None:
        """Keeps a finished cell for good.

        Raises:
            LlmperfError: it cannot be written.
        """
        line = json.dumps(
            {
                "cell": cell,
                "vram_mb": finished.vram_mb,
                "took_s": finished.took_s,
                "record": as_plain([finished.record])[0],
            }
        )
        try:
            with self.path.open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LlmperfError(f"cannot write {self.path}: {error}", next_step=FULL_DISK) from error
        self.finished[key_of(cell)] = finished

    def remove(self) -> None:
        """Forgets it: everything is in the results now."""
        with suppress(OSError):
            self.path.unlink()

    def _begin(self) -> None:
        """Puts an empty journal in the place of what is there."""
        write_whole(self.path, json.dumps({"conditions": self._conditions}) + "\n")

    def _read(self) -> int:
        """Takes the cells that hold under these conditions; says how many bytes their lines are."""
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return 0
        length = 0
        for line in lines:
            try:
                entry = json.loads(line)
                if length:
                    record = from_plain([entry["record"]])[0]
                    self.finished[key_of(entry["cell"])] = Finished(record, entry["vram_mb"], entry["took_s"])
                elif entry["conditions"] != self._conditions:
                    return 0
            except Exception:  # torn, or of another version: from here on nothing counts
                break
            length += len(line) + 1
        return length


def key_of(cell: Cell) -> str:
    """A cell as text, whatever the order of its axes."""
    return json.dumps(dict(cell), sort_keys=True)
