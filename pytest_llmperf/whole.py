"""A text file is written whole or not at all; where many may write it at once, the last one's text stays.

(Baselines ask for more, a lock and a disk that has taken it: `judge.writing`.)
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Puts the text in the file's place; its folder is made where it is missing.

    Raises:
        OSError: it cannot be written; what was there before is unchanged.
    """
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def temporary_of(path: Path) -> Path:
    """Where the text is before it takes the file's place; each process has a name of its own."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
