"""Who holds the machine's lock, as written in its file."""

from __future__ import annotations

import json
import os
import pwd
import socket
import sys
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from pytest_llmperf.errors import printable
from pytest_llmperf.masking import masked_words
from pytest_llmperf.model.access import without_secrets

MOST_BYTES = 4096
"""Maximum size of what is read."""
_MOST_LETTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds the lock, by the file; any user of the machine may have written it.

    Attributes:
        pid: the process id, in the process's own container.
        user: its name there.
        host: name of the machine or container.
        since: when it took the lock, ISO 8601 with zone.
        command: the command line, shortened and without secrets.
    """

    pid: int
    user: str
    host: str
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.since} ({self.command})"


def write_holder(descriptor: int) -> None:
    """Replace the file's content with a description of this process. Raises OSError."""
    holder = Holder(
        pid=os.getpid(),
        user=_user(),
        host=socket.gethostname(),
        since=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=_command(sys.argv),
    )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)


def read_holder(written: bytes) -> Holder | None:
    """The holder as written, without control characters; None if it cannot be read."""
    try:
        tables = json.loads(written)
        texts = {field.name: printable(tables[field.name]) for field in fields(Holder) if field.name != "pid"}
        return Holder(pid=int(tables["pid"]), **texts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _command(arguments: list[str]) -> str:
    """The command line as a reader knows it."""
    first, *rest = arguments or [""]
    path = Path(first)
    name = path.parent.name if path.name == "__main__.py" else path.name
    text = without_secrets(" ".join((name or "python", *masked_words(rest))))
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."
