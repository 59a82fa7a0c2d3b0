"""Reads `options` and `keep_alive` of a request, with Ollama's rules and Ollama's complaints."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields

from pytest_llmperf.servers.emulator.engine import LoadOptions, Sampling

_log = logging.getLogger(__name__)

FOREVER_S = math.inf

_LONGEST_S = 292 * 365.25 * 86400  # what Go's durations hold
_TOO_LARGE = 2**63
_LARGEST_FLOAT32 = 3.4028236e38

_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


class RequestError(Exception):
    """The client's request is wrong.

    Attributes:
        status: the HTTP status of the answer.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def _wrong_type(name: str, wanted: str) -> RequestError:
    # Ollama reads the options only when it schedules the request, and gives every fault of that stage this status
    return RequestError(f'option "{name}" must be of {wanted}', status=500)


def _integer(name: str, value: object) -> int:
    # Ollama reads every JSON number as a float and cuts its fraction off
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _TOO_LARGE:
        raise _wrong_type(name, "type integer")
    return int(value)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST_FLOAT32:
        raise _wrong_type(name, "type float32")
    return float(value)


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(name, "type boolean")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _wrong_type(name, "type array")
    if not all(isinstance(item, str) for item in value):
        raise _wrong_type(name, "an array of strings")
    return tuple(value)


READERS: dict[str, Callable[[str, object], object]] = {
    **dict.fromkeys(("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"), _integer),
    **dict.fromkeys(("num_predict", "seed", "top_k", "repeat_last_n", "num_keep"), _integer),
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p"), _number),
    **dict.fromkeys(("repeat_penalty", "presence_penalty", "frequency_penalty"), _number),
    "use_mmap": _boolean,
    "stop": _texts,
}
"""The reader of each option; it gets the option's name for errors."""

_OF_LOAD = frozenset(field.name for field in fields(LoadOptions))


def parse_options(given: Mapping[str, object]) -> tuple[LoadOptions, Sampling]:
    """Splits a request's options into options of the loaded model and options of the generation.

    Unknown options are logged and otherwise ignored, as Ollama does; null leaves the default.

    Raises:
        RequestError: an option has the wrong type, or an impossible size.
    """
    load: dict[str, object] = {}
    sampling: dict[str, object] = {}
    for name, value in given.items():
        reader = READERS.get(name)
        if reader is None:
            _log.warning("invalid option provided: %s", name)
        elif value is not None:
            (load if name in _OF_LOAD else sampling)[name] = reader(name, value)
    for name in ("num_batch", "num_thread"):
        if name in load and int(str(load[name])) < 0:
            raise RequestError(f'option "{name}" must not be negative')
    # the readers above give each field its type
    return LoadOptions(**load), Sampling(**sampling)  # type: ignore[arg-type]


def parse_keep_alive(value: object) -> float | None:
    """Seconds to keep a model loaded: infinite for negative values, None if the request does not say.

    A number is seconds; a text is a Go duration such as `5m` or `-1s`. A bare `-1` as text has no unit and is
    an error, as in Ollama.

    Raises:
        RequestError: neither of these.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RequestError(f"keep_alive: invalid type {type(value).__name__}, want a number or a duration text")
    if not isinstance(value, str):
        return float(value) if 0 <= value < _LONGEST_S else FOREVER_S
    seconds = _go_duration_s(value)
    if abs(seconds) > _LONGEST_S:
        raise RequestError(f'time: invalid duration "{value}"')
    return FOREVER_S if seconds < 0 else seconds


def _go_duration_s(text: str) -> float:
    """Seconds of a Go duration text."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    seconds, at = 0.0, 0
    while match := _DURATION.match(rest, at):
        seconds += float(match[1]) * _UNIT_S[match[2]]
        at = match.end()
    if at == 0 or at < len(rest):
        problem = "missing unit in" if re.fullmatch(r"[0-9.]+", rest[at:]) and rest[at:] != "." else "invalid"
        raise RequestError(f'time: {problem} duration "{text}"')
    return sign * seconds
