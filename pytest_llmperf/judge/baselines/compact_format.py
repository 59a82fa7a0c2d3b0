"""What the layout packs from version 2 on, so that a file of many sessions stays small to read and to review.

The rounds of a metric are one text of numbers, and manifests that are the same but for the commit stand once, as
`[machine.ID]`, where sessions name them (`machine`, with `commit` and `dirty` of their own).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_NUMBERS = re.compile(r'^([\w."-]+) = "([-+.e0-9]+(?: [-+.e0-9]+)+)"$', re.MULTILINE)
_OWN = {"commit": "git_commit", "dirty": "git_dirty"}
"""Keys of a packed session, and the facts of its manifest that they are."""


def numbers_as_literals(text: str) -> str:
    """TOML with texts of numbers between single quotes: the same value, read many times faster by `tomllib`."""
    return _NUMBERS.sub(r"\1 = '\2'", text)


def packed(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of version 1 as tables of version 2."""
    machines: dict[str, dict[str, str]] = {}
    stored = [
        {**entry, "session": [_packed_session(session, machines) for session in entry["session"]]}
        for entry in tables.get("stored", ())
    ]
    return {**tables, "machine": machines, "stored": stored} if stored else dict(tables)


def unpacked(tables: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Tables of version 2 as tables of version 1 (the rounds stay texts), and what is wrong with them.

    Only what is packed is looked at; the rest is for the caller to judge.
    """
    rest = {key: value for key, value in tables.items() if key != "machine"}
    machines, stored = tables.get("machine", {}), tables.get("stored")
    if not isinstance(machines, dict) or not all(isinstance(machine, dict) for machine in machines.values()):
        return rest, ("machine: wanted tables, each [machine.ID]",)
    if not isinstance(stored, list):
        return rest, ()
    faults: list[str] = []
    rest["stored"] = [
        {
            **entry,
            "session": [
                _unpacked_session(session, machines, f"stored[{i}].session[{j}]", faults)
                for j, session in enumerate(entry["session"])
            ],
        }
        if isinstance(entry, dict) and isinstance(entry.get("session"), list)
        else entry
        for i, entry in enumerate(stored)
    ]
    return rest, tuple(faults)


def _packed_session(session: Mapping[str, Any], machines: dict[str, dict[str, str]]) -> dict[str, Any]:
    """A session that names its machine, which is added to those known."""
    manifest = session["manifest"]
    shared = {key: value for key, value in manifest.items() if key not in _OWN.values()}
    machine = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]
    machines[machine] = shared
    own = {key: manifest[fact] for key, fact in _OWN.items() if fact in manifest}
    texts = {
        table: {name: " ".join(map(repr, values)) for name, values in session[table].items()}
        for table in ("rounds", "parts")
        if table in session
    }
    return {"saved_at": session["saved_at"], **own, "machine": machine, **texts}


def _unpacked_session(session: Any, machines: Mapping[str, Any], where: str, faults: list[str]) -> Any:
    """A session with its manifest; unchanged if it names no machine. Faults are added to the list."""
    if not isinstance(session, dict) or "machine" not in session:
        return session
    rest = {key: value for key, value in session.items() if key not in (*_OWN, "machine")}
    name = session["machine"]
    if not isinstance(name, str) or name not in machines:
        faults.append(f"{where}.machine: got {name!r}, and there is no table [machine.{name}]")
    elif "manifest" in session:
        faults.append(f"{where}.manifest: does not belong beside machine")
    else:
        own = {fact: session[key] for key, fact in _OWN.items() if key in session}
        rest["manifest"] = {**machines[name], **own}
    return rest
