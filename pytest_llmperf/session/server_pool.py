"""The servers of a session: the candidate's servers, and the incumbent's servers if there is an incumbent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from pytest_llmperf.config import incumbent_of
from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.model import Settings, Topology
from pytest_llmperf.model.model_names import full_name
from pytest_llmperf.servers.addresses import may_be_same_servers, same_addresses, same_servers
from pytest_llmperf.servers.backends import Backend
from pytest_llmperf.session.lock.machine_lock import MachineLock
from pytest_llmperf.session.progress_listener import ProgressListener
from pytest_llmperf.session.server_lease import ServerLease


@contextmanager
def naming(incumbent: str) -> Iterator[None]:
    """Prefix the text of an error with the incumbent's name; without a name, change nothing."""
    try:
        yield
    except LlmperfError as error:
        if incumbent:
            error.args = (f"incumbent {incumbent}: {error.args[0]}", *error.args[1:])
        raise


class ServerPool:
    """The leases of both deployments, under one lock of the machine.

    Args:
        settings: the settings of the candidate.
        listener: receives the progress.
        unrestored: takes the texts that say what could not be restored on servers that the session did not start.

    Attributes:
        candidate: the lease of the deployment that is judged.
        incumbent: the lease of the deployment that it is compared with; None without `--llmperf-against`.
    """

    def __init__(self, settings: Settings, *, listener: ProgressListener, unrestored: list[str]) -> None:
        self._settings = settings
        lease = partial(ServerLease, listener=listener, lock=MachineLock(), unrestored=unrestored)
        incumbent = incumbent_of(settings)
        self.candidate = lease(settings)
        self.incumbent = None if incumbent is None else lease(incumbent)

    @property
    def backend(self) -> Backend:
        """The candidate's backend; chosen once, nothing started. Raises ServerError."""
        return self.candidate.backend

    def check(self) -> None:
        """Check that both deployments can be used and differ, before anything starts.

        Raises:
            LlmperfError: a backend's servers or model file are missing; the incumbent is the candidate.
        """
        if self.incumbent is not None:
            self._check_distinct(self.incumbent)
        self.backend.check()
        if self.incumbent is not None:
            with naming(self._settings.against):
                self.incumbent.backend.check()

    def check_ours(self) -> None:
        """Check that the servers that the session started still run. Raises ServerError."""
        self.candidate.check_ours()
        if self.incumbent is not None:
            with naming(self._settings.against):
                self.incumbent.check_ours()

    def compare(self, candidate: Topology, incumbent: Topology) -> tuple[str, ...]:
        """Compare the running servers of both deployments; return notes for the reader.

        Raises:
            UsageError: they are the same servers, and that was not asked for; or only one of the two is simulated.
        """
        against = self._settings.against
        if candidate.simulated != incumbent.simulated:
            raise UsageError(
                f"of candidate and incumbent {against} one is simulated: a comparison would say nothing",
                next_step="compare two simulated deployments, or two real ones",
            )
        if same_servers(candidate, incumbent) and not self._settings.against_itself:
            raise self._same_servers(f"{incumbent.kind}, {incumbent.model} at {_urls(incumbent)}")
        if not may_be_same_servers(candidate, incumbent):
            return ()
        return (
            "whether candidate and incumbent are different servers cannot be determined: "
            f"{_urls(candidate)} and {_urls(incumbent)} are names of one address",
        )

    def fired_faults(self) -> tuple[str, ...]:
        """The faults of both fault plans that have occurred, in words."""
        theirs = () if self.incumbent is None else self.incumbent.fired_faults()
        return (
            *self.candidate.fired_faults(),
            *(f"incumbent {self._settings.against}: {fault}" for fault in theirs),
        )

    def close(self) -> None:
        """Stop the servers that the session started, restore the others, and free the machine."""
        with ExitStack() as stack:
            stack.callback(self.candidate.close)
            if self.incumbent is not None:
                self.incumbent.close()

    def _check_distinct(self, incumbent: ServerLease) -> None:
        """Choose the incumbent's backend, and raise UsageError if its addresses are the candidate's."""
        both = self._settings, incumbent.settings
        alike = len({(full_name(settings.model), settings.force_topology) for settings in both}) == 1
        urls = incumbent.backend.urls
        if same_addresses(self.backend.urls, urls) and alike and not self._settings.against_itself:
            raise self._same_servers(", ".join(urls))

    def _same_servers(self, servers: str) -> UsageError:
        """The error of a comparison of a deployment with itself."""
        return UsageError(
            f"the incumbent {self._settings.against} is the measured deployment itself: {servers}",
            next_step="name another deployment with --llmperf-against, or say --llmperf-against-itself=on",
        )


def _urls(topology: Topology) -> str:
    return ", ".join(instance.url for instance in topology.instances)
