"""`python -m pytest_llmperf.servers.emulator.serve`: one emulator instance, in this process, on loopback.

It announces `{"port": ...}` or `{"error": ...}` as one JSON line on a file descriptor that its parent gave it, or
prints the address when there is none.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import socket
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.model import Script
from pytest_llmperf.servers.emulator.api.model_scheduler import DEFAULT_KEEP_ALIVE_S, DEFAULT_MAX_QUEUE
from pytest_llmperf.servers.emulator.app import create_app
from pytest_llmperf.servers.emulator.engine import Engine
from pytest_llmperf.servers.emulator.faults.fault_plan import FaultPlan, load_plan
from pytest_llmperf.servers.emulator.faults.process_effects import Host, UvicornHost

if TYPE_CHECKING:
    from pytest_llmperf.servers.emulator.faults.faulty_instance import FaultyInstance

_BACKLOG = 2048
_IDLE_CONNECTION_S = 3600  # an idle connection that the server closes would look like a failed request


def main(arguments: list[str] | None = None) -> None:
    """Serves until a signal ends it."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        listener = _listen(options.port)
    except OSError as error:
        _announce(options.announce_fd, {"error": f"port {options.port}: {error.strerror}"})
        sys.exit(1)
    try:
        engine = _engine(options)
    except (ImportError, LlmperfError) as error:  # one line of log, which becomes the parent's message
        sys.exit(f"engine {options.engine} is not available: {error}")
    port = listener.getsockname()[1]
    here = UvicornHost(partial(_listen, port))
    app = create_app(
        engine,
        max_queue=options.max_queue,
        keep_alive_s=options.keep_alive_s,
        faults=_faults(options, engine, here),
    )
    here.server = server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            access_log=False,
            log_config=None,
            timeout_keep_alive=_IDLE_CONNECTION_S,
            timeout_graceful_shutdown=1,
        )
    )
    _announce(options.announce_fd, {"port": port})
    server.run(sockets=[listener])
    # an engine thread may still compute; there is nothing to unwind, and waiting for it would hold the port
    logging.shutdown()
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pytest_llmperf.servers.emulator.serve", description=__doc__)
    parser.add_argument("--engine", choices=("llama", "scripted"), required=True)
    parser.add_argument("--gguf", default="", help="GGUF file of the llama engine; default: the packaged model")
    parser.add_argument("--name", default="", help="name to serve the file under")
    parser.add_argument("--slots", type=int, default=1, help="generations at once")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the llama engine; 0: all cores")
    parser.add_argument("--port", type=int, default=0, help="0: the system chooses")
    parser.add_argument("--announce-fd", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--max-queue", type=int, default=DEFAULT_MAX_QUEUE, help="requests that may wait for a load")
    parser.add_argument(
        "--keep-alive-s", type=float, default=DEFAULT_KEEP_ALIVE_S, help="seconds; negative or inf: forever"
    )
    parser.add_argument("--script", default="{}", help="JSON of the scripted engine's script")
    parser.add_argument("--faults", default="", help="fault plan (TOML) of the scripted engine; see docs/faults.md")
    parser.add_argument("--instance", default="a", help="this instance's name in the fault plan")
    return parser


def _engine(options: argparse.Namespace) -> Engine:
    if options.keep_alive_s < 0:
        options.keep_alive_s = math.inf
    if options.engine == "scripted":
        from pytest_llmperf.servers.emulator.scripted_engine import ScriptedEngine  # noqa: PLC0415 - each engine needs its own extra

        plan = load_plan(Path(options.faults)) if options.faults else FaultPlan()
        return ScriptedEngine(
            _script_from_json(options.script), slots=options.slots, plan=plan, instance=options.instance
        )
    # Read when the engine's library is loaded: how long its threads spin before they sleep, when they wait for each
    # other. With two threads on two cores, a request of 24 tokens takes 0.5 s with 1000 and 0.6 s with 100000; beside
    # two busy processes it takes 1.2 to 1.8 s with 1000 and 11 to 22 s with 100000.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from pytest_llmperf.servers.emulator.llama_engine import LlamaEngine  # noqa: PLC0415 - as above
    from pytest_llmperf.servers.emulator.model_files import model_file  # noqa: PLC0415 - as above

    file = model_file(options.gguf, options.name)
    threads = options.threads or os.cpu_count() or 1
    return LlamaEngine(file.path, file.card, slots=options.slots, threads=threads)


def _faults(options: argparse.Namespace, engine: Engine, here: Host) -> FaultyInstance | None:
    """The faults of the plan; None without a plan."""
    from pytest_llmperf.servers.emulator.faults.faulty_instance import FaultyInstance  # noqa: PLC0415 - as above
    from pytest_llmperf.servers.emulator.scripted_engine import ScriptedEngine  # noqa: PLC0415 - as above

    if not (options.faults and isinstance(engine, ScriptedEngine)):
        return None
    return FaultyInstance(engine, host=here)


def _script_from_json(text: str) -> Script:
    """Exits when the JSON has a key that a script does not have, or a value that it cannot have."""
    values = json.loads(text)
    known = {field.name for field in fields(Script)}
    if unknown := set(values) - known:
        sys.exit(f"--script: unknown {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    try:
        return Script(**values)
    except (TypeError, ValueError) as error:
        sys.exit(f"--script: {error}")


def _listen(port: int) -> socket.socket:
    # asyncio disables Nagle's algorithm only if the protocol is TCP explicitly; else each second write waits 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)  # from here on clients wait instead of being refused
    except OSError:
        listener.close()
        raise
    return listener


def _announce(descriptor: int, message: dict[str, object]) -> None:
    if descriptor < 0:
        print(f"http://127.0.0.1:{message['port']}" if "port" in message else message["error"], flush=True)
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as pipe:
        pipe.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    main()
