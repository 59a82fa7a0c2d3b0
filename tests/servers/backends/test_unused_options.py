"""Options that a backend does not use are named, and only those."""

import pytest

from pytest_llmperf.model import Script, Settings
from pytest_llmperf.model.settings.configuration import BACKENDS, NamedDeployment
from pytest_llmperf.plugin.options.option_table import OPTIONS
from pytest_llmperf.servers.backends.unused_options import _OPTIONS, _USED, unused

GIVEN: dict[str, dict[str, object]] = {
    "gguf": {"gguf": "/nope.gguf"},
    "auth": {"auth": ("bearer:NOPE",)},
    "threads": {"threads": 99999},
    "ports": {"ports": (80,)},
    "gpus": {"gpus": ("0",)},
    "script": {"script": Script(ttft_ms=3)},
}


@pytest.mark.parametrize(
    ("kind", "idle"),
    [
        ("attach", ("gguf", "ports", "gpus", "script")),
        ("openai", ("gguf", "ports", "gpus", "script", "threads")),
        ("ollama", ("auth", "script")),
        ("embedded", ("auth", "gpus", "script")),
        ("simulated", ("gguf", "auth", "threads", "gpus")),
    ],
)
def test_what_has_no_effect_is_named(kind: str, idle: tuple[str, ...]) -> None:
    """Each alone; an option that is used, or not given, is not named."""
    named = {name for name, values in GIVEN.items() if f"--llmperf-{name}" in unused(Settings(**values), kind)}
    assert named == set(idle)
    assert unused(Settings(), kind) == ""


def test_every_option_is_named_as_it_is_typed() -> None:
    """And every backend is known."""
    assert {option.field: option.name for option in OPTIONS if option.field in _OPTIONS} == dict(_OPTIONS)
    assert set(_USED) == set(BACKENDS) - {"auto"}


def test_a_port_twice_in_a_deployment() -> None:
    """Found when the file is read."""
    with pytest.raises(ValueError, match="ports hold one twice"):
        NamedDeployment(backend="ollama", ports=(80, 80))
