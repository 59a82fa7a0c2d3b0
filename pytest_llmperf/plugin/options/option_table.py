"""Every option of the plugin, by section; their declaration, and what was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmperf.plugin.options.run_options import GATE_OPTIONS, RESULT_OPTIONS, ROUND_OPTIONS
from pytest_llmperf.plugin.options.server_options import SERVER_OPTIONS

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.plugin.options.option import Option

SECTIONS: Mapping[str, tuple[Option, ...]] = {
    "Servers": SERVER_OPTIONS,
    "Rounds": ROUND_OPTIONS,
    "Gates and baselines": GATE_OPTIONS,
    "Results": RESULT_OPTIONS,
}
"""By section of the docs."""

OPTIONS = tuple(option for options in SECTIONS.values() for option in options)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup(
        "llmperf",
        "performance of several LLM agents at once (pytest-llmperf); relative paths start at the folder where pytest "
        "was started, those in an ini file at the file's folder",
    )
    for option in OPTIONS:
        value: dict[str, Any] = (
            {"metavar": option.metavar} if option.metavar else {"action": "store_const", "const": "on"}
        )
        group.addoption(
            f"--llmperf-{option.name}",
            dest=f"llmperf_{option.field}",
            default=None,
            help=option.help_text.replace("%", "%%"),
            **value,
        )
        parser.addini(option.ini, help=f"same as --llmperf-{option.name}")


def given(config: pytest.Config) -> bool:
    """Whether any of the options was given on the command line or in `addopts`."""
    return any(getattr(config.option, f"llmperf_{option.field}", None) is not None for option in OPTIONS)


def typed(config: pytest.Config) -> bool:
    """Whether any was typed on the command line; `addopts` also applies to runs that do not use the plugin."""
    return any(str(argument).startswith("--llmperf-") for argument in config.invocation_params.args)


def types_save(config: pytest.Config) -> bool:
    """Whether the command line, as typed, asks for rounds to be stored."""
    return any(
        str(argument).startswith(("--llmperf-save", "--llmperf-update")) for argument in config.invocation_params.args
    )


def names_stored(config: pytest.Config) -> bool:
    """Whether a stored baseline is named, on the command line or in the ini file."""
    from pytest_llmperf.plugin.options.ini_values import value_of

    names = ("compare", "save", "update")
    return any(getattr(config.option, f"llmperf_{name}", None) or value_of(config, f"llmperf_{name}") for name in names)
