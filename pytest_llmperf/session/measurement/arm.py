"""One deployment at work on a scenario: its servers, its rounds, and what they came to so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.judge.gates.quality_gate import checked, in_words, scorer_raised
from pytest_llmperf.judge.metrics.machine_use import LOOK, VALUES, blind
from pytest_llmperf.judge.metrics.slot_use import looked_at
from pytest_llmperf.measure.agent_requests import keep_alive_s
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.model import Answered, Gate, Manifest, Measurement, Quality, RequestTiming, Round
from pytest_llmperf.session.measurement.recovery import RecoveringRounds
from pytest_llmperf.session.server_lease import ServerLease

if TYPE_CHECKING:
    from pytest_llmperf.telemetry.sampler import Sampler

Score = Callable[[str, str], float | None]
"""Of a prompt and an answer to it: 0 (bad) to 1, or None for no opinion."""


@contextmanager
def named(incumbent: str) -> Iterator[None]:
    """An error says whose it is, where it is the incumbent's."""
    try:
        yield
    except LlmperfError as error:
        if incumbent:
            error.args = (f"incumbent {incumbent}: {error.args[0]}", *error.args[1:])
        raise


class Arm:
    """A deployment and its rounds.

    Args:
        lease: its servers, open.
        rounds: of the scenario on them.
        measurement: without rounds and manifest.
        describe: the manifest, which says where the loaded model sits.
        name: for messages; empty for the deployment that is judged.
        sampler: looks at the machine while rounds run; None: nobody does.

    Attributes:
        name: as given.
        measurement: with the rounds that were kept and discarded so far.
    """

    def __init__(
        self,
        lease: ServerLease,
        rounds: Rounds,
        measurement: Measurement,
        describe: Callable[[], Manifest],
        *,
        name: str = "",
        sampler: Sampler | None = None,
    ) -> None:
        self.name = name
        self._sampler = sampler
        self._describe = describe
        self.measurement = measurement
        self._lease = lease
        self._rounds = RecoveringRounds(
            rounds,
            measurement.scenario,
            measurement.topology,
            servers=lease,
            load=self.load,
            most_repeats=max(1, lease.settings.min_rounds // 2),
        )

    def load(self) -> None:
        """Loads the model on each instance and notes how it sits; the first time, writes down the manifest.

        Raises:
            ServerError: an instance could not load it, or is dead, or they do not serve the same model.
        """
        measurement = self.measurement
        with named(self.name):
            self._lease.load(
                measurement.scenario,
                measurement.topology,
                keep_alive_s=keep_alive_s(self._lease.settings.timeout_s),
            )
        manifest = measurement.manifest if measurement.manifest.facts else self._describe()
        new = tuple(note for note in self._lease.notes if note not in measurement.notes)
        self.measurement = replace(measurement, manifest=manifest, notes=(*measurement.notes, *new))

    def unload(self) -> None:
        """Unloads it. Raises ServerError."""
        with named(self.name):
            self._lease.unload()

    def on_gpu(self) -> bool:
        """Whether the model, loaded now, lies on a GPU. Raises ServerError."""
        with named(self.name):
            return self._lease.on_gpu()

    def warm_up(self, times: int) -> Sequence[RequestTiming]:
        """Discarded requests; see `Rounds.warm_up`. Raises LlmperfError."""
        with named(self.name):
            try:
                answers = self._rounds.warm_up(times)
            finally:
                self._note_incidents()
        self.measurement = looked_at(self.measurement, answers)
        return answers

    def check_sight(self, gates: Sequence[Gate]) -> None:
        """Whether what the gates judge of the machine can be observed here, before anything is timed.

        Raises:
            UsageError: it cannot, and the gate's limit is not of another machine anyway.
        """
        observed = [gate for gate in gates if gate.metric in VALUES and not gate.not_comparable]
        if not observed:
            return
        sample = None if self._sampler is None else self._sampler.look()
        telemetry = None if self._sampler is None else self._sampler.seen()
        for gate in observed:
            if why := blind(gate, sample, telemetry):
                raise UsageError(f"gate {gate.marker} cannot be judged: {why}", next_step=LOOK)

    def run(self, index: int) -> Round:
        """One round; see `Rounds.run`. Raises LlmperfError."""
        with named(self.name):
            try:
                with self._sampler.round(index) if self._sampler is not None else nullcontext():
                    return self._rounds.run(index)
            finally:
                self._note_incidents()
                if self._sampler is not None:
                    self.measurement = replace(self.measurement, telemetry=self._sampler.seen())

    def _note_incidents(self) -> None:
        self.measurement = replace(self.measurement, incidents=self._rounds.incidents)

    def answer(self, times: int, score: Score, scorer: str) -> None:
        """Answers alone and together, scored, beside the measurement; see `Rounds.answers`. Raises LlmperfError."""
        with named(self.name):
            try:
                answered: Sequence[Answered] = self._rounds.answers(times)
            finally:
                self._note_incidents()

        def of(one: Answered, said: str) -> float | None:
            try:
                value = score(one.prompt, said)
            except Exception as error:
                raise scorer_raised(scorer, error) from error
            return checked(value, scorer)

        scored = tuple(
            replace(
                one,
                alone_score=of(one, one.alone),
                again_score=of(one, one.again),
                together_score=of(one, one.together),
            )
            for one in answered
        )
        quality = Quality(answered=scored, scorer=scorer)
        notes = (*self.measurement.notes, in_words(quality))
        self.measurement = replace(self.measurement, quality=quality, notes=notes)

    def keep(self, one: Round) -> None:
        """Adds a round that counts."""
        self.measurement = looked_at(self.measurement, [request for run in one.together for request in run.requests])
        self.measurement = replace(self.measurement, rounds=(*self.measurement.rounds, one))

    def discard(self, one: Round) -> None:
        """Adds a round that does not."""
        self.measurement = replace(self.measurement, discarded=(*self.measurement.discarded, one))
