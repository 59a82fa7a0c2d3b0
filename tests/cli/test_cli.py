"""The command `pytest-llmperf`: what each command prints, changes and ends with."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.cli import doctor_command, main
from pytest_llmperf.errors import MissingExtraError
from pytest_llmperf.judge.baselines import baseline_files, store
from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.model import Settings, StoredSession
from pytest_llmperf.servers.backends import backend_factory, choose
from pytest_llmperf.servers.processes.server_process import free_port
from tests.started import Handler, http_server

KEY = Key(test="t.py::test_pair", scenario="pair", topology="dual", workload="abc")
FACTS = {"backend": "embedded", "cpu": "i9", "model": "m", "git_commit": "0123456789abcdef", "git_dirty": "yes"}


def session(efficiency: float, tok_s: float = 100.0, *, rounds: int = 5, at: str = "2026-01-01", **facts: str):
    """A session whose rounds lie close to these figures."""
    return StoredSession(
        saved_at=f"{at}T00:00:00+00:00",
        manifest={**FACTS, **facts},
        rounds={
            "efficiency_pct": tuple(efficiency + 0.1 * (number % 2) for number in range(rounds)),
            "system_tok_s": tuple(tok_s + 0.1 * (number % 2) for number in range(rounds)),
        },
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose baselines lie where the command looks for them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.py").write_text("def test_pair(dual_ollama): pass\n")
    return tmp_path / "baselines"


def saved(folder: Path, name: str, *sessions: StoredSession, key: Key = KEY) -> Path:
    for session in sessions:
        path = store.save(name, folder, [(key, session)])
    return path


def sessions_of(path: Path) -> Sequence[str]:
    return [session.saved_at[:10] for entry in baseline_files.load(path).stored for session in entry.session]


def test_list_names_those_of_the_user_and_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a file, a torn one too."""
    saved(folder, "main", session(95), session(96, at="2026-02-02"))
    (folder / "torn.toml").write_text("schema =")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["main", "1", "2", "0", "2026-02-02T00:00:00+00:00", "baselines"]
    assert lines[2].startswith("torn")
    assert "unreadable: see doctor" in lines[2]
    assert any(line.startswith("decision_card") and "part of pytest-llmperf" in line for line in lines)


def test_show_prints_limits_and_sessions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every session with its time, rounds, figures, commit (a star: files were changed) and backend."""
    saved(folder, "main", session(95), session(96, at="2026-02-02"))
    assert main(["show", "main"]) == 0
    text = capsys.readouterr().out
    assert "t.py::test_pair\n  scenario pair, topology dual, work abc\n" in text
    assert "2026-02-02T00:00:00+00:00       5          96.0 %                       -   100.0 tok/s" in text
    assert "012345678*  embedded" in text
    assert "newest session measured on: cpu i9, model m" in text
    assert main(["show", "decision_card"]) == 0
    text = capsys.readouterr().out
    assert "efficiency_pct       min    95     %          everything  E.1 #6" in text
    assert "of other levels, which are not gates" in text
    assert text.endswith("no stored sessions\n")


def test_what_is_missing_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2; stderr names the command, the fault and the existing baselines."""
    assert main(["show", "nothing"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pytest-llmperf show: there is no baseline 'nothing' in baselines")
    assert "decision_card" in captured.err


def test_compare_passes_what_is_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, a table with both figures, the change and the verdict."""
    saved(folder, "old", *(session(95, at=f"2026-01-0{day}") for day in range(1, 9)))
    saved(folder, "new", session(95.2))
    assert main(["compare", "old", "new"]) == 0
    text = capsys.readouterr().out
    assert "efficiency_pct       95.0 %       95.2 %  +0.2 pp       5  publishable     pass" in text
    assert text.endswith("new against old: no regression detected (2 pass of 2 metrics)\n")
    assert re.search(r"^judged by rule: stored \d+ ", text, re.MULTILINE)


def test_compare_fails_what_is_worse(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and by how much; also with files given by their paths."""
    old, new = saved(folder, "old", session(95)), saved(folder, "new", session(70))
    assert main(["compare", str(old), str(new)]) == 1
    text = capsys.readouterr().out
    assert "-25.0 pp" in text
    assert "efficiency_pct fail: worse by 25.0 pp" in text
    assert "new against old: worse (" in text


def test_compare_states_changes_by_the_metric_s_own_direction(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A TTFT that grows is `+` and worse; of sessions that are longer, as many rounds count as are new."""
    old, new = (session(95, rounds=rounds) for rounds in (10, 5))
    slow_start = {"ttft_ms": (50.0, 50.1, 50.2, 50.1, 50.0)}
    saved(folder, "old", replace(old, rounds={**old.rounds, "ttft_ms": (25.0, 25.1, 25.0, 25.1, 25.0, *(40.0,) * 5)}))
    saved(folder, "new", replace(new, rounds={**new.rounds, **slow_start}))
    assert main(["compare", "old", "new", "--metric", "ttft_ms"]) == 1
    text = capsys.readouterr().out
    assert re.search(r"ttft_ms +25 ms +50 ms +\+100\.4 % +5 ", text), text
    assert "ttft_ms fail: worse by 100.4 %" in text


def test_compare_what_cannot_be_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in common, or nothing of one machine: exit code 2, never a silent pass."""
    saved(folder, "old", session(95))
    saved(folder, "other", session(95), key=replace(KEY, test="t.py::test_other"))
    saved(folder, "away", session(95, cpu="i7"))
    saved(folder, "scripted", session(95, backend="simulated"))
    assert main(["compare", "old", "other"]) == 2
    text = capsys.readouterr().out
    assert "only in old: t.py::test_pair" in text
    assert "no measurement (test, scenario, topology, work) in common" in text
    assert main(["compare", "old", "away", "--metric", "system_tok_s"]) == 2
    assert "cpu: i9 -> i7" in capsys.readouterr().out
    assert main(["compare", "old", "scripted"]) == 2
    assert "no comparable measurement" in capsys.readouterr().out
    assert main(["compare", "old", "away", "--delta", "12"]) == 0
    assert "1 pass, 1 not comparable of 2 metrics" in capsys.readouterr().out


def test_compare_judges_by_the_means_of_sessions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From four sessions on each side; a drop is found that is smaller than what sessions differ by."""
    for day in range(1, 9):
        saved(folder, "old", session(95 + 1.3 * (-1) ** day, at=f"2026-01-0{day}"))
        saved(folder, "new", session(92 + 1.3 * (-1) ** day, rounds=8, at=f"2026-02-0{day}"))
        saved(folder, "near", session(94 + 2.5 * (-1) ** day, at=f"2026-02-0{day}"))
    arguments = ["--metric", "efficiency_pct"]
    assert main(["compare", "old", "new", *arguments]) == 1
    text = capsys.readouterr().out
    assert re.search(r"efficiency_pct +95\.0 % +92\.0 % +-3\.0 pp +40  publishable +fail", text), text
    assert "efficiency_pct fail: worse by 3.0 pp (95 % CI " in text
    assert "; 8 sessions against 8)" in text
    assert re.search(r"^judged by rule: session means \d+ ", text, re.MULTILINE)
    assert main(["compare", "old", "near", *arguments]) == 1
    assert re.search(r"efficiency_pct inconclusive: .*; about \d+ sessions on each side would", capsys.readouterr().out)


def test_compare_names_metrics_that_only_one_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A metric that the candidate lacks is no silent pass, and alone nothing that could be compared."""
    old = session(95)
    saved(folder, "old", old)
    saved(folder, "new", replace(old, rounds={"efficiency_pct": old.rounds["efficiency_pct"]}))
    assert main(["compare", "old", "new"]) == 0
    assert "system_tok_s: new has no comparable rounds" in capsys.readouterr().out
    assert main(["compare", "old", "new", "--metric", "system_tok_s"]) == 2
    assert main(["compare", "new", "old", "--metric", "system_tok_s"]) == 2
    assert "baseline new holds none of system_tok_s" in capsys.readouterr().err


def test_compare_of_an_undecided_metric_follows_the_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Undecided: no failure while the standard is young, one after; as pytest does it."""
    for number in range(4):
        saved(folder, "old", session(95 + 3 * number))
    saved(folder, "new", session(95))
    arguments = ["compare", "old", "new", "--metric", "efficiency_pct", "--delta", "2"]
    assert main(arguments) == 1
    assert "new against old: inconclusive (1 inconclusive of 1 metric)" in capsys.readouterr().out
    assert main([*arguments, "--min-sessions", "5"]) == 0
    assert main([*arguments, "--on-inconclusive", "warn"]) == 0
    assert main([*arguments, "--on-inconclusive", "fail", "--min-sessions", "9"]) == 1


def test_trim_keeps_the_newest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest sessions of each measurement are kept; a number below 1 is refused."""
    path = saved(folder, "main", *(session(95, at=f"2026-01-0{day}") for day in (1, 2, 3)))
    assert main(["trim", "main", "--keep", "0"]) == 2
    assert main(["trim", "main", "--keep", "2"]) == 0
    assert sessions_of(path) == ["2026-01-02", "2026-01-03"]
    assert capsys.readouterr().out == f"{path}: deleted 1 of 3 sessions\n"


def test_rename_moves_a_test_or_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters and classes of the test stay; for an unknown name the error names the most similar test."""
    path = saved(folder, "main", session(95))
    saved(folder, "main", session(95), key=replace(KEY, test="t.py::TestX::test_y[1]"))
    assert main(["rename", "main", "t.py::test_pear", "t.py::test_duo"]) == 2
    assert "most like it is 't.py::test_pair'" in capsys.readouterr().err
    assert main(["rename", "main", "t.py::test_pair", "t.py::test_duo"]) == 0
    assert "1 measurement moved" in capsys.readouterr().out
    assert main(["rename", "main", "t.py", "perf/t.py"]) == 0
    assert [entry.test for entry in baseline_files.load(path).stored] == [
        "perf/t.py::test_duo",
        "perf/t.py::TestX::test_y[1]",
    ]


def test_rename_to_a_name_that_is_there_joins_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a save under the new name: the sessions stand together, the oldest first."""
    path = saved(folder, "main", session(95, at="2026-03-03"), key=replace(KEY, test="t.py::test_new"))
    saved(folder, "main", session(95, at="2026-01-01"))
    assert main(["rename", "main", "t.py::test_pair", "t.py::test_new"]) == 0
    assert "merged with sessions already stored" in capsys.readouterr().out
    assert sessions_of(path) == ["2026-01-01", "2026-03-03"]


def test_remove_drops_a_test(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And only that; what begins alike stays."""
    path = saved(folder, "main", session(95))
    saved(folder, "main", session(95), key=replace(KEY, test="t.py::test_pair_of_two"))
    assert main(["remove", "main", "t.py::test_pair"]) == 0
    assert [entry.test for entry in baseline_files.load(path).stored] == ["t.py::test_pair_of_two"]
    assert main(["remove", "main", "t.py::test_pair"]) == 2
    assert "deleted 1 session of t.py::test_pair" in capsys.readouterr().out


def test_an_outlying_session_is_named_and_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`doctor` and `compare` give the command that removes it; after that nothing is outlying."""
    levels = (95.0, 95.3, 94.8, 95.1, 85.0, 95.2)
    path = saved(folder, "main", *(session(level, at=f"2026-01-0{day}") for day, level in enumerate(levels, 1)))
    saved(folder, "new", session(95))
    command = "pytest-llmperf remove main t.py::test_pair --session 2026-01-05T00:00:00+00:00"
    main(["doctor"])
    text = capsys.readouterr().out
    assert f"if something disturbed it, remove it: {command}\n" in text
    assert "efficiency_pct 85.04, mean of the 5 others 95.12 %" in text
    main(["compare", "main", "new"])
    assert "main: the stored session of 2026-01-05T00:00:00+00:00 is far from the others" in capsys.readouterr().out
    assert main(command.split()[1:]) == 0
    printed = f"{path}: deleted the session saved at 2026-01-05T00:00:00+00:00 of t.py::test_pair; 5 left\n"
    assert capsys.readouterr().out == printed
    assert sessions_of(path) == [f"2026-01-0{day}" for day in (1, 2, 3, 4, 6)]
    main(["doctor"])
    assert "far from the others" not in capsys.readouterr().out


def test_the_last_session_takes_the_measurement_along(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output says so; an unknown time changes nothing, and the error lists the stored times."""
    path = saved(folder, "main", session(95))
    assert main(["remove", "main", "t.py::test_pair", "--session", "2025"]) == 2
    assert "it has:\n  2026-01-01T00:00:00+00:00: t.py::test_pair" in capsys.readouterr().err
    assert main(["remove", "main", "t.py::test_pair", "--session", "2026-01-01"]) == 0
    assert "it was the last one: the measurement is gone, too" in capsys.readouterr().out
    assert baseline_files.load(path).stored == ()


@pytest.mark.parametrize(
    "command",
    [["trim", "--keep", "1"], ["remove", "t.py::x"], ["remove", "t.py::x", "--session", "2026"], ["rename", "a", "b"]],
)
def test_ours_and_those_written_by_hand_are_left_alone(
    folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The decision card is not found in the user's folder, and comments are not lost."""
    for name, words in (("decision_card", "does not exist"), ("mine", "written by hand")):
        folder.mkdir(exist_ok=True)
        (folder / "mine.toml").write_text("# why\nschema = 1\n")
        assert main([command[0], name, *command[1:]]) == 2
        assert words in capsys.readouterr().err
    assert (folder / "mine.toml").read_text() == "# why\nschema = 1\n"


def test_doctor_of_a_healthy_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0; versions, extras, the backend of auto."""
    saved(folder, "main", *(session(95) for _ in range(4)))
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "ok     backend simulated is installed" in text
    assert "--llmperf-backend=auto selects" in text
    assert "ok     baselines/main.toml: 1 stored measurement" in text
    assert text.endswith("0 wrong, 0 hints\n")


def test_doctor_names_all_that_is_too_little(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Few sessions, few rounds, a test that is not there, old work, mixed backends, an old schema, a cut-off save."""
    path = saved(folder, "main", session(95, rounds=2))
    saved(folder, "main", session(95), session(95, backend="simulated"), key=replace(KEY, workload="old"))
    saved(folder, "main", session(95, backend="simulated"), key=replace(KEY, test="t.py::test_gone"))
    saved(folder, "main", session(95), key=replace(KEY, test="a script's own name"))
    path.with_name(f".{path.name}.0123456789abcdef.tmp").write_text("torn")
    (folder / "first.toml").write_text(
        'schema = 1\n[[stored]]\ntest = "t.py::test_pair"\nscenario = "s"\ntopology = "dual"\nworkload = "w"\n'
        '[[stored.session]]\nsaved_at = "2026"\n[stored.session.manifest]\n[stored.session.rounds]\nspeedup = [1.0]\n'
    )
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for words in (
        "main.toml: t.py::test_pair (pair on dual) has 1 session, wanted 4: pytest --llmperf-save main",
        "has a session of 2 rounds (exploratory), wanted 5",
        "main.toml: t.py::test_gone (pair on dual): the test was not found from this folder",
        "is stored with 2 workloads",
        "has sessions of several backends (embedded, simulated)",
        "test_gone (pair on dual) was measured on a simulated server, not on a real engine",
        "first.toml: schema 1; the next save writes schema 3",
        "main.toml: a save was interrupted; the file is intact",
    ):
        assert words in text
    assert "script's own name (pair on dual): the test was not found" not in text


def test_doctor_of_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """Torn files and an installation that has no backend: exit code 1, each with its next step."""
    folder.mkdir()
    (folder / "torn.toml").write_text("schema =")
    (folder / "later.toml").write_text("schema = 99")

    def nothing(settings: object) -> None:
        raise MissingExtraError("nothing was found", next_step="install something")

    monkeypatch.setattr(doctor_command, "choose", nothing)
    monkeypatch.setattr(doctor_command, "missing_packages", lambda *_, **__: ["starlette"])
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert (
        "WRONG  --llmperf-backend=auto cannot use any server or engine: nothing was found; next: install something"
        in text
    )
    assert "WRONG  baseline file baselines/torn.toml is not TOML" in text
    assert "later.toml has schema 99, this release reads up to 3: written by a newer release; next: pip install" in text
    assert "hint   backend simulated is missing starlette: pip install 'pytest-llmperf[simulated]'" in text
    assert text.endswith("3 wrong, 2 hints\n")


def test_doctor_of_an_empty_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Says how a baseline is made."""
    assert main(["doctor", "--dir", "elsewhere"]) == 0
    assert "no baseline in elsewhere: pytest --llmperf-save NAME creates one" in capsys.readouterr().out


def test_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """`pytest-llmperf --help` is enough to begin with."""
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for command in ("list", "show", "compare", "trim", "rename", "remove", "doctor"):
        assert f"\n    {command} " in text
    assert "Exit code: 0 = success" in text


@pytest.mark.parametrize("arguments", [[], ["grow"], ["show"], ["trim", "main"], ["compare", "a", "b", "--delta", "x"]])
def test_misuse_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As everything that could not be done."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: pytest-llmperf" in capsys.readouterr().err


def test_the_installed_command_knows_no_pytest(folder: Path) -> None:
    """It is on PATH after an installation, a reader that goes away is no error, and pytest is not imported."""
    saved(folder, "main", session(95))
    program = Path(sys.executable).parent / "pytest-llmperf"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pytest-llmperf ")
    code = "import sys; from pytest_llmperf.cli import main; main(['list']); sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    piped = f"set -o pipefail; {program} show decision_card | true"
    assert subprocess.run(["bash", "-c", piped], capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("inside", ["test_pair[a::b]", "TestX::test_pair[x-::1]", "test_pair[t.py::test_gone]"])
def test_doctor_finds_tests_whose_parameters_hold_colons(
    folder: Path, capsys: pytest.CaptureFixture[str], inside: str
) -> None:
    """It looks for the function, not for the text after the last two colons; a deleted function is still reported."""
    saved(folder, "main", session(95), key=replace(KEY, test=f"t.py::{inside}"))
    saved(folder, "main", session(95), key=replace(KEY, test="t.py::test_gone[a::test_pair]"))
    main(["doctor"])
    text = capsys.readouterr().out
    assert f"t.py::{inside} (pair on dual): the test was not found" not in text
    assert "t.py::test_gone[a::test_pair] (pair on dual): the test was not found" in text


def test_doctor_waits_for_no_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A FIFO where a test's file or a baseline was: told, and nothing else is missed."""
    saved(folder, "main", session(95), key=replace(KEY, test="fifo.py::test_x"))
    os.mkfifo("fifo.py")
    os.mkfifo(folder / "other.toml")
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "fifo.py::test_x (pair on dual): the test was not found" in text
    assert (
        "WRONG  baseline file baselines/other.toml cannot be read: [Errno 22] it is a FIFO, wanted a plain file" in text
    )
    assert main(["list"]) == 0
    assert "unreadable: see doctor" in capsys.readouterr().out


NAMES = ("t.py::test_pair[größer]", "t.py::test_pair[\N{SNOWMAN}]")
COMMANDS = (
    "list",
    "show main",
    "doctor",
    "compare main main",
    "trend main",
    "rename main t.py::test_pair[größer] t.py::test_pair[grün]",
    "remove main t.py::test_pair[größer]",
    "remove main t.py::größer",
    "show größer",
    "record decision größer.json",
    "trim größer --keep 1",
)


@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_terminal_that_knows_no_other_letters(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, errors: str
) -> None:
    """`PYTHONIOENCODING=ascii`, or the locale C: letters are spelt out, in results and errors; all else is the same."""
    monkeypatch.setattr(doctor_command, "choose", lambda _: choose(Settings(backend="simulated")))
    came = {}
    for encoding in ("utf-8", "ascii"):
        shutil.rmtree(folder, ignore_errors=True)
        for name in NAMES:
            saved(folder, "main", session(95), key=replace(KEY, test=name))
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors) for _ in range(2)]
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            monkeypatch.setattr(sys, name, stream)
        code = main(command.split())
        assert [stream.errors for stream in streams] == [errors, errors]
        for stream in streams:
            stream.flush()
        came[encoding] = code, *(stream.detach().getvalue().decode(encoding) for stream in streams)
    code, *texts = came["utf-8"]
    assert any(texts)
    assert came["ascii"] == (code, *(text.encode("ascii", "backslashreplace").decode() for text in texts))


def test_halves_of_characters_in_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """What is no UTF-8 on the command line comes as such."""
    assert main(["show", "\udce9"]) == 2
    assert "\\udce9" in capsys.readouterr().err


class Version(Handler):
    """An Ollama, as far as `auto` looks."""

    def do_GET(self) -> None:
        self.answer(b'{"version": "1"}')


@pytest.mark.parametrize("binary", ["", "ollama"])
def test_doctor_names_a_server_that_was_found(folder: Path, capsys, monkeypatch, tmp_path: Path, binary: str) -> None:
    """What it means for tests, or that it is not measured."""
    (tmp_path / "bin").mkdir()
    if binary:
        (tmp_path / "bin" / binary).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with http_server(Version) as url:
        monkeypatch.setattr(backend_factory, "USUAL_URLS", (url, f"http://127.0.0.1:{free_port()}"))
        main(["doctor"])
    printed = capsys.readouterr().out
    if binary:
        assert "hint   --llmperf-backend=auto selects ollama" in printed
        assert f"the server at {url} is not measured" in printed
    else:
        assert f"ok     --llmperf-backend=auto selects attach, {url} (auto: one server answers" in printed
        assert "hint   one server: single_ollama and single_parallel_ollama can be measured" in printed
