"""Our own clients behind the tap, to calibrate what the tap itself costs, like any other runtime."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from pytest_llmperf.measure.runtimes.runtime import Clients, Part
from pytest_llmperf.measure.runtimes.thread_runtime import ThreadsRuntime
from pytest_llmperf.measure.tap.http_exchanges import exchanges_of
from pytest_llmperf.measure.tap.proxy_client import Tap


class TapRuntime:
    """See `runtimes.Runtime`; the exchanges are those that the tap captured, and the CPU time is the tap's.

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
            capture = self._tap.take()
        except BaseException:
            self._tap.close()  # whatever it was doing
            raise
        exchanges = [
            [
                http_exchange.exchange
                for connection in connections
                for http_exchange in exchanges_of(connection, capture, label=label)
            ]
            for connections, label in zip(capture.agents, labels, strict=True)
        ]
        arrivals = (exchange.pieces[-1].arrival_ns for client in exchanges for exchange in client if exchange.pieces)
        end_ns = max(arrivals, default=0)
        return Part(
            start_ns=capture.start_ns,
            exchanges=tuple(tuple(sorted(client, key=lambda exchange: exchange.sent_ns)) for client in exchanges),
            cpu_ns=(capture.cpu_ns(end_ns),),
            lag_ns=(capture.lag_ns(end_ns),) * len(exchanges),
        )

    def close(self) -> None:
        """Does nothing: the tap belongs to its owner."""
