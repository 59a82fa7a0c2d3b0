"""Two deployments by turns, on simulated servers, without pytest between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean

import pytest

from pytest_llmperf import Agent, GenerationOptions, Scenario
from pytest_llmperf.errors import ServerError, UsageError
from pytest_llmperf.judge.markers import build
from pytest_llmperf.judge.record import Record, as_plain, from_plain
from pytest_llmperf.model import NamedDeployment, Outcome, Script, Settings, TopologyKind
from pytest_llmperf.net.port_owner import Owner
from pytest_llmperf.servers.backends import instance_checks
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.session.measurement import round_loop
from pytest_llmperf.session.progress_listener import SilentListener
from pytest_llmperf.session.session import Session
from tests.started import simulated_server

QUICK = Script(decode_tok_s=2000, ttft_ms=5, load_ms=1, jitter_pct=0.2)
MODEL = "simulated:scripted"
PAIR = Scenario(
    name="pair",
    agents=tuple(
        Agent(name=name, prompts=("tell me more",), options=GenerationOptions(num_predict=24, seed=1)) for name in "xy"
    ),
)
SPILL = '[[fault]]\nkind = "spill"\nfactor = 0.5\n'


class Told(SilentListener):
    """A listener that asks something whenever a round of one arm begins."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask

    def say(self, text: str) -> None:
        if ": round " in text:
            self._ask(text)

    def round_done(self, measurement, verdicts, **_) -> None:
        self._ask("pair done")


def settings(incumbent: NamedDeployment, **more) -> Settings:
    return Settings(
        **{
            "backend": "simulated",
            "script": QUICK,
            "calibrate": False,
            "min_rounds": 5,
            "max_rounds": 6,
            "against": "old",
            "incumbent": incumbent,
            **more,
        }
    )


def measured(
    asked: Settings, tmp_path: Path, *markers, kind: TopologyKind = TopologyKind.DUAL, listener=None
) -> Record:
    session = Session(asked, root=tmp_path, listener=listener)
    try:
        return session.measure(PAIR, kind, test="test", specs=markers)
    finally:
        session.close()


@pytest.fixture
def servers() -> Iterator[Callable[..., str]]:
    """`servers(*arguments)`: the address of a simulated server that somebody else has started."""
    with ExitStack() as stack:

        def start(*arguments: str, load_ms: float = 1) -> str:
            script = {"load_ms": load_ms, "decode_tok_s": 2000, "ttft_ms": 5}
            return stack.enter_context(simulated_server(*arguments, **script))

        yield start


def test_both_sides_take_turns_at_going_first(tmp_path: Path) -> None:
    """A B B A A: each pair of rounds beside each other, neither arm always first; the record survives a channel."""
    record = measured(settings(NamedDeployment(backend="simulated", script=QUICK)), tmp_path)
    assert record.incumbent is not None
    assert record.incumbent.name == "old"
    here, there = record.measurement.rounds, record.incumbent.measurement.rounds
    assert len(here) == len(there) >= 5
    assert [round_.order for round_ in here] == [round_.order for round_ in there]
    order = sorted(
        (min(run.start_ns for run in (*round_.solo, *round_.together)), arm)
        for arm, rounds in (("B", here), ("A", there))
        for round_ in rounds
    )
    assert "".join(arm for _, arm in order).startswith("ABBAABBAAB")
    assert {instance.url for instance in record.measurement.topology.instances}.isdisjoint(
        instance.url for instance in record.incumbent.measurement.topology.instances
    )
    assert from_plain(json.loads(json.dumps(as_plain([record])))) == [record]


def test_the_servers_are_ours_after_the_last_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process on the port by then: an error, and no record."""
    rounds = []

    def owner(*_) -> Owner:
        return Owner.STRANGER if "pair done" in rounds else Owner.OURS

    monkeypatch.setattr(instance_checks, "owner_of", owner)
    asked = Settings(backend="simulated", script=QUICK, calibrate=False, min_rounds=1, max_rounds=1)
    with pytest.raises(ServerError, match="is not the server that the plugin started there"):
        measured(asked, tmp_path, listener=Told(rounds.append))


def test_sockets_that_nobody_shows_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is measured all the same, and said."""
    monkeypatch.setattr(instance_checks, "owner_of", lambda *_: Owner.UNKNOWN)
    asked = Settings(backend="simulated", script=QUICK, calibrate=False, min_rounds=1, max_rounds=1)
    record = measured(asked, tmp_path)
    assert any(
        "whether the server that answers is ours cannot be determined" in note for note in record.measurement.notes
    )


def test_a_slower_candidate_fails_by_its_pairs(tmp_path: Path) -> None:
    """Verdict, words, the incumbent's centre as limit; the manifests' differences are named and stop nothing."""
    slow = Script(decode_tok_s=100, ttft_ms=5, load_ms=1, jitter_pct=0.2)
    record = measured(
        settings(NamedDeployment(backend="simulated", script=QUICK), script=slow),
        tmp_path,
        build("regression", kwargs={"metrics": ("system_tok_s",), "delta": 5}),
        build("efficiency", kwargs={"min_pct": 10}),
    )
    limit, paired = record.verdicts
    assert (limit.gate.marker, limit.outcome) == ("efficiency", Outcome.PASS)
    assert (paired.gate.marker, paired.gate.metric, paired.gate.demanded) == ("against", "system_tok_s", True)
    assert paired.outcome is Outcome.FAIL
    assert paired.reason.startswith("against incumbent old: worse by ")
    assert f"the mean of {paired.rounds} pairs" in paired.reason
    assert record.incumbent is not None
    incumbent = Record(test="", measurement=record.incumbent.measurement)
    assert paired.gate.limit == pytest.approx(fmean(incumbent.series("system_tok_s")[: paired.rounds]))
    assert {difference.key for difference in record.incumbent.differences} == {"server_settings"}
    assert not any(difference.machine_bound for difference in record.incumbent.differences)
    assert record.differences == ()


def test_topologies_can_be_compared(tmp_path: Path) -> None:
    """An incumbent that states its topology keeps it, whatever the fixture says."""
    one_slot = NamedDeployment(backend="simulated", script=QUICK, topology="single")
    record = measured(settings(one_slot), tmp_path)
    assert record.incumbent is not None
    assert record.incumbent.measurement.topology.kind is TopologyKind.SINGLE
    assert record.measurement.topology.kind is TopologyKind.DUAL


def test_a_saturated_round_takes_its_partner_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs stay pairs; too many of them, and no gate is judged."""
    asked = settings(NamedDeployment(backend="simulated", script=QUICK))
    calls = iter(range(1000))
    # the second pair's first
    monkeypatch.setattr(round_loop, "saturated", lambda _: "busy" if next(calls) == 2 else "")
    record = measured(asked, tmp_path)
    assert record.incumbent is not None
    for measurement in (record.measurement, record.incumbent.measurement):
        assert [round_.index for round_ in measurement.discarded] == [1]
        assert [round_.index for round_ in measurement.rounds][:5] == [0, 2, 3, 4, 5]
    monkeypatch.setattr(round_loop, "saturated", lambda _: "busy")
    record = measured(asked, tmp_path)
    assert {verdict.outcome for verdict in record.verdicts} == {Outcome.INVALID}
    assert "the client was saturated in 3 of 3 rounds" in record.verdicts[0].reason


def test_on_a_gpu_only_one_model_is_loaded(tmp_path: Path, servers: Callable[..., str]) -> None:
    """Whose turn it is has its model alone; what was loaded when we came is loaded when we go, the other is not."""
    plan = tmp_path / "gpu.toml"
    plan.write_text(SPILL)
    old, new = (servers("--faults", str(plan), "--instance", "a", load_ms=300) for _ in range(2))
    with OllamaClient(new) as control:
        control.preload(MODEL, keep_alive=-1)
    loaded: list[tuple[str, tuple[bool, bool]]] = []

    def is_loaded(url: str) -> bool:
        with OllamaClient(url) as control:
            return control.is_loaded(MODEL)

    asked = settings(NamedDeployment(urls=(old,)), backend="attach", urls=(new,), max_rounds=5)
    listener = Told(lambda text: loaded.append((text, (is_loaded(old), is_loaded(new)))))
    record = measured(asked, tmp_path, kind=TopologyKind.SINGLE, listener=listener)
    assert record.incumbent is not None
    assert any("use the GPUs of one machine" in note for note in record.measurement.notes)
    begun = [both for text, both in loaded if "incumbent old: round" in text]
    ended = [both for text, both in loaded if text == "pair done"]
    assert begun == [(True, False)] * 5
    assert ended == [(False, True), (True, False)] * 2 + [(False, True)]  # A B, B A, A B, ...
    assert (is_loaded(old), is_loaded(new)) == (False, True)
    runs = [run for round_ in record.measurement.rounds for run in (*round_.solo, *round_.together)]
    assert (
        max(request.load_duration_ns for run in runs for request in run.requests) < 300e6
    )  # none of the loads was timed


def test_on_cpus_nothing_is_unloaded(tmp_path: Path, servers: Callable[..., str]) -> None:
    """Both stay loaded while rounds run."""
    old, new = servers(), servers()
    loaded = []

    def ask(_: str) -> None:
        for url in (old, new):
            with OllamaClient(url) as control:
                loaded.append(control.is_loaded(MODEL))

    asked = settings(NamedDeployment(urls=(old,)), backend="attach", urls=(new,), max_rounds=5)
    record = measured(asked, tmp_path, kind=TopologyKind.SINGLE, listener=Told(ask))
    assert all(loaded)
    assert record.measurement.notes == ()


def test_the_same_servers_are_refused(tmp_path: Path, servers: Callable[..., str]) -> None:
    """Before anything is timed, however they are written, where only running shows it; unless asked for."""
    url = servers()
    alias = url.replace("127.0.0.1", "localhost")
    asked = settings(NamedDeployment(urls=(alias,)), backend="attach", urls=(url, "http://127.0.0.1:9"), max_rounds=5)
    with pytest.raises(
        UsageError, match=r"the incumbent old is the measured deployment itself: single.*\n.*against-itself=on"
    ):
        measured(asked, tmp_path, kind=TopologyKind.SINGLE)
    record = measured(
        settings(NamedDeployment(urls=(alias,)), backend="attach", urls=(url,), max_rounds=5, against_itself=True),
        tmp_path,
        kind=TopologyKind.SINGLE,
    )
    assert record.incumbent is not None
    assert record.incumbent.differences == ()


def test_an_incumbent_that_dies_is_named(tmp_path: Path) -> None:
    """The error says whose instance it was, and the end of its log."""
    plan = tmp_path / "die.toml"
    plan.write_text('[[fault]]\nkind = "die"\ninstance = "b"\nrequests = 4\n')
    with pytest.raises(ServerError, match="incumbent old: instance b"):
        measured(settings(NamedDeployment(backend="simulated", script=QUICK, faults=str(plan))), tmp_path)


def test_real_and_simulated_are_not_compared(tmp_path: Path) -> None:
    """A scripted incumbent would say nothing of a real engine."""
    with pytest.raises(UsageError, match="one is simulated"):
        measured(
            settings(NamedDeployment(backend="simulated", script=QUICK), backend="embedded"),
            tmp_path,
            kind=TopologyKind.SINGLE,
        )
