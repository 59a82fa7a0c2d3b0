"""The command line of `pytest-llmperf`: its commands, their arguments and their help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from pytest_llmperf.cli.measuring.measuring_arguments import CAPACITY, QUICK, add_capacity, add_quick
from pytest_llmperf.cli.recording_arguments import RECORD_AGENTS, add_record_agents
from pytest_llmperf.errors import did_you_mean
from pytest_llmperf.judge.gate_kinds import GATED_METRICS
from pytest_llmperf.masking import has_login, refused

_NAME = "a baseline's name (looked up in DIR, then among the baselines of the package), or a .toml file"
_OWN_NAME = "the name of a baseline in DIR, or a .toml file"
_TEST = "a test's node id, e.g. perf/test_team.py::test_pair; or a file, for all tests in it"

_ADDRESS = re.compile(r"[^:]:[^:\s]")
"""Part of a word that may be an address; a node id has none."""


class ArgumentParser(argparse.ArgumentParser):
    """A parser whose errors suggest the nearest choice and never repeat an address."""

    def error(self, message: str) -> NoReturn:
        """Prints usage and error, and exits with 2."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        near = did_you_mean(choice[1], re.findall(r"[\w.-]+", choice[2])) if choice else ""
        super().error(_without_addresses(f"{message}{near}"))


def _without_addresses(message: str) -> str:
    """An error message; everything from the first word that may be an address on is masked."""
    words = message.split(" ")
    first = next((index for index, word in enumerate(words) if _ADDRESS.search(word) or has_login(word)), len(words))
    return " ".join([*words[:first], refused(" ".join(words[first:]))]).rstrip()


def function_of(name: str) -> Callable[..., Any]:
    """A command's function; its module is imported only now, since some commands need numpy.

    Args:
        name: `module.function`, or `package.module.function`.
    """
    module, _, function = name.rpartition(".")
    command: Callable[..., Any] = getattr(import_module(f"pytest_llmperf.cli.{module}"), function)
    return command


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed command line; `run` names the command's function, `agent_commands` has the words after `--`."""
    words, agent_commands = list(arguments), list[str]()
    recording = words[:1] == [RECORD_AGENTS]
    if recording and "--" in words:
        at = words.index("--")
        words, agent_commands = words[:at], words[at + 1 :]
    given = parser(recording=recording).parse_args(words)
    given.agent_commands = agent_commands
    return given


def parser(*, recording: bool = False) -> ArgumentParser:
    """The whole command line.

    Args:
        recording: whether the options of the servers to record on are added; they take time to import.
    """
    whole = ArgumentParser(
        prog="pytest-llmperf",
        description="Measure without a test, record agents, set up a project, and maintain the stored baselines of "
        "pytest-llmperf.",
        epilog="Exit code: 0 = success; 1 = a regression or a fault was found; 2 = the command could not run. "
        "pytest saves the sessions: --llmperf-save, --llmperf-compare, --llmperf-update.",
    )
    whole.add_argument("--version", action="version", version=f"pytest-llmperf {version('pytest-llmperf')}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    add_quick(_bare(commands, *QUICK))
    add_capacity(_bare(commands, *CAPACITY))
    _add_init(commands)
    _command(commands, "list", "baseline_commands.list_all", "list every baseline and what it contains")
    show = _command(
        commands, "show", "baseline_commands.show", "print a baseline's limits and stored sessions, or a recording"
    )
    show.add_argument("name", metavar="NAME", help=f"{_NAME}; or a recording (.jsonl), or an export of traces (.json)")
    _add_compare(commands)
    _add_trend(commands)
    _add_record(commands)
    add_record_agents(commands, with_servers=recording)
    _add_edits(commands)
    _command(
        commands,
        "doctor",
        "doctor_command.examine",
        "check baselines and installation",
        "Exit code: 1 = a fault was found; hints do not count.",
    )
    return whole


def _bare(commands: Any, name: str, run: str, help: str, more: str = "") -> ArgumentParser:
    added: ArgumentParser = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {more}")
    added.set_defaults(run=run)
    return added


def _command(commands: Any, name: str, run: str, help: str, more: str = "") -> ArgumentParser:
    """A command that works on baselines."""
    added = _bare(commands, name, run, help, more)
    added.add_argument(
        "--dir", type=Path, default=Path("baselines"), help="folder with your baselines (default: %(default)s)"
    )
    return added


def _add_init(commands: Any) -> None:
    init = _bare(
        commands,
        "init",
        "init_command.init",
        "write tests, llmperf.toml and a CI workflow to start with; nothing is overwritten",
        "Exit code: 0 = success, also if all files existed; 2 = a file could not be written.",
    )
    init.add_argument(
        "folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="pytest's root folder (default: here)"
    )
    init.add_argument(
        "--ci",
        choices=("auto", "github", "gitlab", "none"),
        default="auto",
        help="the CI host to write a workflow for; auto: detect it by the address of the git remote, else by existing "
        "files (default: %(default)s)",
    )


def _add_compare(commands: Any) -> None:
    compare = _command(
        commands,
        "compare",
        "compare_command.compare",
        "compare the stored sessions of two baselines",
        "Exit code: 0 = no regression, 1 = a regression, 2 = nothing could be compared.",
    )
    compare.add_argument("standard", metavar="A", help=f"the reference: {_NAME}")
    compare.add_argument("candidate", metavar="B", help="the candidate: likewise")
    _add_metrics(compare, "compare only this metric")
    compare.add_argument(
        "--on-inconclusive",
        choices=("young", "fail", "warn"),
        default="young",
        help="exit code for an inconclusive metric: fail = 1; warn = 0; young = 0 while A has fewer sessions than "
        "--min-sessions, then 1 (default: young)",
    )
    compare.add_argument(
        "--min-sessions", type=int, default=4, metavar="N", help="sessions that A needs (default: %(default)s)"
    )


def _add_trend(commands: Any) -> None:
    trend = _command(
        commands,
        "trend",
        "trend_command.trend",
        "report changes over a baseline's sessions and the commits between which they happened",
        "Exit code: 1 = a metric has not recovered from a loss, 2 = too few sessions to detect a change.",
    )
    trend.add_argument("name", metavar="NAME", help=_NAME)
    _add_metrics(trend, "examine only this metric")


def _record_kind(text: str) -> Any:
    return function_of("record_command.kind")(text)


def _add_record(commands: Any) -> None:
    record = _command(
        commands,
        "record",
        "record_command.record",
        "fill in a record of the report's appendix S, in Markdown, from a session",
        "Fields that only people can fill in stay in brackets.",
    )
    record.add_argument(
        "kind",
        type=_record_kind,
        metavar="KIND",
        help="decision (S.1), validation (S.2) or change (S.3)",
    )
    record.add_argument("file", metavar="FILE", help="a file written by --llmperf-json")


def _add_edits(commands: Any) -> None:
    trim = _command(commands, "trim", "baseline_commands.trim", "delete old sessions")
    trim.add_argument("name", metavar="NAME", help=_OWN_NAME)
    trim.add_argument(
        "--keep", type=int, required=True, metavar="N", help="keep the newest N sessions of each measurement"
    )
    rename = _command(commands, "rename", "baseline_commands.rename", "move a test's stored sessions to its new name")
    rename.add_argument("name", metavar="NAME", help=_OWN_NAME)
    rename.add_argument("old", metavar="OLD_TEST", help=_TEST)
    rename.add_argument("new", metavar="NEW_TEST", help="likewise")
    remove = _command(commands, "remove", "baseline_commands.remove", "delete a test's stored sessions, or one of them")
    remove.add_argument("name", metavar="NAME", help=_OWN_NAME)
    remove.add_argument("test", metavar="TEST", help=_TEST)
    remove.add_argument(
        "--session",
        metavar="AT",
        help="delete only the session that was saved at this time, as `show` prints it, or the beginning of it; "
        "deleting the last session of a measurement deletes the measurement",
    )


def _add_metrics(command: ArgumentParser, purpose: str) -> None:
    """The options for metrics and the smallest change that counts."""
    command.add_argument(
        "--metric",
        action="append",
        choices=GATED_METRICS,
        metavar="METRIC",
        help=f"{purpose}; repeatable (default: the metrics that --llmperf-compare judges). One of "
        + ", ".join(GATED_METRICS),
    )
    command.add_argument(
        "--delta",
        type=float,
        metavar="N",
        help="the smallest change that counts, in percentage points for percentages, else in percent",
    )
