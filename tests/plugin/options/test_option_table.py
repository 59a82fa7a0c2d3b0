"""Options: command line, ini twin, default; every misuse in one clear usage error."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmperf.plugin.options.option_table import OPTIONS
from pytest_llmperf.plugin.options.resolved_settings import resolve

USES_US = """
    def test_it(run_agents):
        pass
"""

MISUSES = {
    "--llmperf-backend=gpu": "wanted one of auto, attach, ollama, openai, embedded, simulated",
    "--llmperf-rounds=0": "wanted 1 to 1000",
    "--llmperf-rounds=many": "wanted a whole number",
    "--llmperf-warmups=-1": "wanted 0 or more",
    "--llmperf-timeout=0": "wanted more than 0 seconds",
    "--llmperf-ports=80,99999": "wanted ports from 1 to 65535",
    "--llmperf-ports=80,80": "wanted different ports",
    "--llmperf-urls=": "wanted an address",
    "--llmperf-urls=,": "value 1 and 2 of 2 is empty",
    "--llmperf-urls=http://h:1, ": "value 2 of 2 is empty\n    next: is a variable unset? give each, or leave the "
    "option out",
    "--llmperf-ports=80,": "value 2 of 2 is empty",
    "--llmperf-gpus=,": "value 1 and 2 of 2 is empty",
    "--llmperf-urls=ftp://h": "is not an address, wanted http://host:port",
    "--llmperf-urls=http://me:pw@h": "holds a user or password",
    "--llmperf-urls=http://h:0": "is not an address",
    "--llmperf-urls=http://h:66000": "is not an address",
    "--llmperf-auth=bearer:s3cret-t0ken": "'***': wanted bearer:NAME",
    "--llmperf-proxy-auth=basic:me:s3cret": "'***': wanted bearer:NAME",
    "--llmperf-proxy-auth=basic:ONE,basic:TWO": "wanted one: there is one proxy",
    "--llmperf-proxy=https://p:1": "wanted a proxy that accepts plain HTTP",
    "--llmperf-gpus=first": "wanted numbers, GPU-... UUIDs or -1",
    "--llmperf-limit=efficiency": "wanted NAME=VALUE",
    "--llmperf-limit=elegance=3": "unknown gate elegance; known gates: ",
    "--llmperf-limit=efficiency=120": "min_pct",
    "--llmperf-on-mismatch=shrug": "wanted one of fail, warn, skip",
    "--llmperf-on-inconclusive=skip": "wanted one of fail, warn",
    "--llmperf-topology=ring": "wanted one of dual, single, single_parallel",
    "--llmperf-script=speed=3": "unknown speed; known: ttft_ms",
    "--llmperf-script=jitter_pct=nan": "jitter_pct = nan, wanted 0 to 100",
    "--llmperf-script=load_ms=-1,ttft_ms=inf": "ttft_ms = inf, wanted 0 to 8.64e+07; load_ms = -1, wanted 0",
    "--llmperf-script=decode_tok_s=0": "decode_tok_s = 0, wanted 0.001 to 1e+09",
    "--llmperf-script=seed=nan": "seed = nan, wanted an integer",
    "--llmperf-script=seed=inf": "seed = inf, wanted an integer",
    "--llmperf-script=seed=1.5": "seed = 1.5, wanted an integer",
    "--llmperf-on-inconclusive-regression=old": "wanted one of young, fail, warn",
    "--llmperf-min-sessions=0": "wanted 1 to 1000",
    "--llmperf-update=a/b": "wanted a name of letters",
    "--llmperf-max-rounds=2": "fewer than --llmperf-rounds 5",
}


@pytest.mark.parametrize(("option", "words"), MISUSES.items(), ids=MISUSES.keys())
def test_a_wrong_value_is_a_usage_error(pytester: pytest.Pytester, option: str, words: str) -> None:
    """Exit code 4, the option named, what would have been right; whether or not a test uses us."""
    result = pytester.runpytest(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option.split('=', maxsplit=1)[0]}*"])
    assert words in result.stderr.str()


@pytest.mark.parametrize("beside", ["save", "compare"])
def test_update_stands_alone(pytester: pytest.Pytester, beside: str) -> None:
    """What is accepted as it is can be neither judged nor added at the same time."""
    result = pytester.runpytest("--llmperf-update=main", f"--llmperf-{beside}=main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--llmperf-update accepts what this run measures" in result.stderr.str()


def test_all_faults_come_at_once(pytester: pytest.Pytester) -> None:
    """Two wrong options, one error."""
    result = pytester.runpytest("--llmperf-rounds=0", "--llmperf-backend=gpu")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*wrong options:*", "*--llmperf-backend*", "*--llmperf-rounds*"])


def test_a_wrong_ini_value_names_the_file(pytester: pytest.Pytester) -> None:
    """The ini twin is checked as the option is, where a test uses us."""
    pytester.makeini("[pytest]\nllmperf_rounds = none\n")
    pytester.makepyfile(USES_US)
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*llmperf_rounds in *tox.ini*none*"])


def test_precedence_is_command_line_then_ini_then_default(pytester: pytest.Pytester) -> None:
    """One value from each place."""
    pytester.makeini("[pytest]\nllmperf_rounds = 7\nllmperf_warmups = 3\n")
    settings = resolve(pytester.parseconfigure("--llmperf-rounds=9"))
    assert (settings.min_rounds, settings.warmups, settings.max_rounds) == (9, 3, 20)


STARTED = "--llmperf-backend=simulated"
URLS = "--llmperf-urls=http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("ini", "options"),
    [
        ("", (STARTED, URLS)),
        ("llmperf_backend = simulated", (URLS,)),
        ("llmperf_backend = simulated\nllmperf_urls = http://127.0.0.1:9", ()),
        ("", ("--llmperf-deployment=mine", URLS)),
        ("", (STARTED, URLS, "-n1")),
    ],
    ids=["typed", "beside the ini file's backend", "both in the ini file", "beside a deployment", "xdist"],
)
def test_addresses_that_would_not_be_used_are_refused(pytester: pytest.Pytester, ini: str, options: tuple) -> None:
    """A given address is measured or refused; the plugin never measures anything else instead."""
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makefile(".toml", llmperf='[deployments.mine]\nbackend = "simulated"\n')
    pytester.makepyfile(USES_US)
    result = pytester.runpytest(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*llmperf_urls: addresses belong to running servers, llmperf_backend is simulated*",
            "*next: omit --llmperf-urls*",
        ]
    )


@pytest.mark.parametrize("option", [STARTED, "--llmperf-deployment=mine"])
def test_what_is_typed_overrules_addresses_of_the_ini_file(pytester: pytest.Pytester, option: str) -> None:
    """A backend, or a deployment that states one."""
    pytester.makeini("[pytest]\nllmperf_urls = http://127.0.0.1:9\n")
    pytester.makefile(".toml", llmperf='[deployments.mine]\nbackend = "simulated"\n')
    settings = resolve(pytester.parseconfigure(option))
    assert (settings.backend, settings.urls) == ("simulated", ())


def test_values_are_parsed(pytester: pytest.Pytester) -> None:
    """Lists, pairs and the script become values."""
    settings = resolve(
        pytester.parseconfigure(
            "--llmperf-urls=localhost:1/,https://h:2",
            "--llmperf-ports=11434,11435",
            "--llmperf-limit=efficiency=95,contention=0.01",
            "--llmperf-script=ttft_ms=5,seed=3",
        )
    )
    assert settings.urls == ("http://localhost:1", "https://h:2")
    assert settings.ports == (11434, 11435)
    assert settings.limits == {"efficiency": 95.0, "contention": 0.01}
    assert (settings.script.ttft_ms, settings.script.seed) == (5.0, 3)


PATHS = {
    "json": "out/run.json",
    "baselines_dir": "kept",
    "gguf": "m.gguf",
    "baseline": "limits.toml",
    "compare": "old/main.toml",
    "ollama_bin": "bin/ollama",
}


@pytest.mark.parametrize(("field", "value"), PATHS.items())
def test_relative_paths_start_where_they_were_written(pytester: pytest.Pytester, field: str, value: str) -> None:
    """As in pytest: on the command line from the current folder, in the ini file from the ini file's folder."""
    name = field.replace("_", "-")
    below = pytester.mkdir("below")
    pytester.makeini(f"[pytest]\nllmperf_{field} = {value}\n")
    pytester.chdir()
    os.chdir(below)
    typed = resolve(pytester.parseconfigure(f"--llmperf-{name}={value}", f"--rootdir={pytester.path}"))
    assert Path(getattr(typed, field)) == below / value
    written = resolve(pytester.parseconfigure(f"--rootdir={below}", "-c", str(pytester.path / "tox.ini")))
    assert Path(getattr(written, field)) == pytester.path / value
    absolute = resolve(pytester.parseconfigure(f"--llmperf-{name}={pytester.path / value}"))
    assert Path(getattr(absolute, field)) == pytester.path / value


def test_names_are_no_paths(pytester: pytest.Pytester) -> None:
    """A baseline's name is looked up, a binary's name is found on PATH; `~` is the user's home."""
    given = ("--llmperf-baseline=mine", "--llmperf-compare=other", "--llmperf-ollama-bin=ollama", "--llmperf-json=~/a")
    settings = resolve(pytester.parseconfigure(*given))
    assert (settings.baseline, settings.compare, settings.ollama_bin) == ("mine", "other", "ollama")
    assert settings.json == str(Path.home() / "a")


def test_more_rounds_than_the_default_maximum_raise_the_maximum(pytester: pytest.Pytester) -> None:
    """`--llmperf-rounds 30` alone means thirty rounds."""
    settings = resolve(pytester.parseconfigure("--llmperf-rounds=30"))
    assert (settings.min_rounds, settings.max_rounds) == (30, 30)


def test_help_shows_every_option_and_ini_twin(pytester: pytest.Pytester) -> None:
    """`pytest --help` reads well: a group of its own, each option with its default."""
    text = pytester.runpytest("--help").stdout.str()
    assert "performance of several LLM agents at once" in text
    for option in OPTIONS:
        assert f"--llmperf-{option.name}" in text
        assert option.ini in text


def test_markers_are_listed(pytester: pytest.Pytester) -> None:
    """`pytest --markers` explains every gate."""
    pytester.runpytest("--markers").stdout.fnmatch_lines(
        [
            "@pytest.mark.efficiency(min_pct=None, robust=False):*",
            "@pytest.mark.regression(*",
            "@pytest.mark.multiagent:*",
        ]
    )


@pytest.mark.parametrize("name", ["json", "baselines-dir", "config", "gguf", "results"])
def test_a_path_with_the_character_nul(pytester: pytest.Pytester, name: str) -> None:
    """No file has it in its name: a wrong option, whatever the file is for."""
    with pytest.raises(pytest.UsageError, match=f"--llmperf-{name}: .*holds the character NUL"):
        pytester.parseconfigure(f"--llmperf-{name}=a\0b")


def test_an_option_without_effect_is_named(
    simulated: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    """In the header, before the first test."""
    pytester.makepyfile(USES_US)
    result = simulated("--llmperf-gguf=/nope.gguf", "--llmperf-threads=99999", "--llmperf-auth=bearer:NOPE")
    result.stdout.fnmatch_lines(
        ["llmperf: backend simulated does not use *--llmperf-gguf, *--llmperf-threads, *--llmperf-auth*"]
    )
    assert result.ret == pytest.ExitCode.OK
