"""Wraps text to the width of the terminal."""

from __future__ import annotations

import shutil
import textwrap

NARROW = 80
"""Columns if the terminal does not report its width, as in a CI log."""


def width() -> int:
    """Columns that a line may fill: the terminal's, as pytest determines them (`COLUMNS` wins), without the last.

    Some terminals and log viewers break a line that fills the last column. The same in xdist workers.
    """
    return shutil.get_terminal_size((NARROW, 24)).columns - 1


def wrapped(text: str, columns: int) -> str:
    """Wraps each line of a text at spaces; continuation lines are indented further.

    Lines that begin with `next:` are kept whole, so that they can be copied; words are never broken.
    """
    return "\n".join(part for line in text.splitlines() for part in _broken(line, columns))


def encodable(text: str, stream: object) -> str:
    """A text with the characters that the stream's encoding lacks as escapes; line ends are kept.

    pytest would escape line ends and carriage returns as well, once a text has such a character.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def span_words(seconds: float) -> str:
    """A duration: `12 s`, `3 min`."""
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
