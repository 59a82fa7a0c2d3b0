"""How much memory this process and those that it started hold, as Linux says; elsewhere nothing is known."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def memory_mib() -> dict[str, float]:
    """Resident memory, MiB: of the `harness`, and of its `servers` together, keepers included; empty: not known."""
    parents: dict[int, list[int]] = {}
    if not (_PROC / "self" / "statm").exists():
        return {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            parent = _parent(folder)
            parents.setdefault(parent, []).append(int(folder.name))
    own = os.getpid()
    found = {"harness": _resident_mib(own)}
    descendants, todo = [], list(parents.get(own, ()))
    while todo:
        one = todo.pop()
        descendants.append(one)
        todo += parents.get(one, ())
    if descendants:
        found["servers"] = sum(map(_resident_mib, descendants))
    return found


def _parent(folder: Path) -> int:
    """The parent's id; 0 of a process that has just gone."""
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _resident_mib(process: int) -> float:
    try:
        pages = int((_PROC / str(process) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
