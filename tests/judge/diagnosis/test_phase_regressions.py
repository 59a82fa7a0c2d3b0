"""What takes longer than it did: the part, the agent, alone or in company, and since which session."""

from dataclasses import replace

import pytest

from pytest_llmperf.judge.baselines.lookup import Key
from pytest_llmperf.judge.diagnosis.phase_findings import PhaseRegression, explaining, in_words
from pytest_llmperf.judge.diagnosis.phase_regressions import parts_of, than_incumbent, than_stored
from pytest_llmperf.model import Baseline, Measurement, Outcome, Stored, StoredSession, Verdict
from tests.judge.build import gate
from tests.judge.diagnosis.test_diagnose import measured, rounds

KEY = Key(test="t", scenario="pair", topology="dual", workload="w")
USUAL = rounds()
JITTERS = (0, 1, -1, 2)
"""Variation of a part over the sessions, ms."""


def session(number: int, taken, **facts: str) -> StoredSession:
    return StoredSession(
        saved_at=f"2026-11-{number + 1:02}T10:00:00+00:00",
        manifest={"cpu": "i9", "git_commit": f"{number:x}" * 40, **facts},
        rounds={"speedup": (1.9,)},
        parts=parts_of(measured(taken)),
    )


def baseline(*sessions: StoredSession) -> Baseline:
    entry = Stored(test="t", scenario="pair", topology="dual", workload="w", session=sessions)
    return Baseline(schema=2, name="main", stored=(entry,))


def four(**parts: int) -> Baseline:
    """Four sessions that lie some ms apart."""
    base = {"decode": 200, "prefill": 40, **parts}
    return baseline(
        *(
            session(n, rounds(decode=base["decode"] + jitter, prefill=base["prefill"] + jitter))
            for n, jitter in enumerate(JITTERS)
        )
    )


def now(taken, **facts: str) -> Measurement:
    measurement = measured(taken)
    return replace(
        measurement, manifest=replace(measurement.manifest, facts={"cpu": "i9", "git_commit": "f" * 40, **facts})
    )


CHANGES = {
    "prefill of one": (rounds(y={"prefill": 80}), "prefill of y alone takes 2.0 times as long", "40 -> 80 ms)"),
    "decode of both": (rounds(decode=300), "decode of x and y alone takes 1.5 times as long", "200 -> 300 ms)"),
    "load in company": (
        rounds(both={"load": 90}),
        "waiting for the model of x and y together takes 9.0 times as long",
        "10",
    ),
    "a queue": (
        rounds(both={"queue": 50}),
        "waiting for a slot of x and y together takes 50 ms more than",
        "0 -> 50",
    ),
    "more tokens": (
        rounds(y={"written": 100, "decode": 400}),
        "reading and writing more tokens of y alone takes 1.8 times as long",
        "240 -> 440 ms)",
    ),
    "the network": (
        rounds(y={"rest": 60}),
        "time outside the server's durations of y alone takes 20.0 times as long",
        "3 -> 60 ms)",
    ),
}


@pytest.mark.parametrize(("taken", "says", "figures"), CHANGES.values(), ids=CHANGES)
def test_the_part_that_has_grown_most_comes_first(taken, says: str, figures: str) -> None:
    """Compared with four sessions; the newest of them is the last session without the regression."""
    slower = than_stored(now(taken), KEY, four())
    same = [phase for phase in slower if (phase.part, phase.where) == (slower[0].part, slower[0].where)]
    words = in_words(same)
    assert words.startswith(says), words
    assert "in baseline main (4 sessions, " in words
    assert figures in words
    assert words.endswith("; last session without it: 333333333 of 2026-11-04")


@pytest.mark.parametrize(
    "taken",
    [USUAL, rounds(decode=204), rounds(decode=180), rounds(y={"prefill": 43}), rounds(y={"client": 2}), ()],
    ids=["as before", "within the sessions' scatter", "faster", "less than a tenth", "next to nothing", "no rounds"],
)
def test_nothing_is_made_up(taken) -> None:
    """If no part has grown by more than the variation between sessions, nothing is reported."""
    assert than_stored(replace(now(USUAL), rounds=taken), KEY, four()) == ()


def test_what_scatters_is_not_slower() -> None:
    """Sessions that lie 30 ms apart: 20 ms above all of them is nothing, 40 ms is."""
    held = baseline(*(session(n, rounds(decode=decode)) for n, decode in enumerate((210, 190, 220, 200))))
    assert than_stored(now(rounds(decode=240)), KEY, held) == ()
    assert {phase.part for phase in than_stored(now(rounds(decode=260)), KEY, held)} == {"decode"}


def test_what_takes_longer_alone_is_not_said_of_the_company() -> None:
    """It takes as much longer together; that is one thing, not two."""
    slower = than_stored(now(rounds(y={"prefill": 80})), KEY, four())
    assert [(phase.part, phase.where, phase.agent) for phase in slower] == [("prefill", "alone", "y")]


def test_since_the_session_that_changed() -> None:
    """Three of nine sessions are slow already: the last before them is named, and what was before it counts."""
    old = [session(n, rounds(prefill=40 + JITTERS[n % 4])) for n in range(6)]
    new = [session(n, rounds(prefill=80 + JITTERS[n % 4])) for n in range(6, 9)]
    (first, *_) = than_stored(now(rounds(prefill=81)), KEY, baseline(*old, *new))
    assert (first.part, first.since, first.commit) == ("prefill", "555555555 of 2026-11-06", "555555555")
    assert first.before_ms == pytest.approx(40, abs=1)


@pytest.mark.parametrize(
    ("facts", "since", "commit"),
    [
        ({"git_commit": "f" * 40}, "2026-11-01 10:00", ""),
        ({"git_commit": ""}, "2026-11-01 10:00", ""),
        ({"git_dirty": "yes"}, "000000000* of 2026-11-01", ""),
    ],
)
def test_a_commit_that_tells_nothing(facts: dict[str, str], since: str, commit: str) -> None:
    """The same one, none, or one with changed files: then the day is what is known."""
    held = baseline(session(0, USUAL, **facts))
    (first, *_) = than_stored(now(rounds(decode=300)), KEY, held)
    assert (first.since, first.commit, first.count) == (since, commit, 1)


@pytest.mark.parametrize(
    "held",
    [
        baseline(session(0, USUAL, cpu="i5")),
        baseline(replace(session(0, USUAL), parts={})),
        replace(baseline(session(0, USUAL)), stored=()),
        baseline(replace(session(0, USUAL), parts=dict.fromkeys(session(0, USUAL).parts, (1.0, 1.0)))),
    ],
    ids=["another machine", "no parts", "nothing stored", "another number of agents"],
)
def test_what_cannot_be_compared(held: Baseline) -> None:
    """Is not."""
    assert than_stored(now(rounds(decode=300)), KEY, held) == ()


def test_agents_that_did_not_run_alone_have_no_parts() -> None:
    """Nothing is stored of them, and nothing compared."""
    alone = measured(tuple(replace(round_, solo=()) for round_ in USUAL))
    assert parts_of(alone) == {}
    assert than_stored(alone, KEY, four()) == ()
    assert than_incumbent(alone, measured(USUAL), "old") == ()


def test_an_incumbent() -> None:
    """Pair by pair: nearly all must agree."""
    slow = rounds(y={"prefill": 60})
    (first, *_) = than_incumbent(now(slow), measured(USUAL), "old")
    assert in_words([first]) == "prefill of y alone takes 1.5 times as long as on incumbent old (40 -> 60 ms)"
    mixed = tuple(old if index % 2 else new for index, (new, old) in enumerate(zip(slow, USUAL, strict=True)))
    assert than_incumbent(now(mixed), measured(USUAL), "old") == ()


def verdict(metric: str, outcome: Outcome = Outcome.FAIL, **of) -> Verdict:
    compared = gate(metric, delta=20.0, **of)
    return Verdict(
        gate=compared, outcome=outcome, value=1.0, low=None, high=None, confidence_pct=95, rounds=5, grade="publishable"
    )


def grown(part: str, agent: str = "x", **of) -> PhaseRegression:
    return PhaseRegression(part=part, where="alone", agent=agent, instance="a", before_ms=10, now_ms=20, count=4, **of)


def test_a_metric_is_explained_by_what_it_is_made_of() -> None:
    """TTFT by what comes before the first token, a decode rate by decoding, others by anything."""
    phases = (
        grown("decode", baseline="main"),
        grown("prefill", incumbent="old"),
        grown("prefill", baseline="main"),
        grown("prefill", "y", baseline="main"),
    )
    assert explaining(phases, [verdict("ttft_ms", baseline="main")]) == phases[2:]
    assert explaining(phases, [verdict("decode_tok_s", baseline="main")]) == phases[:1]
    assert explaining(phases, [verdict("system_tok_s", baseline="main")]) == phases[:1]
    assert explaining(phases, [verdict("ttft_ms", incumbent="old")]) == phases[1:2]
    assert explaining(phases, [verdict("queue_ms", baseline="main"), verdict("ttft_ms", baseline="main")]) == phases[2:]
    for judged in (verdict("ttft_ms", Outcome.PASS, baseline="main"), verdict("ttft_ms", baseline="other")):
        assert explaining(phases, [judged]) == ()
    assert explaining(phases, [replace(verdict("ttft_ms"), gate=gate("ttft_ms", baseline="main"))]) == ()


@pytest.mark.parametrize(("now_ms", "explains"), [(10.4, False), (10.5, True), (9.0, False)])
def test_what_is_printed_as_0_ms_more_explains_nothing(now_ms: float, explains: bool) -> None:
    """A part that grew by less than half a millisecond, or shrank, is not given as the cause of a failure."""
    phase = replace(grown("rest", baseline="main"), now_ms=now_ms)
    assert explaining([phase], [verdict("ttft_ms", baseline="main")]) == ((phase,) if explains else ())
