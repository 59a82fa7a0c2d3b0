"""`python -m tests.measure.hosts.ray_program node|relay|drive|pytest JSON`: what runs on hosts in namespaces.

It prints one line of JSON when it is ready, or when it is done, and ends with its standard input.
"""

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.measure.calibrate import arrivals_of, paced_server, truths
from pytest_llmperf.measure.hosts.ray_plan import RayPlan
from pytest_llmperf.measure.hosts.ray_runtime import RayRuntime
from pytest_llmperf.measure.wire.arrival import hold_kernel_time
from pytest_llmperf.measure.wire.prepared_request import prepare
from pytest_llmperf.model import Step

TOKENS = 20
MANY_TOKENS = 40


def say(words: Any) -> None:
    print(json.dumps(words), flush=True)


def node(address: str, head: str, label: str) -> None:
    """A node of Ray on this host; `head` is empty for the head itself, on port 6379."""
    where = [f"--address={head}"] if head else ["--head", "--port=6379", "--include-dashboard=false", "--no-monitor"]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        if not head:
            where.append(f"--temp-dir={folder}")
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", *where),
                *(f"--node-ip-address={address}", "--num-cpus=0", "--object-store-memory=80000000"),
                *(f"--labels=role={label}", "--disable-usage-stats", "--include-log-monitor=false"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            lines = []
            for text in process.stdout:
                lines.append(text)
                if "Ray runtime started" in text:
                    break
            say({"session": process.pid} if process.poll() is None else {"failed": "".join(lines)})
            for told in sys.stdin:
                if told.strip() == "die":
                    end_session(process.pid)
                    say("dead")
        finally:
            end_session(process.pid)
            process.wait()


def end_session(leader: int) -> None:
    """Kills all processes of a session; Ray gives its workers groups of their own."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == leader:
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                pass


def relay(address: str, targets: list[int]) -> None:
    """Listens on this address for each of these ports on loopback; says on which ports."""
    say(asyncio.run(_relays(address, targets)))


async def _relays(address: str, targets: list[int]) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    ports = []
    for target in targets:

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int = target) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(pump(reader, back), pump(there, writer))

        server = await asyncio.start_server(join, address, 0)
        ports.append(server.sockets[0].getsockname()[1])
    say({"ports": ports})
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


def drive(address: str, here: str, ahead_ns: dict[str, int]) -> None:
    """Runs parts on the hosts labelled `one` and `two`, for each line of standard input that names one."""
    runtime = RayRuntime(RayPlan(address=address, labels={"a": "role=one", "b": "role=two"}, start=_never))
    hold = hold_kernel_time()
    with (
        paced_server(ttft_ms=20, tok_s=100, tokens=TOKENS) as url,
        _relayed(here, [int(url.rpartition(":")[2])]) as (port,),
    ):
        say("ready")
        for told in sys.stdin:
            kind, _, count = told.strip().partition(" ")
            if kind == "many":
                say(_many(runtime, int(count), here))
            else:
                say(_part(runtime, kind, f"http://{here}:{port}", url, ahead_ns))
    runtime.close()
    assert hold is not None
    hold.close()


def _part(runtime: RayRuntime, kind: str, url: str, server: str, ahead_ns: dict[str, int]) -> Any:
    """One part, in which the second agent waits for the first one if it is a `chain`."""
    body = json.dumps({"model": "paced", "options": {"num_predict": TOKENS}}).encode()
    clients = []
    for seat, agent in enumerate("ab"):
        step = Step(waits_for=((0, 0),)) if kind == "chain" and seat else Step()
        request = prepare(url, "/api/generate", body, label=f"agent {agent}")
        clients.append([replace(request, agent=agent, seat=seat, step=step)])
    truths(server)
    began_s = time.monotonic()
    try:
        part = runtime.run(clients, timeout_s=60)
    except LlmperfError as error:
        return {"error": str(error), "passing": getattr(error, "passing", None), "lost": runtime.lost}
    truth, rows = truths(server), []
    for (exchange,) in part.exchanges:
        arrivals, _, number = arrivals_of(exchange)
        seen = truth[number]
        rows.append(
            {
                "sent_early_ns": seen.arrived_ns - exchange.sent_ns,
                "least_late_ns": min(a - s for a, s in zip(arrivals, seen.sent_ns, strict=True)),
                "sent_ns": exchange.sent_ns - part.start_ns,
                "ended_ns": exchange.ended_ns - part.start_ns,
                "server_ns": seen.sent_ns[-1] - seen.arrived_ns,
            }
        )
    clocks = {
        host.address: [
            (known.offset_ns - ahead_ns[host.address], known.bound_ns) for known in runtime._estimates[host.node]
        ]
        for host in runtime._hosts
        if host.node in runtime._estimates
    }
    return {
        "rows": rows,
        "bound_ns": part.clock_bound_ns,
        "clocks": clocks,
        "took_s": time.monotonic() - began_s,
        "facts": runtime.facts(),
        "cpu_ns": part.cpu_ns,
    }


def _many(runtime: RayRuntime, count: int, here: str) -> Any:
    """A part of this many agents at 20 tokens a second each, and what it cost."""
    body = json.dumps({"model": "paced", "options": {"num_predict": MANY_TOKENS}}).encode()
    with (
        paced_server(ttft_ms=50, tok_s=20, tokens=MANY_TOKENS) as url,
        _relayed(here, [int(url.rpartition(":")[2])]) as (port,),
    ):
        clients = [
            [
                replace(
                    prepare(f"http://{here}:{port}", "/api/generate", body, label=f"m{seat}"),
                    agent=f"m{seat}",
                    seat=seat,
                )
            ]
            for seat in range(count)
        ]
        runtime.run(clients, timeout_s=60)  # starts the actors
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        part = runtime.run(clients, timeout_s=60)
    sent_ns = [exchange.sent_ns - part.start_ns for (exchange,) in part.exchanges]
    return {
        "labels": [exchange.label for (exchange,) in part.exchanges],
        "chunks": [len(arrivals_of(exchange)[0]) for (exchange,) in part.exchanges],
        "took_s": time.monotonic() - began_s,
        "coordinator_cpu_s": time.process_time() - began_cpu_s,
        "client_us_per_token": sum(part.cpu_ns) / 1e3 / MANY_TOKENS / count,
        "answer_bytes": len(pickle.dumps(part)) / count,
        "coordinator_mib": psutil.Process().memory_info().rss / 2**20,
        "bound_us": (part.clock_bound_ns or 0) / 1e3,
        "first_sent_us": min(sent_ns) / 1e3,
        "last_sent_us": max(sent_ns) / 1e3,
        "lag_ms": max(part.lag_ns) / 1e6,
        "actors": len(part.cpu_ns),
    }


def _never() -> Any:
    raise AssertionError("a cluster is there")


def run_pytest(here: str, folder: str, arguments: list[str]) -> None:
    """A whole run in this network, with two scripted servers that the hosts reach by way of relays."""
    serve = [sys.executable, "-m", "pytest_llmperf.servers.emulator.serve", "--engine=scripted"]
    servers = [subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        ports = []
        for server in servers:
            assert server.stdout is not None
            ports.append(int(server.stdout.readline().rpartition(":")[2]))
        with _relayed(here, ports) as there:
            urls = ",".join(f"http://{here}:{port}" for port in there)
            command = [sys.executable, "-m", "pytest", f"--llmperf-urls={urls}", *arguments]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    finally:
        for server in servers:
            server.kill()
            server.wait()
    say({"status": done.returncode, "output": done.stdout + done.stderr})


@contextmanager
def _relayed(here: str, ports: list[int]) -> Iterator[list[int]]:
    """While the block runs, each of these ports on loopback is reached by a port of this address."""
    command = [sys.executable, "-m", "tests.measure.hosts.ray_program", "relay", json.dumps([here, ports])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relays:
        assert relays.stdin is not None
        assert relays.stdout is not None
        yield json.loads(relays.stdout.readline())["ports"]
        relays.stdin.close()


if __name__ == "__main__":
    modes = {"node": node, "relay": relay, "drive": drive, "pytest": run_pytest}
    modes[sys.argv[1]](*json.loads(sys.argv[2]))
