"""The keywords of gate markers: what each accepts, and what it limits.

pytest imports this module at every start: it needs only the standard library.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

_NONE: Mapping[str, str] = MappingProxyType({})


class Keyword(NamedTuple):
    """A keyword of a gate marker.

    Attributes:
        name: the name as written on a test.
        valid: the valid values, in words.
        check: returns the value to keep; raises TypeError, or ValueError with a hint for the end of the message.
        default: the value if the keyword is omitted. For a limit None: the value then comes from elsewhere.
        metric: the metric that it limits; `{name}` is replaced with the value of the keyword `name`.
        means: the part of the metric's name for each value, unless the value itself is that part.
        also: by metric, another threshold of a baseline that is used if the metric has no threshold of its own.
        choices: the valid values, if they are few.
        is_limit: whether it is a limit, which makes a gate.
        of_requests: whether it is what each request has to keep, by the metric of requests that it is named after.
    """

    name: str
    valid: str
    check: Callable[[object], object]
    default: object = None
    metric: str = ""
    means: Mapping[str, str] = _NONE
    also: Mapping[str, str] = _NONE
    choices: Sequence[object] = ()
    is_limit: bool = False
    of_requests: bool = False


def number(
    name: str, *, metric: str = "", most: float = math.inf, zero: bool = False, also: Mapping[str, str] = _NONE
) -> Keyword:
    """A limit: a finite number above 0 (or from 0) and up to `most`."""

    def check(value: object) -> object:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        if not abs(value) <= sys.float_info.max or not 0 <= value <= most or (value == 0 and not zero):
            raise ValueError
        return value

    valid = f"a number in {'[' if zero else '('}0, {most:g}]" if most < math.inf else "a number above 0"
    return Keyword(name, valid, check, metric=metric, also=also, is_limit=True)


def of_each_request(name: str) -> Keyword:
    """What each request has to keep: a number above 0, or None; no gate of its own."""
    return number(name)._replace(is_limit=False, of_requests=True)


def percentile(name: str, known: Sequence[int]) -> Keyword:
    """The percentile over requests that a limit is about, or None; in names of metrics `{name}` is then `_p95`."""

    def check(value: object) -> object:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        if value not in known:
            raise ValueError
        return int(value)

    valid = f"one of {', '.join(map(str, known))}"
    means = {"None": "", **{str(number_): f"_p{number_}" for number_ in known}}
    return Keyword(name, valid, check, means=means, choices=(None, *known))


def choice(name: str, choices: Sequence[str], default: str, *, means: Mapping[str, str] = _NONE) -> Keyword:
    """One of several words."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            raise TypeError
        if value not in choices:
            raise ValueError(_near(value, choices))
        return value

    few = len(choices) <= 2
    valid = " or ".join(map(repr, choices)) if few else f"one of {', '.join(choices)}"
    return Keyword(name, valid, check, default, means=means, choices=tuple(choices))


def metrics(name: str, known: Sequence[str], default: tuple[str, ...]) -> Keyword:
    """Several metrics."""

    def check(value: object) -> object:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError
        if not all(isinstance(metric, str) for metric in value):
            raise TypeError
        unknown = [metric for metric in value if metric not in known]
        if not value or unknown or len(set(value)) != len(value):
            raise ValueError(_near(unknown[0], known) if unknown else "")
        return tuple(value)

    return Keyword(name, f"a list of one or more of {', '.join(known)}", check, default)


def flag(name: str, *, default: bool) -> Keyword:
    """True or False."""

    def check(value: object) -> object:
        if not isinstance(value, bool):
            raise TypeError
        return value

    return Keyword(name, "True or False", check, default)


def whole_number(name: str, least: int, most: int, default: int) -> Keyword:
    """A whole number."""

    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError
        if not least <= value <= most:
            raise ValueError
        return value

    return Keyword(name, f"a whole number from {least} to {most}", check, default)


def _near(word: str, known: Sequence[str]) -> str:
    from pytest_llmperf.errors import did_you_mean  # noqa: PLC0415 - the table alone is imported at every start

    return did_you_mean(word, known)
