"""The command's advice: never a refused value, and the nearest word for a misspelled one."""

from pathlib import Path

import pytest

from pytest_llmperf.cli import main


@pytest.mark.parametrize("name", ["embedded", "decision_card"])
@pytest.mark.parametrize(
    "command", [["trim", "--keep", "3"], ["trend"], ["rename", "old", "new"], ["remove", "test"]], ids=" ".join
)
def test_a_baseline_that_comes_with_the_package_is_nobodys_to_save(
    name: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no sessions, and none can be saved to it: the list of one's own is the next step."""
    first, *rest = command
    assert main([first, name, *rest, "--dir", str(tmp_path)]) == 2
    said = "".join(capsys.readouterr())
    assert f"baseline {name}" in said.replace("'", "")
    assert "is part of pytest-llmperf" in said
    assert "pytest-llmperf list" in said
    assert "--llmperf-save" not in said


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["tren", "main"], "trend"),
        (["compare", "a", "b", "--metric", "ttft"], "ttft_ms"),
        (["compare", "a", "b", "--on-inconclusive", "yuong"], "young"),
        (["record", "decison", "run.json"], "decision"),
    ],
)
def test_a_misspelt_choice_is_guessed(arguments: list[str], near: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Argparse lists the choices; the nearest is named besides."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"did you mean {near!r}?" in capsys.readouterr().err


def test_a_misspelt_baseline_is_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Among one's own and those that come with the package; what is like none is not."""
    assert main(["show", "embeded", "--dir", str(tmp_path)]) == 2
    assert "did you mean 'embedded'?" in capsys.readouterr().err
    assert main(["show", "xyz", "--dir", str(tmp_path)]) == 2
    assert "did you mean" not in capsys.readouterr().err
