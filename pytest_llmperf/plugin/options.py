"""Every option once: its command line form, its ini twin, its parser, its place in Settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from pytest_llmperf.model import Settings


def _text(raw: str) -> str:
    return raw.strip()


def _texts(raw: str) -> tuple[str, ...]:
    return tuple(part.strip().rstrip("/") for part in raw.split(",") if part.strip())


def _count(raw: str) -> int:
    value = int(raw)
    if value < 0:
        raise ValueError("wanted 0 or more")
    return value


def _rounds(raw: str) -> int:
    value = int(raw)
    if not 1 <= value <= 1000:
        raise ValueError("wanted 1 to 1000")
    return value


def _seconds(raw: str) -> float:
    value = float(raw)
    if not 0 < value < 1e6:
        raise ValueError("wanted more than 0 seconds")
    return value


def _ports(raw: str) -> tuple[int, ...]:
    ports = tuple(int(part) for part in raw.split(",") if part.strip())
    if not all(0 < port < 65536 for port in ports):
        raise ValueError("wanted ports from 1 to 65535")
    return ports


def _urls(raw: str) -> tuple[str, ...]:
    urls = tuple(url if "://" in url else f"http://{url}" for url in _texts(raw))
    if bad := [url for url in urls if not url.startswith(("http://", "https://"))]:
        raise ValueError(f"wanted http:// or https:// addresses, got {', '.join(bad)}")
    return urls


def _stem(raw: str) -> str:
    name = raw.strip()
    if not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9._-]*)?", name) or name.endswith(".toml"):
        raise ValueError("wanted a name of letters, digits, '_', '-' and '.', without .toml")
    return name


def _pairs(raw: str) -> dict[str, float]:
    pairs = {}
    for part in _texts(raw):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"wanted NAME=VALUE, got {part!r}")
        pairs[key.strip()] = float(value)
    return pairs


def _limits(raw: str) -> dict[str, float]:
    from pytest_llmperf.judge.markers import MARKERS, build  # noqa: PLC0415 - only where a limit is given

    limits = _pairs(raw)
    if unknown := sorted(set(limits) - set(MARKERS)):
        raise ValueError(f"no gate {', '.join(unknown)}; gates: {', '.join(MARKERS)}")
    for name, value in limits.items():
        build(name, kwargs={MARKERS[name].LIMIT: value})
    return limits


def _script(raw: str) -> Any:
    from pytest_llmperf.model import Script  # noqa: PLC0415 - only where a script is given

    pairs: dict[str, Any] = _pairs(raw)
    if unknown := sorted(set(pairs) - set(Script.__dataclass_fields__)):
        raise ValueError(f"unknown {', '.join(unknown)}; known: {', '.join(Script.__dataclass_fields__)}")
    if "seed" in pairs:
        if not pairs["seed"].is_integer():
            raise ValueError(f"seed = {pairs['seed']:g}, wanted an integer")
        pairs["seed"] = int(pairs["seed"])
    return Script(**pairs)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise ValueError(f"wanted one of {', '.join(choices)}")
        return raw

    return parse


def _switch(raw: str) -> bool:
    return _one_of("on", "off")(raw) == "on"


def _never(_: str) -> bool:
    return False


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")


def _is_in_a_folder(name: str) -> bool:
    return Path(name).name != name


class Option(NamedTuple):
    """One row: `field` of Settings, name on the command line, placeholder, parser, help, and which values are paths."""

    field: str
    name: str
    metavar: str
    parse: Callable[[str], Any]
    help: str
    is_path: Callable[[str], bool] = _never

    @property
    def ini(self) -> str:
        """The ini twin's name."""
        return f"llmperf_{self.name.replace('-', '_')}"


_KINDS = ("dual", "single", "single_parallel")

OPTIONS = (
    Option(
        "backend",
        "backend",
        "NAME",
        _one_of("auto", "attach", "ollama", "embedded", "simulated"),
        "where instances come from: auto (default: attach, ollama or embedded, the first that can be had), "
        "attach (running servers), ollama (starts `ollama serve`), embedded (llama.cpp with a small real model), "
        "simulated (a scripted server; results are marked as simulated)",
    ),
    Option("urls", "urls", "URL,URL", _urls, "running servers for the backend attach, one an agent"),
    Option("model", "model", "NAME", _text, "model name on the servers (default: the backend's choice)"),
    Option("gguf", "gguf", "FILE", _text, "a GGUF file to serve instead of the packaged model", bool),
    Option("ports", "ports", "PORT,PORT", _ports, "ports of the instances that we start (default: free ones)"),
    Option("threads", "threads", "N", _count, "CPU threads an instance (default 0: cores divided by instances)"),
    Option("ollama_bin", "ollama-bin", "FILE", _text, "the ollama binary (default: found on PATH)", _is_in_a_folder),
    Option(
        "runtime",
        "runtime",
        "NAME",
        _one_of("threads", "asyncio", "uvloop", "processes"),
        "how the agents' clients run at once: threads (default: least CPU a token, see docs/stopwatch.md), asyncio, "
        "uvloop, processes (an interpreter an agent)",
    ),
    Option(
        "calibrate",
        "calibrate",
        "on|off",
        _switch,
        "measure what the harness itself costs, once a session, against a paced server (default on: half a second)",
    ),
    Option("min_rounds", "rounds", "N", _rounds, "fewest rounds a measurement (default 5)"),
    Option("max_rounds", "max-rounds", "N", _rounds, "most rounds, while gates are undecided (default 20)"),
    Option("warmups", "warmups", "N", _count, "discarded requests an agent before the first round (default 1)"),
    Option("timeout_s", "timeout", "SECONDS", _seconds, "longest a timed request may take (default 300)"),
    Option("start_timeout_s", "start-timeout", "SECONDS", _seconds, "longest a server may take to start (default 120)"),
    Option(
        "baseline",
        "baseline",
        "NAME",
        _text,
        "baseline in force: limits of markers without a value come from it; a name or a .toml file "
        "(default: `embedded` for the embedded backend, else `decision_card`)",
        _is_toml,
    ),
    Option(
        "baselines_dir", "baselines-dir", "DIR", _text, "folder of your baselines (default: ROOTDIR/baselines)", bool
    ),
    Option("save", "save", "NAME", _stem, "save the rounds of passing tests as a session of baseline NAME"),
    Option(
        "compare",
        "compare",
        "NAME",
        _text,
        "gate every measured test against the stored baseline NAME, a name or a .toml file",
        _is_toml,
    ),
    Option(
        "update",
        "update",
        "NAME",
        _stem,
        "after an accepted change: put this run's rounds of passing tests in place of the sessions that baseline NAME "
        "has of them; regression gates are not judged",
    ),
    Option(
        "limits",
        "limit",
        "GATE=VALUE",
        _limits,
        "limits for markers without a value, before the baseline's: efficiency=95,contention=0.01",
    ),
    Option(
        "on_inconclusive",
        "on-inconclusive",
        "fail|warn",
        _one_of("fail", "warn"),
        "what an undecided limit gate does to its test (default fail)",
    ),
    Option(
        "on_inconclusive_regression",
        "on-inconclusive-regression",
        "young|fail|warn",
        _one_of("young", "fail", "warn"),
        "what an undecided regression gate does to its test (default young: warn while its baseline has fewer "
        "sessions than --llmperf-min-sessions, fail after)",
    ),
    Option(
        "min_sessions",
        "min-sessions",
        "N",
        _rounds,
        "how many stored sessions a baseline needs before an undecided regression gate fails (default 4)",
    ),
    Option(
        "on_mismatch",
        "on-mismatch",
        "fail|warn|skip",
        _one_of("fail", "warn", "skip"),
        "what a gate does whose limit is of another machine (default fail)",
    ),
    Option("json", "json", "FILE", _text, "write every raw timing, metric and verdict to FILE", bool),
    Option(
        "force_topology",
        "topology",
        "KIND",
        _one_of(*_KINDS),
        f"run every test on this topology, whatever its fixture says: {', '.join(_KINDS)}",
    ),
    Option(
        "script",
        "script",
        "KEY=VALUE,...",
        _script,
        "the simulated server's behaviour: ttft_ms, prefill_tok_s, decode_tok_s, jitter_pct, seed, load_ms",
    ),
)


def add_options(parser: pytest.Parser) -> None:
    """Declares every option and its ini twin."""
    group = parser.getgroup(
        "llmperf",
        "performance of several LLM agents at once (pytest-llmperf); relative paths start where pytest was started, "
        "those in the ini file at that file's folder",
    )
    for option in OPTIONS:
        group.addoption(
            f"--llmperf-{option.name}",
            dest=f"llmperf_{option.field}",
            metavar=option.metavar,
            default=None,
            help=option.help.replace("%", "%%"),
        )
        parser.addini(option.ini, help=f"same as --llmperf-{option.name}")


def given(config: pytest.Config) -> bool:
    """Whether any of our options stands on the command line or in `addopts`."""
    return any(getattr(config.option, f"llmperf_{option.field}", None) is not None for option in OPTIONS)


def typed(config: pytest.Config) -> bool:
    """Whether any stands on the command line as it was typed; `addopts` also holds for runs without us."""
    return any(str(argument).startswith("--llmperf-") for argument in config.invocation_params.args)


def names_stored(config: pytest.Config) -> bool:
    """Whether a stored baseline is named, on the command line or in the ini file."""
    names = ("compare", "save", "update")
    return any(getattr(config.option, f"llmperf_{name}", None) or config.getini(f"llmperf_{name}") for name in names)


def resolve(config: pytest.Config) -> Settings:
    """Command line, then ini, then default, into one frozen value.

    Relative paths start, as those of pytest's own options do, at the folder that pytest was started in (in `addopts`,
    too); those of ini twins at the ini file's folder.

    Raises:
        pytest.UsageError: lists every wrong value at once.
    """
    from pytest_llmperf.model import Settings  # noqa: PLC0415 - keeps unused runs free of it

    values: dict[str, Any] = {}
    faults = []
    for option in OPTIONS:
        raw, where = getattr(config.option, f"llmperf_{option.field}", None), f"--llmperf-{option.name}"
        folder = config.invocation_params.dir
        if raw is None:
            raw, where = config.getini(option.ini) or None, f"{option.ini} in {config.inipath}"
            folder = config.inipath.parent if config.inipath else config.rootpath
        if raw is None:
            continue
        try:
            value = option.parse(raw)
            values[option.field] = str(folder / Path(value).expanduser()) if option.is_path(value) else value
        except (ValueError, TypeError) as error:
            faults.append(f"{where}: {raw!r}: {error}")
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
