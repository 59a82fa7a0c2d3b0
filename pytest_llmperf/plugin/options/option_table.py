"""Every option once: its command line form, its ini twin, its parser, its place in Settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_llmperf.masking import MASK, refused
from pytest_llmperf.plugin.options import parsers
from pytest_llmperf.plugin.options.ini_values import comment_hint, text_of, value_of

if TYPE_CHECKING:
    from pytest_llmperf.model import Settings


def _never(_: str) -> bool:
    return False


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")


def _is_in_a_folder(name: str) -> bool:
    return Path(name).name != name


class Option(NamedTuple):
    """One row: `field` of Settings, name on the command line, placeholder, parser, help, and which values are paths.

    An option without a placeholder is a flag: it stands for `on`.
    """

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
        parsers.one_of("auto", "attach", "ollama", "openai", "embedded", "simulated"),
        "where instances come from: auto (default: attach, ollama or embedded, the first that can be had), "
        "attach (running servers), ollama (starts `ollama serve`), openai (running OpenAI-compatible servers), "
        "embedded (llama.cpp with a small real model), simulated (a scripted server; results are marked as simulated)",
    ),
    Option("urls", "urls", "URL,URL", parsers.urls, "running servers for the backends attach and openai, one an agent"),
    Option(
        "auth",
        "auth",
        "KIND:NAME,...",
        parsers.auth,
        "how to log in there: bearer:NAME or basic:NAME, NAME being the environment variable that holds the token, or "
        "user:password; one for each of the servers, or one for all",
    ),
    Option("ca_file", "ca", "FILE", parsers.text, "certificates that https servers are checked with (PEM)", bool),
    Option("proxy", "proxy", "URL", parsers.proxy, "a proxy that requests go through, timed ones too (default: none)"),
    Option(
        "proxy_auth",
        "proxy-auth",
        "KIND:NAME",
        parsers.one_auth,
        "how to log in at the proxy: basic:NAME, NAME being the environment variable that holds user:password",
    ),
    Option("model", "model", "NAME", parsers.text, "model name on the servers (default: the backend's choice)"),
    Option("gguf", "gguf", "FILE", parsers.text, "a GGUF file to serve instead of the packaged model", bool),
    Option("ports", "ports", "PORT,PORT", parsers.ports, "ports of the instances that we start (default: free ones)"),
    Option(
        "threads",
        "threads",
        "N",
        parsers.count,
        "CPU threads an instance (default 0: cores divided by instances; Ollama and attached servers: theirs)",
    ),
    Option(
        "ollama_bin", "ollama-bin", "FILE", parsers.text, "the ollama binary (default: found on PATH)", _is_in_a_folder
    ),
    Option(
        "gpus",
        "gpus",
        "GPU,GPU",
        parsers.gpus,
        "the GPU that each `ollama serve` sees, by number or UUID (-1: none); one for all (default: every GPU)",
    ),
    Option(
        "pull",
        "pull",
        "on|off",
        parsers.switch,
        "let an Ollama that we start fetch a model that it lacks (default off)",
    ),
    Option(
        "runtime",
        "runtime",
        "NAME",
        parsers.one_of("threads", "asyncio", "uvloop", "processes"),
        "how the agents' clients run at once: threads (default: least CPU a token, see docs/stopwatch.md), asyncio, "
        "uvloop, processes (an interpreter an agent)",
    ),
    Option(
        "calibrate",
        "calibrate",
        "on|off",
        parsers.switch,
        "measure what the harness itself costs, once a session, against a paced server (default on: half a second)",
    ),
    Option(
        "telemetry_s",
        "telemetry",
        "SECONDS|off",
        parsers.seconds_or_off,
        "how often to look, while a round runs, at processors, memory, processes and GPUs of this machine (default 1; "
        "see docs/telemetry.md)",
    ),
    Option("min_rounds", "rounds", "N", parsers.rounds, "fewest rounds a measurement (default 5)"),
    Option("max_rounds", "max-rounds", "N", parsers.rounds, "most rounds, while gates are undecided (default 20)"),
    Option(
        "duration_s",
        "duration",
        "TIME",
        parsers.duration,
        "how long tests marked soak run: 90s, 30m, 12h (default: they are skipped)",
    ),
    Option("warmups", "warmups", "N", parsers.count, "discarded requests an agent before the first round (default 1)"),
    Option("timeout_s", "timeout", "SECONDS", parsers.seconds, "longest a timed request may take (default 300)"),
    Option(
        "start_timeout_s",
        "start-timeout",
        "SECONDS",
        parsers.seconds,
        "longest a server may take to start (default 120)",
    ),
    Option(
        "lock_timeout_s",
        "lock-timeout",
        "SECONDS",
        parsers.seconds,
        "longest to wait for another measurement on this machine to end (default 3600)",
    ),
    Option(
        "baseline",
        "baseline",
        "NAME",
        parsers.text,
        "baseline in force: limits of markers without a value come from it; a name or a .toml file "
        "(default: `embedded` for the embedded backend, else `decision_card`)",
        _is_toml,
    ),
    Option(
        "baselines_dir",
        "baselines-dir",
        "DIR",
        parsers.text,
        "folder of your baselines (default: ROOTDIR/baselines)",
        bool,
    ),
    Option("save", "save", "NAME", parsers.stem, "save the rounds of passing tests as a session of baseline NAME"),
    Option(
        "compare",
        "compare",
        "NAME",
        parsers.text,
        "gate every measured test against the stored baseline NAME, a name or a .toml file",
        _is_toml,
    ),
    Option(
        "update",
        "update",
        "NAME",
        parsers.stem,
        "after an accepted change: put this run's rounds of passing tests in place of the sessions that baseline NAME "
        "has of them; regression gates are not judged",
    ),
    Option(
        "limits",
        "limit",
        "GATE=VALUE",
        parsers.limits,
        "limits for markers without a value, before the baseline's: efficiency=95,contention=0.01",
    ),
    Option(
        "on_inconclusive",
        "on-inconclusive",
        "fail|warn",
        parsers.one_of("fail", "warn"),
        "what an undecided limit gate does to its test (default fail)",
    ),
    Option(
        "on_inconclusive_regression",
        "on-inconclusive-regression",
        "young|fail|warn",
        parsers.one_of("young", "fail", "warn"),
        "what an undecided regression gate does to its test (default young: warn while its baseline has fewer "
        "sessions than --llmperf-min-sessions, fail after)",
    ),
    Option(
        "min_sessions",
        "min-sessions",
        "N",
        parsers.rounds,
        "how many stored sessions a baseline needs before an undecided regression gate fails (default 4)",
    ),
    Option(
        "on_mismatch",
        "on-mismatch",
        "fail|warn|skip",
        parsers.one_of("fail", "warn", "skip"),
        "what a gate does whose limit is of another machine (default fail)",
    ),
    Option(
        "require_gates",
        "require-gates",
        "",
        parsers.switch,
        "fail tests that measure and have no gate: no marker, no baseline or incumbent to compare with",
    ),
    Option("json", "json", "FILE", parsers.text, "write every raw timing, metric and verdict to FILE", bool),
    Option(
        "html", "html", "FILE", parsers.text, "write a report for people to FILE, one page that opens offline", bool
    ),
    Option("csv", "csv", "FILE", parsers.text, "write a row a round to FILE, by the schema R.1 of the report", bool),
    Option("markdown", "markdown", "FILE", parsers.text, "write verdicts and figures to FILE, for a comment", bool),
    Option("codequality", "codequality", "FILE", parsers.text, "write GitLab's Code Quality report to FILE", bool),
    Option("openmetrics", "openmetrics", "FILE", parsers.text, "write the figures to FILE as OpenMetrics text", bool),
    Option(
        "github",
        "github",
        "on|off",
        parsers.switch,
        "in a GitHub Actions job, annotate the tests whose gates failed and add to the summary page (default on)",
    ),
    Option(
        "results",
        "results",
        "DIR",
        parsers.text,
        "folder for the results of experiments, NAME.csv and NAME.findings.csv (default: ROOTDIR/llmperf-results)",
        bool,
    ),
    Option(
        "resume",
        "resume",
        "on|off",
        parsers.switch,
        "whether the cells that an interrupted experiment has finished count (default on)",
    ),
    Option(
        "force_topology",
        "topology",
        "KIND",
        parsers.one_of(*_KINDS),
        f"run every test on this topology, whatever its fixture says: {', '.join(_KINDS)}",
    ),
    Option(
        "script",
        "script",
        "KEY=VALUE,...",
        parsers.script,
        "the simulated server's behaviour: ttft_ms, prefill_tok_s, decode_tok_s, jitter_pct, seed, load_ms, "
        "imbalance_pct",
    ),
    Option(
        "faults",
        "faults",
        "FILE",
        parsers.text,
        "what goes wrong with the simulated server: a TOML file, see docs/faults.md",
        bool,
    ),
    Option(
        "diagnose",
        "diagnose",
        "",
        parsers.switch,
        "ask the servers after the rounds how they are, whether gates fail or not, and say where time goes: a line a "
        "question, see docs/diagnosis.md",
    ),
    Option(
        "config_file",
        "config",
        "FILE",
        parsers.text,
        "settings that do not fit an option, such as named deployments (default: ROOTDIR/llmperf.toml, if it is there)",
        bool,
    ),
    Option(
        "deployment",
        "deployment",
        "NAME",
        parsers.text,
        "measure this deployment of llmperf.toml: what it states comes before the ini file's options",
    ),
    Option(
        "against",
        "against",
        "URL,URL|NAME",
        parsers.against,
        "an incumbent, by the addresses of its servers or as a deployment of llmperf.toml: takes turns with what is "
        "measured, round by round, and every test is judged by the differences of the pairs",
    ),
    Option(
        "against_itself",
        "against-itself",
        "on|off",
        parsers.switch,
        "let the incumbent be the very servers that are measured (default off: an error), to see what noise does",
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
        value: dict[str, Any] = (
            {"metavar": option.metavar} if option.metavar else {"action": "store_const", "const": "on"}
        )
        group.addoption(
            f"--llmperf-{option.name}",
            dest=f"llmperf_{option.field}",
            default=None,
            help=option.help.replace("%", "%%"),
            **value,
        )
        parser.addini(option.ini, help=f"same as --llmperf-{option.name}")


def given(config: pytest.Config) -> bool:
    """Whether any of our options stands on the command line or in `addopts`."""
    return any(getattr(config.option, f"llmperf_{option.field}", None) is not None for option in OPTIONS)


def typed(config: pytest.Config) -> bool:
    """Whether any stands on the command line as it was typed; `addopts` also holds for runs without us."""
    return any(str(argument).startswith("--llmperf-") for argument in config.invocation_params.args)


def types_save(config: pytest.Config) -> bool:
    """Whether the command line, as it was typed, asks for rounds to be stored."""
    return any(
        str(argument).startswith(("--llmperf-save", "--llmperf-update")) for argument in config.invocation_params.args
    )


def names_stored(config: pytest.Config) -> bool:
    """Whether a stored baseline is named, on the command line or in the ini file."""
    names = ("compare", "save", "update")
    return any(getattr(config.option, f"llmperf_{name}", None) or value_of(config, f"llmperf_{name}") for name in names)


def resolve(config: pytest.Config) -> Settings:
    """Command line, then ini, then default, into one frozen value.

    Relative paths start, as those of pytest's own options do, at the folder that pytest was started in (in `addopts`,
    too); those of ini twins at the ini file's folder.

    Raises:
        pytest.UsageError: lists every wrong value at once.
    """
    from pytest_llmperf.model import STARTED, Settings  # noqa: PLC0415 - keeps unused runs free of it

    values: dict[str, Any] = {}
    typed: set[str] = set()
    faults: list[str] = []
    for option in OPTIONS:
        _read(config, option, values, typed, faults)
    _configure(values, typed, config.rootpath, faults)
    closer = "urls" not in typed and ("backend" in typed or values.get("deployment"))
    if closer and values.get("backend") in STARTED:
        values.pop("urls", None)  # of the ini file, which what is closer overrules
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


def _read(config: pytest.Config, option: Option, values: dict[str, Any], typed: set[str], faults: list[str]) -> None:
    """Adds one option's value, as it is typed or else written in the ini file; or what is wrong with it."""
    from pytest_llmperf.model.paths import placed  # noqa: PLC0415 - keeps unused runs free of it
    from pytest_llmperf.model.texts import text_fault  # noqa: PLC0415 - as above

    raw, where = getattr(config.option, f"llmperf_{option.field}", None), f"--llmperf-{option.name}"
    folder = config.invocation_params.dir
    if raw is not None:
        typed.add(option.field)
    else:
        raw, where = value_of(config, option.ini), f"{option.ini} in {config.inipath}"
        folder = config.inipath.parent if config.inipath else config.rootpath
    if raw is None:
        return
    try:
        text = text_of(raw, option.parse)
        fault = text_fault(text)
        if fault and ("\0" in text or not option.is_path(text)):  # the system's file names may hold any bytes but NUL
            raise ValueError(fault)
        if (option.is_path("/") or option.is_path(text)) and re.match(r"\w+:/", text):
            raise ValueError("wanted the path of a file or folder, not an address")
        value = option.parse(text)
        values[option.field] = str(placed(value, folder)) if option.is_path(value) else value
    except (ValueError, TypeError) as error:
        hint = "" if option.field in typed else comment_hint(raw, config.inipath)
        faults.append(f"{where}: {_shown(option, raw)}{error}{hint}")


def _shown(option: Option, raw: object) -> str:
    """What was given, for an error that may stand in a log of CI; of an address, the error shows what may be shown."""
    if option.field in ("urls", "proxy", "against"):
        return ""
    return f"{MASK if option.field in ('auth', 'proxy_auth') else refused(str(raw))!r}: "


def _configure(values: dict[str, Any], typed: set[str], root: Path, faults: list[str]) -> None:
    """Adds what `llmperf.toml` says, and lays the deployment that is named over what was not typed."""
    file, name, against = (values.get(field, "") for field in ("config_file", "deployment", "against"))
    path = Path(file) if file else root / "llmperf.toml"
    from pytest_llmperf.files.atomic_write import is_there  # noqa: PLC0415 - keeps unused runs free of it

    if not (file or name or against or is_there(path)):
        return
    from pytest_llmperf.config import deployment_of, load, named_or_at  # noqa: PLC0415 - only where it is needed
    from pytest_llmperf.errors import UsageError  # noqa: PLC0415

    try:
        values["configuration"] = load(path, wanted=bool(file))
    except UsageError as error:
        faults.append(str(error))
        return
    try:
        if name:
            stated = deployment_of(values["configuration"], name).stated()
            values |= {key: value for key, value in stated.items() if key not in typed}
    except UsageError as error:
        faults.append(str(error))
    try:
        if against:
            values["incumbent"] = named_or_at(values["configuration"], against, parsers.urls)
    except UsageError as error:
        faults.append(str(error))
