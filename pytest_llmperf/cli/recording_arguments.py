"""The command line of `record-agents`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any

RECORD_AGENTS = "record-agents"

_SERVERS = ("backend", "urls", "auth", "ca_file", "model", "gguf", "force_topology", "script", "timeout_s")
"""The options of pytest that say which servers the agents are recorded on."""

_HELP = {"force_topology": "topology of the servers: dual, single, single_parallel"}
"""Help of the options that pytest's help describes for tests."""


def add_record_agents(commands: Any, *, with_servers: bool) -> None:
    """Adds the command.

    Args:
        commands: argparse's subparsers.
        with_servers: whether the options of the servers are added, too; they take time to import.
    """
    record = commands.add_parser(
        RECORD_AGENTS,
        usage="%(prog)s [options] -- COMMAND [--and COMMAND ...]",
        help="run agents once and record their requests",
        description="Run agents once, all at the same time, and record their requests. Scenario.from_recording(FILE) "
        "replays them, see docs/recordings.md. A COMMAND is a program and its arguments. {url} in an argument becomes "
        "the address of its server, which is also in the environment (OLLAMA_HOST, OPENAI_BASE_URL, ...). Ctrl-C ends "
        "the recording and keeps the requests answered so far.",
        epilog="Exit code: 1 = an agent or a server failed, 2 = interrupted; the requests answered so far are kept.",
    )
    record.set_defaults(run="recording_commands.record_agents")
    record.add_argument(
        "--output", "-o", default="recording.jsonl", metavar="FILE", help="the recording (default: %(default)s)"
    )
    record.add_argument(
        "--redact",
        action="append",
        default=[],
        metavar="FIELD",
        help="redact this field of the requests, e.g. user or metadata.user_id; repeatable. A text becomes filler of "
        "the same length. Secrets are always redacted",
    )
    record.add_argument(
        "--no-bodies",
        dest="bodies",
        action="store_false",
        help="keep only sizes and hashes of the requests; a replay sends filler with the same number of tokens",
    )
    record.add_argument(
        "--max-mb", type=float, default=64.0, metavar="N", help="size limit of the recording, MB (default: %(default)g)"
    )
    if with_servers:
        _add_servers(record.add_argument_group("servers (the same as pytest's options --llmperf-...)"))


def _add_servers(group: Any) -> None:
    options = import_module("pytest_llmperf.plugin.options.option_table").OPTIONS
    for option in options:
        if option.field in _SERVERS:
            group.add_argument(
                f"--{option.name}",
                dest=option.field,
                type=_type_of(option.parse),
                metavar=option.metavar,
                help=_HELP.get(option.field, option.help_text).replace("%", "%%"),
            )


def _type_of(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser of an option's value, for argparse, whose own error would repeat the value."""

    def parse_value(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_value


def servers_in(given: argparse.Namespace) -> dict[str, Any]:
    """The given options of the servers, by their fields of Settings."""
    return {field: value for field in _SERVERS if (value := getattr(given, field, None)) is not None}
