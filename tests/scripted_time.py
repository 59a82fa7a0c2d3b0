"""Timed requests to lent simulated servers in scripted time: answers and their moments are computed, not waited for.

The runs in this process (see `lent`) start, load and query their servers as always; only the requests inside rounds are
not sent. The scripted engine itself computes their moments from the servers' scripts: its clock is moved where it would
wait. A round takes no time, and a verdict does not depend on how busy the machine is. Any other request is sent as
usual, and so is every request of a test that asks for `real_time`.
"""

import heapq
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_llmperf.measure.runtimes import Clients, Part, Runtime
from pytest_llmperf.measure.runtimes.runtime_factory import runtime_of
from pytest_llmperf.measure.wire.arrival import KERNEL, Piece
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.model import DIRECT, SERIAL, Place, Script
from pytest_llmperf.servers.emulator.api.answer_forms import Ending
from pytest_llmperf.servers.emulator.api.request_bodies import parse_body, parse_chat, parse_generate
from pytest_llmperf.servers.emulator.engine import Completion, EngineError, Job
from pytest_llmperf.servers.emulator.scripted_engine import ScriptedEngine
from tests.lent import script_of

PARSERS = {"/api/generate": parse_generate, "/api/chat": parse_chat}

HANDOVER_NS = 20_000
"""Between two moments of a request that follow each other at once: connecting, sending, being read."""

LOAD_NS = 60_000
"""What a server reports of the load of a model that is loaded."""


@dataclass(kw_only=True)
class Instance:
    """One server's engine on a clock that moves when it waits, and when each of its slots is free."""

    script: Script
    slots: int
    now_ns: int = 0
    free_ns: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = ScriptedEngine(self.script, slots=self.slots, clock=lambda: self.now_ns, wait=self._wait)
        self.free_ns = [0] * self.slots

    def _wait(self, _: threading.Event, seconds: float) -> bool:
        self.now_ns += round(seconds * 1e9)
        return False

    def answer(self, request: Request, sent_ns: int) -> Iterator[tuple[int, bytes]]:
        """The moments at which the parts of its answer leave, ns, and the parts."""
        head, _, body = request.payload.partition(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        wanted = PARSERS[path](parse_body(body), self.engine.card)
        begun_ns = sent_ns + HANDOVER_NS
        slot = min(range(self.slots), key=self.free_ns.__getitem__)
        self.engine.load(wanted.load)
        self.now_ns = max(begun_ns + LOAD_NS, self.free_ns[slot])
        texts: list[tuple[int, str]] = []
        try:
            completion = self._generate(wanted.job, texts)
        except EngineError as error:
            yield self.now_ns, _whole(error)
            return
        self.free_ns[slot] = self.now_ns
        head_bytes = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
        for at_ns, text in texts:
            yield at_ns, head_bytes + _chunk(wanted.form.piece(text))
            head_bytes = b""
        total_ns = self.now_ns - begun_ns
        ending = Ending(reason=completion.done_reason, completion=completion, total_ns=total_ns, load_ns=LOAD_NS)
        yield self.now_ns, head_bytes + _chunk(wanted.form.end(ending)) + b"0\r\n\r\n"

    def _generate(self, job: Job, texts: list[tuple[int, str]]) -> Completion:
        return self.engine.generate(job, lambda text: texts.append((self.now_ns, text)), threading.Event())


class ScriptedTime:
    """A runtime of this name for lent servers; see Runtime."""

    def __init__(self, name: str) -> None:
        self.name = name  # of a runtime that serialises its clients: this one does, too
        self._real: Runtime | None = None
        self._instances: dict[tuple[str, int], Instance] = {}
        self._ended_ns = 0

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        """Each client's next request leaves when its last answer has come; servers take requests in that order."""
        if not all(self._known(request) for client in clients for request in client):
            self._real = self._real or runtime_of(self.name)
            return self._real.run(clients, timeout_s=timeout_s)
        start_ns = max(time.monotonic_ns(), self._ended_ns)
        exchanges: list[list[Exchange]] = [[] for _ in clients]
        ends_ns: dict[Place, int] = {}
        ready = [
            (start_ns + index * 1000 + requests[0].step.think_ns, index)
            for index, requests in enumerate(clients)
            if not requests[0].step.waits_for
        ]
        waiting = set(range(len(clients))) - {index for _, index in ready}
        while ready:
            sent_ns, index = heapq.heappop(ready)
            busy = [before for before in range(index) if len(exchanges[before]) < len(clients[before])]
            if self.name == SERIAL and set(busy) - waiting:
                heapq.heappush(ready, (self._ended_ns + HANDOVER_NS, index))
                continue
            request = clients[index][len(exchanges[index])]
            exchange = self._exchange(request, sent_ns)
            ends_ns[index, len(exchanges[index])] = exchange.ended_ns + request.step.tool_ns
            exchanges[index].append(exchange)
            self._ended_ns = max(self._ended_ns, exchange.ended_ns)
            if len(exchanges[index]) < len(clients[index]):
                waiting.add(index)
            for client in sorted(waiting):
                position, step = len(exchanges[client]), clients[client][len(exchanges[client])].step
                before = [*step.waits_for, *([(client, position - 1)] if position else [])]
                if ends_ns.keys() >= set(before):
                    waiting.discard(client)
                    due_ns = max(ends_ns[place] for place in before) + step.think_ns
                    heapq.heappush(ready, (due_ns + 3 * HANDOVER_NS, client))
        count = len(clients)
        return Part(
            start_ns=start_ns,
            exchanges=tuple(map(tuple, exchanges)),
            cpu_ns=(count * HANDOVER_NS,),
            lag_ns=(HANDOVER_NS,) * count,
        )

    def close(self) -> None:
        """See Runtime."""
        if self._real is not None:
            self._real.close()

    def _known(self, request: Request) -> bool:
        """Whether it goes to a lent server, which it then is an instance of."""
        path = request.payload.split(b" ", 2)[1].decode()
        if request.tls or request.access != DIRECT or path not in PARSERS:
            return False
        peer = request.host, request.port
        if peer not in self._instances:
            arguments = script_of(request.port)
            if arguments is None:
                return False
            script, slots = arguments
            self._instances[peer] = Instance(script=script, slots=slots)
        return True

    def _exchange(self, request: Request, sent_ns: int) -> Exchange:
        instance = self._instances[request.host, request.port]
        pieces = [
            Piece(at_ns + HANDOVER_NS, at_ns + 2 * HANDOVER_NS, data)
            for at_ns, data in instance.answer(request, sent_ns)
        ]
        return Exchange(
            sent_ns=sent_ns,
            pieces=tuple(pieces),
            source=KERNEL,
            label=request.label,
            connect_ns=sent_ns - 2 * HANDOVER_NS,
            connected_ns=sent_ns - HANDOVER_NS,
            ended_ns=pieces[-1].read_ns,
        )


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _whole(error: EngineError) -> bytes:
    body = json.dumps({"error": str(error)}).encode()
    return b"HTTP/1.1 %d Error\r\ncontent-length: %d\r\n\r\n%s" % (error.status, len(body), body)
