"""Diagnosis: of rounds made by hand, and of injected causes, it names the cause, and its shares are the whole loss."""

from dataclasses import replace
from statistics import fmean

import pytest

from pytest_llmperf.judge.diagnosis.diagnose import diagnose
from pytest_llmperf.judge.metrics.formulas import efficiency_pct, scaling_efficiency_pct
from pytest_llmperf.model import AgentRun, ExternalAgent, Incident, Measurement, RequestTiming, Round, TopologyKind
from tests.judge.build import MS, gpus, measurement_of, observed, sample

PARTS_MS = {"client": 0, "queue": 0, "load": 10, "prefill": 40, "decode": 200, "rest": 3}
"""The parts of a usual run, which reads 20 tokens and writes 50."""


def work(agent: str, *, read: int = 20, written: int = 50, durations: bool = True, **parts) -> AgentRun:
    """A run of one request that takes this long in each part, ms."""
    ms = PARTS_MS | parts
    sent = ms["client"]
    first = sent + ms["rest"] + ms["queue"] + ms["load"] + ms["prefill"]
    server = {
        "load_duration_ns": ms["load"] * MS,
        "prompt_eval_duration_ns": ms["prefill"] * MS,
        "eval_duration_ns": ms["decode"] * MS,
        "total_duration_ns": (ms["queue"] + ms["load"] + ms["prefill"] + ms["decode"]) * MS,
    }
    timing = RequestTiming(
        sent_ns=sent * MS,
        arrivals_ns=(first * MS, (first + ms["decode"]) * MS),
        done_ns=(first + ms["decode"]) * MS,
        prompt_eval_count=read,
        eval_count=written,
        **(server if durations else {}),
    )
    return AgentRun(agent=agent, instance="ab"["xy".index(agent)], start_ns=0, requests=(timing,), client_ns=sent * MS)


def rounds(*, x=None, y=None, both=None, rates=(), **all_) -> tuple[Round, ...]:
    """Five rounds of x and y: `x`, `y` change an agent's runs, `both` the together part, `all_` every run."""
    made = []
    for index in range(5):
        drift = {"decode": int(50_000 / rates[index])} if rates else {}
        solo = tuple(work(name, **{**all_, **drift, **(own or {})}) for name, own in (("x", x), ("y", y)))
        together = tuple(
            work(name, **{**all_, **drift, **(own or {}), **(both or {})}) for name, own in (("x", x), ("y", y))
        )
        made.append(Round(index=index, order=("together",), solo=solo, together=together))
    return tuple(made)


SLOT = replace(
    rounds()[0],
    together=(work("x"), work("y", queue=250)),
)
SINGLE = replace(measurement_of().topology, kind=TopologyKind.SINGLE)
NOTED = {
    "spilled to the CPU": "instance b: 60 % of the model (1.0 GiB) is outside the GPU's memory and runs on the CPU",
    "unequal places": "the model is in the GPU's memory on instance a ...: these agents do not run on equal terms",
    "different versions": "the instances run different versions (a 0.5, b 0.6), which may cause differences between",
    "different contexts": "instances a and b gave the same request different contexts: 4096 and 2048 tokens",
}


def measured(taken: tuple[Round, ...], **more) -> Measurement:
    return replace(measurement_of(*taken), **more)


def lost_pp(measurement: Measurement, of: str) -> float:
    """By the formulas of the catalogue."""
    return 100 - fmean(
        efficiency_pct(times)
        if of == "balance"
        else scaling_efficiency_pct([r.duration_ns for r in round_.solo], times)
        for round_ in measurement.rounds
        for times in [[run.duration_ns for run in round_.together]]
    )


@pytest.mark.parametrize(
    ("taken", "cause", "says"),
    [
        (
            (SLOT,) * 5,
            "queue together",
            "requests wait at the server (queue time 250 ms of a round's 503 ms), though each agent has an instance",
        ),
        (rounds(both={"decode": 350}), "decode together", "slower together than alone (up to 1.59 x): they share"),
        (rounds(both={"prefill": 200}), "prefill together", "prompts are processed more slowly"),
        (rounds(both={"load": 300}), "load together", "they wait for the model to load"),
        (rounds(both={"client": 90}), "client together", "their clients delay them"),
        (rounds(both={"rest": 90}), "rest together", "the cause is not visible in client or server timings"),
        (rounds(both={"decode": 400, "written": 100}), "tokens together", "they generate more tokens than alone"),
        (rounds(y={"decode": 500}), "decode alone", "y on instance b decodes more slowly, even alone"),
        (rounds(x={"prefill": 300}), "prefill alone", "x on instance a processes prompts more slowly, even alone"),
        (rounds(y={"load": 300}), "load alone", "y on instance b waits for the model to load"),
        (rounds(y={"queue": 300}), "queue alone", "y on instance b waits for a slot"),
        (rounds(y={"client": 300}), "client alone", "is delayed by its client"),
        (rounds(y={"rest": 300}), "rest alone", "for a reason that is not visible in client or server timings"),
        (rounds(y={"decode": 600, "written": 150}), "tokens alone", "has more tokens to read or to write"),
        (rounds(y={"prefill": 400, "read": 200}), "tokens alone", "has more tokens to read or to write"),
        (rounds(both={"decode": 350}, durations=False), "decode together", "slower together than alone"),
        (
            rounds(both={"queue": 350}, durations=False),
            "prefill together",
            "or prompts wait (this server reports no durations",
        ),
        (rounds(rates=(60, 55, 50, 45, 40)), "throttling", "of x alone fell over the rounds from 60.0 to 40.0 tok/s"),
    ],
)
def test_the_largest_share_is_the_cause(taken: tuple[Round, ...], cause: str, says: str) -> None:
    """Each cause is named, said in words with its figures, and the shares add up to the loss by the formulas."""
    measurement = measured(taken)
    diagnosis = diagnose(measurement)
    assert diagnosis is not None
    assert diagnosis.cause == cause
    assert says in diagnosis.sentence
    assert sum(diagnosis.shares_pp.values()) == pytest.approx(diagnosis.loss_pp, abs=1e-9)
    assert diagnosis.loss_pp == pytest.approx(lost_pp(measurement, diagnosis.of), abs=1e-9)


def test_who_waits_for_what() -> None:
    """Agents of one instance wait for each other; on an instance of its own an agent waits for something else."""
    shared, own = (diagnose(measured((SLOT,) * 5, **more)) for more in ({"topology": SINGLE}, {}))
    assert shared is not None
    assert own is not None
    assert "agents that share a slot are served one after the other" in shared.sentence
    assert "share" not in own.sentence
    assert "another client uses it, or an agent sends more requests at once than it has slots" in own.sentence
    assert (shared.next_step, own.next_step) == ("", "is another client using this instance? see /api/ps")


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("busy_s", [0.2, 1.9])
def test_a_shared_slot_is_named_if_the_server_reports_no_durations(streamed: bool, busy_s: float) -> None:
    """If agents of one slot are slower together than alone, sharing is the cause, whatever else runs on the machine."""
    waited = rounds(both={"queue": 253}, durations=False)
    requests = tuple(
        replace(
            request,
            **{
                part: tuple(
                    replace(run, requests=tuple(replace(request, streamed=streamed) for request in run.requests))
                    for run in getattr(request, part)
                )
                for part in ("solo", "together")
            },
        )
        for request in waited
    )
    telemetry = observed(sample(0), sample(1, busy_s=busy_s)).telemetry
    diagnosis = diagnose(measured(requests, topology=SINGLE, telemetry=telemetry))
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.facts, diagnosis.next_step) == ("queue together", (), "")
    assert "slower together than alone (up to 2.00 x): they share instance a" in diagnosis.sentence
    assert "client" not in diagnosis.sentence


def test_a_shared_slot_is_not_named_if_the_durations_contradict_it() -> None:
    """A server that says that decoding took longer is believed."""
    diagnosis = diagnose(measured(rounds(both={"decode": 350}), topology=SINGLE))
    assert diagnosis is not None
    assert diagnosis.cause == "decode together"


def test_nobody_else_uses_a_server_that_only_we_know() -> None:
    """What waits there waits for itself, or for the machine."""
    private = replace(measured((SLOT,) * 5).topology, backend="ollama")
    diagnosis = diagnose(measured((SLOT,) * 5, topology=private))
    assert diagnosis is not None
    assert "another client" not in diagnosis.sentence + diagnosis.next_step
    assert "an agent sends more requests at once than it has slots" in diagnosis.sentence
    assert "one after the other" in diagnosis.next_step


def test_the_figures_of_a_slot() -> None:
    """Two equal agents one after the other: half of scaling is lost, all of it but the rest to the queue."""
    diagnosis = diagnose(measured((SLOT,) * 5))
    assert diagnosis is not None
    assert diagnosis.of == "scaling"
    assert diagnosis.loss_pp == pytest.approx(100 * 250 / 503)
    assert {key: share for key, share in diagnosis.shares_pp.items() if share} == {
        "queue together": pytest.approx(100 * 250 / 503)
    }


def test_idle_agents_are_a_loss_of_balance() -> None:
    """Agents that gain from company, one more than the other: scaling loses nothing, balance what the one waits."""
    uneven = replace(rounds(decode=310)[0], together=(work("x", decode=300), work("y", decode=200)))
    diagnosis = diagnose(measured((uneven,) * 5))
    assert diagnosis is not None
    assert (diagnosis.of, diagnosis.cause) == ("balance", "decode together")
    assert diagnosis.sentence.startswith("one agent takes longer than the other: balance 85.8 %")
    assert "x on instance a decodes more slowly, together with the other agents" in diagnosis.sentence
    assert diagnosis.shares_pp["decode together"] == pytest.approx(100 * 100 / (2 * 353))


@pytest.mark.parametrize("cause", NOTED)
def test_what_was_noted_comes_first(cause: str) -> None:
    """A fact noted by the servers' check is the cause, whatever the shares are; the report lists the shares, too."""
    diagnosis = diagnose(measured(rounds(y={"decode": 500}), notes=("another note", NOTED[cause])))
    assert diagnosis is not None
    assert diagnosis.cause == cause
    assert diagnosis.facts == (NOTED[cause],)
    assert "one agent takes longer" in diagnosis.sentence
    assert diagnosis.next_step


@pytest.mark.parametrize(
    ("problem", "cause"),
    [
        ("agent y, alone, waited 300 ms for instance b to begin: another client uses it", "another client"),
        ("somebody else loaded m2 on instance b", "another client"),
        ("agent y, alone, waited 300 ms for instance b to begin: ... kept it from its cores", "busy neighbour"),
        ("instance b: the model had left", "model left"),
        ("a request of agent y waited 900 ms for instance b to load the model", "model left"),
    ],
)
def test_incidents_come_first(problem: str, cause: str) -> None:
    """What went wrong meanwhile is the cause, though next to nothing was lost."""
    incident = Incident(when="round 2", problem=problem, handling="it counts all the same")
    diagnosis = diagnose(measured(rounds(), incidents=(incident,)))
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.facts, diagnosis.sentence) == (cause, (str(incident),), "")


def test_who_shares_a_slot_queues_without_strangers() -> None:
    """A client that used the server once is noted; what to do is about the slot that they share in every round."""
    waited = "agent y, alone, waited 300 ms for instance a to begin: another client uses it"
    incident = Incident(when="round 2", problem=waited, handling="it counts all the same")
    diagnosis = diagnose(measured((SLOT,) * 5, topology=SINGLE, incidents=(incident,)))
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.facts, diagnosis.next_step) == ("queue together", (str(incident),), "")


@pytest.mark.parametrize("external", [False, True])
def test_what_to_do_about_a_late_client_fits_what_ran(external: bool) -> None:
    """Agents that we did not write talk through a tap: no other runtime helps it."""
    late = replace(rounds()[0], together=tuple(replace(run, lag_ns=20 * MS) for run in rounds()[0].together))
    measurement = measured(rounds(), discarded=(late,))
    if external:
        strangers = tuple(ExternalAgent(name=agent.name, run=("x",)) for agent in measurement.scenario.agents)
        measurement = replace(measurement, scenario=replace(measurement.scenario, agents=strangers))
    diagnosis = diagnose(measurement)
    assert diagnosis is not None
    assert ("tap" in diagnosis.next_step, "--llmperf-runtime" in diagnosis.next_step) == (external, not external)


def test_discarded_rounds_explain_no_loss() -> None:
    """They are not judged: a saturated client is the cause only where the rounds that count have none."""
    late = replace(rounds()[0], together=tuple(replace(run, lag_ns=20 * MS) for run in rounds()[0].together))
    quiet, lossy = (diagnose(measured(taken, discarded=(late,))) for taken in (rounds(), (SLOT,) * 5))
    assert quiet is not None
    assert lossy is not None
    assert quiet.cause == "saturated client"
    assert quiet.sentence.startswith("the client was saturated in 1 of 6 rounds: the client of x")
    assert lossy.cause == "queue together"


@pytest.mark.parametrize(
    "taken",
    [
        rounds(),
        rounds(both={"decode": 202}),
        rounds(both={"decode": 204, "rest": 4}),
        rounds(rates=(60, 59, 58, 58, 57)),
        rounds(rates=(60, 40, 60, 40, 60)),
        (),
    ],
    ids=["no loss", "less than a point", "no share of two points", "a small trend", "noise", "no rounds"],
)
def test_nothing_is_made_up(taken: tuple[Round, ...]) -> None:
    """Where next to nothing was lost, no rate sinks and nothing is noted, there is no diagnosis."""
    assert diagnose(replace(measurement_of(*rounds()), rounds=taken)) is None


def test_one_agent_has_no_shares() -> None:
    """Scaling is undefined for one agent, or without solo runs: only notes are reported."""
    alone = tuple(replace(round_, solo=()) for round_ in rounds(y={"decode": 500}))
    assert diagnose(measured(alone)) is None
    diagnosis = diagnose(measured(alone, notes=tuple(NOTED.values())))
    assert diagnosis is not None
    assert (diagnosis.shares_pp, diagnosis.of) == ({}, "")


def test_the_slower_instance_is_to_be_looked_at() -> None:
    """If the servers keep running, the next step names the address of the slower one; otherwise it is left open."""
    own = measured(rounds(x={"decode": 500}))
    attached = replace(own, topology=replace(own.topology, backend="attach"))
    assert [diagnosis.next_step for diagnosis in map(diagnose, (own, attached)) if diagnosis] == [
        "",
        "check instance a: curl http://127.0.0.1/a/api/ps",
    ]
    assert own.topology.kind is TopologyKind.DUAL


@pytest.mark.parametrize(
    ("samples", "cause", "says"),
    [
        (
            (sample(0), sample(1, busy_s=1.9, client_s=0.1)),
            "busy neighbour",
            "other processes used 1.8 of this machine's 2",
        ),
        ((sample(0, swapped_mib=0), sample(1, swapped_mib=90)), "swapping", "90 MiB moved between memory and swap"),
        (
            tuple(sample(at, gpus=gpus(slowed_by=("too hot",), temperature_c=90)) for at in range(3)),
            "throttling",
            "throttled in 3 of 3 samples: too hot, up to 90 C",
        ),
        ((sample(0), sample(1, busy_s=1.9, client_s=1.6)), None, ""),
        ((sample(0), sample(1, busy_s=1.2)), None, ""),
    ],
    ids=["a neighbour", "swap", "a hot GPU", "a busy client", "cores are left"],
)
def test_what_the_machine_did_comes_first(samples, cause: str | None, says: str) -> None:
    """A neighbour where no core is left, memory that is swapped, a GPU that is too hot."""
    diagnosis = diagnose(measured(rounds(), telemetry=observed(*samples).telemetry))
    assert (diagnosis.cause if diagnosis is not None else None) == cause
    assert says in "".join(diagnosis.facts if diagnosis is not None else ())


@pytest.mark.parametrize(
    ("taken", "more", "cause"),
    [
        (rounds(), {"notes": (NOTED["different versions"],)}, "different versions"),
        ((SLOT,) * 5, {"topology": SINGLE}, "queue together"),
        ((SLOT,) * 5, {}, "busy neighbour"),
        (rounds(both={"load": 300}), {}, "load together"),
        (rounds(both={"decode": 350}), {}, "busy neighbour"),
        (rounds(both={"queue": 10}), {}, "busy neighbour"),
        (rounds(rates=(60, 55, 50, 40, 1)), {}, "throttling"),
    ],
    ids=[
        "noted of the servers",
        "a slot is shared",
        "late beginnings",
        "a load",
        "decoding takes longer",
        "little is lost",
        "a rate that sinks by more",
    ],
)
def test_what_a_busy_neighbour_does_not_explain(taken: tuple[Round, ...], more: dict, cause: str) -> None:
    """What is known of the servers, and a large loss that no processor makes, have their own cause."""
    telemetry = observed(sample(0), sample(1, busy_s=1.9)).telemetry
    diagnosis = diagnose(measured(taken, telemetry=telemetry, **more))
    assert diagnosis is not None
    assert diagnosis.cause == cause
    assert any("other processes" in fact for fact in diagnosis.facts) == (cause == "busy neighbour")
