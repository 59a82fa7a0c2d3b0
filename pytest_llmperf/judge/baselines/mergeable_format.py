"""Version 3 of the layout: sessions that git merges, whichever lines of two branches it takes in which order.

A stored session is a block of lines that say the whole key, `session.ID.rounds.ttft_ms = '30.1 30.4'`. The ID is a
digest of what was measured, so that no line of one session is a line of another, and no line counts or names others.
Two branches that both saved differ by whole lines only: git's `merge=union` keeps both sides, and any order is read.
Machines, which sessions name, are lines of the same kind.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any

import tomli_w

from pytest_llmperf.files.toml_text import tables_of
from pytest_llmperf.judge.baselines.compact_format import packed, unpacked

KEY = ("test", "scenario", "topology", "workload")
_CONTROLS = r"\x00-\x08\x0a-\x1f\x7f"
_UNESCAPED = re.compile(rf'[^"\\{_CONTROLS}]*')
_PLAIN = re.compile(
    r"^(session|machine)\.([0-9a-f]+)\.(?:(rounds|parts)\.)?([A-Za-z0-9_-]+) = "
    rf"""(?:'([^'{_CONTROLS}]*)'|"({_UNESCAPED.pattern})")$""",
    re.MULTILINE,
)
"""A line that needs no parser of TOML, which takes many times as long."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_OURS = re.compile(r"(session|machine)\.[0-9a-f]+(\.| = )|(schema|description) = ")
_ID_LETTERS = 10
_PLACE = re.compile(r"^stored\[(\d+)\]\.session\[(\d+)\]")


def time_s(saved_at: Any) -> float:
    """Seconds since the epoch, whatever zone the text is in; what is no time comes first."""
    try:
        return datetime.fromisoformat(saved_at).timestamp()
    except (ValueError, OverflowError, TypeError):
        return -math.inf


def lines_of(stored: Sequence[Mapping[str, Any]]) -> str:
    """Stored measurements, as plain tables, in lines: in their order, each with its sessions in theirs."""
    tables = packed({"stored": stored})
    blocks: list[str] = []
    used: set[str] = set()
    for entry in tables["stored"]:
        for session in entry["session"]:
            name = _new_id(session, used)
            members = {"saved_at": session["saved_at"], **{key: entry[key] for key in KEY}, **session}
            blocks.append("".join(_lines(("session", name), members)))
    for name, facts in sorted(tables["machine"].items()):
        blocks.append("".join(_lines(("machine", name), facts)))
    return "\n".join(blocks)


def grouped(tables: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Tables of version 3 as tables of version 1 (except for the rounds, which stay texts).

    Args:
        tables: the tables as `tomllib` returns them; tables of version 2 are read as well.

    Returns:
        The tables; what is wrong with them; for each stored measurement the names of its sessions, for faults that
        are found later.
    """
    rest, faults = unpacked({key: value for key, value in tables.items() if key != "session"})
    sessions, machines = tables.get("session", {}), tables.get("machine", {})
    if faults or not isinstance(sessions, dict):
        return rest, faults or ("session: wanted tables, each session.ID",), ()
    entries: dict[tuple[str, ...], list[tuple[str, Any]]] = {}
    wrong: list[str] = []
    for name, session in sessions.items():
        if not isinstance(session, dict):
            wrong.append(f"session.{name}: got {session!r}, wanted a table")
            continue
        lacking = [key for key in KEY if not isinstance(session.get(key), str)]
        wrong += [f"session.{name}.{key}: got {session.get(key)!r}, wanted text" for key in lacking]
        if not lacking:
            own = {key: value for key, value in session.items() if key not in KEY}
            entries.setdefault(tuple(session[key] for key in KEY), []).append((name, own))
    if wrong:
        return rest, tuple(wrong), ()
    by_hand = rest.get("stored", [])
    if not isinstance(by_hand, list):
        return rest, (), ()
    stored = list(by_hand)
    names: list[tuple[str, ...]] = [()] * len(by_hand)
    for key, entry_sessions in entries.items():
        ordered = sorted(entry_sessions, key=lambda named: time_s(named[1].get("saved_at")))
        stored.append({**dict(zip(KEY, key, strict=True)), "session": [own for _, own in ordered]})
        names.append(tuple(name for name, _ in ordered))
    rest, faults = unpacked({**rest, **({"stored": stored} if stored else {}), "machine": machines})
    return rest, tuple(named(fault, names) for fault in faults), tuple(names)


def named(fault: str, names: Sequence[Sequence[str]]) -> str:
    """A fault of a stored session, by the session's name if it has one."""
    place = _PLACE.match(fault)
    if place is None or int(place[1]) >= len(names) or not names[int(place[1])]:
        return fault
    return f"session.{names[int(place[1])][int(place[2])]}{fault[place.end() :]}"


def tables_in(text: str) -> dict[str, Any]:
    """The tables of a file's text, also as `merge=union` may leave it: with lines twice, or in another order.

    Raises:
        ValueError: it is no TOML, or says two things of one key.
    """
    rest = _PLAIN.sub("", text)  # line ends stay: errors name the right lines
    try:
        tables = tables_of(rest)
    except ValueError as error:
        try:
            tables = tables_of(_tidied(rest))
        except ValueError:
            raise error from None
    for kind, name, part, key, *texts in _PLAIN.findall(text):
        table = tables
        for step in filter(None, (kind, name, part)):
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                raise ValueError(f"{kind}.{name}: got {table!r}, wanted a table")
        value = texts[0] or texts[1]
        if table.setdefault(key, value) != value:
            raise ValueError(f"{'.'.join(filter(None, (kind, name, part, key)))} is there twice, with two values")
    return tables


def _tidied(text: str) -> str:
    """The lines without duplicates, the plugin's own lines before all tables."""
    lines = text.splitlines(keepends=True)
    ours = dict.fromkeys(line for line in lines if _OURS.match(line))
    return "".join((*ours, *(line for line in lines if line not in ours)))


def _new_id(session: Mapping[str, Any], used: set[str]) -> str:
    """The digest of a session, and of its number where another one is the same in everything."""
    for number in count():
        text = json.dumps([number, session], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:_ID_LETTERS]
        if name not in used:
            used.add(name)
            return name
    raise AssertionError("unreachable")


def _lines(path: tuple[str, ...], members: Mapping[str, Any]) -> Iterator[str]:
    if not members:
        yield f"{'.'.join(map(_key, path))} = {{}}\n"
    for key, value in members.items():
        if isinstance(value, Mapping):
            yield from _lines((*path, key), value)
        else:
            yield f"{'.'.join(map(_key, (*path, key)))} = {_literal(value)}\n"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _literal(name)


def _literal(value: Any) -> str:
    if isinstance(value, str) and _UNESCAPED.fullmatch(value):
        return f'"{value}"'
    return tomli_w.dumps({"x": value})[len("x = ") : -1]
