"""Where a path that somebody wrote leads."""

from __future__ import annotations

from pathlib import Path


def placed(text: str, folder: Path) -> Path:
    """The path with its `~` resolved; a relative one starts at the folder.

    Raises:
        ValueError: nobody's home is called so, or no file can be.
    """
    if "\0" in text:
        raise ValueError("holds the character NUL")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home folder of {text.partition('/')[0]!r} is not known, wanted a path from /") from error
