"""The command `pytest-llmperf`: stored baselines seen, compared and tended without pytest."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from pytest_llmperf.errors import LlmperfError, did_you_mean
from pytest_llmperf.judge.markers import GATED_METRICS
from pytest_llmperf.masking import has_login, refused

_NAME = "a baseline's name (looked up in DIR, then among those that come with the package), or a .toml file"
_TEST = "a test as pytest names it, e.g. perf/test_team.py::test_pair; or a file, for all its tests"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        The exit code: 0 = done, and nothing wrong; 1 = something is worse or wrong; 2 = could not be done.
    """
    with ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            stack.enter_context(_speaking(stream))
        return _run(arguments)


@contextmanager
def _speaking(stream: Any) -> Iterator[None]:
    """Inside, the stream spells out what its encoding lacks, in place of an error."""
    before = getattr(stream, "errors", None)
    if before is None or not hasattr(stream, "reconfigure"):
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(ValueError, OSError):  # closed meanwhile, or its reader is gone
            stream.reconfigure(errors=before)


def _run(arguments: Sequence[str] | None) -> int:
    given = _parser().parse_args(arguments)
    try:
        code: int = _function(given.run)(given)
        sys.stdout.flush()
    except LlmperfError as error:
        print(f"pytest-llmperf {given.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # of `| head`: what is left to say has no reader, also when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    return code


def _function(name: str) -> Callable[..., Any]:
    """A function of a command's module, which is imported only now: some commands need numpy, none all that others do.

    Args:
        name: `module.function`.
    """
    module, _, function = name.partition(".")
    command: Callable[..., Any] = getattr(import_module(f"pytest_llmperf.cli.{module}"), function)
    return command


def _record_kind(text: str) -> Any:
    """The argument KIND of `record`."""
    return _function("record_command.kind")(text)


_ADDRESS = re.compile(r"[^:]:[^:\s]")
"""Of a word, also in quotes, that may be an address; no name of a test."""


class _Parser(argparse.ArgumentParser):
    """Says what a choice that there is not was meant to be."""

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        near = did_you_mean(choice[1], re.findall(r"[\w.-]+", choice[2])) if choice else ""
        super().error(_without_addresses(f"{message}{near}"))


def _without_addresses(message: str) -> str:
    """A message about arguments; from the first that may be an address on, as a refused value."""
    words = message.split(" ")
    first = next((index for index, word in enumerate(words) if _ADDRESS.search(word) or has_login(word)), len(words))
    return " ".join([*words[:first], refused(" ".join(words[first:]))]).rstrip()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pytest-llmperf",
        description="Stored baselines of pytest-llmperf: see, compare and tend them.",
        epilog="Exit code: 0 = done, and nothing wrong; 1 = something is worse or wrong; 2 = could not be done. "
        "Sessions are saved by pytest: --llmperf-save, --llmperf-compare, --llmperf-update.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-llmperf {version('pytest-llmperf')}")
    common = _Parser(add_help=False)
    common.add_argument(
        "--dir", type=Path, default=Path("baselines"), help="folder of your baselines (default: %(default)s)"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)

    def command(name: str, run: str, help: str, more: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, parents=[common], help=help, description=f"{help[0].upper()}{help[1:]}. {more}"
        )
        added.set_defaults(run=run)
        return added

    command("list", "baseline_commands.list_all", "name every baseline, with what it holds")

    show = command("show", "baseline_commands.show", "print a baseline's limits and its stored sessions")
    show.add_argument("name", metavar="NAME", help=_NAME)

    compare = command(
        "compare",
        "compare_command.compare",
        "judge the stored sessions of one baseline by those of another",
        "Exit code 0 where nothing is worse, 1 where something is, 2 where nothing could be compared.",
    )
    compare.add_argument("standard", metavar="A", help="what to hold to: " + _NAME)
    compare.add_argument("candidate", metavar="B", help="what is judged by it: likewise")
    _add_metrics(compare, "compare this metric")
    compare.add_argument(
        "--on-inconclusive",
        choices=("young", "fail", "warn"),
        default="young",
        help="what an undecided metric does to the exit code (default young: nothing while A has fewer sessions than "
        "--min-sessions, 1 after)",
    )
    compare.add_argument(
        "--min-sessions", type=int, default=4, metavar="N", help="sessions that A needs (default: %(default)s)"
    )

    trend = command(
        "trend",
        "trend_command.trend",
        "say what changed over a baseline's sessions, between which commits",
        "Exit code 1 where something is lost and still is, 2 where there are too few sessions to see a change.",
    )
    trend.add_argument("name", metavar="NAME", help=_NAME)
    _add_metrics(trend, "look at this metric")

    record = command(
        "record",
        "record_command.record",
        "fill a record of the report's appendix S in Markdown from a session",
        "What only people know stays in brackets.",
    )
    record.add_argument(
        "kind",
        type=_record_kind,
        metavar="KIND",
        help="decision (S.1), validation (S.2) or change (S.3)",
    )
    record.add_argument("file", metavar="FILE", help="what --llmperf-json wrote")

    trim = command("trim", "baseline_commands.trim", "drop old sessions")
    trim.add_argument("name", metavar="NAME", help="a baseline of yours")
    trim.add_argument(
        "--keep", type=int, required=True, metavar="N", help="keep the newest N sessions of each measurement"
    )

    rename = command("rename", "baseline_commands.rename", "give what is stored of a test to its new name")
    rename.add_argument("name", metavar="NAME", help="a baseline of yours")
    rename.add_argument("old", metavar="OLD_TEST", help=_TEST)
    rename.add_argument("new", metavar="NEW_TEST", help="likewise")

    remove = command("remove", "baseline_commands.remove", "drop what is stored of a test")
    remove.add_argument("name", metavar="NAME", help="a baseline of yours")
    remove.add_argument("test", metavar="TEST", help=_TEST)

    command(
        "doctor",
        "doctor_command.examine",
        "say what is wrong, or too little, with baselines and installation",
        "Exit code 1 where something is wrong; hints alone are none.",
    )
    return parser


def _add_metrics(command: argparse.ArgumentParser, purpose: str) -> None:
    """Which metrics, and the change that matters."""
    command.add_argument(
        "--metric",
        action="append",
        choices=GATED_METRICS,
        metavar="METRIC",
        help=f"{purpose}; may be given several times (default: those that --llmperf-compare judges). One of "
        + ", ".join(GATED_METRICS),
    )
    command.add_argument(
        "--delta",
        type=float,
        metavar="N",
        help="the smallest change for the worse that matters, in points of percentages, else in percent",
    )
