"""Values that do not show what they hold, and errors without the frames that hold secrets.

A `Secret` shows itself as `***`. `SEALED` removes the frames of other people's code from an error, because their local
variables hold what they were given.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal

from pytest_llmperf.masking import MASK


class Secret(bytes):
    """Bytes that print and format as `***` and cannot be pickled; `bytes` operations give the content.

    >>> token = Secret(b"hunter2")
    >>> repr(token), str(token), f"{token}", f"{[token]}"
    ('***', '***', '***', '[***]')
    >>> b"x" + token
    b'xhunter2'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return MASK

    def __bytes__(self) -> bytes:
        return self  # a copy would no longer hide itself

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled: pass on the name of its variable")

    __reduce_ex__ = lambda self, _: self.__reduce__()  # noqa: E731 - bytes have their own


class Hidden(dict[str, str]):
    """A dict that does not show its entries, for an environment.

    >>> Hidden(TOKEN="hunter2")
    <1 hidden entries>
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} hidden entries>"


class _Seal:
    """See SEALED."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is not None:
            forget_frames(error)
        return False


SEALED = _Seal()
"""`with SEALED:` removes the inner frames from every error raised in the block."""


def forget_frames(error: BaseException) -> None:
    """Removes the frames of an error and of its causes, because their local variables may hold secrets."""
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        each = rest.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            rest += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
