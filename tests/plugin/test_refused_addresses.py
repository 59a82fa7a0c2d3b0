"""A refused address is not repeated: not by any option, ini value, file or variable that may hold one."""

from collections.abc import Callable

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.config import load
from pytest_llmperf.errors import LlmperfError, UsageError, clean
from pytest_llmperf.masking import refused
from pytest_llmperf.model.access import url_fault
from pytest_llmperf.plugin.options.option_table import OPTIONS
from pytest_llmperf.plugin.options.resolved_settings import resolve
from pytest_llmperf.servers.backends.discovery import look_around

PASSWORD = "s3cretpw"

ADDRESSES = (
    "http://me:s3cretpw@h:1",
    "http://me:s3cretpw%40h:1",
    "http://me:s3cretpw%2540h:1",
    "http://me%3As3cretpw%40h:1",
    "http://me%3As3cretpw",
    "http://me\uff1as3cretpw\uff20h:1",
    "http://me:s3cretpw\uff20h:1",
    "http://me:s3cretpw\ufe6bh:1",
    "http://me:s3cretpw",
    "http://me:1,s3cretpw:x%40h",
    "http://h:1;s3cretpw",
    "http://h:1\\s3cretpw",
    "http://h;s3cretpw:1",
    "http://h:1?s3cretpw",
    "http://h:1#s3cretpw",
    "http://h:x/s3cretpw",
    "ftp://h:1/s3cretpw",
    "http:/me:s3cretpw",
    "http://me: s3cretpw",
    "me:s3cretpw",
    "me:s3cretpw%40h",
)

TEXTS = [option for option in OPTIONS if option.metavar]
ADDRESSED = ("urls", "proxy", "against")


def fault_of(resolved: Callable[[], object]) -> str:
    """The usage error of resolving options; empty if there is none."""
    try:
        resolved()
    except pytest.UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_option_repeats_it(pytester: pytest.Pytester, address: str) -> None:
    """Typed or in the ini file; those for addresses name themselves and refuse it."""
    texts = [
        option for option in TEXTS if ":/" in address or not option.is_path("/")
    ]  # else it may well be a file's name
    typed = fault_of(
        lambda: resolve(pytester.parseconfigure(*(f"--llmperf-{option.name}={address}" for option in texts)))
    )
    assert PASSWORD not in typed
    assert [name for name in ADDRESSED if f"--llmperf-{name}: " not in typed] == []
    overrides = [word for option in texts for word in ("-o", f"{option.ini}={address}")]
    written = fault_of(lambda: resolve(pytester.parseconfigure(*overrides)))
    assert PASSWORD not in written
    assert [name for name in ("urls", "proxy") if f"llmperf_{name} in " not in written] == []


@pytest.mark.parametrize("key", ["urls", "auth", "proxy", "proxy_auth", "backend", "topology", "ports"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_deployment_repeats_it(tmp_path, key: str, address: str) -> None:
    """In `llmperf.toml`, whichever key it was put under."""
    file = tmp_path / "llmperf.toml"
    value = f"['{address}']" if key in ("urls", "auth", "ports") else f"'{address}'"
    base = "" if key == "backend" else 'backend = "attach"\n'
    file.write_text(f"[deployments.a]\n{base}{key} = {value}\n", encoding="utf-8")
    if key in ("urls", "proxy") and not url_fault(address):
        return
    with pytest.raises(UsageError) as caught:
        load(file)
    assert PASSWORD not in str(caught.value)
    assert key in str(caught.value)


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_environment_s_address_is_not_repeated(address: str) -> None:
    """OLLAMA_HOST: refused by its name, before anything is asked."""
    with pytest.raises(LlmperfError, match="OLLAMA_HOST") as caught:
        look_around((), {"OLLAMA_HOST": address})
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_command_line_tool_does_not_repeat_it(capsys, tmp_path, address: str) -> None:
    """As an unknown option, a choice, and a name."""
    for words in (
        ["list", f"--urls={address}"],
        [address],
        ["record", address, "x"],
        ["trend", "x", "--metric", address],
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert PASSWORD not in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", [text for text in ADDRESSES if "://" in text and not set(text) & set(" ?#/\\,") - {"/"}]
)
def test_no_error_repeats_it(address: str) -> None:
    """Whatever is shown passes the mask, also if it was written without a thought of addresses."""
    if address.startswith("http://me:"):
        assert PASSWORD not in clean(f"nothing at {address!r}")


def test_what_may_be_shown_is() -> None:
    """Enough to recognize the address."""
    assert refused("http://gpu1.internal:99999") == "http://gpu1.internal:99999"
    assert refused("http://[::1]:8") == "http://[::1]:8"
    assert clean("next: curl http://h:1; then http://[::1]:8, http://host:port") == (
        "next: curl http://h:1; then http://[::1]:8, http://host:port"
    )


@pytest.mark.parametrize(
    ("address", "words"),
    [("http://h:1#x", "has a fragment"), ("http://h:1?x", "has a query"), ("http://h:1?x#y", "a query and a fragment")],
)
def test_what_an_address_has_too_much(address: str, words: str) -> None:
    """By its name."""
    assert words in url_fault(address)
