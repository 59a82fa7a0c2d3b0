"""Rounds until every gate is decided, on one deployment or alternating between two."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.judge.diagnosis.client_saturation import (
    client_overhead_problem,
    explain_discard,
    most_discarded,
    saturated,
)
from pytest_llmperf.judge.gates.evaluate import invalid, judge, merge_looks, rounds_may_decide
from pytest_llmperf.judge.gates.incumbent import judge_against
from pytest_llmperf.model import Gate, Settings, Verdict
from pytest_llmperf.servers.addresses import hosts_of
from pytest_llmperf.session.measurement.arm import Arm
from pytest_llmperf.session.progress_listener import ProgressListener

_SHARED = (
    "both deployments' models use the GPUs of one machine: before each arm's rounds the other arm's model was "
    "unloaded; loading and a first request were not timed"
)


class RoundLoop:
    """Runs rounds, alternating between candidate and incumbent if there are two arms.

    The order is A B B A, so that drift cancels. If both would use a GPU of one machine, only the model of the arm that
    runs is loaded.

    Args:
        candidate: the arm that is judged, with its model loaded.
        listener: receives the progress.

    Attributes:
        candidate: the given candidate.
        incumbent: the other arm; None until it is added.
    """

    def __init__(self, candidate: Arm, listener: ProgressListener) -> None:
        self.candidate = candidate
        self.incumbent: Arm | None = None
        self._listener = listener
        self._loaded = candidate
        self._share_gpu = False

    def add_incumbent(self, incumbent: Arm, warmups: int) -> None:
        """Add the incumbent, load its model and warm it up.

        Raises:
            LlmperfError: one of the servers fails.
        """
        self.incumbent = incumbent
        here, there = self.candidate.measurement.topology, incumbent.measurement.topology
        if self.candidate.on_gpu() and hosts_of(here) & hosts_of(there):
            self._share_gpu = True
            self.candidate.unload()
            incumbent.unload()  # a model loaded beside another one may be partly on the CPU
            self.candidate.add_note(_SHARED)
        incumbent.load()
        self._loaded = incumbent
        self._say(incumbent, "warming up")
        incumbent.warm_up(warmups)

    def until_decided(
        self, gates: Sequence[Gate], settings: Settings, *, run_gates: int, as_it_is: bool = False
    ) -> tuple[Verdict, ...]:
        """Run the minimum of rounds, then more until every gate is decided or the maximum is reached.

        A round in which the client was saturated does not count, nor does its partner. If there are too many, or
        if the client's own time is too large a share of all rounds, no gate is judged.

        Args:
            gates: the gates with their limits; limits of gates against the incumbent are computed here.
            settings: min_rounds and max_rounds are used.
            run_gates: number of gates of the run, which share the error probability of `fail`.
            as_it_is: judge the present rounds, and run no others.

        Raises:
            LlmperfError: a timed request failed, or a server died.
        """
        try:
            if as_it_is:
                return self._as_it_is(gates, run_gates)
            return self._until_decided(gates, settings, run_gates)
        finally:
            if self._share_gpu and self.incumbent is not None:
                with suppress(LlmperfError):
                    self.incumbent.unload()  # the next test loads the candidate's model first

    def _until_decided(self, gates: Sequence[Gate], settings: Settings, run_gates: int) -> tuple[Verdict, ...]:
        least, most = settings.min_rounds, settings.max_rounds
        looks = most - least + 1
        verdicts: tuple[Verdict, ...] = ()
        while (count := len(self.candidate.measurement.rounds)) < most:
            if not self._take(count):
                measurement = self.candidate.measurement
                if len(measurement.discarded) > most_discarded(least):
                    return tuple(invalid(gate, count, explain_discard(measurement)) for gate in gates)
                continue
            count += 1
            if count >= least:
                looked = tuple(
                    self._judge(gate, looks=looks, last=count == most, gates=max(run_gates, len(gates)))
                    for gate in gates
                )
                verdicts = tuple(map(merge_looks, verdicts, looked)) if verdicts else looked
            shown = (
                self._unless_client_overhead(gates, verdicts) if verdicts else ()
            )  # announce nothing that the end withdraws
            self._listener.round_done(self.candidate.measurement, shown, gates=len(gates))
            if count >= least and not any(map(rounds_may_decide, verdicts)):
                break
        return self._unless_client_overhead(gates, verdicts)

    def _as_it_is(self, gates: Sequence[Gate], run_gates: int) -> tuple[Verdict, ...]:
        """Judge all rounds once; no gate is judged if as many were discarded as kept."""
        measurement = self.candidate.measurement
        if len(measurement.discarded) >= len(measurement.rounds):
            return tuple(invalid(gate, len(measurement.rounds), explain_discard(measurement)) for gate in gates)
        count = max(run_gates, len(gates))
        return self._unless_client_overhead(
            gates, tuple(self._judge(gate, looks=1, last=True, gates=count) for gate in gates)
        )

    def _unless_client_overhead(self, gates: Sequence[Gate], verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
        """The verdicts; invalid ones if the client's own time is too large a share of an arm's rounds."""
        arms = [self.candidate] if self.incumbent is None else [self.candidate, self.incumbent]
        if reasons := [
            f"{_whose(arm)}{reason}" for arm in arms if (reason := client_overhead_problem(arm.measurement))
        ]:
            return tuple(invalid(gate, len(self.candidate.measurement.rounds), reasons[0]) for gate in gates)
        return verdicts

    def _take(self, count: int) -> bool:
        """Run a round of each arm, after `count` kept ones; return whether they count."""
        index = count + len(self.candidate.measurement.discarded)
        arms = [self.candidate] if self.incumbent is None else [self.incumbent, self.candidate]
        if count % 2:
            arms.reverse()
        rounds = []
        for arm in arms:
            self._make_room(arm)
            if arm.name:
                self._say(arm, f"round {count + 1}")
            rounds.append((arm, arm.run(index)))
        reasons = [f"{_whose(arm)}{reason}" for arm, round_ in rounds if (reason := saturated(round_))]
        for arm, round_ in rounds:
            (arm.discard if reasons else arm.keep)(round_)
        if reasons:
            self._listener.say(f"a round does not count: {reasons[0]}")
        return not reasons

    def _make_room(self, arm: Arm) -> None:
        """If both arms use one GPU, unload the other arm's model and load this one's, untimed."""
        if not self._share_gpu or self._loaded is arm:
            return
        self._say(arm, "unloading the other arm's model, loading this one's")
        self._loaded.unload()
        arm.load()
        self._loaded = arm
        arm.warm_up(1)

    def _judge(self, gate: Gate, *, looks: int, last: bool, gates: int) -> Verdict:
        measurement = self.candidate.measurement
        if gate.incumbent and self.incumbent is not None:
            return judge_against(gate, measurement, self.incumbent.measurement, looks=looks, last=last, gates=gates)
        return judge(gate, measurement, looks=looks, last=last, gates=gates)

    def _say(self, arm: Arm, text: str) -> None:
        measurement = arm.measurement
        self._listener.say(f"{measurement.scenario.name} on {measurement.topology.kind}: {_whose(arm)}{text}")


def _whose(arm: Arm) -> str:
    return f"incumbent {arm.name}: " if arm.name else ""
