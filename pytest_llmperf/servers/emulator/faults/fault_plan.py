"""A fault plan: what goes wrong with the simulated server, on which instance and at which request; read from TOML."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random
from typing import Any

from pytest_llmperf.errors import UsageError, did_you_mean
from pytest_llmperf.files.atomic_write import read_bytes
from pytest_llmperf.files.toml_text import tables_of
from pytest_llmperf.servers.emulator.faults.fault_kinds import FROM_THE_START, KINDS

_COMMON = ("kind", "instance", "requests", "probability")
_RANGES: dict[str, tuple[type, float, float]] = {
    "probability": (float, 0.0, 1.0),
    "after_tokens": (int, 0, 1e6),
    "seconds": (float, 0.0, 86400.0),
    "factor": (float, 0.001, 1.0),
    "tokens": (int, 1, 1e6),
    "num_ctx": (int, 64, 131072),
    "slots": (int, 1, 1000),
    "status": (int, 400, 599),
}
_INSTANCE = re.compile(r"([a-z]([1-9][0-9]{0,3})?)?")
_REQUESTS = re.compile(r"([1-9][0-9]{0,8})(-([1-9][0-9]{0,8})?)?")
_MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One entry of a plan. Generation requests, with the warm-up, are counted from 1 on each instance.

    Attributes:
        kind: one of KINDS.
        instance: name of the instance, `a`, `b`, ...; empty = every instance.
        first, last: the requests that it may hit (loads, for a kind that counts loads); inf = no end.
        probability: probability that it hits one of them.
        after_tokens: number of tokens before it.
        seconds: duration; 0 = permanent.
        factor: factor for a rate, or for the model's size.
        tokens: number of tokens that another client requests, or that an answer has.
        num_ctx: context that another client loads with, or the maximum, tokens.
        slots: number of slots, whatever was configured.
        status: HTTP status.
        message: text of the error.
        version: version of the server, from the start or from then on.
        number: its place in the plan, from 1; 0 = not in a plan.
    """

    kind: str
    instance: str = ""
    first: int = 1
    last: float = math.inf
    probability: float = 1.0
    after_tokens: int = 0
    seconds: float = 0.0
    factor: float = 1.0
    tokens: int = 0
    num_ctx: int = 0
    slots: int = 0
    status: int = 0
    message: str = ""
    version: str = ""
    number: int = field(default=0, compare=False)

    def __str__(self) -> str:
        where = f"instance {self.instance}" if self.instance else "every instance"
        last = "" if math.isinf(self.last) else f"{self.last:g}"
        requests = last if self.first == self.last else f"{self.first}-{last}"
        requests_hit = "" if self.kind in FROM_THE_START else f", requests {requests}"
        return f"fault {self.number} ({self.kind}, {where}{requests_hit})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """The faults of one run.

    Attributes:
        faults: the entries, in the file's order.
        seed: the seed of the probabilities; the same seed hits the same requests.
    """

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    def hits(self, instance: str, number: int, *kinds: str) -> Iterator[Fault]:
        """The faults of these kinds that hit this request (or load) of this instance."""
        for index, fault in enumerate(self.faults):
            if fault.kind not in kinds or fault.instance not in ("", instance):
                continue
            if not fault.first <= number <= fault.last:
                continue
            chance = Random(f"{self.seed} {index} {instance} {number}")
            if fault.probability >= 1 or chance.random() < fault.probability:
                yield fault

    def in_words(self, instance: str) -> str:
        """The kinds of fault that an instance has, for its manifest; empty = none."""
        return ", ".join(dict.fromkeys(fault.kind for fault in self.faults if fault.instance in ("", instance)))

    def so_far(self, fired: Collection[int]) -> str:
        """Which faults have fired and which have not, in words; `fired` has the numbers of the former."""
        count, left = len(self.faults), [str(fault) for fault in self.faults if fault.number not in fired]
        if not left:
            return f"all {count} faults have fired" if count > 1 else "its fault has fired"
        return f"{len(left)} of {count} never fired: {'; '.join(left)}"


def load_plan(path: Path) -> FaultPlan:
    """Reads a plan.

    Raises:
        UsageError: the file is missing, is not TOML, or has wrong entries; the error lists all of them.
    """
    try:
        text = read_bytes(path, _MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise UsageError(f"fault plan {path} is larger than {_MOST_BYTES} bytes", next_step="is it the right file?")
        document = tables_of(text.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"fault plan {path}: {error.strerror}", next_step="give --llmperf-faults a TOML file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"fault plan {path} is not TOML: {error}", next_step="see docs/faults.md") from error
    wrong: list[str] = []
    plan = _plan(document, wrong)
    if wrong:
        raise UsageError(f"fault plan {path}:\n  " + "\n  ".join(wrong), next_step="see docs/faults.md")
    return plan


def _plan(document: Mapping[str, Any], wrong: list[str]) -> FaultPlan:
    """The plan in a document; adds every error in it to the list."""
    _unknown(document, ("seed", "fault"), "", wrong)
    seed, entries = document.get("seed", 0), document.get("fault", [])
    if isinstance(seed, bool) or not isinstance(seed, int):
        wrong.append(f"seed = {_shown(seed)}, wanted an integer")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        wrong.append("fault: wanted tables, each with the head [[fault]]")
        return FaultPlan()
    faults = tuple(_fault(entry, index, wrong) for index, entry in enumerate(entries, 1))
    return FaultPlan(
        faults=tuple(fault for fault in faults if fault is not None), seed=seed if isinstance(seed, int) else 0
    )


def _fault(entry: Mapping[str, Any], number: int, wrong: list[str]) -> Fault | None:
    """One entry; None if it is wrong."""
    where = f"fault {number}"
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        hint = did_you_mean(kind, KINDS)
        wrong.append(f"{where}: kind = {_shown(kind)}, wanted one of {', '.join(KINDS)}{hint}")
        return None
    before, where = len(wrong), f"{where} ({kind})"
    common = ("kind", "instance") if kind in FROM_THE_START else _COMMON
    _unknown(entry, (*common, *KINDS[kind].keys), f"{where}: ", wrong)
    values: dict[str, Any] = {**KINDS[kind].keys, **entry}
    for key in set(values) & {field_.name for field_ in fields(Fault)}:
        if fault := _wrong_value(key, values[key]):
            wrong.append(f"{where}: {key} = {_shown(values[key])}, wanted {fault}")
    first, last = _range_of(str(values.pop("requests", "1-")))
    if first > last:
        wrong.append(f'{where}: requests = {_shown(entry["requests"])}, wanted 3, "3-7" or "3-"')
    return None if len(wrong) > before else Fault(first=first, last=last, number=number, **values)


def _range_of(requests: str) -> tuple[int, float]:
    """The first and the last of `3`, `3-7` or `3-`; an empty range for anything else."""
    match = _REQUESTS.fullmatch(requests)
    if match is None:
        return 2, 1
    first = int(match[1])
    return first, float(match[3] or math.inf) if match[2] else first


def _wrong_value(key: str, value: object) -> str:
    """The wanted value of a key; empty if the value is right."""
    if key == "instance" and isinstance(value, str):
        return "" if _INSTANCE.fullmatch(value) else "the name of an instance: a, b, c, ..."
    if key not in _RANGES:
        return "" if isinstance(value, str) else "a text"
    kind, low, high = _RANGES[key]
    if not isinstance(value, bool) and isinstance(value, int if kind is int else int | float) and low <= value <= high:
        return ""
    return f"{'a whole number' if kind is int else 'a number'} of {low:g} to {high:g}"


def _unknown(given: Mapping[str, Any], known: tuple[str, ...], where: str, wrong: list[str]) -> None:
    """Adds an error for each unknown key, with the most similar known key."""
    for key in sorted(set(given) - set(known)):
        hint = did_you_mean(key, known)
        wrong.append(f"{where}unknown key {_shown(key)}, wanted one of {', '.join(known)}{hint}")


def _shown(value: object) -> str:
    """A value for a message, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
