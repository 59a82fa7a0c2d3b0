"""The ini file: every option in every spelling that a format of pytest's allows, and what is no value of it."""

from pathlib import Path

import pytest

from pytest_llmperf.config import load
from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Settings
from pytest_llmperf.plugin.options import parsers
from pytest_llmperf.plugin.options.option import Option
from pytest_llmperf.plugin.options.option_table import OPTIONS
from pytest_llmperf.plugin.options.resolved_settings import resolve

FORMATS = {
    "ini": ("tox.ini", "[pytest]"),
    "ini in TOML": ("pyproject.toml", "[tool.pytest.ini_options]"),
    "native TOML": ("pyproject.toml", "[tool.pytest]"),
}

_LIST = ('["http://a:1", "http://b:2"]', ("http://a:1", "http://b:2"))
_SWITCH = (("true", True), ("false", False), ('"on"', True), ('"off"', False), ('"False"', False))

TYPED: dict[object, tuple[tuple[str, object], ...]] = {
    parsers.switch: _SWITCH,
    parsers.agents: (("1", 1), ("64", 64), ('"8"', 8)),
    parsers.count: (("0", 0), ("3", 3), ('"3"', 3)),
    parsers.rounds: (("7", 7), ('"7"', 7)),
    parsers.seconds: (("2", 2.0), ("0.5", 0.5), ('"0.5"', 0.5)),
    parsers.seconds_or_off: (("2", 2.0), ("0.5", 0.5), ("false", 0.0), ('"off"', 0.0)),
    parsers.duration: (("90", 90.0), ('"90s"', 90.0), ("1.5", 1.5)),
    parsers.ports: (("[80, 81]", (80, 81)), ('["80", "81"]', (80, 81)), ("80", (80,)), ('"80,81"', (80, 81))),
    parsers.gpus: (
        ("[0, -1]", ("0", "-1")),
        ('["0", "GPU-1a"]', ("0", "GPU-1a")),
        ('"0,1"', ("0", "1")),
        ("0", ("0",)),
    ),
    parsers.urls: (_LIST, ('"http://a:1,http://b:2"', _LIST[1]), ('"http://a:1"', ("http://a:1",))),
    parsers.auth: (('["bearer:A", "basic:B"]', ("bearer:A", "basic:B")), ('"bearer:A"', ("bearer:A",))),
    parsers.limits: (
        ('"efficiency=95"', {"efficiency": 95.0}),
        ('"efficiency=95,ttft=9"', {"efficiency": 95, "ttft": 9}),
    ),
    parsers.proxy: (('"http://p:1"', "http://p:1"),),
    parsers.ray_address: (('"auto"', "auto"), ('"10.0.0.1:6379"', "10.0.0.1:6379")),
    parsers.one_auth: (('"basic:B"', "basic:B"),),
    parsers.stem: (('"main"', "main"),),
    parsers.text: (('"word"', "word"), ('"/word"', "/word")),
}
"""By parser: spellings in TOML, and the value."""

NATIVE_ONLY = {parsers.limits: (("{ efficiency = 95, ttft = 9.5 }", {"efficiency": 95, "ttft": 9.5}),)}

CHOICES = {"backend": "simulated", "runtime": "asyncio", "on_inconclusive": "warn", "on_mismatch": "skip"}
CHOICES |= {"on_inconclusive_regression": "warn", "force_topology": "dual"}

BEYOND = ("script", "config_file", "deployment", "against", "save", "compare", "update", "max_rounds")
"""Have tests of their own: they need other files or options."""


def spellings(option: Option, form: str) -> list[tuple[str, object]]:
    """Ways to write a value of the option, each with the value."""
    if option.field in CHOICES:
        return [(f'"{CHOICES[option.field]}"', CHOICES[option.field])]
    more = NATIVE_ONLY.get(option.parse, ()) if form == "native TOML" else ()
    return [spelling for spelling in (*TYPED[option.parse], *more) if form != "ini" or spelling[0][0] not in "[{"]


def settings_of(pytester: pytest.Pytester, form: str, **values: str) -> Settings:
    """The settings by a file that gives each of the ini options the value as it is written."""
    file, head = FORMATS[form]
    text = "\n".join([head, *(f"{name} = {value}" for name, value in values.items())])
    (pytester.path / file).write_text(f"{text}\n", encoding="utf-8")
    return resolve(pytester.parseconfigure())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("turn", range(6))
def test_every_option_takes_every_spelling(pytester: pytest.Pytester, form: str, turn: int) -> None:
    """A number, a truth value, a list or a table as the format writes it, and the text of the command line."""
    given: dict[str, str] = {}
    wanted: dict[str, object] = {}
    for option in OPTIONS:
        if option.field in BEYOND:
            continue
        ways = spellings(option, form)
        written, wanted[option.field] = ways[turn % len(ways)]
        given[option.ini] = written.strip('"') if form == "ini" else written
    settings = settings_of(pytester, form, **given)
    for option in OPTIONS:
        if option.field in wanted:
            got, value = getattr(settings, option.field), wanted[option.field]
            if isinstance(value, str) and option.is_path(value):
                got, value = Path(got).name, Path(value).name
            assert got == value, (option.name, given[option.ini])


def test_no_way_of_spelling_is_left_out() -> None:
    """As many turns as the longest list has, in the format that has most."""
    longest = max(len(spellings(option, "native TOML")) for option in OPTIONS if option.field not in BEYOND)
    assert longest <= 6


ODD = ("[[1]]", "[true]", '["a,b"]', "[1.5, {}]", "{ a = [1] }", "1979-05-27", "nan", "inf", '"\\u0000"', "3", "true")


@pytest.mark.parametrize("form", ["ini in TOML", "native TOML"])
@pytest.mark.parametrize("value", ODD)
def test_no_type_is_an_internal_error(pytester: pytest.Pytester, form: str, value: str) -> None:
    """Whatever TOML can hold: each option that has no such value names it in one usage error.

    In the other format, pytest hands us tables, dates and numbers as text, which some options take.
    """
    with pytest.raises(pytest.UsageError) as caught:
        settings_of(pytester, form, **{option.ini: value for option in OPTIONS})
    if (form == "native TOML" and value not in ("3", "true")) or value == '"\\u0000"':
        assert [option.name for option in OPTIONS if f"{option.ini} in " not in str(caught.value)] == []


def test_no_number_is_taken_for_text(pytester: pytest.Pytester) -> None:
    """`llmperf_model = true` names no model, nor does 3; and 0 is a value, not the absence of one."""
    for name, value in (("model", "true"), ("json", "3"), ("backend", "false"), ("rounds", "true"), ("rounds", "3.5")):
        with pytest.raises(pytest.UsageError, match=f"llmperf_{name} in .*got "):
            settings_of(pytester, "native TOML", **{f"llmperf_{name}": value})
    with pytest.raises(pytest.UsageError, match="wanted 1 to 1000"):
        settings_of(pytester, "native TOML", llmperf_rounds="0")


def test_lines_of_an_ini_file(pytester: pytest.Pytester) -> None:
    """Each of several values on a line of its own, with or without a comma at its end."""
    for value in ("\n  http://a:1\n  http://b:2", "http://a:1,\n  http://b:2", "\n  http://a:1,\n  http://b:2,\n"):
        assert settings_of(pytester, "ini", llmperf_urls=value).urls == ("http://a:1", "http://b:2")
    assert settings_of(pytester, "ini", llmperf_limit="\n  ttft=9\n  speedup=2").limits == {"ttft": 9, "speedup": 2}


def test_an_override_comes_before_the_file(pytester: pytest.Pytester) -> None:
    """`-o` is text, whatever the file's format is."""
    (pytester.path / "pyproject.toml").write_text("[tool.pytest]\nllmperf_rounds = 7\n", encoding="utf-8")
    assert resolve(pytester.parseconfigure("-o", "llmperf_rounds=9")).min_rounds == 9


@pytest.mark.parametrize("way", [*FORMATS, "-o"])
def test_a_name_that_is_no_option_is_an_error(pytester: pytest.Pytester, way: str) -> None:
    """A slip would leave a run ungated: pytest warns of a file's, and says nothing of `-o`."""
    name, section = FORMATS.get(way, ("tox.ini", "[pytest]"))
    lines = {"native TOML": 'llmperf_compre = "main"', "-o": "", "ini": "llmperf_compre = main"}
    line = lines.get(way, 'llmperf_compre = "main"')
    pytester.path.joinpath(name).write_text(f"{section}\n{line}\n")
    config = pytester.parseconfig(*(("-o", "llmperf_compre=main") if way == "-o" else ("-W", "ignore")))
    where = "-o" if way == "-o" else name
    with pytest.raises(pytest.UsageError, match=rf"llmperf_compre in .*{where}: there is no such option; did you mean"):
        resolve(config)


def test_a_name_that_another_plugin_declares_is_none_of_ours(pytester: pytest.Pytester) -> None:
    """Though it begins alike; so is any other unknown name, which is pytest's to warn of."""
    pytester.makeini("[pytest]\nllmperf_theirs = 1\nfoo = 2\n")
    pytester.makeconftest("def pytest_addoption(parser): parser.addini('llmperf_theirs', 'a help')")
    resolve(pytester.parseconfigure("-W", "ignore"))


def test_a_table_for_the_script(pytester: pytest.Pytester) -> None:
    """Numbers by key."""
    script = settings_of(pytester, "native TOML", llmperf_script="{ ttft_ms = 5, seed = 3 }").script
    assert (script.ttft_ms, script.seed) == (5.0, 3)


def test_addresses_of_an_incumbent_as_a_list(pytester: pytest.Pytester) -> None:
    """The same forms as for the measured servers' addresses."""
    settings = settings_of(pytester, "native TOML", llmperf_against='["http://a:1", "http://b:2"]')
    assert settings.incumbent is not None
    assert settings.incumbent.urls == ("http://a:1", "http://b:2")


def test_a_home_that_is_not_there(pytester: pytest.Pytester) -> None:
    """On the command line and in the ini file, for every option that takes a path: a usage error that names it."""
    paths = [option for option in OPTIONS if option.is_path("/x.toml")]
    words = "'~nosuchuser/x.toml': the home folder of '~nosuchuser' is not known"
    with pytest.raises(pytest.UsageError) as caught:
        resolve(pytester.parseconfigure(*(f"--llmperf-{option.name}=~nosuchuser/x.toml" for option in paths)))
    assert [option.name for option in paths if f"--llmperf-{option.name}: {words}" not in str(caught.value)] == []
    with pytest.raises(pytest.UsageError) as caught:
        settings_of(pytester, "ini", **{option.ini: "~nosuchuser/x.toml" for option in paths})
    assert [option.name for option in paths if option.ini not in str(caught.value)] == []


@pytest.mark.parametrize("key", ["gguf", "faults", "ca_file"])
@pytest.mark.parametrize(("value", "words"), [("~nosuchuser/x", "folder of '~nosuchuser'"), ("a\\u0000b", "NUL")])
def test_a_path_of_a_deployment_that_leads_nowhere(tmp_path: Path, key: str, value: str, words: str) -> None:
    """In `llmperf.toml`, too: no such home, a character that no file name has."""
    file = tmp_path / "llmperf.toml"
    file.write_text(f'[deployments.x]\nbackend = "ollama"\n{key} = "{value}"\n', encoding="utf-8")
    with pytest.raises(UsageError, match=rf"deployments.x.{key}: .*{words}"):
        load(file)


def test_half_a_character(pytester: pytest.Pytester) -> None:
    """Bytes that are no UTF-8: a file may be called so, a model, a name or an address may not."""
    texts = [option for option in OPTIONS if not option.is_path("x\udce9.toml") and option.metavar]
    with pytest.raises(pytest.UsageError) as caught:
        resolve(pytester.parseconfigure(*(f"--llmperf-{option.name}=x\udce9.toml" for option in texts)))
    str(caught.value).encode()
    assert [option.name for option in texts if f"--llmperf-{option.name}: " not in str(caught.value)] == []
    settings = resolve(pytester.parseconfigure("--llmperf-json=x\udce9.json"))
    assert settings.json.endswith("x\udce9.json")


@pytest.mark.parametrize("form", ["ini in TOML", "native TOML"])
@pytest.mark.parametrize("value", ["{ efficiency = 95, ttft = 9.5 }", '["efficiency=95", "ttft=9.5"]'])
def test_limits_as_a_table_or_list(pytester: pytest.Pytester, form: str, value: str) -> None:
    """In both tables of `pyproject.toml`: pytest hands over the first one's as text."""
    assert settings_of(pytester, form, llmperf_limit=value).limits == {"efficiency": 95, "ttft": 9.5}


@pytest.mark.parametrize("form", ["ini in TOML", "native TOML"])
@pytest.mark.parametrize("value", ["{ ttft_ms = 5, seed = 3 }", '["ttft_ms=5", "seed=3"]'])
def test_a_script_as_a_table_or_list(pytester: pytest.Pytester, form: str, value: str) -> None:
    """As limits."""
    script = settings_of(pytester, form, llmperf_script=value).script
    assert (script.ttft_ms, script.seed) == (5.0, 3)


@pytest.mark.parametrize("form", ["ini in TOML", "native TOML"])
@pytest.mark.parametrize(
    "value", ["{ efficiency = [95] }", "{ efficiency = true }", "{ eficiency = 9 }", '["efficiency"]']
)
def test_wrong_limits_in_a_table_or_list(pytester: pytest.Pytester, form: str, value: str) -> None:
    """Refused by the option's name, in both."""
    with pytest.raises(pytest.UsageError, match="llmperf_limit in "):
        settings_of(pytester, form, llmperf_limit=value)


def test_wanted_types_in_words(pytester: pytest.Pytester) -> None:
    """A fraction where a whole number is wanted is not told that a number is wanted."""
    for name, wanted in (("rounds", "got a number, wanted a whole number$"), ("timeout", "wanted a number or text$")):
        with pytest.raises(pytest.UsageError, match=f"llmperf_{name} in .*{wanted}"):
            settings_of(pytester, "native TOML", **{f"llmperf_{name}": "6.5" if name == "rounds" else "[6]"})


@pytest.mark.parametrize(("name", "value"), [("rounds", "6 # six"), ("timeout", "6 ; s"), ("github", "on # ci")])
def test_a_comment_behind_a_value(pytester: pytest.Pytester, name: str, value: str) -> None:
    """Ini files have none, which the error says; it does not where a value is wrong for another reason."""
    with pytest.raises(pytest.UsageError, match="next: an ini file has no comments behind values"):
        settings_of(pytester, "ini", **{f"llmperf_{name}": value})
    with pytest.raises(pytest.UsageError) as caught:
        settings_of(pytester, "ini", **{f"llmperf_{name}": "six"})
    assert "comments" not in str(caught.value)


@pytest.mark.parametrize("option", ["--llmperf-limit=efficiency", "--llmperf-script=ttft_ms"])
def test_a_refused_value_is_shown_once(pytester: pytest.Pytester, option: str) -> None:
    """It is not repeated in the message; for several pairs, only the wrong one is shown."""
    value = option.partition("=")[2]
    with pytest.raises(pytest.UsageError) as caught:
        resolve(pytester.parseconfigure(option))
    assert str(caught.value).endswith(f"'{value}': wanted NAME=VALUE")
    with pytest.raises(pytest.UsageError, match=f"'{value}=9,oops': 'oops': wanted NAME=VALUE"):
        resolve(pytester.parseconfigure(f"{option}=9,oops"))
