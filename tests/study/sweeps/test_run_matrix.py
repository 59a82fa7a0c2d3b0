"""A sweep on a server: what is measured, skipped, kept, resumed, and written."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError, MeasurementError, UsageError
from pytest_llmperf.judge.diagnosis.client_saturation import client_cost_pp, saturated
from pytest_llmperf.judge.markers import build
from pytest_llmperf.model import (
    CHIMERA_HOMO,
    Agent,
    Configuration,
    GenerationOptions,
    Prices,
    Round,
    Scenario,
    Script,
    Settings,
)
from pytest_llmperf.session.measurement import round_loop
from pytest_llmperf.session.progress_listener import SilentListener
from pytest_llmperf.session.session import Session
from pytest_llmperf.study.claims.claim_findings import Status
from pytest_llmperf.study.rows.result_rows import from_csv
from pytest_llmperf.study.sweeps import run_matrix
from pytest_llmperf.study.sweeps.run_matrix import run
from pytest_llmperf.study.sweeps.study_results import FINDING_COLUMNS, Results
from pytest_llmperf.study.sweeps.summary_text import summary
from pytest_llmperf.study.sweeps.sweep_journal import Finished, Journal, key_of
from pytest_llmperf.study.sweeps.sweep_options import SweepOptions
from pytest_llmperf.study.sweeps.sweep_progress import Progress
from tests.disk import full
from tests.lent import known
from tests.servers.clients.test_openai_client import serving
from tests.started import simulated_server
from tests.study.build import matrix, record

TWO = {"axes": {"num_ctx": [512, 1024]}, "options": {"num_predict": 4}, "rounds": 1}
ASKED = {key_of({"num_ctx": value}): "" for value in (512, 1024)}
SPREAD = {
    "id": "ctx",
    "claim": "the context does not matter",
    "source": "TR108",
    "figure": "spread_pct",
    "metric": "throughput_tok_s",
    "over": "num_ctx",
    "limit": 1000,
    "holds": "at most",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    script = {"decode_tok_s": 2000, "ttft_ms": 1, "load_ms": 0}
    with simulated_server("--keep-alive-s", "-1", **script) as url, known(url, Script(**script)):
        yield url


class Told(SilentListener):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Noted(Told):
    """Keeps what stays on a screen."""

    def say(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.said.append(text)


class Stops(Told):
    """Interrupts a sweep in its second cell."""

    def say(self, text: str) -> None:
        if "ctx1024: " in text:
            raise KeyboardInterrupt


@pytest.fixture
def sweep(url: str, tmp_path: Path):
    """`sweep(matrix, ...)`: runs it on the server, results under the test's folder."""

    def go(made, *, listener=None, settings=None, **more) -> Results:
        wanted = {"backend": "attach", "urls": (url,), "calibrate": False, "max_rounds": 2, "warmups": 0}
        session = Session(Settings(**{**wanted, **(settings or {})}), root=tmp_path, listener=listener)
        options = SweepOptions(test="test", specs=more.pop("specs", ()), runtime=more.pop("runtime", ""))
        return run(made, session, options, folder=tmp_path / "results", **more)

    return go


def test_every_cell_is_measured_and_written(sweep, tmp_path: Path) -> None:
    """As many rounds as the matrix says; the files hold what the results hold; no journal is left."""
    results = sweep(matrix(**TWO, claim=[SPREAD]))
    assert [row.config_name for row in results.rows] == ["ctx512", "ctx1024"]
    assert [row.num_ctx for row in results.rows] == [512, 1024]
    folder = tmp_path / "results"
    assert from_csv((folder / "m.csv").read_text()) == results.rows
    header, line = csv.reader((folder / "m.findings.csv").read_text().splitlines())
    assert tuple(header) == FINDING_COLUMNS
    assert line[-1] == "simulated" == results.rows[0].backend
    assert not list(folder.glob("*.jsonl")) + list(folder.glob("*.tmp"))
    assert results.finding("ctx").status is Status.REPRODUCED
    assert results.mean("throughput_tok_s", num_ctx=512) > 0
    assert len(results.select(num_ctx=1024)) == 1
    with pytest.raises(UsageError, match="m measured no axis 'nope'\n  next: use an axis that was measured: num_ctx"):
        results.ranking("nope", "ttft_ms")
    with pytest.raises(UsageError, match="m measured no axis 'nope'"):
        results.consistency("nope", "ttft_ms")
    with pytest.raises(MeasurementError, match=r"measured no cell of num_ctx 77\n  next: .*: num_ctx: 512, 1024"):
        results.mean("ttft_ms", num_ctx=77)
    with pytest.raises(MeasurementError, match="no cell of nope 1\n  next: use measured values: nope: no axis"):
        results.split(nope=1)
    with pytest.raises(UsageError, match="no claim 'x'"):
        results.finding("x")


def test_prices_make_costs(sweep) -> None:
    """Those of `llmperf.toml`, by the rate of all agents; a price stated after a sweep was interrupted holds, too."""
    made = matrix(**TWO)
    with pytest.raises(KeyboardInterrupt):
        sweep(made, listener=Stops())
    results = sweep(made, settings={"configuration": Configuration(prices=Prices(usd_per_hour=3.6))})
    assert results.resumed == 1
    rates = [row.system_tok_s for row in results.rows]
    assert [row.cost_per_1M_tokens for row in results.rows] == pytest.approx([1000 / rate for rate in rates if rate])


def test_what_cannot_be_measured_here_is_said(sweep) -> None:
    """An axis of the GPU, and a model that the server does not have; their claims are not testable, and say why."""
    made = matrix(
        axes={"num_gpu": [0, 99], "model": ["simulated:scripted", "llama3.1:q8_0"]},
        options={"num_predict": 4},
        rounds=1,
        claim=[{**SPREAD, "over": "model"}, {**SPREAD, "id": "gpu", "over": "num_gpu"}],
        show=["throughput_tok_s", "vram_mb"],
    )
    results = sweep(made)
    assert [row.cell for row in results.rows] == [{"model": "simulated:scripted"}]
    assert list(results.skipped) == ["axis num_gpu", "model llama3.1:q8_0"]
    assert {finding.status for finding in results.findings} == {Status.NOT_TESTABLE}
    with pytest.raises(UsageError, match="measured no axis 'num_gpu'; axis num_gpu: no GPU on this machine; "):
        results.ranking("num_gpu", "ttft_ms")
    text = "\n".join(summary(results, Path("results")))
    assert "not measured: axis num_gpu: no GPU on this machine" in text
    assert (
        "not testable here: the context does not matter (TR108): no measured cell has a second value of model; axis"
        in text
    )
    assert "vram_mb: vram_mb is undefined in 1 of 1 rounds" in text
    assert "experiment m: 1 cell, 1 round: results/m.csv" in text


def test_a_topology_that_is_forced(sweep) -> None:
    """Cells of another one are passed over, not measured on it under the wrong name."""
    made = matrix(axes={"topology": ["single", "single_parallel"]}, options={"num_predict": 4}, rounds=1)
    results = sweep(made, settings={"force_topology": "single"})
    assert [(row.cell["topology"], row.topology) for row in results.rows] == [("single", "single")]
    assert results.skipped == {"topology single_parallel": "--llmperf-topology or the deployment sets single"}


def test_the_most_agents(sweep) -> None:
    """An axis over numbers of agents ends at the option's; the rest is listed with the reason."""
    tables = {"scenario": "", "prompts": ["Tell"], "rounds": 1, "options": {"num_predict": 4}}
    results = sweep(matrix(**tables, axes={"agents": [1, 2, 4]}), settings={"max_agents": 2})
    assert [row.agents for row in results.rows] == [1, 2]
    assert results.skipped["agents 4"] == "--llmperf-max-agents is 2"


def test_options_that_the_api_has_no_name_for(sweep) -> None:
    """They are not swept there, nor written as sent."""
    made = matrix(
        axes={"num_ctx": [512, 1024], "temperature": [0.0, 1.0]},
        cell=[{"num_thread": 1}],
        options={"num_predict": 4, "num_ctx": 512},
        rounds=1,
    )
    with serving("m:1") as (openai, _):
        results = sweep(made, settings={"backend": "openai", "urls": (openai,)})
    assert [row.cell for row in results.rows] == [{"temperature": 0.0}, {"temperature": 1.0}]
    assert {(row.num_ctx, row.num_predict) for row in results.rows} == {(None, 4)}
    assert {results.skipped[f"axis {axis}"] for axis in ("num_ctx", "num_thread")} == {run_matrix.NEVER_SENT}


def test_nothing_that_can_be_measured(sweep) -> None:
    """An error, with the reason, not an empty success."""
    with pytest.raises(UsageError, match="no cell of matrix m can be measured here: model x: "):
        sweep(matrix(axes={"model": ["x"]}))


def test_a_model_that_is_missing_without_being_swept_is_an_error(sweep) -> None:
    """Only an axis is skipped."""
    with pytest.raises(LlmperfError, match="does not have model"):
        sweep(matrix(**TWO), settings={"model": "nowhere"})


def test_agents_by_a_function(sweep) -> None:
    """It gets each cell, and gives an axis of its own a meaning."""
    cells = []

    def make(cell):
        cells.append(dict(cell))
        return CHIMERA_HOMO

    made = matrix(axes={"files": [1, 2]}, options={"num_predict": 4}, rounds=1, scenario="")
    results = sweep(made, make=make)
    assert cells == [{"files": 1}, {"files": 2}]
    assert [row.scenario for row in results.rows] == ["m_files1", "m_files2"]
    with pytest.raises(UsageError, match="axis files is neither an option nor"):
        sweep(made)


def test_gates_judge_every_cell(sweep) -> None:
    """And ask for more rounds than the matrix, where they are undecided."""
    results = sweep(matrix(**TWO), specs=[build("efficiency", kwargs={"min_pct": 1})])
    assert [len(record.verdicts) for record in results.records] == [1, 1]
    assert {verdict.gates for record in results.records for verdict in record.verdicts} == {2}
    assert {len(record.measurement.rounds) for record in results.records} == {2}


def test_an_interrupted_sweep_goes_on(sweep, tmp_path: Path) -> None:
    """What is finished is neither repeated nor lost, and what was not is measured."""
    made, cells = matrix(**TWO), []

    with pytest.raises(KeyboardInterrupt):
        sweep(made, listener=Stops())
    partial = tmp_path / "results" / "m.partial.jsonl"
    cells = [json.loads(line) for line in partial.read_text().splitlines()[1:]]
    assert [cell["cell"] for cell in cells] == [{"num_ctx": 512}]
    with partial.open("a") as file:
        file.write('{"cell": {"num_ctx": 1024}, "rec')  # as a kill in the middle of a line leaves it
    told = Told()
    results = sweep(made, listener=told)
    assert results.resumed == 1
    assert results.rows[0].timestamp[:19] == cells[0]["record"]["measurement"]["started_at"][:19]
    assert [row.num_ctx for row in results.rows] == [512, 1024]
    assert not [text for text in told.said if "ctx512" in text]
    assert any(text.startswith("m 2/2, under 1 min left: ctx1024: ") for text in told.said)
    assert not partial.exists()
    assert "1 of them finished by an earlier run" in summary(results, tmp_path)[0]


@pytest.mark.parametrize(
    ("tables", "more", "kept"),
    [
        ({"description": "other words"}, {}, 1),
        ({}, {"settings": {"html": "report.html", "timeout_s": 200.0, "github": False}}, 1),
        ({"options": {"num_predict": 5}}, {}, 0),
        ({}, {"resume": False}, 0),
        ({}, {"settings": {"warmups": 1}}, 0),
    ],
)
def test_only_cells_of_the_same_experiment_count(sweep, tables: dict, more: dict, kept: int) -> None:
    """Another option, another setting, or the wish to start anew: nothing is taken over."""
    with pytest.raises(KeyboardInterrupt):
        sweep(matrix(**TWO), listener=Stops())
    assert sweep(matrix(**{**TWO, **tables}), **more).resumed == kept


def test_a_cell_that_cannot_be_measured_keeps_no_other_from_it(sweep, tmp_path: Path) -> None:
    """It is reported with its reason, and the others are measured and written; the rest counts without it."""
    made = matrix(**{**TWO, "axes": {"num_ctx": [512, 4, 1024]}}, claim=[SPREAD])
    for resumed in (0, 2):  # the same command tries it again, and only it
        results = sweep(made)
        assert results.resumed == resumed
        assert list(results.failed) == ["num_ctx=4"]
        assert "exceed" in results.failed["num_ctx=4"]
    assert [row.num_ctx for row in from_csv((tmp_path / "results" / "m.csv").read_text())] == [512, 1024]
    assert "  FAILED: num_ctx=4: " in "\n".join(summary(results, tmp_path))
    results = sweep(matrix(**TWO, claim=[SPREAD]))
    assert (results.resumed, results.failed) == (2, {})
    assert not list((tmp_path / "results").glob("*.jsonl"))


def test_cells_count_one_by_one(sweep) -> None:
    """An axis that gets longer or shorter, and cells that are added, leave the finished ones as they are."""
    with pytest.raises(MeasurementError, match=r"1 cell could not be measured\n  num_ctx=4: .*\n  next: correct"):
        sweep(matrix(**{**TWO, "axes": {"num_ctx": [4]}}))
    assert sweep(matrix(**{**TWO, "axes": {"num_ctx": [512, 4]}})).resumed == 0
    made = {**TWO, "axes": {"num_ctx": [1024]}, "cell": [{"num_ctx": 512}, {"num_thread": 1}]}
    assert sweep(matrix(**made)).resumed == 1


def test_servers_that_fail_twice_in_a_row_end_a_sweep(sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is left for the next run, which tries failed cells last, so that they cannot block the others again."""
    tried: list[int] = []
    measure = Session.measure

    def reset(session, scenario, *args, **more):
        tried.append(scenario.agents[0].options.num_ctx)
        if len(tried) in (2, 3):
            raise MeasurementError("the connection failed", passing=True)
        return measure(session, scenario, *args, **more)

    monkeypatch.setattr(Session, "measure", reset)
    made = matrix(**{**TWO, "axes": {"num_ctx": [512, 600, 700, 800]}})
    results = sweep(made)
    assert (tried, list(results.failed), results.untried) == ([512, 600, 700], ["num_ctx=600", "num_ctx=700"], 1)
    assert sweep(made).resumed == 1
    assert tried[3:] == [800, 600, 700]


def test_a_journal_of_other_conditions_is_kept(sweep, tmp_path: Path) -> None:
    """A message says at once how many cells do not count and why; under the former conditions they count again."""
    made, noted = matrix(**TWO), Noted()
    with pytest.raises(KeyboardInterrupt):
        sweep(made, listener=Stops())
    with pytest.raises(KeyboardInterrupt):
        sweep(made, listener=Stops(), settings={"warmups": 1})
    (aside,) = (tmp_path / "results").glob("m.*.partial.jsonl")
    assert len(aside.read_text().splitlines()) == 2
    results = sweep(made, listener=noted)
    assert results.resumed == 1
    (note,) = noted.said
    assert note.startswith(
        "experiment m: 1 finished cell of an earlier run not used because --llmperf-warmups differs; "
    )
    assert note.removeprefix("experiment m: ") in "\n".join(summary(results, tmp_path))
    assert [path.name in note for path in (tmp_path / "results").glob("m.*.partial.jsonl")] == [True]


def test_a_journal_of_another_version_is_kept(sweep, tmp_path: Path) -> None:
    """Whatever its content, its cells were measured by somebody."""
    folder, noted = tmp_path / "results", Noted()
    folder.mkdir()
    (folder / "m.partial.jsonl").write_text('{"conditions": "0123"}\n{"cell": {}, "record": {}}\n')
    assert sweep(matrix(**TWO), listener=noted).resumed == 0
    assert "another version of this plugin wrote them" in noted.said[0]
    assert len(list(folder.glob("m.*.partial.jsonl"))) == 1


def test_agents_that_have_changed(sweep) -> None:
    """Cells in which agents do something else are measured again, with a message; the others count."""

    def agents_of(tokens: int):
        def make(cell):
            options = GenerationOptions(num_predict=tokens if cell["files"] == 1 else 4)
            return Scenario(name="x", agents=(Agent(name="a", prompts=("go",), options=options),))

        return make

    class StopsLate(Stops):
        def say(self, text: str) -> None:
            if "files3: " in text:
                raise KeyboardInterrupt

    made, noted = matrix(axes={"files": [1, 2, 3]}, rounds=1, scenario=""), Noted()
    with pytest.raises(KeyboardInterrupt):
        sweep(made, make=agents_of(4), listener=StopsLate())
    results = sweep(made, make=agents_of(8), listener=noted)
    assert results.resumed == 1
    assert [row.total_tokens for row in results.rows] == [8, 4, 4]
    assert noted.said[0].startswith("experiment m: 1 finished cell of an earlier run measured again: agents, ")


def test_cells_of_another_machine_do_not_mix(sweep, tmp_path: Path) -> None:
    """The journal moved to another machine: the difference is named, with what to do."""
    with pytest.raises(KeyboardInterrupt):
        sweep(matrix(**TWO), listener=Stops())
    partial = tmp_path / "results" / "m.partial.jsonl"
    partial.write_text(partial.read_text().replace('"os": "Linux', '"os": "Plan9'))
    with pytest.raises(UsageError, match=r"have another os: Plan9.* -> Linux.*\n.*--llmperf-resume=off"):
        sweep(matrix(**TWO))


def test_one_run_at_a_time_writes_a_journal(tmp_path: Path) -> None:
    """A second one is refused before it measures."""
    with Journal(tmp_path, "m", {}, ASKED), pytest.raises(UsageError, match="another run is writing"):
        Journal(tmp_path, "m", {}, ASKED).__enter__()
    with Journal(tmp_path, "m", {}, ASKED):
        pass


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    """One clear error, with what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LlmperfError, match=r"cannot write .*\n.*--llmperf-results"):
        Journal(tmp_path / "file", "m", {}, {}).__enter__()


def test_a_disk_that_is_full_loses_no_finished_cell(tmp_path: Path) -> None:
    """Neither when a cell is added, nor when a journal is opened again."""
    finished = Finished(record((100, 90)), None, 1.0)
    with Journal(tmp_path, "m", {}, ASKED) as journal:
        journal.add({"num_ctx": 512}, finished)
        with full(most_bytes=journal.path.stat().st_size + 10), pytest.raises(LlmperfError, match="File too large"):
            journal.add({"num_ctx": 1024}, finished)
        assert list(journal.finished) == [key_of({"num_ctx": 512})]
    with full(most_bytes=1), Journal(tmp_path, "m", {}, ASKED) as journal:
        assert list(journal.finished) == [key_of({"num_ctx": 512})]
    with Journal(tmp_path, "m", {}, ASKED) as journal:
        journal.add({"num_ctx": 1024}, finished)
    with Journal(tmp_path, "m", {}, ASKED) as journal:
        assert len(journal.finished) == 2


@pytest.mark.parametrize("resume", [True, False])
def test_a_journal_that_is_no_plain_file(tmp_path: Path, resume: bool) -> None:
    """A FIFO in its place: an error at once, never a wait."""
    os.mkfifo(tmp_path / "m.partial.jsonl")
    with pytest.raises(LlmperfError, match=r"cannot write .*m\.partial\.jsonl: .*(FIFO|nobody reads it)"):
        Journal(tmp_path, "m", {}, ASKED, resume=resume).__enter__()
    with Journal(tmp_path, "n", {}, ASKED):  # its lock was given back
        pass


def test_a_name_of_an_experiment_that_is_too_long(tmp_path: Path) -> None:
    """As the name of a test with long parameters may be."""
    with pytest.raises(LlmperfError, match="File name too long") as caught:
        Journal(tmp_path, "m" * 300, {}, ASKED).__enter__()
    assert caught.value.next_step == "use a shorter name, or give another folder: --llmperf-results"


def test_results_that_find_no_room(sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says so, the old results whole, every cell kept for the next run."""
    made, old, write = matrix(**TWO), tmp_path / "results" / "m.csv", run_matrix.write

    def on_a_full_disk(*results):
        with full(most_bytes=1):
            return write(*results)

    old.parent.mkdir()
    old.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(run_matrix, "write", on_a_full_disk)
        with pytest.raises(LlmperfError, match=r"cannot write .*m\.csv: .*File too large\n.*--llmperf-results"):
            sweep(made)
    assert old.read_text() == "old"
    assert sweep(made).resumed == 2
    assert len(from_csv(old.read_text())) == 2


@pytest.mark.usefixtures("real_time")
def test_a_runtime_that_serialises_is_found_out(sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of its rounds counts, since the client was saturated; they are kept as rows that say so.

    Half of the time is its own. A busy machine takes less, and does not count here.
    """

    def judged(round_: Round) -> str:
        return saturated(round_) if client_cost_pp(round_) > 20 else ""

    monkeypatch.setattr(round_loop, "saturated", judged)
    made = matrix(
        axes={"runtime": ["threads", "serial"]},
        options={"num_predict": 64},
        rounds=1,
        show=["scaling_efficiency_pct"],
    )
    results = sweep(made)
    assert [group.value for group in results.consistency("runtime", "total_time_s")] == ["threads"]
    assert "client was saturated" in results.skipped["not counted: serial"]
    assert all(row.client_saturated for row in results.select(runtime="serial"))
    text = "\n".join(summary(results, Path("results")))
    assert "scaling_efficiency_pct: " not in text  # one value of the axis is left: nothing to rank


def test_cells_beside_the_product(sweep) -> None:
    """They are listed separately; how much each axis matters is computed from the product alone."""
    made = matrix(
        axes={"num_ctx": [512, 1024]},
        cell=[{"num_thread": 1}],
        options={"num_predict": 4},
        rounds=3,  # a busy machine may cost one
        mode="agent_workflow",
        show=["total_tokens", "throughput_tok_s"],
    )
    results = sweep(made)
    assert {row.config_name for row in results.singles} == {"threads1"}
    assert {effect.axis for effect in results.effects("throughput_tok_s")} == {"num_ctx", "residual"}
    text = "\n".join(summary(results, Path("results")))
    assert "total_tokens of single cells: threads1 8" in text
    assert "wall time of ctx512: " in text
    assert results.split(num_ctx=512).decode_pct > 0


def test_the_time_left() -> None:
    """Unknown before the first cell, then what cells took so far times those that are left."""
    now, told = [0.0], Told()
    progress = Progress(told, "m", 4, clock=lambda: now[0])
    progress.begin("ctx512")
    progress.say("loading")
    assert told.said == ["m 1/4, unknown time left: ctx512: loading"]
    progress.end(100)
    assert progress.left_s == 300
    progress.begin("ctx1024")
    now[0] = 60
    progress.say("round 1")
    assert told.said[-1] == "m 2/4, about 4 min left: ctx1024: round 1"
    progress.skip()
    assert progress.left_s == 200
    progress.begin("ctx2048")  # its measurement fails: it counts, and tells nothing of how long cells take
    progress.begin("ctx4096")
    progress.say("loading")
    assert told.said[-1] == "m 3/3, about 2 min left: ctx4096: loading"
    now[0] = 1000
    assert progress.left_s == 0
    progress.done()
    progress.round_done(record((1, 1)).measurement, ())


def test_a_matrix_whose_claims_are_wrong_starts_nothing(sweep, tmp_path: Path) -> None:
    """Every fault is listed, and no folder made."""
    with pytest.raises(UsageError, match="matrix m is wrong:\n  claim 'ctx': figure: got 'sum'"):
        sweep(matrix(**TWO, claim=[{**SPREAD, "figure": "sum"}]))
    assert not (tmp_path / "results").exists()
