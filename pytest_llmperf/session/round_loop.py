"""Rounds until every gate is decided: of one deployment, or of two that take turns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.judge.diagnosis.client_saturation import dear, most_discarded, saturated, why
from pytest_llmperf.judge.gates.evaluate import invalid, judge, kept, rounds_may_decide
from pytest_llmperf.judge.gates.incumbent import judge_against
from pytest_llmperf.model import Gate, Settings, Verdict
from pytest_llmperf.servers.addresses import hosts_of
from pytest_llmperf.session.arm import Side
from pytest_llmperf.session.progress_listener import Watcher

_SHARED = (
    "both deployments' models lie on GPUs of one machine: the other's was unloaded before each side's rounds, and "
    "loading and a first request were not timed"
)


class Turns:
    """Candidate and incumbent (if there is one) by turns: A B B A, so that drift cancels and both go first equally.

    Where both would lie on a GPU of one machine, only the model of the side whose turn it is is loaded.

    Args:
        candidate: what is judged, with its model loaded.
        watcher: is told what happens.
    """

    def __init__(self, candidate: Side, watcher: Watcher) -> None:
        self.candidate = candidate
        self.incumbent: Side | None = None
        self._watcher = watcher
        self._loaded = candidate
        self._share_gpu = False

    def meet(self, incumbent: Side, warmups: int) -> None:
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
            self.candidate.measurement = replace(
                self.candidate.measurement, notes=(*self.candidate.measurement.notes, _SHARED)
            )
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
                    return tuple(invalid(gate, count, why(measurement)) for gate in gates)
                continue
            count += 1
            if count >= least:
                found = tuple(
                    self._judge(gate, looks=looks, last=count == most, gates=max(run_gates, len(gates)))
                    for gate in gates
                )
                verdicts = tuple(map(kept, verdicts, found)) if verdicts else found
            shown = self._unless_dear(gates, verdicts) if verdicts else ()  # announce nothing that the end withdraws
            self._watcher.round_done(self.candidate.measurement, shown, gates=len(gates))
            if count >= least and not any(map(rounds_may_decide, verdicts)):
                break
        return self._unless_dear(gates, verdicts)

    def _as_it_is(self, gates: Sequence[Gate], run_gates: int) -> tuple[Verdict, ...]:
        """One look at all rounds; where more were discarded than kept, or none, no gate is judged."""
        measurement = self.candidate.measurement
        if len(measurement.discarded) >= len(measurement.rounds):
            return tuple(invalid(gate, len(measurement.rounds), why(measurement)) for gate in gates)
        count = max(run_gates, len(gates))
        return self._unless_dear(gates, tuple(self._judge(gate, looks=1, last=True, gates=count) for gate in gates))

    def _unless_dear(self, gates: Sequence[Gate], verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
        """The verdicts, unless the client's own time is too much of all rounds of a side."""
        sides = [self.candidate] if self.incumbent is None else [self.candidate, self.incumbent]
        if reasons := [f"{_whose(side)}{reason}" for side in sides if (reason := dear(side.measurement))]:
            return tuple(invalid(gate, len(self.candidate.measurement.rounds), reasons[0]) for gate in gates)
        return verdicts

    def _take(self, count: int) -> bool:
        """A round of each side, after so many that were kept; False where they do not count."""
        index = count + len(self.candidate.measurement.discarded)
        sides = [self.candidate] if self.incumbent is None else [self.incumbent, self.candidate]
        if count % 2:
            sides.reverse()
        rounds = []
        for side in sides:
            self._make_room(side)
            if side.name:
                self._say(side, f"round {count + 1}")
            rounds.append((side, side.run(index)))
        reasons = [f"{_whose(side)}{reason}" for side, one in rounds if (reason := saturated(one))]
        for side, one in rounds:
            (side.discard if reasons else side.keep)(one)
        if reasons:
            self._watcher.say(f"a round does not count: {reasons[0]}")
        return not reasons

    def _make_room(self, side: Side) -> None:
        """On a GPU that both would lie on, only this side's model is loaded; none of that is timed."""
        if not self._share_gpu or self._loaded is side:
            return
        self._say(side, "unloading the other's model, loading its own")
        self._loaded.unload()
        side.load()
        self._loaded = side
        side.warm_up(1)

    def _judge(self, gate: Gate, *, looks: int, last: bool, gates: int) -> Verdict:
        measurement = self.candidate.measurement
        if gate.incumbent and self.incumbent is not None:
            return judge_against(gate, measurement, self.incumbent.measurement, looks=looks, last=last, gates=gates)
        return judge(gate, measurement, looks=looks, last=last, gates=gates)

    def _say(self, side: Side, text: str) -> None:
        measurement = side.measurement
        self._watcher.say(f"{measurement.scenario.name} on {measurement.topology.kind}: {_whose(side)}{text}")


def _whose(side: Side) -> str:
    return f"incumbent {side.name}: " if side.name else ""
