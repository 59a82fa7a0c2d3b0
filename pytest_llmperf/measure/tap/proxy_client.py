"""The tap from outside: starts its process, gives it orders, and takes what it noted."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Pipe
from typing import Any
from urllib.parse import urlsplit

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.tap.recording import Capture
from pytest_llmperf.measure.tap.upstream import Upstream
from pytest_llmperf.measure.wire.prepared_request import target_of
from pytest_llmperf.measure.wire.request_connection import CONNECT_S, MAX_ANSWER_BYTES, PIECE_BYTES
from pytest_llmperf.model import DIRECT, Access

_END_S = 2.0


class Tap:
    """One process that forwards for all agents of a part; it starts with the first part and is kept for the next ones.

    It ends with `close`, and by itself when this process is gone.

    Args:
        realtime: see `scheduling_priority.be_prompt`.
    """

    def __init__(self, *, realtime: bool = True) -> None:
        self._realtime = realtime
        self._labels: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Any = None
        self._accesses: tuple[Access, ...] = ()
        self._released = False
        self._arrived: set[int] = set()

    def open(
        self,
        urls: Sequence[str],
        labels: Sequence[str],
        *,
        accesses: Sequence[Access] = (),
        limit_bytes: int = MAX_ANSWER_BYTES,
        barrier: bool = True,
        awaited: Sequence[int | None] = (),
    ) -> tuple[str, ...]:
        """Begins a part.

        Args:
            urls: the server of each agent.
            labels: the labels of each agent, for error messages.
            accesses: how each server is reached; none = all of them without login, by the system's authorities.
            limit_bytes: maximum memory for the captured bytes of one agent, with their bookkeeping.
            barrier: whether all agents are held until each has sent something; else their bytes are passed on at once.
            awaited: for each agent a number: the barrier waits for one agent of each number. None: it does not wait for
                the agent, because it comes after others. Empty: it waits for every agent.

        Returns:
            The tap's address for each agent.

        Raises:
            UsageError: a secret or a file of an access is missing.
            MeasurementError: a server cannot be reached, or its certificate is not trusted.
        """
        accesses = tuple(accesses) or (DIRECT,) * len(urls)
        servers = [_upstream_of(*server) for server in zip(urls, accesses, labels, strict=True)]
        if set(accesses) - {DIRECT, *self._accesses}:
            self.close()  # the environment of its process may be older than the secrets
        self._accesses = accesses
        if self._process is None:
            self._start()
        self._released, self._labels = False, tuple(labels)
        self._arrived.clear()
        self._order("open", servers, limit_bytes, PIECE_BYTES, barrier, tuple(awaited) or tuple(range(len(servers))))
        ports = self._answer(list)
        return tuple(
            f"http://127.0.0.1:{port}{urlsplit(url).path.rstrip('/')}" for port, url in zip(ports, urls, strict=True)
        )

    def released(self) -> bool:
        """Whether the barrier of this part has opened.

        Raises:
            MeasurementError: an agent's traffic exceeds the limit, or the tap died.
        """
        self._listen()
        return self._released

    def arrived(self) -> frozenset[int]:
        """The agents of this part that have sent something, by index. Raises as `released` does."""
        self._listen()
        return frozenset(self._arrived)

    def take(self) -> Capture:
        """Ends the part: every connection is reset.

        Raises:
            MeasurementError: as `released` does.
        """
        self._order("take")
        capture: Capture = self._answer(Capture)
        return capture

    def close(self) -> None:
        """Ends the process; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            self._channel.close()  # its order to end
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self) -> None:
        self._channel, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pytest_llmperf.measure.tap", str(theirs.fileno()), str(self._realtime)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # only this process handles a Ctrl-C in the terminal
            )
        finally:
            theirs.close()

    def _order(self, *order: Any) -> None:
        try:
            self._channel.send(order)
        except OSError as error:
            raise self._died() from error

    def _listen(self) -> None:
        while self._poll():
            self._note(self._receive())

    def _poll(self) -> bool:
        try:
            return bool(self._channel.poll())
        except OSError as error:
            raise self._died() from error

    def _receive(self) -> Any:
        try:
            return self._channel.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _answer(self, kind: type) -> Any:
        """The answer to an order; what the tap told by itself before it is noted."""
        while not isinstance(answer := self._receive(), kind):
            self._note(answer)
        return answer

    def _note(self, told: tuple[str, int]) -> None:
        event, agent = told
        if event == "full":
            raise MeasurementError(
                f"{self._labels[agent]}: its requests and answers do not end",
                next_step="set num_predict in its requests",
            )
        if event == "arrived":
            self._arrived.add(agent)
        else:
            self._released = True

    def _died(self) -> MeasurementError:
        self.close()
        return MeasurementError("the tap's process died", next_step="is the machine out of memory? run it again")


def _upstream_of(url: str, access: Access, label: str) -> Upstream:
    """The server at an address, which answers: of a name with several addresses, the first that does.

    Raises:
        UsageError: a secret or a file of its access is missing.
        MeasurementError: it cannot be reached, or its certificate is not trusted.
    """
    target = target_of(url, label=label)
    access.check()
    needed = access if target.tls or access.auth else None
    upstream = Upstream(0, None, urlsplit(url).netloc, target.host if target.tls else "", needed)
    try:
        with contextlib.closing(socket.create_connection((target.host, target.port), CONNECT_S)) as probe:
            family, address = probe.family, probe.getpeername()
            if target.tls:
                access.tls().wrap_socket(probe, server_hostname=target.host).close()
    except ssl.SSLCertVerificationError as error:
        raise MeasurementError(
            f"{label}: the server's certificate is not trusted ({error.verify_message})",
            next_step="give its authority's certificate with --llmperf-ca, or the name that the certificate has",
        ) from error
    except OSError as error:
        raise MeasurementError(
            f"{label}: the server cannot be reached ({error})", next_step=f"is the server alive? curl {url}/api/version"
        ) from error
    return upstream._replace(family=family, address=address)
