"""Two simulated servers in threads of this process, whose fault plan a test sets; a session that attaches to them."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from pytest_llmperf.model import Agent, GenerationOptions, Scenario, Script, Settings
from pytest_llmperf.servers.backends import instance_checks
from pytest_llmperf.servers.emulator.app import create_app
from pytest_llmperf.servers.emulator.faults.fault_plan import FaultPlan
from pytest_llmperf.servers.emulator.faults.faulty_instance import FaultyInstance
from pytest_llmperf.servers.emulator.faults.process_effects import UvicornHost
from pytest_llmperf.servers.emulator.scripted_engine import ScriptedEngine
from pytest_llmperf.session.server_lease import ServerLease
from pytest_llmperf.session.session import Session
from tests.plugin.conftest import aftermath  # noqa: F401 - a fixture

PATIENCE_S = 30.0
FAST = Script(ttft_ms=5, decode_tok_s=2000, load_ms=1, jitter_pct=0)
PAIR = Scenario(
    name="pair",
    agents=tuple(
        Agent(name=name, prompts=("tell me more",), options=GenerationOptions(num_predict=16, seed=1)) for name in "xy"
    ),
)


def listening(port: int) -> socket.socket:
    """A socket that listens on loopback; 0: the system chooses."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def until(condition: Callable[[], object]) -> None:
    """Polls until the condition is true."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, condition
        time.sleep(0.002)


@dataclass
class Served:
    """One server in a thread."""

    url: str
    scheduler: object
    server: uvicorn.Server

    def users(self) -> int:
        """Requests that it works on."""
        return self.scheduler.loaded.users if self.scheduler.loaded else 0

    def connections(self) -> int:
        """That are open."""
        return len(self.server.server_state.connections)


@contextlib.contextmanager
def serving(app: Starlette, host: UvicornHost | None = None) -> Iterator[tuple[int, uvicorn.Server]]:
    """An application in a thread: its port, and what serves it."""
    listener = listening(0)
    port = listener.getsockname()[1]
    config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    if host is not None:
        host.server = server
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until(lambda: server.started)
        yield port, server
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        listener.close()


class PatientHost(UvicornHost):
    """Listens again once somebody has noticed that it did not, however long that takes on a busy machine."""

    def __init__(self, listen: Callable[[], socket.socket], noticed: threading.Event) -> None:
        super().__init__(listen)
        self._noticed = noticed

    async def _listen_again(self) -> None:
        while not self._noticed.is_set():  # noqa: ASYNC110 - another thread's affair
            await asyncio.sleep(0.01)
        await super()._listen_again()


@contextlib.contextmanager
def served(plan: FaultPlan, name: str, script: Script, noticed: threading.Event | None = None) -> Iterator[Served]:
    """A server with a plan of its own, in a thread; after a refusal it listens again as PatientHost does."""
    host = PatientHost(lambda: listening(port), noticed) if noticed else UvicornHost(lambda: listening(port))
    engine = ScriptedEngine(script, plan=plan, instance=name)
    app = create_app(engine, keep_alive_s=float("inf"), faults=FaultyInstance(engine, host=host))
    with serving(app, host) as (port, server):
        yield Served(f"http://127.0.0.1:{port}", app.state.scheduler, server)


@pytest.fixture
def attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`attached(plan, script, **settings)`: a session on two servers with this plan, and the servers."""
    noticed = threading.Event()
    explain = ServerLease.explain_failure

    def explain_failure(lease: ServerLease) -> None:
        noticed.set()
        explain(lease)

    monkeypatch.setattr(ServerLease, "explain_failure", explain_failure)
    with contextlib.ExitStack() as stack:

        def start(plan: FaultPlan, script: Script = FAST, **settings) -> tuple[Session, list[Served]]:
            if any(fault.kind == "refuse" and fault.seconds for fault in plan.faults):
                monkeypatch.setattr(instance_checks, "_MOMENT_S", PATIENCE_S)
            servers = [stack.enter_context(served(plan, name, script, noticed)) for name in "ab"]
            given = {
                "min_rounds": 2,
                "max_rounds": 2,
                "timeout_s": 20.0,
                "calibrate": False,
                "telemetry_s": 0,
                **settings,
            }
            urls = tuple(server.url for server in servers)
            session = Session(Settings(backend="attach", urls=urls, **given), root=tmp_path)
            for server in servers:
                stack.callback(setattr, server.server, "should_exit", True)  # all of them, before any is waited for
            stack.callback(session.close)
            return session, servers

        yield start


def slow(**more) -> Script:
    """FAST with these values."""
    return replace(FAST, **more)
