"""The harness times a server whose truth is known, and so measures itself."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.runtimes import Part, Runtime
from pytest_llmperf.measure.wire.arrival import KERNEL, READ
from pytest_llmperf.measure.wire.exchange import Exchange
from pytest_llmperf.measure.wire.prepared_request import Request, prepare
from pytest_llmperf.model import Calibration
from pytest_llmperf.net.http_channel import Channel, LateError, TooLargeError
from pytest_llmperf.net.untrusted_json import parsed

SECONDS = 0.1
"""About how long the calibration times, besides TTFT_MS."""

TTFT_MS = 5.0
SLOWEST_TOK_S, FASTEST_TOK_S = 30.0, 2000.0
"""Rates beyond these are calibrated at them: a slow server must not cost seconds, no server is faster."""

START_S = 30.0
"""Maximum seconds for the calibration server to start."""

_TRUTH_S = 10.0

_NUMBER = re.compile(rb'"context": ?\[(\d+)\]')


class Truth(NamedTuple):
    """The times of one answer according to the calibration server, ns of the monotonic clock.

    Attributes:
        arrived_ns: when the request arrived.
        sent_ns: the moment just before each chunk was handed to the system; the last chunk has no token.
    """

    arrived_ns: int
    sent_ns: tuple[int, ...]


@contextmanager
def paced_server(*, ttft_ms: float, tok_s: float, tokens: int) -> Iterator[str]:
    """The address of a server that answers every request at this pace.

    Raises:
        MeasurementError: it could not be started.
    """
    script = Path(__file__).with_name("calibration_server.py")
    command = [sys.executable, "-S", "-E", str(script), str(ttft_ms), str(tok_s), str(tokens)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], START_S)
            port = process.stdout.readline().strip() if ready else b""
            if not port:
                raise MeasurementError("the calibration server did not start")
            yield f"http://127.0.0.1:{int(port)}"
            if process.poll() is not None:  # then somebody else may have answered on its port
                raise MeasurementError("the calibration server died")
        finally:
            process.stdin.close()  # its order to end
            process.kill()


def truths(url: str) -> Mapping[int, Truth]:
    """The server's times since the last call, by the number of the answer.

    Raises:
        MeasurementError: the server does not answer correctly.
    """
    with closing(Channel(httpx.Client(trust_env=False, verify=False))) as channel:  # no TLS: certificates take 40 ms
        try:
            told = parsed(channel.whole("GET", f"{url}/truth", within_s=_TRUTH_S).content)
            return {entry["number"]: Truth(entry["arrived_ns"], tuple(entry["sent_ns"])) for entry in told}
        except (LateError, TooLargeError, httpx.HTTPError, ValueError, TypeError, KeyError) as error:
            raise MeasurementError(f"the calibration server does not answer ({error!r})") from error


def arrivals_of(exchange: Exchange) -> tuple[tuple[int, ...], int, int]:
    """When each chunk of a paced answer arrived, how many were read together with later ones, and its number.

    Raises:
        MeasurementError: no answer of the paced server.
    """
    arrivals: list[int] = []
    merged = 0
    for piece in exchange.pieces:
        chunks = piece.data.count(b'"done": ')  # a chunk leaves in one piece, and is never cut on the way
        arrivals += [piece.arrival_ns] * chunks
        merged += max(0, chunks - 1)
    number = _NUMBER.search(exchange.pieces[-1].data) if exchange.pieces else None
    if number is None:
        raise MeasurementError(f"{exchange.label}: no complete answer from the calibration server")
    return tuple(arrivals), merged, int(number[1])


def bounded(tok_s: float) -> float:
    """The rate to calibrate at for servers of this one."""
    return min(max(tok_s, SLOWEST_TOK_S), FASTEST_TOK_S)


def calibrate(runtime: Runtime, *, agents: int, tok_s: float) -> Calibration:
    """Times this number of clients at about this rate for a fraction of a second.

    Args:
        runtime: the runtime to calibrate.
        agents: number of clients at once.
        tok_s: tokens per second and client.

    Raises:
        MeasurementError: the calibration server could not be started or timed.
    """
    tok_s = bounded(tok_s)
    tokens = max(8, round(tok_s * SECONDS))
    with paced_server(ttft_ms=TTFT_MS, tok_s=tok_s, tokens=tokens) as url:
        runtime.run(_clients(url, agents, 2), timeout_s=30)  # a first time is no measure of anything
        truths(url)
        part = runtime.run(_clients(url, agents, tokens), timeout_s=30)
        return compare(part, truths(url), runtime=runtime.name, tok_s=tok_s, tokens=tokens)


def _clients(url: str, agents: int, tokens: int) -> list[list[Request]]:
    """One request each."""
    body = json.dumps({"model": "paced", "options": {"num_predict": tokens}}).encode()
    return [[prepare(url, "/api/generate", body, label=f"calibration client {index}")] for index in range(agents)]


def compare(part: Part, truth: Mapping[int, Truth], *, runtime: str, tok_s: float, tokens: int) -> Calibration:
    """Compares the clients' times of a part with the server's.

    Args:
        part: one request of each client.
        truth: the server's times by the number of the answer.
        runtime: the runtime that ran the clients.
        tok_s: the server's pace.
        tokens: number of tokens in each answer.
    """
    errors_ms, seen_ns, true_ns = [], [], []
    for (exchange,) in part.exchanges:
        arrivals, _, number = arrivals_of(exchange)
        if (known := truth.get(number)) is None:
            raise MeasurementError(f"{exchange.label}: an answer that the calibration server did not send")
        errors_ms += [(a - s) / 1e6 for a, s in zip(arrivals, known.sent_ns, strict=True)]
        seen_ns.append(arrivals[-1] - part.start_ns)
        true_ns.append(known.sent_ns[-1] - known.arrived_ns)
    errors_ms.sort()
    sources = {exchange.source for (exchange,) in part.exchanges}
    return Calibration(
        runtime=runtime,
        timing_source=KERNEL if sources == {KERNEL} else READ,
        agents=len(part.exchanges),
        tok_s=tok_s,
        tokens=tokens,
        cpu_us_per_token=sum(part.cpu_ns) / 1e3 / tokens / len(part.exchanges),
        arrival_p99_ms=errors_ms[int(0.99 * (len(errors_ms) - 1))],
        bias_pp=_balance_pct(seen_ns) - _balance_pct(true_ns),
    )


def _balance_pct(durations_ns: Sequence[int]) -> float:
    """`sum(C_i) / (N * W) * 100`."""
    return 100 * sum(durations_ns) / (len(durations_ns) * max(durations_ns))
