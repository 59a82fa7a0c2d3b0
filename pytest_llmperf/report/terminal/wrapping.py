"""Text that fits the screen."""

from __future__ import annotations

import shutil
import textwrap

NARROW = 80
"""Columns of a terminal that does not say how wide it is, as of a CI log."""


def width() -> int:
    """Columns of the terminal, as pytest takes them (`COLUMNS` wins); alike in xdist workers without a terminal."""
    return shutil.get_terminal_size((NARROW, 24)).columns


def wrapped(text: str, columns: int) -> str:
    """Each line of a text, broken at spaces where it is too long; what continues a line stands further in.

    Not those that say what to type next, which must be one line to be copied; and nothing within a word.
    """
    return "\n".join(part for line in text.splitlines() for part in _broken(line, columns))


def encodable(text: str, stream: object) -> str:
    """A text that a stream can take: what its encoding lacks is spelt out in hexadecimal, and lines stay lines.

    pytest spells out line ends and carriage returns as well, once a text holds one such character.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def span_words(seconds: float) -> str:
    """A time to wait: `12 s`, `3 min`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _broken(line: str, columns: int) -> list[str]:
    if len(line) <= columns or line.lstrip().startswith("next:"):
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line.strip(),
        max(columns, 20),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
