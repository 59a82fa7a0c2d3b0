"""`doctor`: checks the baselines of a folder and this installation."""

from __future__ import annotations

import platform
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from pytest_llmperf.cli.baseline_commands import files_of
from pytest_llmperf.errors import BaselineError, LlmperfError
from pytest_llmperf.files.atomic_write import leftovers, read_bytes
from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.judge.baselines.baseline_files import to_save
from pytest_llmperf.judge.diagnosis.outlying_session import outlying_session
from pytest_llmperf.judge.gates.evidence_grade import grade
from pytest_llmperf.model import SCHEMA, Baseline, Settings, Stored
from pytest_llmperf.model.node_id import file_of, function_of
from pytest_llmperf.model.texts import counted
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.backends.own_servers import missing_packages

Finding = tuple[str, str]
"""`ok`, `hint` or `WRONG`, and a text."""


def examine(given: Namespace) -> int:
    """Prints a line per finding; returns 1 if something is wrong."""
    findings = [*_installation(), *_folder(given.dir)]
    for level, text in findings:
        print(f"{level:5}  {text}")
    counts = Counter(level for level, _ in findings)
    print(f"{counts['WRONG']} wrong, {counted(counts['hint'], 'hint')}")
    return 1 if counts["WRONG"] else 0


def _installation() -> Iterator[Finding]:
    """Versions, extras, and the backend that `auto` selects."""
    yield "ok", f"pytest-llmperf {version('pytest-llmperf')}, Python {platform.python_version()}, {platform.system()}"
    for kind in ("embedded", "simulated"):
        if missing := missing_packages(kind, gguf=""):
            yield "hint", f"backend {kind} is missing {', '.join(missing)}: pip install 'pytest-llmperf[{kind}]'"
        else:
            yield "ok", f"backend {kind} is installed"
    try:
        backend = choose(Settings())
        selects = f"--llmperf-backend=auto selects {backend.kind}, {backend.where} ({backend.reason})"
        yield "hint" if backend.passed_over else "ok", selects
        if len(backend.urls) == 1:
            yield "hint", "one server: single_ollama and single_parallel_ollama can be measured, dual_ollama needs two"
    except LlmperfError as error:
        yield "WRONG", f"--llmperf-backend=auto cannot use any server or engine: {_one_line(error)}"


def _folder(folder: Path) -> Iterator[Finding]:
    """Every baseline file of the user."""
    files = files_of(folder)
    if not files:
        yield "hint", f"no baseline in {folder}: pytest --llmperf-save NAME creates one"
    for path in files:
        try:
            baseline = baseline_files.load(path)
        except BaselineError as error:
            yield "WRONG", _one_line(error)
            continue
        findings = [*_file(path, baseline), *(finding for entry in baseline.stored for finding in _entry(path, entry))]
        yield from (("hint", f"{path}: {text}") for text in findings)
        if not findings:
            yield "ok", f"{path}: {counted(len(baseline.stored), 'stored measurement')}, {_limits(baseline)}"


def _file(path: Path, baseline: Baseline) -> Iterator[str]:
    """Findings about a file as a whole."""
    if any(leftovers(path)):
        yield "a save was interrupted; the file is intact, and the next save removes the leftovers"
    if baseline.stored and baseline.schema < SCHEMA:
        yield f"schema {baseline.schema}; the next save writes schema {SCHEMA}, which older releases cannot read"
    works = Counter((entry.test, entry.scenario, entry.topology) for entry in baseline.stored)
    for (test, scenario, topology), count in works.items():
        if count > 1:
            yield (
                f"{test} ({scenario} on {topology}) is stored with {count} workloads; only the one with the current "
                f"prompts and options is compared: pytest --llmperf-update {path.stem} deletes the others"
            )


def _entry(path: Path, entry: Stored) -> Iterator[str]:
    """Findings about one stored measurement."""
    name = f"{entry.test} ({entry.scenario} on {entry.topology})"
    needed = Settings().min_sessions
    if len(entry.session) < needed:
        yield f"{name} has {counted(len(entry.session), 'session')}, wanted {needed}: {to_save(path.stem)}"
    fewest = min(len(values) for session in entry.session for values in session.rounds.values())
    if grade(fewest) != "publishable":
        yield f"{name} has a session of {counted(fewest, 'round')} ({grade(fewest)}), wanted 5"
    if (outlying := outlying_session(entry)) is not None:
        yield f"{name}: {outlying.advice(path.stem, str(path.parent))}"
    backends = sorted({session.manifest.get("backend", "unknown") for session in entry.session})
    if len(backends) > 1:
        yield f"{name} has sessions of several backends ({', '.join(backends)}): real and simulated are never compared"
    elif backends == ["simulated"]:
        yield f"{name} was measured on a simulated server, not on a real engine"
    if not _is_there(entry.test):
        yield f"{name}: the test was not found from this folder; if it is gone, use pytest-llmperf rename or remove"


def _is_there(test: str) -> bool:
    """Whether the test's file defines the test's function; without pytest no more can be checked."""
    if not (function := function_of(test)):
        return True  # a name that a script chose
    try:
        return f"def {function}(" in read_bytes(Path(file_of(test))).decode("utf-8", "replace")
    except OSError:
        return False


def _limits(baseline: Baseline) -> str:
    return counted(len(baseline.threshold), "threshold")


def _one_line(error: LlmperfError) -> str:
    return " ".join(str(error).replace("\n  next:", "; next:").split())
