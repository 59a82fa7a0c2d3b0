"""A Ray cluster of this machine alone, which ends with pytest."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pytest_llmperf.servers.processes.server_process import ServerProcess, no_room, wait_until

ADDRESS = "127.0.0.1"

_TOKEN = secrets.token_hex(32)  # of this process: Ray keeps the first one that it reads
_STORE_BYTES = 80_000_000  # Ray's least
_LONGEST = 40
"""Characters of the folder's name: Ray makes sockets in it, whose paths have at most 107."""


class LocalRay:
    """Ray's processes and their folder. They listen on loopback only, and answer only who knows a token.

    Args:
        timeout_s: in which it must have started.

    Raises:
        ServerError: it did not start.

    Attributes:
        address: of its head.
        environment: what a process needs to connect to it.
    """

    def __init__(self, *, timeout_s: float) -> None:
        try:
            folder = tempfile.mkdtemp(prefix="ray-")
            if len(folder) > _LONGEST:
                Path(folder).rmdir()
                folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        except OSError as error:
            raise no_room("Ray's folder", error) from error
        self._folder = Path(folder)
        self.environment: Mapping[str, str] = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _TOKEN}
        try:
            self._process = self._started()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        try:
            wait_until(lambda: "Ray runtime started" in self._process.log(), self._process, timeout_s=timeout_s)
            self.address = (self._folder / "ray_current_cluster").read_text("utf-8").strip()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends it, and removes its folder; idempotent."""
        self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _started(self) -> ServerProcess:
        options = {
            "node-ip-address": ADDRESS,
            "port": 0,
            "num-cpus": 0,  # no idle workers; actors ask for none
            "object-store-memory": _STORE_BYTES,
            "include-dashboard": "false",
            "include-log-monitor": "false",
            "temp-dir": self._folder,
        }
        environment = {
            **os.environ,
            **self.environment,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a cluster of one machine: else it listens on every interface
        }
        return ServerProcess(
            [
                *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *("--disable-usage-stats", "--no-monitor"),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            label="the local Ray cluster",
            env=environment,
            folder=self._folder,
        )
