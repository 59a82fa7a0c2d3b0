"""The definition of an option: one row of the table of options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


def never(_: str) -> bool:
    """The option's values are no paths."""
    return False


def is_toml(name: str) -> bool:
    """A value is a path if it is the name of a TOML file."""
    return name.endswith(".toml")


def is_in_a_folder(name: str) -> bool:
    """A value is a path if it has a folder in it."""
    return Path(name).name != name


class Option(NamedTuple):
    """One option. Its command line form, its ini twin, its help and its row in the docs are derived from it.

    Attributes:
        field: the field of Settings.
        name: the name on the command line after `--llmperf-`.
        metavar: placeholder of the value; an option without one is a flag, which means `on`.
        parse: converts a text to the value; raises ValueError.
        help: what it does; `see docs/x.md` becomes a link in the docs.
        default: the text of the default value; empty if there is none.
        unset: the behavior without the option, in words, if there is no default value.
        is_path: returns whether a value is a path.
        error_shows: `value` (with the secrets in it masked), `mask` (all of it is one), or `nothing` (the parser's own
            error shows what may be shown).
    """

    field: str
    name: str
    metavar: str
    parse: Callable[[str], Any]
    help: str
    default: str = ""
    unset: str = ""
    is_path: Callable[[str], bool] = never
    error_shows: str = "value"

    @property
    def ini(self) -> str:
        """The ini twin's name."""
        return f"llmperf_{self.name.replace('-', '_')}"

    @property
    def default_words(self) -> str:
        """The default for a reader; empty for what is simply off."""
        return self.default or self.unset

    @property
    def help_text(self) -> str:
        """For `pytest --help`."""
        return f"{self.help} (default: {self.default_words})" if self.default_words else self.help
