"""Rounds until every gate is decided: of one deployment, or of two that take turns."""

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
    "both deployments' models lie on GPUs of one machine: the other's was unloaded before each arm's rounds, and "
    "loading and a first request were not timed"
)


class RoundLoop:
    """Candidate and incumbent (if there is one) by turns: A B B A, so that drift cancels and both go first equally.

    Where both would lie on a GPU of one machine, only the model of the arm whose turn it is is loaded.

    Args:
        candidate: what is judged, with its model loaded.
        listener: is told what happens.
    """

    def __init__(self, candidate: Arm, listener: ProgressListener) -> None:
        self.candidate = candidate
        self.incumbent: Arm | None = None
        self._listener = listener
        self._loaded = candidate
        self._share_gpu = False

    def add_incumbent(self, incumbent: Arm, warmups: int) -> None:
        """Adds the incumbent, loads its model and warms it up.

        Raises:
            LlmperfError: one of the servers fails.
        """
        self.incumbent = incumbent
        here, there = self.candidate.measurement.topology, incumbent.measurement.topology
        if self.candidate.on_gpu() and hosts_of(here) & hosts_of(there):
            self._share_gpu = True
            self.candidate.unload()
            incumbent.unload()  # what was loaded beside the other may lie on the CPU in part
            self.candidate.add_note(_SHARED)
        incumbent.load()
        self._loaded = incumbent
        self._say(incumbent, "warming up")
        incumbent.warm_up(warmups)

    def until_decided(
        self, gates: Sequence[Gate], settings: Settings, *, run_gates: int, as_it_is: bool = False
    ) -> tuple[Verdict, ...]:
        """Rounds up to the minimum, then until every gate is decided or the maximum is reached.

        Rounds in which the client was saturated do not count, nor do those beside them; too many of them, and no gate
        is judged. Nor is it where the client's own time is too much of all rounds.

        Args:
            gates: with their limits; those against the incumbent learn it here.
            settings: min_rounds and max_rounds are used.
            run_gates: how many gates of the run share the error of `fail`.
            as_it_is: judges the rounds that there are, and takes no other.

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
        """One look at all rounds; where more were discarded than kept, or none, no gate is judged."""
        measurement = self.candidate.measurement
        if len(measurement.discarded) >= len(measurement.rounds):
            return tuple(invalid(gate, len(measurement.rounds), explain_discard(measurement)) for gate in gates)
        count = max(run_gates, len(gates))
        return self._unless_client_overhead(
            gates, tuple(self._judge(gate, looks=1, last=True, gates=count) for gate in gates)
        )

    def _unless_client_overhead(self, gates: Sequence[Gate], verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
        """The verdicts, unless the client's own time is too much of all rounds of a arm."""
        arms = [self.candidate] if self.incumbent is None else [self.candidate, self.incumbent]
        if reasons := [
            f"{_whose(arm)}{reason}" for arm in arms if (reason := client_overhead_problem(arm.measurement))
        ]:
            return tuple(invalid(gate, len(self.candidate.measurement.rounds), reasons[0]) for gate in gates)
        return verdicts

    def _take(self, count: int) -> bool:
        """A round of each arm, after so many that were kept; False where they do not count."""
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
        """On a GPU that both would lie on, only this arm's model is loaded; none of that is timed."""
        if not self._share_gpu or self._loaded is arm:
            return
        self._say(arm, "unloading the other's model, loading its own")
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
