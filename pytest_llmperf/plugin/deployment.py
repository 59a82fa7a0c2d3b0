"""What the server fixtures return: a topology whose servers start when they are first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.plugin.failures import without_our_frames

if TYPE_CHECKING:
    from pytest_llmperf.model import Topology
    from pytest_llmperf.session.session import Session


class Deployment:
    """A topology to run agents on; its servers start when they are first needed.

    Attributes:
        kind: `dual`, `single`, `single_parallel` or `fleet`.
    """

    def __init__(self, session: Session, kind: str) -> None:
        self._session = session
        self.kind = kind

    def open(self, agents: int = 2) -> Topology:
        """The running servers for `agents` agents; servers of another topology are stopped before new ones start.

        Raises:
            ServerError: the servers could not be found, started or loaded.
        """
        from pytest_llmperf.model import TopologyKind

        return without_our_frames(lambda: self._session.open(TopologyKind(self.kind), agents))

    @property
    def urls(self) -> tuple[str, ...]:
        """Base addresses of the running instances; starts them if need be."""
        return tuple(instance.url for instance in self.open().instances)
