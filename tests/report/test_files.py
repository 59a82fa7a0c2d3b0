"""Files that a session leaves: whole or not at all, and checked before anything is measured."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.judge.baselines import load_named
from pytest_llmperf.model import Settings
from pytest_llmperf.report.document import Run, document
from pytest_llmperf.report.files import OUTPUTS, check_outputs, save_baseline, write_output
from tests.report.conftest import run_of

JSON = OUTPUTS[0]


def test_a_figure_that_is_no_number(tmp_path: Path) -> None:
    """JSON has no NaN: nothing is written, and that is an error of ours, not a traceback."""
    settings = Settings(json="run.json", limits={"efficiency": float("nan")})
    run = run_of()
    with pytest.raises(LlmperfError, match=r"run\.json was not written: Out of range float"):
        write_output(JSON, document(Run(records=run.records, settings=settings)), settings, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.field)
class TestEveryFile:
    """What holds for each of them."""

    def test_written_whole(self, output, found, tmp_path: Path) -> None:
        """A folder that is not there is made; nothing else is left."""
        settings = Settings(**{output.field: "new/report"})
        check_outputs(settings, tmp_path)
        assert write_output(output, found, settings, tmp_path) == f"wrote {tmp_path}/new/report"
        assert (tmp_path / "new" / "report").read_text(encoding="utf-8") == output.render(found)
        assert [path.name for path in tmp_path.rglob("*")] == ["new", "report"]

    def test_nothing_asked_for(self, output, found, tmp_path: Path) -> None:
        """Nothing is written, nothing said; and an empty session leaves an old file as it was."""
        assert write_output(output, found, Settings(), tmp_path) == ""
        (tmp_path / "report").write_text("old")
        settings = Settings(**{output.field: "report"})
        empty = document(Run(records=(), settings=settings))
        assert "nothing was measured" in write_output(output, empty, settings, tmp_path)
        assert (tmp_path / "report").read_text() == "old"

    def test_a_full_disk(self, output, found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The old file stays, no torn one is left, and one line says so, and what to do."""
        (tmp_path / "report").write_text("old")

        def full(path: Path, text: str, encoding: str) -> None:
            with path.open("w", encoding=encoding) as file:
                file.write(text[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(LlmperfError, match=rf"cannot write .*No space left.*\n  next: .*--llmperf-{output.field}"):
            write_output(output, found, Settings(**{output.field: "report"}), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["report"]
        assert (tmp_path / "report").read_text() == "old"

    def test_refused_before_anything_starts(self, output, tmp_path: Path) -> None:
        """A folder of that name, a file where a folder must be: a usage error with the option's name."""
        (tmp_path / "file").write_text("")
        for name in (".", "file/report"):
            with pytest.raises(UsageError, match=f"--llmperf-{output.field}: cannot write"):
                check_outputs(Settings(**{output.field: name}), tmp_path)
        assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - hidden ones too


def test_what_has_no_round_is_not_saved(tmp_path: Path) -> None:
    """A client that could not keep up in any round leaves nothing to store: that is said, and the others are saved."""
    run = run_of(tests=("test_pair", "test_busy"), gates=())
    (pair, busy) = run.records
    busy = replace(busy, measurement=replace(busy.measurement, rounds=()))
    settings = Settings(save="main", baselines_dir=str(tmp_path))
    said = save_baseline([pair, busy], settings, tmp_path, [pair, busy])
    assert said == (
        f"saved 1 measurement to {tmp_path}/main.toml; not saved, since the client could not keep up in any round: "
        "perf/test_team.py::test_busy"
    )
    (only,) = load_named("main", (tmp_path,)).stored
    assert only.test == pair.test
    assert save_baseline([busy], settings, tmp_path, [busy]).startswith("saved nothing to baseline main: ")
