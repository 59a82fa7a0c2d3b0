"""What makes a journal another one's: each setting is known to bear on figures and verdicts, or known not to."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import certifi
import pytest

from pytest_llmperf.judge.markers import build
from pytest_llmperf.model import PROFILES, Configuration, NamedDeployment, Prices, Script, Settings, scenario_of
from pytest_llmperf.session.session import Session
from pytest_llmperf.study.matrices.matrix_cells import scenario_of_cell
from pytest_llmperf.study.sweeps.resume_fingerprint import BEARING, asked, conditions
from pytest_llmperf.study.sweeps.sweep_options import SweepOptions
from tests.study.build import matrix

HARMLESS = {
    **dict.fromkeys(
        ("json", "html", "csv", "markdown", "codequality", "openmetrics", "github", "diagnose"), "said at the end"
    ),
    **dict.fromkeys(("save", "results", "resume"), "where results go, and whether an earlier run's count"),
    **dict.fromkeys(("auth", "ca_file", "proxy_auth"), "how to get in"),
    **dict.fromkeys(
        ("ports", "pull", "start_timeout_s", "lock_timeout_s", "timeout_s"), "whether a cell can be finished, not how"
    ),
    **dict.fromkeys(("on_inconclusive", "on_inconclusive_regression", "min_sessions", "on_mismatch"), "decided anew"),
    **dict.fromkeys(("deployment", "config_file", "configuration"), "what of it bears is in other settings"),
    "telemetry_s": "how often the machine is looked at, off the timed path",
    "against_itself": "whether a comparison is refused",
    "require_gates": "whether a test without gates fails, whatever its cells are",
    "duration_s": "no experiment is a soak",
    "max_agents": "which cells run, not how",
}

OTHER: dict[str, Any] = {
    "backend": "openai",
    "auth": ("bearer:TOKEN",),
    "proxy_auth": "bearer:TOKEN",
    "ca_file": certifi.where(),
    "proxy": "http://127.0.0.1:3",
    "script": Script(ttft_ms=7),
    "incumbent": NamedDeployment(urls=("http://127.0.0.1:3",)),
    "configuration": Configuration(prices=Prices(usd_per_hour=3)),
    "baseline": "embedded",
    "limits": {"efficiency": 3.0},
}
"""A value that is not the default, where none can be made of that."""


def conditions_of(root: Path, specs=(), **settings: Any):
    asked = Settings(**{"backend": "attach", "urls": ("http://127.0.0.1:1",), **settings})
    return conditions(matrix(), Session(asked, root=root), SweepOptions(test="test", specs=specs))


def other_than(value: Any) -> Any:
    """Something else of the same type."""
    if isinstance(value, bool):
        return not value
    return (*value, "http://127.0.0.1:2") if isinstance(value, tuple) else value + type(value)(3)


def test_every_setting_is_known_to_bear_or_not() -> None:
    """A new one fails here until somebody has thought about it: add it to BEARING, or to HARMLESS above, with why."""
    assert sorted((*BEARING, *HARMLESS)) == sorted(field.name for field in fields(Settings))


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_another_value(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the setting affects results, earlier cells do not count; otherwise they do."""
    monkeypatch.setenv("TOKEN", "secret")
    default = getattr(Settings(urls=("http://127.0.0.1:1",)), name)
    value = OTHER[name] if name in OTHER else other_than(default)
    needed = {"faults": {"backend": "simulated", "urls": ()}, "proxy_auth": {"proxy": "http://127.0.0.1:3"}}.get(
        name, {}
    )
    if name == "faults":
        value = str(tmp_path / "plan.toml")
        Path(value).write_text("")
    alike = conditions_of(tmp_path, **needed) == conditions_of(tmp_path, **{**needed, name: value})
    assert alike is (name in HARMLESS)


def test_a_file_of_the_same_name_that_holds_something_else(tmp_path: Path) -> None:
    """A model file that was exchanged bears on figures."""
    model = tmp_path / "m.gguf"
    model.write_bytes(b"one")
    before = conditions_of(tmp_path, gguf=str(model))
    assert before == conditions_of(tmp_path, gguf=str(model))
    model.write_bytes(b"another")
    assert before != conditions_of(tmp_path, gguf=str(model))


def test_gates_their_prices_and_the_test(tmp_path: Path) -> None:
    """They say what verdicts hold; a price only does where a gate asks for it."""
    priced = {"configuration": Configuration(prices=Prices(usd_per_hour=3))}
    assert conditions_of(tmp_path) != conditions_of(tmp_path, [build("efficiency", kwargs={"min_pct": 1})])
    assert conditions_of(tmp_path, [build("efficiency")]) == conditions_of(tmp_path, [build("efficiency")], **priced)
    assert conditions_of(tmp_path, [build("cost")]) != conditions_of(tmp_path, [build("cost")], **priced)


def test_what_a_matrix_says_of_itself_does_not_count(tmp_path: Path) -> None:
    """Words, claims, axes and what is shown may be corrected between two runs; rounds may not."""
    session = Session(Settings(backend="attach", urls=("http://127.0.0.1:1",)), root=tmp_path)
    before = conditions(matrix(), session, SweepOptions(test="test"))
    corrected = replace(matrix(), description="x", show=("ttft_ms",), axes={"num_ctx": (512,)})
    assert before == conditions(corrected, session, SweepOptions(test="test"))
    assert before != conditions(replace(matrix(), rounds=3), session, SweepOptions(test="test"))
    assert before != conditions(matrix(), session, SweepOptions(test="test", runtime="asyncio"))


def test_what_is_asked_of_a_cell(tmp_path: Path) -> None:
    """Agents, a profile over them, the topology and what is played; an agent of somebody else's by its command."""
    session = Session(Settings(backend="attach", urls=("http://127.0.0.1:1",)), root=tmp_path)
    cell = {"num_ctx": 512}

    def of(made=None, scenario=None, **more):
        made = made or matrix()
        return asked(made, cell, scenario or scenario_of_cell(made, cell, **more), session)

    assert of() == of(replace(matrix(), axes={"num_ctx": (512,)}))
    assert of() != of(matrix(options={"num_predict": 5}))
    assert of() != of(matrix(topology="dual"))
    assert of() != of(matrix(played=[{"when": {"num_ctx": 512}, "script": {"ttft_ms": 3}}]))
    assert of() == of(matrix(played=[{"when": {"num_ctx": 1024}, "script": {"ttft_ms": 3}}]))
    assert of() != of(profile=PROFILES["single_inference"])
    first, second = (scenario_of([["curl", word]], name="x") for word in ("a", "b"))
    assert of(scenario=first) != of(scenario=second)
