"""From an option's text to its value; a ValueError says what was wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def text(raw: str) -> str:
    """A text, without white space at its ends."""
    return raw.strip()


def against(raw: str) -> str:
    """The name of a deployment, or addresses; `llmperf.toml` decides between the two."""
    return text(raw)


def texts(raw: str) -> tuple[str, ...]:
    """Texts separated by commas, without a slash at their ends; none for an empty text."""
    parts = tuple(part.strip().rstrip("/") for part in raw.split(","))
    if parts == ("",):
        return ()
    if empty := [str(number) for number, part in enumerate(parts, 1) if not part]:
        raise ValueError(
            f"value {' and '.join(empty)} of {len(parts)} is empty\n"
            "    next: is a variable unset? give each, or leave the option out"
        )
    return parts


def whole(raw: str) -> int:
    """A whole number; the error does not repeat the text."""
    try:
        return int(raw)
    except ValueError:
        raise ValueError("wanted a whole number") from None


def number(raw: str) -> float:
    """A number; the error does not repeat the text."""
    try:
        return float(raw)
    except ValueError:
        raise ValueError("wanted a number") from None


def count(raw: str) -> int:
    """A whole number of 0 or more."""
    value = whole(raw)
    if value < 0:
        raise ValueError("wanted 0 or more")
    return value


def rounds(raw: str) -> int:
    """A number of rounds."""
    value = whole(raw)
    if not 1 <= value <= 1000:
        raise ValueError("wanted 1 to 1000")
    return value


def agents(raw: str) -> int:
    """A number of agents."""
    value = whole(raw)
    if value < 1:
        raise ValueError("wanted 1 or more")
    return value


def seconds(raw: str) -> float:
    """A time above 0, s."""
    value = number(raw)
    if not 0 < value < 1e6:
        raise ValueError("wanted more than 0 seconds")
    return value


def seconds_or_off(raw: str) -> float:
    """A time from 0.1 s to an hour; `off` is 0."""
    off = raw.strip().lower() in _OFF[:-1]
    value = 0.0 if off else number(raw)
    if not off and not 0.1 <= value <= 3600:
        raise ValueError("wanted off, or seconds from 0.1 to 3600")
    return value


def duration(raw: str) -> float:
    """A time as `90s`, `30m`, `12h`, or in seconds; in s."""
    match = re.fullmatch(r"([0-9.]+)\s*([smh]?)", raw.strip())
    if match is None:
        raise ValueError("wanted a time such as 90s, 30m or 12h")
    return seconds(str(float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]))


def ports(raw: str) -> tuple[int, ...]:
    """Port numbers, separated by commas."""
    numbers = tuple(whole(part) for part in texts(raw))
    if not all(0 < port < 65536 for port in numbers):
        raise ValueError("wanted ports from 1 to 65535")
    if len(set(numbers)) < len(numbers):
        raise ValueError("wanted different ports, one for each instance")
    return numbers


def gpus(raw: str) -> tuple[str, ...]:
    """GPUs as CUDA_VISIBLE_DEVICES names them, separated by commas: numbers, UUIDs, -1 for none."""
    names = texts(raw)
    if bad := [gpu for gpu in names if not re.fullmatch(r"-1|\d{1,3}|(GPU|MIG)-[A-Za-z0-9/-]+", gpu)]:
        from pytest_llmperf.masking import refused

        raise ValueError(f"wanted numbers, GPU-... UUIDs or -1, got {', '.join(map(refused, bad))}")
    return names


def urls(raw: str) -> tuple[str, ...]:
    """HTTP addresses, separated by commas; `http://` may be omitted."""
    from pytest_llmperf.masking import has_login
    from pytest_llmperf.model.access import addresses

    if not raw.strip():
        raise ValueError("wanted an address\n    next: is a variable unset? give it, or leave the option out")
    return addresses((raw,) if has_login(raw) else texts(raw))  # a password may hold commas


def proxy(raw: str) -> str:
    """The address of a proxy that accepts plain HTTP."""
    if not raw.strip():
        return ""
    url, *more = urls(raw)
    if more:
        raise ValueError("wanted one address")
    if url.startswith("https:"):
        raise ValueError("wanted a proxy that accepts plain HTTP: http://host:port")
    return url


def auth(raw: str) -> tuple[str, ...]:
    """`KIND:NAME`, separated by commas; the error does not repeat a wrong one, which may hold a secret."""
    from pytest_llmperf.model.access import auth_fault

    kinds = texts(raw)
    if faults := [fault for kind in kinds if (fault := auth_fault(kind))]:
        raise ValueError(faults[0])
    return kinds


def one_auth(raw: str) -> str:
    """As `auth`, one of them."""
    kinds = auth(raw)
    if len(kinds) > 1:
        raise ValueError("wanted one: there is one proxy")
    return kinds[0] if kinds else ""


def stem(raw: str) -> str:
    """The name of a baseline to write."""
    name = raw.strip()
    if not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9._-]*)?", name) or name.endswith(".toml"):
        raise ValueError("wanted a name of letters, digits, '_', '-' and '.', without .toml")
    return name


def pairs(raw: str) -> dict[str, float]:
    """`NAME=VALUE`, separated by commas; the values are numbers."""
    values = {}
    for part in texts(raw):
        key, equals, number_text = part.partition("=")
        if not equals:
            from pytest_llmperf.masking import refused

            raise ValueError("wanted NAME=VALUE" if part == raw.strip() else f"{refused(part)!r}: wanted NAME=VALUE")
        values[key.strip()] = number(number_text)
    return values


def limits(raw: str) -> dict[str, float]:
    """Limits by gate, each in the range of its marker."""
    from pytest_llmperf.judge.gate_kinds import GATE_KINDS

    values = pairs(raw)
    if unknown := sorted(set(values) - set(GATE_KINDS)):
        from pytest_llmperf.errors import did_you_mean
        from pytest_llmperf.masking import refused

        near = did_you_mean(unknown[0], GATE_KINDS)
        raise ValueError(f"unknown gate {refused(', '.join(unknown))}; known gates: {', '.join(GATE_KINDS)}{near}")
    for name, value in values.items():
        GATE_KINDS[name].checked(GATE_KINDS[name].limits[0], value)
    return values


def script(raw: str) -> Any:
    """A script of the simulated server."""
    from pytest_llmperf.model import Script

    values: dict[str, Any] = pairs(raw)
    if unknown := sorted(set(values) - set(Script.__dataclass_fields__)):
        from pytest_llmperf.errors import did_you_mean
        from pytest_llmperf.masking import refused

        known = tuple(Script.__dataclass_fields__)
        raise ValueError(
            f"unknown {refused(', '.join(unknown))}; known: {', '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    for name in {"seed", "tool_calls"} & set(values):
        if not values[name].is_integer():
            raise ValueError(f"{name} = {values[name]:g}, wanted an integer")
        values[name] = int(values[name])
    return Script(**values)


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that accepts one of these words."""

    def parse(raw: str) -> str:
        if raw not in choices:
            from pytest_llmperf.errors import one_of as wanted_one_of

            raise ValueError(f"wanted {wanted_one_of(raw, choices)}")
        return raw

    return parse


def ray_address(raw: str) -> str:
    """`auto`, or host and port of a Ray cluster's head."""
    from pytest_llmperf.model.settings.configuration import ray_address_fault

    if fault := ray_address_fault(address := raw.strip()):
        raise ValueError(fault.partition(", ")[2])  # the error has the value
    return address


_ON, _OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


def switch(raw: str) -> bool:
    """`on` or `off`, or the other words of ini files: `true`, `False`, `yes`, `1`."""
    word = raw.strip().lower()
    if word not in (*_ON, *_OFF):
        from pytest_llmperf.errors import did_you_mean

        raise ValueError(f"wanted one of on, off{did_you_mean(word, ('on', 'off', 'true', 'false'))}")
    return word in _ON
