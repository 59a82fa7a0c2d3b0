"""docs/frameworks.md, from the last run of `make frameworks`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.frameworks.catalogue import ENVIRONMENTS, FRAMEWORKS, Framework

RESULTS = ENVIRONMENTS / "results.json"
PAGE = Path(__file__).parent.parent.parent / "docs" / "frameworks.md"
HEAD = """# Frameworks behind the tap

`make frameworks` installs each framework in an environment of its own and runs two of its agents at once on two
embedded engines, through the [tap](tap.md). It checks that the tap and the servers agree on every request and token
count, and that TTFT is defined if the framework streams and undefined if it does not. The same agents then run on the
simulated server, which calls a tool once. The last run wrote this table.

| framework | version | endpoint | streams | requests | tokens | TTFT | requests with a tool |
|---|---|---|---|---|---|---|---|
"""


@dataclass(kw_only=True)
class Row:
    """What was measured of one framework.

    Attributes:
        requests: number of plain requests of both agents.
        tokens: that the tap and the server counted.
        ttft: whether it is defined, in words.
        tool_requests: number of requests of both agents with a tool; 0 if not measured.
    """

    requests: int = 0
    tokens: int = 0
    ttft: str = ""
    tool_requests: int = 0


def version_of(framework: Framework) -> str:
    """The version of the framework's installed package."""
    environment = framework.environment
    if environment.language == "node":
        package = environment.folder / "node_modules" / framework.package / "package.json"
        return str(json.loads(package.read_text(encoding="utf-8"))["version"])
    if environment.language == "go":
        required = (environment.folder / "go.mod").read_text(encoding="utf-8").splitlines()
        return next(
            line.split()[-1] if "//" not in line else line.split()[-3] for line in required if framework.package in line
        )
    code = f"import importlib.metadata; print(importlib.metadata.version({framework.package!r}))"
    python = str(environment.folder / "bin" / "python")
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def line_of(framework: Framework, row: Row | None) -> str:
    """A line of the table."""
    streams = "yes" if framework.streams else "no"
    if framework.environment.problem:
        cells = [framework.title, "not installed", framework.environment.problem, "", "", "", "", ""]
    else:
        measured = row or Row()
        cells = [
            *(framework.title, version_of(framework), f"`{framework.endpoint}`", streams),
            *(str(measured.requests or "failed"), str(measured.tokens or ""), measured.ttft),
            str(measured.tool_requests or "failed"),
        ]
    return f"| {' | '.join(cells)} |\n"


def stored_rows() -> dict[str, Row]:
    """What the last runs measured; a run of some frameworks keeps the rows of the others."""
    if not RESULTS.exists():
        return {}
    return {title: Row(**values) for title, values in json.loads(RESULTS.read_text(encoding="utf-8")).items()}


def store(measured: dict[str, Row]) -> None:
    """Keeps the rows for `write_page`."""
    RESULTS.write_text(json.dumps({title: asdict(row) for title, row in measured.items()}, indent=1), encoding="utf-8")


def write_page() -> None:
    """The whole page."""
    measured = stored_rows()
    lines = (line_of(framework, measured.get(framework.title)) for framework in FRAMEWORKS)
    PAGE.write_text(HEAD + "".join(lines), encoding="utf-8")
