"""Which texts can be sent and stored: those that UTF-8 can hold, without NUL."""

from __future__ import annotations

from collections.abc import Iterable


def text_fault(text: str) -> str:
    r"""What is wrong with a text; empty if nothing is.

    >>> text_fault("caf\udce9")
    'holds the lone surrogate \\udce9 (character 4), which UTF-8 cannot hold'
    """
    if "\0" in text:
        return "holds the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = text[error.start].encode("unicode_escape").decode()
        return f"holds the lone surrogate {code} (character {error.start + 1}), which UTF-8 cannot hold"
    return ""


def check_texts(owner: str, texts: Iterable[object]) -> None:
    """Nothing, if all of them can be sent and stored; values that are no texts are not looked at.

    Args:
        owner: what they are, for the error.
        texts: the texts to check.

    Raises:
        ValueError: one cannot.
    """
    for text in texts:
        if isinstance(text, str) and (fault := text_fault(text)):
            raise ValueError(f"{owner} {fault}")


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "session"), counted(2, "session")
    ('1 session', '2 sessions')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
