"""Our own clients behind the tap: what the tap itself costs is calibrated with them, as any runtime is."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from pytest_llmperf.measure.runtimes.runtime import Clients, Part
from pytest_llmperf.measure.runtimes.thread_runtime import ThreadsRuntime
from pytest_llmperf.measure.tap.http_exchanges import spoken
from pytest_llmperf.measure.tap.proxy_client import Tap


class TapRuntime:
    """See `runtimes.Runtime`; the exchanges are those that the tap saw, and the CPU time is the tap's.

    Args:
        tap: not closed with this.
    """

    name = "tap"

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def run(self, clients: Clients, *, timeout_s: float) -> Part:
        """See `runtimes.Runtime`; all requests of a client go to one server."""
        labels = [requests[0].label for requests in clients]
        urls = self._tap.open([f"http://{requests[0].host}:{requests[0].port}" for requests in clients], labels)
        ports = [urlsplit(url).port or 0 for url in urls]
        tapped = [
            [replace(request, host="127.0.0.1", port=port) for request in requests]
            for requests, port in zip(clients, ports, strict=True)
        ]
        try:
            ThreadsRuntime().run(tapped, timeout_s=timeout_s)
            taken = self._tap.take()
        except BaseException:
            self._tap.close()  # whatever it was doing
            raise
        exchanges = [
            [one.exchange for way in ways for one in spoken(way, taken, label=label)]
            for ways, label in zip(taken.agents, labels, strict=True)
        ]
        end_ns = max((one.pieces[-1].arrival_ns for client in exchanges for one in client if one.pieces), default=0)
        return Part(
            start_ns=taken.start_ns,
            exchanges=tuple(tuple(sorted(client, key=lambda one: one.sent_ns)) for client in exchanges),
            cpu_ns=(taken.cpu_ns(end_ns),),
            lag_ns=(taken.lag_ns(end_ns),) * len(exchanges),
        )

    def close(self) -> None:
        """The tap is its owner's."""
