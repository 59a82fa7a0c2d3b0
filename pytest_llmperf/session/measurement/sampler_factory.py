"""Samplers of this machine: which processes belong to which instance, and its GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.servers.addresses import address_of
from pytest_llmperf.servers.probes.deployment_facts import gpu_here

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llmperf.model import Topology
    from pytest_llmperf.telemetry.gpu import Gpus
    from pytest_llmperf.telemetry.sampler import Sampler


class SamplerFactory:
    """Makes the samplers of a session's measurements; psutil is imported with the first.

    Args:
        every_s: interval between two samples of a round, s; 0: telemetry is off.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._gpus_here: tuple[Gpus | None, str] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """What must be installed to sample this machine's GPU, in words; known once there was a sampler."""
        from pytest_llmperf.telemetry.gpu import INSTALL  # noqa: PLC0415 - only where something is looked at

        why = self._gpus_here[1] if self._gpus_here is not None else ""
        return (why,) if INSTALL in why else ()

    def sampler(self, topology: Topology, pids: Mapping[str, int]) -> Sampler | None:
        """A sampler for a measurement on this topology; None if telemetry is off.

        Args:
            topology: the topology; its servers must be running.
            pids: the first process of each instance, if known; processes of other local instances are found by port.
        """
        if not self._every_s:
            return None
        from pytest_llmperf.telemetry.machine_reader import Machine  # noqa: PLC0415 - imports psutil
        from pytest_llmperf.telemetry.process_tree import is_here, listener_on, process_of  # noqa: PLC0415 - as above
        from pytest_llmperf.telemetry.sampler import Sampler  # noqa: PLC0415 - as above

        known, remote, silent = {}, [], []
        for instance in topology.instances:
            pid = pids.get(instance.name)
            if pid is None:
                host, port = address_of(instance.url)
                if instance.access.proxy or not is_here(host):
                    remote.append(instance.name)
                    continue
                pid = listener_on(host, port)
            root = process_of(pid) if pid is not None else None
            if root is None:
                silent.append(instance.name)
            else:
                known[instance.name] = root
        gpus, why = self._gpus() if len(remote) < len(topology.instances) else (None, "")
        notes = (
            f"instance {', '.join(remote)} is on another machine, which is not sampled" if remote else "",
            f"the processes of instance {', '.join(silent)} are unknown: the system does not report them"
            if silent
            else "",
            why,
        )
        return Sampler(
            Machine(known, gpus),
            every_s=self._every_s,
            complete=not (remote or silent),
            notes=tuple(filter(None, notes)),
        )

    def close(self) -> None:
        """Release the GPUs."""
        gpus, self._gpus_here = self._gpus_here, None
        if gpus is not None and gpus[0] is not None:
            gpus[0].close()

    def _gpus(self) -> tuple[Gpus | None, str]:
        from pytest_llmperf.telemetry.gpu import find  # noqa: PLC0415 - only where something is looked at

        if self._gpus_here is None:
            self._gpus_here = find(seen=gpu_here())
        return self._gpus_here
