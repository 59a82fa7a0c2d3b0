"""Texts of TOML: read, or one error; never a RecursionError, whatever reads them next."""

from pathlib import Path

import pytest

from pytest_llmperf.config import load
from pytest_llmperf.errors import UsageError
from pytest_llmperf.files.toml_text import tables_of
from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.servers.emulator.faults.fault_plan import load_plan
from pytest_llmperf.study.matrices import matrix_files

DEEP = {
    "dotted keys": ".".join("a" * 900) + " = 1",
    "a dotted table": f"[{'.'.join('a' * 900)}]",
    "dotted below a section": f"deployments.{'.'.join('a' * 900)} = 1",
    "lists": f"a = {'[' * 40}{']' * 40}",
    "very many lists": f"a = {'[' * 100_000}",
    "tables in tables": f"a = {'{a=' * 40}1{'}' * 40}",
    "lists of tables": "\n".join(f"[[{'.'.join('a' * count)}]]" for count in range(1, 60)),
}
READERS = {"configuration": load, "matrix": matrix_files.load, "baseline": baseline_files.load, "fault plan": load_plan}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_what_is_nested_too_deeply_is_one_clear_error(tmp_path: Path, read, text: str) -> None:
    """By every file that we read, in every way that TOML can nest."""
    path = tmp_path / "deep.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="nested too deeply"):
        read(path)


def test_what_people_write_is_not_too_deep() -> None:
    """Ten levels, and long lists."""
    assert tables_of("a.b.c.d.e.f.g.h.i.j = 1")
    assert len(tables_of(f"a = [{'[1], ' * 5000}]")["a"]) == 5000


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff", "\\UFFFFFFFF"])
def test_half_a_character_is_no_toml(escape: str) -> None:
    """TOML itself has none."""
    with pytest.raises(ValueError, match="not a Unicode scalar value"):
        tables_of(f'a = "{escape}"')
