"""What a fault may do to the process that it happens in."""

from __future__ import annotations

from typing import NoReturn, Protocol


class Host(Protocol):
    """The server's process, seen by its faults."""

    def reset(self, client: tuple[str, int] | None) -> None:
        """Resets the connection with this peer; with all of them, where None."""
        ...

    def refuse(self, seconds: float) -> None:
        """Listens no more for so long; 0 is for good."""
        ...

    def die(self) -> NoReturn:
        """Ends at once, without a word to anyone."""
        ...
