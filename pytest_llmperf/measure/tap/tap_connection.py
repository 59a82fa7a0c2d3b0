"""One connection through the tap: two sockets, two directions, no byte altered, none kept back."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl

from pytest_llmperf.measure.tap.direction import Direction, Tally, between_requests
from pytest_llmperf.measure.tap.marks import MarkReader
from pytest_llmperf.measure.tap.recording import CapturedConnection, request_line, without_logins
from pytest_llmperf.measure.tap.tap_sockets import check_connected, close, has_left, prepare
from pytest_llmperf.measure.tap.upstream import HeadRewriter, TlsSocket, Upstream, secured
from pytest_llmperf.measure.wire.arrival import ANCILLARY_BYTES, Clock

READ_BYTES = 16384

HELD_BYTES = 8 * 1024 * 1024
"""Maximum bytes read from an agent before the barrier opens; the rest stays in its socket."""

_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """An agent's connection to the tap, and the tap's connection to the server for it.

    Until `release`, the client's bytes are held, except marks, which the tap answers. A client that closes the
    connection before that has given up, even if it closes only its half, because the two cannot be told apart.

    Both sockets are non-blocking. A direction is read only while none of its bytes wait to be handed on, so that a slow
    reader slows its writer down as without the tap; ends and resets are passed on as they come. A server that speaks
    TLS, or needs a login, gets each request with its own `Host` and that login; the client's bytes are captured as they
    came.

    Args:
        client: the accepted socket.
        upstream: the server.
        selector: watches the sockets; this connection is their data.
        tally: the tally of its agent.
        clock: monotonic nanoseconds.

    Attributes:
        tally: the tally of its agent.
        alive: False once both sockets are closed.
        connecting: whether the server has not yet accepted it.
        first_ns: when the client's first bytes arrived; 0 if none did.
        given_up_ns: when the client closed it, or half of it, while it was held; 0 if it did not.
    """

    def __init__(
        self,
        client: socket.socket,
        *,
        upstream: Upstream,
        selector: selectors.BaseSelector,
        tally: Tally,
        clock: Clock,
    ) -> None:
        self.alive = self._held = True
        self.connecting = False
        self.first_ns = self.given_up_ns = 0
        self._given_up = self._fault = ""
        self._connect_ns = self._connected_ns = 0
        self._client = client
        self._marks = MarkReader(client)
        self._server: socket.socket | None = None
        self._upstream = upstream
        self._rewriter = HeadRewriter(headers) if (headers := upstream.headers) else None
        self._awaits = 0  # what the socket must be ready for before the server has accepted it
        self._selector = selector
        self.tally = tally
        self._clock = clock
        self._up, self._down = Direction(), Direction()
        self._up.source = self._down.sink = client
        self._watched: dict[socket.socket, int] = {}
        prepare(client)
        self._watch()

    def connect(self) -> None:
        """Begins to connect to the server, if that was not done; a failure shows as a reset of the connection."""
        if self._server is not None or not self.alive:
            return
        self._server = self._up.sink = self._down.source = socket.socket(self._upstream.family, socket.SOCK_STREAM)
        prepare(self._server)
        self._connect_ns = self._clock()
        self.connecting, self._awaits = True, selectors.EVENT_WRITE
        try:
            self._server.connect(self._upstream.address)
        except _NOT_NOW:
            pass
        except OSError as error:
            self._fail_to_connect(error)
        else:
            self._go_on_connecting()
        self._watch()

    def _go_on_connecting(self) -> None:
        """The TCP connection is there: so is the connection, or its TLS handshake takes its next step."""
        try:
            check_connected(self._server)
            if self._upstream.tls_name:
                self._secure().do_handshake()
        except ssl.SSLWantReadError:
            self._awaits = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            self._awaits = selectors.EVENT_WRITE
        except OSError as error:
            self._fail_to_connect(error)
        else:
            self.connecting, self._connected_ns = False, self._clock()

    def _fail_to_connect(self, error: OSError) -> None:
        self._fault = str(error)
        self._fail(self._down)

    def _secure(self) -> TlsSocket:
        """The server's socket with TLS, in place of the plain one."""
        plain = self._server
        if isinstance(plain, TlsSocket):
            return plain
        assert plain is not None
        if self._watched.pop(plain, 0):
            self._selector.unregister(plain)
        wrapped = secured(plain, self._upstream)
        self._server = self._up.sink = self._down.source = wrapped
        return wrapped

    def disconnect(self) -> None:
        """Takes `connect` back, while it is held."""
        if self._server is None or not self.alive:
            return
        if self._watched.pop(self._server, 0):
            self._selector.unregister(self._server)
        self._server.close()
        self._server = self._up.sink = self._down.source = None
        self.connecting = False
        self._connect_ns = self._connected_ns = 0

    def waits(self) -> bool:
        """Looks whether bytes are held whose client is still there."""
        if self._held and self.alive and has_left(self._client):
            if not self._up.waiting:
                self._read(self._up)  # its last bytes may be a mark
            self._give_up()
        return self.alive and bool(self._up.waiting)

    def release(self) -> None:
        """From now on, what the agent sends is handed on; what it has sent before, at once."""
        self._held = False
        self._hand_on(self._up)
        self._watch()

    def ready(self, sock: socket.socket, events: int) -> None:
        """Does what the socket is ready for."""
        reads, writes = (self._up, self._down) if sock is self._client else (self._down, self._up)
        if self.connecting and sock is self._server:
            self._go_on_connecting()
            if self.connecting or sock is not self._server:  # not yet, failed, or another socket has taken its place
                self._watch()
                return
        if events & selectors.EVENT_READ and self._wants(reads) and self._read(reads) and not writes.waiting:
            return
        if events & selectors.EVENT_WRITE and writes.waiting:
            self._hand_on(writes)
        self._watch()

    def capture(self) -> CapturedConnection:
        """The bytes captured so far."""
        return CapturedConnection(
            up=without_logins(self._up.stream()),  # they are in the tap's memory only
            down=self._down.stream(),
            connect_ns=self._connect_ns,
            connected_ns=self._connected_ns,
            first_ns=self.first_ns,
            given_up_ns=self.given_up_ns,
            given_up=self._given_up,
            fault=self._fault,
            marks=self._marks.marks,
        )

    def abort(self) -> None:
        """Resets both sides, if they are open."""
        self._close(reset=True)

    def _read(self, direction: Direction) -> bool:
        """Reads the available bytes and sends them on; False if something is left to do."""
        assert direction.source is not None
        try:
            data, ancillary, _, _ = direction.source.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            read_ns = self._clock()
        except _NOT_NOW:
            return True
        except OSError:
            self._fail(direction)
            return False
        if direction is self._up and (self._marks.holds or between_requests(self._up, self._down)):
            rest = self._marks.feed(data, read_ns, ancillary)
            if data and not rest:
                self.tally.add(len(data))
                return True
            data = rest
            if self._marks.closed:
                self._close(reset=False)
                return True
        sent, forth = 0, data
        if self._rewriter is not None and direction is self._up:
            forth = self._rewriter.feed(data)
        if forth and direction.sink is not None and not self._held and not direction.waiting:
            try:  # noqa: SIM105 - contextlib takes a tenth of all that is done for a chunk
                sent = direction.sink.send(forth)
            except OSError:
                pass  # whatever it is, sending the rest meets it again
        if data:
            self.first_ns = self.first_ns or read_ns
            self.tally.add(len(data))
            if sent == len(forth):
                direction.chunks.append((read_ns, ancillary, data, read_ns))
                return True
            direction.waiting.append((read_ns, ancillary, data, memoryview(forth)[sent:]))
        elif self._held and direction is self._up:
            self._give_up()
        else:
            direction.ended_ns = read_ns
        self._hand_on(direction)
        return False

    def _hand_on(self, direction: Direction) -> None:
        """Sends what waits, as far as the other side takes it; then the end, if it has come."""
        if not self.alive or direction.sink is None or ((self._held or self.connecting) and direction is self._up):
            return
        while direction.waiting:
            read_ns, ancillary, data, rest = direction.waiting[0]
            handed_ns = self._clock()
            try:
                sent = direction.sink.send(rest) if rest else 0
            except _NOT_NOW:
                return
            except OSError:
                self._fail(self._down if direction is self._up else self._up)
                return
            if sent < len(rest):
                direction.waiting[0] = (read_ns, ancillary, data, rest[sent:])
            else:
                direction.chunks.append((read_ns, ancillary, data, handed_ns))
                direction.waiting.popleft()
        if direction.ended_ns and not direction.closed:
            direction.closed = True
            with contextlib.suppress(OSError):
                direction.sink.shutdown(socket.SHUT_WR)
            if self._up.closed and self._down.closed:
                self._close(reset=False)

    def _give_up(self) -> None:
        """The client left before the barrier opened: what it asked for was not asked of the server, nor is it kept."""
        if not self.alive:
            return
        self.given_up_ns = self._up.ended_ns = self._clock()
        self._given_up = request_line(b"".join(data for _, _, data, _ in self._up.waiting)) or self._given_up
        self.tally.drop([len(data) for _, _, data, _ in self._up.waiting])
        self._up.waiting.clear()
        self.disconnect()
        self._close(reset=bool(self.first_ns))  # an answer to a mark may still be on its way

    def _fail(self, direction: Direction) -> None:
        """The sender of this direction has reset its connection: so is the other one."""
        if self._held and direction is self._up:
            self._give_up()
            return
        direction.ended_ns = direction.ended_ns or self._clock()
        self._close(reset=True)

    def _wants(self, direction: Direction) -> bool:
        """Whether to read more of a direction."""
        if not self.alive or direction.source is None or direction.ended_ns:
            return False
        return not direction.waiting or (self._held and direction is self._up and self.tally.noted < HELD_BYTES)

    def _watch(self) -> None:
        """Has the selector watch for what can be done next, and nothing else."""
        if not self.alive:
            return
        for sock, reads, writes in ((self._client, self._up, self._down), (self._server, self._down, self._up)):
            if sock is None:
                continue
            blocked = bool(writes.waiting) and not (self._held and writes is self._up)
            wanted = selectors.EVENT_READ * self._wants(reads) | selectors.EVENT_WRITE * blocked
            if self.connecting and sock is self._server:
                wanted = self._awaits
            watched = self._watched.get(sock, 0)
            if wanted == watched:
                continue
            self._watched[sock] = wanted
            if not watched:
                self._selector.register(sock, wanted, self)
            elif wanted:
                self._selector.modify(sock, wanted, self)
            else:
                self._selector.unregister(sock)

    def _close(self, *, reset: bool) -> None:
        if not self.alive:
            return
        self.alive = self.connecting = False
        for sock in (self._client, self._server):
            if sock is None:
                continue
            if self._watched.pop(sock, 0):
                self._selector.unregister(sock)
            close(sock, reset=reset)
