"""The page about languages: which implementations it measures, and what it says of the report's claims."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.language_claims import UNTESTABLE, Figures, claim_rows
from benchmarks.languages import main, selection
from benchmarks.languages_page import Conditions, page
from pytest_llmperf.study.agents.agent_programs import AgentProgram


def figures(*, decode: float = 100.0, memory: float = 4.0, spread: float = 1.0, balance: float = 97.0) -> Figures:
    """Six rounds around these means."""
    wobble = (-1.0, 1.0, 0.5, -0.5, 0.25, -0.25)
    return Figures(
        cpu_us=[20 + step for step in wobble],
        ttft_ms=[50 + step for step in wobble],
        decode_tok_s=[decode * (1 + step / 1000) for step in wobble],
        efficiency_pct=[balance + spread * step for step in wobble],
        scaling_pct=[96 + step for step in wobble],
        memory_mib=[memory * (1 + step / 100) for step in wobble],
        start_up_ms=[10 * memory * (1 + step / 100) for step in wobble],
    )


def statuses(table: dict[str, Figures]) -> list[str]:
    return [status for _, status, _ in claim_rows(table)]


def test_claims_without_the_agents_they_need() -> None:
    """No Rust agent: C1 and C3 are not testable; C5 needs Python alone."""
    assert statuses({"null": figures(), "go": figures()}) == [UNTESTABLE] * 5
    assert statuses({"python-httpx": figures(balance=80)}) == [*[UNTESTABLE] * 4, "reproduced"]


def test_claims_that_differ_and_that_do_not() -> None:
    """Equal decode rates contradict C1, memory and start-up exceed it; a balance of 97 % contradicts C5."""
    table = {
        "python-httpx": figures(memory=40),
        "rust-tokio-default": figures(spread=0.1),
        "rust-smol": figures(spread=2),
    }
    assert statuses(table) == ["not reproduced", *["larger than stated"] * 2, "reproduced", "not reproduced"]
    table["rust-smol"] = figures(spread=0.001)
    assert statuses(table)[3] == "not reproduced"
    table["rust-tokio-default"] = figures(decode=118)
    assert statuses(table)[0] == "larger than stated"
    table["python-httpx"] = replace(figures(), decode_tok_s=(), ttft_ms=())
    assert statuses(table)[0] == UNTESTABLE


def test_the_page_says_its_conditions() -> None:
    """Means with intervals, unknown figures empty, the command, and what was left out with the reason."""
    unknown = Figures(**{**{name: getattr(figures(), name) for name in Figures.__slots__}, "memory_mib": ()})
    conditions = Conditions(command="the command", rounds=6, load=[1e6], passed_over={"a": "why", "b": "why"})
    text = page({115.0: {"null": figures(), "own-threads": unknown}}, {"null": ("rust", "none")}, conditions)
    assert "## 2 x 115 tok/s" in text
    assert "| `null` | none | 20.0 (19.2 to 20.8) | 50.0 (49.2 to 50.8) |" in text
    assert "| 96.0 (95.2 to 96.8) |  | 40.0 (39.7 to 40.3) |\n" in text
    assert "```console\nthe command\n```" in text
    assert "- `a`, `b`: why\n" in text
    assert "The machine was shared" in text


def test_what_is_passed_over(tmp_path: Path) -> None:
    """A missing language, and without builds what is not built; an unknown name is an error."""

    def program(**given: tuple[str, ...]) -> AgentProgram:
        return AgentProgram(language="x", runtime="y", **{"run": ("true",), **given})

    unbuilt = program(run=(str(tmp_path / "a"),), build=("make",))
    table = {"missing": program(requires=("no-such-program",)), "unbuilt": unbuilt, "ready": program()}
    chosen = selection(table, builds=None)
    assert list(chosen.programs) == ["ready"]
    assert chosen.passed_over == {"missing": "no-such-program is not on `PATH`", "unbuilt": "it was not built"}


@pytest.mark.parametrize("arguments", [["--agents", "cobol"], ["--own", "green"], ["--rounds", "1"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    """Before anything is measured."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
