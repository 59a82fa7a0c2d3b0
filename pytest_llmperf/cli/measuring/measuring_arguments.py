"""The command lines of `quick` and `capacity`."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress

from pytest_llmperf.model import BACKENDS, CLIENT_RUNTIMES, RUNTIMES

QUICK = (
    "quick",
    "measuring.quick_command.quick",
    "measure for a minute, without a test, how agents run together here",
    "Each agent runs alone, then all together, up to 5 times. Ctrl-C prints what was measured so far. "
    "Exit code: 0 = measured, 2 = interrupted, or nothing could be measured.",
)
"""Name, function, help and the rest of the description."""

CAPACITY = (
    "capacity",
    "measuring.capacity_command.capacity",
    "find out how many agents the servers carry, without a test",
    "Runs equal agents at once, more and fewer of them, until it is shown for how many at least a share of all "
    "requests keeps every limit. At most 1 % of such answers promise too much; see docs/capacity.md. Ctrl-C prints "
    "what was measured so far. Exit code: 0 = a number was confirmed (with --min-agents: at least that number), "
    "1 = none or fewer were, 2 = interrupted, or nothing could be measured.",
)
"""The same for `capacity`."""


def add_quick(quick: ArgumentParser) -> None:
    """Adds the arguments of `quick`."""
    _add_servers(quick, "running servers, one per agent; a single one is shared by all agents")
    quick.add_argument(
        "--agents",
        dest="agent_count",
        type=_whole(2, 100),
        metavar="N",
        help="number of agents (default: 2, or one per URL)",
    )
    _add_seconds(quick, 60.0, "time for all rounds, s")
    quick.add_argument("--json", action="store_true", help="print the JSON document that --llmperf-json writes")


def add_capacity(capacity: ArgumentParser) -> None:
    """Adds the arguments of `capacity`."""
    _add_servers(capacity, "a running server, which all agents share")
    limits = capacity.add_argument_group("limits of every request, one or more of them")
    limits.add_argument("--ttft-ms", type=_positive, metavar="MS", help="largest time to the first token")
    limits.add_argument("--tpot-ms", type=_positive, metavar="MS", help="largest mean time per token after the first")
    limits.add_argument(
        "--tok-s", type=_positive, metavar="N", help="least number of tokens per second after the first, by arrival"
    )
    limits.add_argument("--e2e-s", type=_positive, metavar="S", help="largest time for the whole answer")
    capacity.add_argument(
        "--share",
        type=_share,
        default=0.95,
        metavar="X",
        help="share of all requests that must keep every limit, 0.5 to 0.999 (default: %(default)g)",
    )
    capacity.add_argument(
        "--max-agents",
        "--llmperf-max-agents",
        dest="most_agents",
        type=_whole(1, 256),
        default=16,
        metavar="N",
        help="the largest number of agents to try (default: %(default)s)",
    )
    capacity.add_argument(
        "--min-agents", dest="least_agents", type=_whole(1, 256), metavar="N", help="exit with 1 if fewer are confirmed"
    )
    capacity.add_argument(
        "--tokens",
        type=_whole(2, 8192),
        default=64,
        metavar="N",
        help="length of each answer (default: %(default)s)",
    )
    capacity.add_argument(
        "--correlation",
        type=_correlation,
        default=0.3,
        metavar="R",
        help="correlation of the requests of a round that is assumed at least, 0 to 1; 1 holds for any "
        "(default: %(default)g)",
    )
    _add_seconds(capacity, 900.0, "time for all rounds, s")
    capacity.add_argument("--json", action="store_true", help="print the answer as JSON")


def _add_servers(command: ArgumentParser, urls: str) -> None:
    command.add_argument("urls", nargs="*", metavar="URL", help=f"{urls} (default: what --backend finds)")
    command.add_argument("--llmperf-urls", action="append", default=[], help=SUPPRESS)  # errors name it
    command.add_argument(
        "--backend",
        "--llmperf-backend",
        choices=BACKENDS,
        default="auto",
        help="where the servers come from, see docs/servers.md (default: %(default)s)",
    )
    command.add_argument("--model", "--llmperf-model", default="", metavar="NAME", help="model name on the servers")
    command.add_argument(
        "--auth",
        "--llmperf-auth",
        default="",
        metavar="KIND:NAME",
        help="how to log in: bearer:NAME or basic:NAME, NAME is the environment variable with the secret",
    )
    command.add_argument(
        "--runtime",
        "--llmperf-runtime",
        choices=CLIENT_RUNTIMES,
        default=RUNTIMES[0],
        help="how the agents' clients run concurrently (default: %(default)s)",
    )


def _add_seconds(command: ArgumentParser, default: float, help: str) -> None:
    command.add_argument(
        "--seconds", type=_seconds, default=default, metavar="N", help=f"{help} (default: %(default)g)"
    )


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < 1e6:
            return float(text)
    raise ArgumentTypeError("wanted more than 0 seconds")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < 1e9:
            return float(text)
    raise ArgumentTypeError("wanted a number above 0")


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0.5 <= float(text) <= 0.999:
            return float(text)
    raise ArgumentTypeError("wanted a share from 0.5 to 0.999; all requests can never be shown to keep a limit")


def _correlation(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise ArgumentTypeError("wanted a number from 0 to 1")


def _whole(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers."""

    def parse(text: str) -> int:
        with suppress(ValueError):
            if least <= int(text) <= most:
                return int(text)
        raise ArgumentTypeError(f"wanted a number from {least} to {most}")

    return parse
