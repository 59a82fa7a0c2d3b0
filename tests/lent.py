"""Simulated servers that the runs in this process lend to each other: to start one takes longer than most of them."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.model import Script
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.processes.server_process import OwnServer

_idle: dict[tuple[str, ...], list["LentServer"]] = defaultdict(list)
_listening: dict[int, "LentServer"] = {}
_known: dict[int, tuple[Script, int]] = {}


def lent(arguments: Sequence[str], *, label: str) -> OwnServer:
    """In place of `OwnServer`: one that nobody uses and that was started alike, else a new one."""
    if "scripted" not in arguments or "--faults" in arguments:
        return OwnServer(arguments, label=label)
    idle = _idle[(label, *arguments)]
    while idle:
        server = idle.pop()
        if server.alive:
            return server
        server.end()
    return LentServer(arguments, label=label)


@contextlib.contextmanager
def known(url: str, script: Script, slots: int = 1) -> Iterator[None]:
    """Rounds on this simulated server, which somebody else has started, take scripted time, too."""
    port = int(url.rpartition(":")[2])
    _known[port] = (script, slots)
    try:
        yield
    finally:
        del _known[port]


def script_of(port: int) -> tuple[Script, int] | None:
    """How the lent or known server on this port behaves, and its slots; None if none listens there."""
    server = _listening.get(port)
    if server is None:
        return _known.get(port)
    arguments = server.arguments
    script, slots = (arguments[arguments.index(name) + 1] for name in ("--script", "--slots"))
    return Script(**json.loads(script)), int(slots)


def end_all() -> None:
    """Ends those that nobody uses."""
    for server in [lent_server for idle in _idle.values() for lent_server in idle]:
        server.end()
    _idle.clear()


class LentServer(OwnServer):
    """Is put back instead of stopped, without its model: as good as a new one, but that its jitter goes on."""

    def __init__(self, arguments: Sequence[str], *, label: str) -> None:
        super().__init__(arguments, label=label)
        self.arguments = tuple(arguments)
        self._idle = _idle[(label, *arguments)]
        self._port = 0

    def port(self, timeout_s: float) -> int:
        """See OwnServer; as often as one likes."""
        self._port = self._port or super().port(timeout_s)
        _listening[self._port] = self
        return self._port

    def ask_to_end(self) -> None:
        """Not yet."""

    def stop(self) -> None:
        """Puts it back; one that is dead, busy or unwell ends."""
        if self in self._idle:
            return
        if self._port and self.alive:
            with contextlib.suppress(LlmperfError), OllamaClient(f"http://127.0.0.1:{self._port}") as control:
                for model in control.ps():
                    control.unload(model.name)
                if not control.ps():
                    self._idle.append(self)
                    return
        self.end()

    def end(self) -> None:
        """See OwnServer.stop."""
        _listening.pop(self._port, None)
        super().ask_to_end()
        super().stop()
