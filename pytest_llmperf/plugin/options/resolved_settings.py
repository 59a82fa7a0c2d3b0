"""From options, ini file and `llmperf.toml` to the settings of a session."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config import FILE, deployment_of, load, named_or_at
from pytest_llmperf.errors import UsageError, did_you_mean
from pytest_llmperf.files.atomic_write import is_there
from pytest_llmperf.masking import MASK, refused
from pytest_llmperf.model import STARTED, Settings
from pytest_llmperf.model.paths import placed
from pytest_llmperf.model.texts import text_fault
from pytest_llmperf.plugin.options import parsers
from pytest_llmperf.plugin.options.ini_values import comment_hint, is_declared, names_in, text_of, value_of
from pytest_llmperf.plugin.options.option import Option
from pytest_llmperf.plugin.options.option_table import OPTIONS


def resolve(config: pytest.Config) -> Settings:
    """The settings from the command line, else from the ini file, else the defaults, as one frozen value.

    A relative path in an option (also in `addopts`) starts at the folder in which pytest was started, as in pytest's
    own options; a relative path in the ini file starts at the folder of that file.

    Raises:
        pytest.UsageError: values are invalid; the message lists all of them.
    """
    given = _Given()
    for option in OPTIONS:
        given.read(config, option)
    given.faults += _unknown(config)
    given.configure(config.rootpath)
    values, typed, faults = given.values, given.typed, given.faults
    closer = "urls" not in typed and ("backend" in typed or values.get("deployment"))
    if closer and values.get("backend") in STARTED:
        values.pop("urls", None)  # from the ini file; the backend overrides it
    settings = Settings(**values)
    if settings.update and (settings.save or settings.compare):
        faults.append(
            "--llmperf-update accepts what this run measures: it goes neither with --llmperf-compare, which judges it, "
            "nor with --llmperf-save, which adds it"
        )
    if settings.max_rounds < settings.min_rounds:
        if "max_rounds" in values:
            faults.append(
                f"--llmperf-max-rounds is {settings.max_rounds}, fewer than --llmperf-rounds {settings.min_rounds}"
            )
        else:
            settings = Settings(**values, max_rounds=settings.min_rounds)
    if faults:
        raise pytest.UsageError("pytest-llmperf: wrong options:\n  " + "\n  ".join(faults))
    return settings


@dataclass(slots=True)
class _Given:
    """Values by field of Settings, the fields that were typed on the command line, and what is wrong."""

    values: dict[str, Any] = field(default_factory=dict)
    typed: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def read(self, config: pytest.Config, option: Option) -> None:
        """Add an option's value, from the command line or else from the ini file; or what is wrong with it."""
        raw, where = getattr(config.option, f"llmperf_{option.field}", None), f"--llmperf-{option.name}"
        folder = config.invocation_params.dir
        if raw is not None:
            self.typed.add(option.field)
        else:
            raw, where = value_of(config, option.ini), f"{option.ini} in {config.inipath}"
            folder = config.inipath.parent if config.inipath else config.rootpath
        if raw is None:
            return
        try:
            self.values[option.field] = _value(option, text_of(raw, option.parse), folder)
        except (ValueError, TypeError) as error:
            hint = "" if option.field in self.typed else comment_hint(raw, config.inipath)
            self.faults.append(f"{where}: {_shown(option, raw)}{error}{hint}")

    def configure(self, root: Path) -> None:
        """Add what `llmperf.toml` says, and let its named deployment override what was not typed."""
        values = self.values
        file, name, against = (values.get(field, "") for field in ("config_file", "deployment", "against"))
        path = Path(file) if file else root / FILE
        if not (file or name or against or is_there(path)):
            return
        try:
            values["configuration"] = load(path, wanted=bool(file))
        except UsageError as error:
            self.faults.append(str(error))
            return
        try:
            if name:
                stated = deployment_of(values["configuration"], name).stated()
                values |= {key: value for key, value in stated.items() if key not in self.typed}
        except UsageError as error:
            self.faults.append(str(error))
        try:
            if against:
                values["incumbent"] = named_or_at(values["configuration"], against, parsers.urls)
        except UsageError as error:
            self.faults.append(str(error))


def _unknown(config: pytest.Config) -> list[str]:
    """The faults of ini names that begin with the plugin's prefix but that no plugin declares (pytest only warns)."""
    known = {option.ini for option in OPTIONS}
    overridden = [text.partition("=")[0] for text in config.option.override_ini or ()]
    faults = []
    for name in dict.fromkeys((*names_in(config), *overridden)):
        if name.startswith("llmperf_") and name not in known and not is_declared(config, name):
            where = "-o" if name in overridden else config.inipath
            faults.append(f"{refused(name)} in {where}: there is no such option{did_you_mean(name, known)}")
    return faults


def _value(option: Option, text: str, folder: Path) -> Any:
    """The value of a text; a path is taken relative to the folder. Raises ValueError or TypeError."""
    fault = text_fault(text)
    if fault and ("\0" in text or not option.is_path(text)):  # the system's file names may hold any bytes but NUL
        raise ValueError(fault)
    if (option.is_path("/") or option.is_path(text)) and re.match(r"\w+:/", text):
        raise ValueError("wanted the path of a file or folder, not an address")
    value = option.parse(text)
    return str(placed(value, folder)) if option.is_path(value) else value


def _shown(option: Option, raw: object) -> str:
    """The value as an error may show it, which may be printed in a CI log."""
    if option.error_shows == "nothing":
        return ""
    return f"{MASK if option.error_shows == 'mask' else refused(str(raw))!r}: "
