"""An arm of a comparison: a deployment, its servers, and its rounds of a scenario so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.judge.gates.quality_gate import in_words
from pytest_llmperf.judge.metrics.machine_peaks import LOOK, VALUES, unobservable_reason
from pytest_llmperf.measure.agent_requests import keep_alive_s
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.model import Calibration, Gate, Manifest, Measurement, Quality, RequestTiming, Round
from pytest_llmperf.session.measurement.answer_scores import Scorer
from pytest_llmperf.session.measurement.measurement_builder import MeasurementBuilder
from pytest_llmperf.session.measurement.recovery import RecoveringRounds
from pytest_llmperf.session.server_lease import ServerLease
from pytest_llmperf.session.server_pool import naming

if TYPE_CHECKING:
    from pytest_llmperf.telemetry.sampler import Sampler


class Arm:
    """A deployment and its rounds.

    Args:
        lease: its servers, open.
        rounds: runs the rounds of the scenario on these servers.
        measurement: the measurement without rounds and manifest.
        describe: returns the manifest, which says where the loaded model is; called once the model is loaded.
        name: for messages; empty for the deployment that is judged.
        sampler: samples the machine while rounds run; None: the telemetry is off.

    Attributes:
        name: the given name.
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
        self._builder = MeasurementBuilder(measurement)
        self._lease = lease
        self._rounds = RecoveringRounds(
            rounds,
            measurement.scenario,
            measurement.topology,
            servers=lease,
            load=self.load,
            most_repeats=max(1, lease.settings.min_rounds // 2),
        )

    @property
    def measurement(self) -> Measurement:
        """With the rounds that were kept and discarded so far."""
        return self._builder.measurement

    def add_note(self, *notes: str) -> None:
        """Add notes for the reader of the measurement."""
        self._builder.add_note(*notes)

    def load(self) -> None:
        """Load the model on each instance and note its placement; the first time, record the manifest.

        Raises:
            ServerError: an instance could not load it or is dead, or the instances do not serve the same model.
        """
        measurement = self.measurement
        with naming(self.name):
            self._lease.load(
                measurement.scenario,
                measurement.topology,
                keep_alive_s=keep_alive_s(self._lease.settings.timeout_s),
            )
        if not measurement.manifest.facts:
            self._builder.set(manifest=self._describe())
        self.add_note(*(note for note in self._lease.placement_notes if note not in measurement.notes))

    def unload(self) -> None:
        """Unload the model. Raises ServerError."""
        with naming(self.name):
            self._lease.unload()

    def on_gpu(self) -> bool:
        """Whether the model, which is loaded now, is in a GPU's memory. Raises ServerError."""
        with naming(self.name):
            return self._lease.on_gpu()

    def warm_up(self, times: int) -> Sequence[RequestTiming]:
        """Send requests that are not timed; see `Rounds.warm_up`. Raises LlmperfError."""
        with naming(self.name):
            try:
                answers = self._rounds.warm_up(times)
            finally:
                self._record_incidents()
        self._builder.add_concurrent(answers)
        return answers

    def check_observable(self, gates: Sequence[Gate]) -> None:
        """Check that what the gates judge of the machine can be observed here, before anything is timed.

        Raises:
            UsageError: it cannot, and the gate's limit does not come from another machine anyway.
        """
        observed = [gate for gate in gates if gate.metric in VALUES and not gate.not_comparable]
        if not observed:
            return
        sample = None if self._sampler is None else self._sampler.look()
        telemetry = None if self._sampler is None else self._sampler.seen()
        for gate in observed:
            if why := unobservable_reason(gate, sample, telemetry):
                raise UsageError(f"gate {gate.marker} cannot be judged: {why}", next_step=LOOK)

    def add_calibration(self, calibration: Calibration) -> None:
        """Add what the harness itself costs."""
        self._builder.set(calibration=calibration)

    def run(self, index: int) -> Round:
        """Run a round; see `Rounds.run`. Raises LlmperfError."""
        with naming(self.name):
            try:
                with self._sampler.round(index) if self._sampler is not None else nullcontext():
                    return self._rounds.run(index)
            finally:
                self._record_incidents()
                if self._sampler is not None:
                    self._builder.set(telemetry=self._sampler.seen())

    def compare_answers(self, times: int, scorer: Scorer) -> Quality:
        """Score answers that agents give alone and together; see `Rounds.answers`. Raises LlmperfError."""
        with naming(self.name):
            try:
                answered = self._rounds.answers(times)
            finally:
                self._record_incidents()
        quality = scorer.scored(answered)
        self._builder.set(quality=quality)
        self.add_note(in_words(quality))
        return quality

    def keep(self, round_: Round) -> None:
        """Add a round that counts."""
        self._builder.add_round(round_)

    def discard(self, round_: Round) -> None:
        """Add a round that does not count."""
        self._builder.add_discarded(round_)

    def _record_incidents(self) -> None:
        self._builder.set(incidents=self._rounds.incidents)
