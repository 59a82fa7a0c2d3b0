"""The faults of the table that need processes, a whole pytest, or a broken machine."""

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.measure.runtimes import runtime
from pytest_llmperf.model import Script, Settings, TopologyKind
from pytest_llmperf.report.files import session_outputs
from pytest_llmperf.report.terminal.summary_table import table
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault, FaultPlan
from pytest_llmperf.servers.processes import server_process
from pytest_llmperf.session.session import Session
from pytest_llmperf.study.rows.result_rows import as_csv
from tests.disk import full
from tests.faults.conftest import PAIR
from tests.faults.rows import FAILS, STOPS, Scene, matches
from tests.plugin.conftest import FAST, Aftermath
from tests.plugin.conftest import PAIR as PAIR_FILE
from tests.plugin.test_reports import YESTERDAY

QUICK = Script(ttft_ms=5, decode_tok_s=2000, load_ms=1, jitter_pct=0)
DUAL, SINGLE = TopologyKind.DUAL, TopologyKind.SINGLE


@dataclass
class Stage:
    """What a scene may use."""

    attached: Callable
    pytester: pytest.Pytester
    patch: pytest.MonkeyPatch
    folder: Path

    def measured(self, session: Session, kind: TopologyKind = DUAL) -> str:
        """What the user sees of one measurement."""
        try:
            return "\n".join(line for line, _ in table([session.measure(PAIR, kind, test="t")]))
        except LlmperfError as error:
            return f"{type(error).__name__}: {error}"

    def own(self, plan: str) -> Session:
        """A session that starts simulated servers with this plan."""
        file = self.folder / "plan.toml"
        file.write_text(textwrap.dedent(plan))
        given = {"min_rounds": 2, "max_rounds": 2, "calibrate": False, "script": QUICK, "faults": str(file)}
        return Session(Settings(backend="simulated", **given), root=self.folder)


def dies(stage: Stage) -> str:
    session = stage.own("[[fault]]\nkind = 'die'\ninstance = 'b'\nrequests = 3\nafter_tokens = 4")
    seen = stage.measured(session)
    assert session._context.pool.candidate.topology is None  # what is left of it was ended
    session.close()
    return seen


def dies_twice(stage: Stage) -> str:
    session = stage.own("[[fault]]\nkind = 'die'\ninstance = 'b'\nrequests = 3")
    seen = [stage.measured(session) for _ in range(3)]
    seen.append(stage.measured(session, SINGLE))
    session.close()
    assert [line.split(":")[0] for line in seen[:3]] == ["ServerError", "ServerError", "DegradedError"]
    return "\n".join(seen[2:])


def lost(stage: Stage, index: int) -> str:
    """An attached server goes away; the test that meets it, one on two instances, one on one."""
    name = "ab"[index]
    session, servers = stage.attached(FaultPlan(faults=(Fault(kind="refuse", instance=name, first=3, last=3),)))
    seen = [stage.measured(session), stage.measured(session), stage.measured(session, SINGLE)]
    used = session._context.pool.candidate.topology
    assert used is not None
    assert used.instances[0].url == servers[1 - index].url
    session.close()
    assert [line.split(":")[0] for line in seen[:2]] == ["UnreachableError", "DegradedError"]
    return "\n".join(seen[1:])


def clock_stepped(stage: Stage) -> str:
    offsets = iter(range(0, 10**18, 10**9))
    stage.patch.setattr(runtime, "wall_offset_ns", lambda: next(offsets))
    session, _ = stage.attached(FaultPlan())
    seen = stage.measured(session)
    session.close()
    return seen


def no_room_to_start(stage: Stage) -> str:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    stage.patch.setattr(server_process.tempfile, "mkstemp", full)
    session = stage.own("")
    seen = stage.measured(session)
    session.close()
    return seen


REPORTS = ("json", "html", "csv", "markdown", "codequality", "openmetrics")
"""The reports that are requested while the disk is full; each file keeps its old text."""


def disk_full(stage: Stage) -> str:
    """No file may grow beyond one byte when results are written."""
    pytester = stage.pytester
    pytester.makepyfile(
        pair=PAIR_FILE,
        test_it="""
        from pair import PAIR

        def test_pair(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)
        """,
    )
    write_all = session_outputs.write_all

    def on_a_full_disk(*args) -> session_outputs.Written:
        with full(most_bytes=1):
            return write_all(*args)

    stage.patch.setattr(session_outputs, "write_all", on_a_full_disk)
    old = {name: pytester.path / f"run.{name}" for name in REPORTS}
    texts = {name: YESTERDAY.get(name, as_csv([])) for name in REPORTS}
    for name, path in old.items():
        path.write_text(texts[name])
    stage.patch.setenv("GITHUB_ACTIONS", "true")
    stage.patch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    options = [f"--llmperf-{name}={path}" for name, path in old.items()]
    result = pytester.runpytest_inprocess(
        *FAST, "--llmperf-rounds=2", "--llmperf-max-rounds=2", "--llmperf-save=kept", *options
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {name: path.read_text() for name, path in old.items()} == texts
    assert not (pytester.path / "baselines" / "kept.toml").exists()
    seen = result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            *(f"LlmperfError: cannot write *run.{name}: *File too large*" for name in ("json", "html", "markdown")),
            *(f"LlmperfError: cannot write *run.{name}: *File too large*" for name in ("codequality", "openmetrics")),
            "LlmperfError: cannot write *run.csv: *File too large*",
            "BaselineError: *kept.toml*File too large*",
            "the summary page of this job was not written: *File too large*",
        ]
    )
    return seen


SCENES = (
    (
        Scene(
            "an instance dies in mid-stream",
            '`kind = "die", requests = 3, after_tokens = 4`',
            "ServerError: instance b (simulated) died while it was in use; the end of its log: ...next: see the log...",
            STOPS,
        ),
        dies,
    ),
    (
        Scene(
            "an instance of ours dies again",
            '`kind = "die", requests = 3` in two tests',
            "DegradedError: the session is degraded: instance b died twice; topology dual is not measured ... on "
            "single: the session is degraded: instance b died twice",
            "the rest of the session is not measured on two instances; on one it is, with a note",
        ),
        dies_twice,
    ),
    (
        Scene(
            "the second attached server goes away for good",
            '`kind = "refuse", requests = 3` on an attached server',
            "DegradedError: the session is degraded: instance b ...: nothing answers there ...; topology dual is...",
            "the rest of the session is not measured on two instances; on one it is, with a note",
        ),
        lambda stage: lost(stage, 1),
    ),
    (
        Scene(
            "the first attached server goes away for good",
            '`kind = "refuse", requests = 3` on an attached server',
            "on single: the session is degraded: instance a ...: nothing answers there...",
            "what needs one instance is measured on the server that is left",
        ),
        lambda stage: lost(stage, 0),
    ),
    (
        Scene(
            "the machine's clock is stepped",
            "the offset between the clocks moves by a second in every part",
            "client overhead:...(runtime threads, read times)",
            "arrivals of that part are read times; the client overhead line says so",
        ),
        clock_stepped,
    ),
    (
        Scene(
            "no room for a server's log",
            "the folder for temporary files takes nothing",
            "ServerError: instance a (simulated): its log cannot be written in ...: No space left on device next: ...",
            FAILS,
        ),
        no_room_to_start,
    ),
    (
        Scene(
            "the disk is full when results are written",
            "no file may grow beyond 1 byte while the results are written",
            "LlmperfError: cannot write ...run.json: ...File too large next: free some space... cannot write ...",
            "the session ends with exit code 1; every old file is whole (reports, baseline), and the log has the table",
        ),
        disk_full,
    ),
)


@pytest.fixture
def stage(attached, pytester: pytest.Pytester, aftermath: Aftermath, tmp_path: Path) -> Iterator[Stage]:
    """What a scene may use; afterwards no process, no lock, no file is left."""
    with pytest.MonkeyPatch.context() as patch:
        yield Stage(attached, pytester, patch, tmp_path)
    aftermath.assert_nothing_left()


@pytest.mark.parametrize(("scene", "play"), SCENES, ids=lambda scene: getattr(scene, "name", ""))
def test_a_scene(scene: Scene, play: Callable[[Stage], str], stage: Stage) -> None:
    """It happens as the table says, and leaves nothing."""
    seen = play(stage)
    assert matches(scene.seen, seen), seen
