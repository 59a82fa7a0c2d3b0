"""`init`: writes tests, `llmperf.toml` and a CI workflow to start with."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pytest_llmperf.cli.ci_host import default_branch, host_of
from pytest_llmperf.cli.root_folder import check_root
from pytest_llmperf.errors import UsageError
from pytest_llmperf.files.atomic_write import advice, append, is_there, probe, read_bytes
from pytest_llmperf.judge.baselines.git_attributes import top_of
from pytest_llmperf.programs import git

_RESULTS = "llmperf-results/"
"""Where matrices and the workflows write what is not to be committed."""

_COMMITTERS = {"github": "github-actions[bot]", "gitlab": "the bot of LLMPERF_TOKEN, which you have to create,"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file to write, unless it exists.

    Attributes:
        path: the path of the file.
        text: what it will contain.
        otherwise: printed if the file exists: what to do in that case.
    """

    path: Path
    text: str
    otherwise: str = ""


def init(given: Namespace) -> int:
    """Writes what is missing, and prints a line per file."""
    folder: Path = given.folder
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", next_step="create it first, or run the command in your project")
    check_root(folder)
    top = top_of(folder)
    host, reason = (given.ci, "") if given.ci != "auto" else _found_host(top)
    news = [*_starters(folder), *(_workflows(host, top or folder, folder) if host in _COMMITTERS else ())]
    ignoring = folder / ".gitignore"
    _check_writable([*(new.path for new in news if not is_there(new.path)), *([] if _ignored(folder) else [ignoring])])
    for new in news:
        print(_write(new, folder))
    print(_ignore(ignoring, folder))
    if host in _COMMITTERS:
        print(f"CI: {host}{f' ({reason})' if reason else ''}; the workflow explains what it does")
        print(f"sessions to compare with: {_COMMITTERS[host]} commits them to the branch llmperf-baselines")
    elif host != "none":
        print(f"no CI workflow: {reason}; choose one with --ci=github or --ci=gitlab")
    place = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    print(f"  next: {place}pytest perf -m multiagent")
    return 0


def _found_host(top: Path | None) -> tuple[str, str]:
    return host_of(top) if top is not None else ("", "this is no git repository")


def _starters(folder: Path) -> Iterator[NewFile]:
    yield NewFile(path=folder / "perf" / "test_agents_together.py", text=_template("test_agents_together.py"))
    yield NewFile(path=folder / "llmperf.toml", text=_template("llmperf.toml"))


def _workflows(host: str, top: Path, folder: Path) -> Iterator[NewFile]:
    """The files of a host, at the repository's top; their commands run in the folder."""
    inside = os.path.relpath(folder.resolve(), top.resolve())
    text = _template(f"{host}.yml").replace("__FOLDER__", inside)
    if host == "github":
        text = text.replace("__DEFAULT_BRANCH__", json.dumps(default_branch(top)))
        yield NewFile(path=top / ".github" / "workflows" / "llmperf.yml", text=text)
        return
    yield NewFile(path=top / ".gitlab" / "llmperf.yml", text=text)
    yield NewFile(
        path=top / ".gitlab-ci.yml",
        text=_template("gitlab-ci.yml"),
        otherwise="add to it, unless it is there: include: [{local: .gitlab/llmperf.yml}]",
    )


def _template(name: str) -> str:
    return files("pytest_llmperf.cli").joinpath("starter", f"{name}.txt").read_text(encoding="utf-8")


def _check_writable(paths: list[Path]) -> None:
    """Check before anything is written.

    Raises:
        UsageError: a file cannot be written.
    """
    for path in paths:
        try:
            probe(path)
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    step = advice(error, "run the command in another folder: pytest-llmperf init DIR")
    return UsageError(f"{path} cannot be written: {error.strerror}", next_step=step)


def _write(new: NewFile, folder: Path) -> str:
    """Write the file, unless there is one; say which."""
    name = os.path.relpath(new.path, folder)
    try:
        new.path.parent.mkdir(parents=True, exist_ok=True)
        with new.path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(new.text)
    except FileExistsError:
        return f"left alone  {name}: it exists{f'; {new.otherwise}' if new.otherwise else ''}"
    except OSError as error:
        raise _unwritable(new.path, error) from error
    return f"wrote       {name}"


def _ignored(folder: Path) -> bool:
    """Whether .gitignore, or git by another file, ignores the results."""
    with suppress(OSError):
        lines = read_bytes(folder / ".gitignore").decode("utf-8", "replace").splitlines()
        if _RESULTS.rstrip("/") in (line.strip().strip("/") for line in lines):
            return True
    return bool(git(folder, "check-ignore", "--", f"{_RESULTS}x"))


def _ignore(path: Path, folder: Path) -> str:
    """Have git ignore the results; say what was done."""
    if _ignored(folder):
        return f"left alone  .gitignore: {_RESULTS} is ignored"
    try:
        content = read_bytes(path) if is_there(path) else b""
        end = "\r\n" if b"\r\n" in content else "\n"
        whole = not content or content.endswith(b"\n")
        append(path, f"{'' if whole else end}{_RESULTS}{end}")
    except OSError as error:
        raise _unwritable(path, error) from error
    return f"{'added to ' if content else 'wrote    '}   .gitignore: {_RESULTS}"
