"""The table of agents, `agents.toml`: implementations of one agent in several languages, how each is built and run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_llmperf.errors import UsageError
from pytest_llmperf.files.atomic_write import read_text
from pytest_llmperf.files.toml_text import tables_of
from pytest_llmperf.files.toml_values import each_item, faults_of, strict_converter

BUILD_VARIABLE = "LLMPERF_AGENTS_BUILD"
"""The variable that replaces the build directory."""

_LAST_LINES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentProgram:
    """An implementation, one table `[agents.NAME]`.

    Attributes:
        language, runtime: language and runtime in words, for reports.
        run: the command.
        build: the command that builds it; empty if nothing is built.
        requires: programs that must be on PATH.
    """

    language: str
    runtime: str
    run: tuple[str, ...]
    build: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.run:
            raise ValueError("run: wanted a program and its arguments")

    @property
    def missing(self) -> tuple[str, ...]:
        """The required programs that are not on PATH."""
        return tuple(program for program in self.requires if shutil.which(program) is None)


def read_agents(path: Path) -> dict[str, AgentProgram]:
    """The implementations of a table by name, `{agents}`, `{build}` and `{python}` replaced in the words of commands.

    `{agents}` is the table's directory, `{build}` its subdirectory `build`, or the directory in LLMPERF_AGENTS_BUILD.

    Raises:
        UsageError: the file cannot be read, or does not have the form; all faults are named.
    """
    try:
        tables = tables_of(read_text(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", next_step="correct the table of agents") from error
    agents = tables.get("agents")
    if not isinstance(agents, dict) or not agents or set(tables) != {"agents"}:
        raise UsageError(f"{path}: wanted tables [agents.NAME], and nothing else", next_step="see perf_suites/agents")
    try:
        programs = each_item(strict_converter(), dict, AgentProgram, agents.items())
    except Exception as error:
        raise UsageError(f"{path}: {'; '.join(faults_of(error))}", next_step="correct the table of agents") from error
    here = path.resolve().parent
    places = {"{agents}": str(here), "{build}": os.environ.get(BUILD_VARIABLE) or str(here / "build")}
    places["{python}"] = sys.executable

    def placed(words: Sequence[str]) -> tuple[str, ...]:
        for place, value in places.items():
            words = [word.replace(place, value) for word in words]
        return tuple(words)

    return {
        name: replace(program, run=placed(program.run), build=placed(program.build))
        for name, program in programs.items()
    }


class AgentBuilds:
    """Builds implementations, each command once in a run; between runs the language's own tool decides what is stale.

    Args:
        timeout_s: the time limit of one build, s.
    """

    def __init__(self, *, timeout_s: float = 1200.0) -> None:
        self._timeout_s = timeout_s
        self._built: set[tuple[str, ...]] = set()

    def build(self, name: str, program: AgentProgram) -> None:
        """Builds an implementation, unless the same command has succeeded before.

        Raises:
            UsageError: a required program is missing, or the build failed or timed out; with the end of its output.
        """
        if program.missing:
            raise UsageError(
                f"agent {name}: {', '.join(program.missing)} is not on PATH",
                next_step="install it, or leave this agent out",
            )
        if not program.build or program.build in self._built:
            return
        problem, output = self._run(program.build)
        if problem:
            lines = "".join(f"\n  {line}" for line in output.splitlines()[-_LAST_LINES:])
            raise UsageError(
                f"agent {name}: the build {problem}: {' '.join(program.build)}{lines}",
                next_step="run this command by hand",
            )
        self._built.add(program.build)

    def _run(self, command: tuple[str, ...]) -> tuple[str, str]:
        """Why the command failed, empty if it did not; and what it printed."""
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            return f"did not start ({error})", ""
        with process:
            try:
                output, _ = process.communicate(timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # cargo's compilers as well
                output, _ = process.communicate()
                return f"took longer than {self._timeout_s:g} s", output
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return (f"ended with {process.returncode}" if process.returncode else ""), output
