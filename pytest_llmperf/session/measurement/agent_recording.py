"""Records what agents ask into a file: a run of its own, or the first round of a measurement."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.errors import UsageError, did_you_mean
from pytest_llmperf.files.atomic_write import advice, probe
from pytest_llmperf.masking import secrets_of
from pytest_llmperf.measure.agents.recorder import Asked, Recorder
from pytest_llmperf.model import ExternalAgent, Scenario, Topology, steps_of
from pytest_llmperf.model.texts import counted
from pytest_llmperf.recordings.recording_file import RecordingTarget, write_recording
from pytest_llmperf.recordings.redaction import Redaction


class AgentRecording:
    """Writes one recording.

    Args:
        target: where to, and what.
        scenario: the agents.
        topology: the servers.

    Attributes:
        notes: what was written, and what the reader has to know of it; empty before.

    Raises:
        UsageError: nothing could be written there.
    """

    def __init__(self, target: RecordingTarget, scenario: Scenario, topology: Topology) -> None:
        self.notes: tuple[str, ...] = ()
        self._target = target
        try:
            probe(target.path)
        except (OSError, ValueError) as error:
            helps = advice(error, "give another file") if isinstance(error, OSError) else "give another file"
            raise UsageError(f"no recording can be written to {target.file}: {error}", next_step=helps) from error
        commands = [agent.run for agent in scenario.agents if isinstance(agent, ExternalAgent)]
        secrets = [secret for run in commands if isinstance(run, tuple) for secret in secrets_of(run)]
        self._redaction = Redaction(target.redact, secrets)
        self._recorder = Recorder(
            redaction=self._redaction,
            bodies=target.bodies,
            model=topology.model,
            source=f"backend {topology.backend}",
            after={
                agent.name: {scenario.agents[waited].name for step in steps for waited, _ in step.waits_for}
                for agent, steps in zip(scenario.agents, steps_of(scenario.agents), strict=True)
            },
        )

    def keep(self, asked: Sequence[tuple[str, str, Sequence[Asked]]], start_ns: int, end: str = "complete") -> None:
        """Writes what the agents of a part asked, unless a part was written before; see `Recorder.recording`.

        Raises:
            UsageError: it cannot be written.
        """
        if self.notes:
            return
        recording = self._recorder.recording(asked, start_ns=start_ns, end=end)
        if not recording.requests:
            self.notes = (f"nothing was recorded: no request was answered; {self._target.file} was not written",)
            return
        left_out = write_recording(self._target, recording)
        written = len(recording.requests) - left_out
        agents = counted(len(recording.agents), "agent")
        notes = [f"recorded {counted(written, 'request')} of {agents} in {self._target.file}"]
        if left_out:
            notes.append(
                f"the recording is not complete: with {counted(left_out, 'more request')} it would be larger than "
                f"{self._target.max_mb:g} MB (max_mb)"
            )
        notes += [
            f"nothing was redacted as {field}: no request has this field{did_you_mean(field, self._redaction.names)}"
            for field in self._redaction.unused
            if self._target.bodies
        ]
        self.notes = tuple(notes)
