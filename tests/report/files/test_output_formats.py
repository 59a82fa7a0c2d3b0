"""Files that a session leaves: whole or not at all, and checked before anything is measured."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.judge.baselines.baseline_files import load_named
from pytest_llmperf.model import Settings
from pytest_llmperf.plugin.options.output_files import OUTPUTS as EVERY
from pytest_llmperf.report.document import Run, as_text, document
from pytest_llmperf.report.files import session_outputs
from pytest_llmperf.report.files.output_formats import OUTPUTS, check_outputs, save_baseline, write_output
from pytest_llmperf.report.files.session_outputs import write_all
from tests.disk import full
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

    def test_written_whole(self, output, content, tmp_path: Path) -> None:
        """A folder that is not there is made; nothing else is left."""
        settings = Settings(**{output.field: "new/report"})
        check_outputs(settings, tmp_path)
        assert write_output(output, content, settings, tmp_path) == f"wrote {tmp_path}/new/report"
        assert (tmp_path / "new" / "report").read_text(encoding="utf-8") == output.render(content)
        assert [path.name for path in tmp_path.rglob("*")] == ["new", "report"]

    def test_nothing_asked_for(self, output, content, tmp_path: Path) -> None:
        """Nothing is written, nothing said; and an empty session leaves an old file as it was."""
        assert write_output(output, content, Settings(), tmp_path) == ""
        (tmp_path / "report").write_text("old")
        settings = Settings(**{output.field: "report"})
        empty = document(Run(records=(), settings=settings))
        assert "nothing was measured" in write_output(output, empty, settings, tmp_path)
        assert (tmp_path / "report").read_text() == "old"

    def test_a_full_disk(self, output, content, tmp_path: Path) -> None:
        """The old file stays, no torn one is left, and one line says so, and what to do."""
        (tmp_path / "report").write_text("old")
        words = rf"cannot write .*File too large\n  next: free some space, or give another --llmperf-{output.field}"
        with full(most_bytes=1), pytest.raises(LlmperfError, match=words):
            write_output(output, content, Settings(**{output.field: "report"}), tmp_path)
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
    """If the client was saturated in every round, nothing is stored, and a line says so; other tests are saved."""
    run = run_of(tests=("test_pair", "test_busy"), gates=())
    (pair, busy) = run.records
    busy = replace(busy, measurement=replace(busy.measurement, rounds=()))
    settings = Settings(save="main", baselines_dir=str(tmp_path))
    said = save_baseline([pair, busy], settings, tmp_path, [pair, busy])
    assert said == (
        f"saved 1 measurement to {tmp_path}/main.toml; not saved because the client was saturated in every round: "
        "perf/test_team.py::test_busy",
        False,
    )
    (only,) = load_named("main", (tmp_path,)).stored
    assert only.test == pair.test
    text, failed = save_baseline([busy], settings, tmp_path, [busy])
    assert text.startswith("nothing saved to baseline main: ")
    assert failed


class TestOneFileTwice:
    """No output takes the place of another one, of a file that the run needs, or of a baseline."""

    @pytest.mark.parametrize("name", ["report", "./report", "sub/../report", "link"])
    def test_two_outputs(self, name: str, tmp_path: Path) -> None:
        """By whatever name."""
        (tmp_path / "sub").mkdir()
        (tmp_path / "link").symlink_to("report")
        with pytest.raises(
            UsageError, match=r"--llmperf-html and --llmperf-json name the same file: .*\n  next: give each"
        ):
            check_outputs(Settings(json="report", html=name), tmp_path)
        with pytest.raises(UsageError, match="--llmperf-html and --llmperf-json name the same file"):
            check_outputs(Settings(json=name, html="report"), tmp_path)

    def test_what_is_a_file_for_one_and_a_folder_for_the_other(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="name the same file"):
            check_outputs(Settings(json="report", html="report/page.html"), tmp_path)

    @pytest.mark.parametrize("name", ["/dev/null", "fifo"])
    def test_what_is_no_plain_file_may_be_named_twice(self, name: str, tmp_path: Path) -> None:
        """Nothing of it is lost."""
        os.mkfifo(tmp_path / "fifo")
        check_outputs(Settings(json=name, html=name), tmp_path)

    @pytest.mark.parametrize(
        "settings",
        [
            {"save": "main"},
            {"update": "main"},
            {"compare": "main"},
            {"baseline": "main"},
            {"compare": "baselines/main.toml"},
            {"config_file": "baselines/main.toml"},
            {"gguf": "baselines/main.toml"},
            {"ca_file": "baselines/main.toml"},
            {"faults": "baselines/main.toml"},
            {},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.field)
    def test_what_the_run_needs(self, output, settings: dict, tmp_path: Path) -> None:
        """The baseline that is saved to or compared with, the configuration, the model; any file among baselines."""
        (tmp_path / "baselines").mkdir()
        (tmp_path / "baselines" / "main.toml").write_text("schema = 1\n")
        (tmp_path / "link").symlink_to("baselines/main.toml")
        paths = {name: str(tmp_path / value) for name, value in settings.items() if value.endswith(".toml")}
        for name in ("baselines/main.toml", "link"):
            with pytest.raises(UsageError, match=rf"--llmperf-{output.field} .*\n  next: give "):
                check_outputs(Settings(**{**settings, **paths, output.field: name}), tmp_path)
        assert (tmp_path / "baselines" / "main.toml").read_text() == "schema = 1\n"

    def test_the_configuration_that_is_found(self, tmp_path: Path) -> None:
        """Also where no option names it; and files of pytest's."""
        with pytest.raises(UsageError, match="--llmperf-json and --llmperf-config name the same file"):
            check_outputs(Settings(json="llmperf.toml"), tmp_path)
        with pytest.raises(UsageError, match="--llmperf-json and --junit-xml name the same file"):
            check_outputs(Settings(json="x.xml"), tmp_path, others={"--junit-xml": tmp_path / "x.xml"})


class TestOneThatFails:
    """Each output alone."""

    @pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.field)
    @pytest.mark.parametrize(
        "error", [KeyError("x"), RecursionError("deep"), LlmperfError("no"), MemoryError()], ids=repr
    )
    def test_a_renderer(self, output, error: Exception, tmp_path: Path) -> None:
        """All other files are written, the baseline is saved; its old file stays, and the session ends as failed."""

        def broken(_: dict) -> str:
            raise error

        outputs = tuple(known._replace(render=broken) if known.field == output.field else known for known in OUTPUTS)
        (tmp_path / output.field).write_text("old")
        names = {known.field: known.field for known in OUTPUTS}
        run = run_of()
        run = Run(records=run.records, accepted=run.accepted, settings=Settings(**names, save="main"), tests=run.tests)
        written = write_all(run, tmp_path, {}, outputs)
        (bad,) = [text for text, failed in written.messages if failed]
        assert f"{tmp_path}/{output.field}" in bad
        assert (tmp_path / output.field).read_text() == "old"
        assert all(
            (tmp_path / name).stat().st_size > 3 or name == "codequality" for name in names if name != output.field
        )
        assert load_named("main", (tmp_path / "baselines",)).stored

    def test_the_document_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then there is no report, but the save."""
        monkeypatch.setattr(session_outputs, "document", lambda _: {}["x"])
        run = run_of()
        run = Run(records=run.records, accepted=run.accepted, settings=Settings(json="run.json", save="main"))
        written = write_all(run, tmp_path, {})
        assert [failed for _, failed in written.messages] == [True, False]
        assert written.messages[0][0].startswith("not written: the reports: KeyError: 'x'\n  next: report this")
        assert load_named("main", (tmp_path / "baselines",)).stored

    def test_the_save(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then there are the reports."""
        monkeypatch.setattr(session_outputs, "save_baseline", lambda *_: {}["x"])
        run = run_of()
        run = Run(records=run.records, accepted=run.accepted, settings=Settings(json="run.json", save="main"))
        written = write_all(run, tmp_path, {})
        assert [failed for _, failed in written.messages] == [False, True]
        assert (tmp_path / "run.json").exists()


ALL = EVERY


@pytest.mark.parametrize("output", ALL, ids=lambda output: output.field)
class TestWhatIsReplaced:
    """An earlier report of the same option, and nothing else."""

    def refused(self, output, name: str, root: Path) -> None:
        """A usage error, and the file is as it was."""
        path = root / name
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(UsageError, match=rf"--llmperf-{output.field} .*\n  next: give another --llmperf-"):
            check_outputs(Settings(**{output.field: name}), root, ALL)
        assert (path.read_bytes() if path.exists() else None) == before

    @pytest.mark.parametrize("passes", [True, False])
    def test_yesterdays_report(self, output, passes: bool, tmp_path: Path) -> None:
        """A report of a passed or failed run: as written, with a byte order mark, or truncated."""
        slow = {} if passes else {"together_ms": ((100, 60),) * 5}
        settings = Settings(**{output.field: "report"})
        content = json.loads(as_text(document(run_of(**slow))))
        assert write_output(output, content, settings, tmp_path).startswith("wrote ")
        text = (tmp_path / "report").read_text(encoding="utf-8")
        for old in (text, "\ufeff" + text.replace("\n", "\r\n"), text[:5000] if len(text) > 5000 else text):
            (tmp_path / "report").write_text(old, encoding="utf-8")
            check_outputs(settings, tmp_path, ALL)

    def test_an_empty_file(self, output, tmp_path: Path) -> None:
        """As `mktemp` and a mounted file are."""
        (tmp_path / "report").write_text("\n")
        check_outputs(Settings(**{output.field: "report"}), tmp_path, ALL)

    @pytest.mark.parametrize(
        "text",
        [
            "import pytest\n",
            "# README\n\n### llmperf: 1 of 1 passed\n",
            '{"name": "package", "schema": 1}',
            '[{"description": "of another tool", "check_name": "ruff"}]',
            "[1]",
            "<!doctype html><title>mine</title>",
            "# TYPE http_requests_total counter\n",
            "a,b\n1,2\n",
            "run_id: 1",
            "\x00\xff\xfe",
        ],
        ids=repr,
    )
    def test_a_file_of_the_users(self, output, text: str, tmp_path: Path) -> None:
        """Written by hand, or by other tools; a link to it is no way around."""
        (tmp_path / "mine").write_text(text, encoding="utf-8", errors="surrogateescape")
        (tmp_path / "link").symlink_to("mine")
        self.refused(output, "mine", tmp_path)
        self.refused(output, "link", tmp_path)

    @pytest.mark.parametrize("name", ["conftest.py", "sub/TEST.PY", "stub.pyi", "baselines/.main.lock", "uv.lock"])
    @pytest.mark.parametrize("there", [True, False])
    def test_names_that_are_no_reports(self, output, name: str, there: bool, tmp_path: Path) -> None:
        """Python source (an empty `__init__.py`, a `conftest.py` that would break the next run) and locks."""
        if there:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("")
        self.refused(output, name, tmp_path)

    def test_a_report_of_another_kind(self, output, content, tmp_path: Path) -> None:
        """Two options mixed up: yesterday's other report stays."""
        for kind in ALL:
            if kind is not output and kind.field != "codequality":
                write_output(kind, content, Settings(**{kind.field: kind.field}), tmp_path)
                self.refused(output, kind.field, tmp_path)
