"""Several hosts on one machine: network namespaces joined by veth pairs, each with a monotonic clock of its own.

The hosts are processes that read commands from standard input and end when it is closed. Their namespaces, with the
links between them, end with them. The machine's own network is not touched.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

AHEAD_S = 1_000
"""How far each host's monotonic clock is ahead of the previous host's, s."""


def why_not() -> str:
    """Why this machine cannot be several hosts; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "several hosts on one machine need Linux and root: network and time namespaces"
    tried = subprocess.run(
        ["unshare", "--net", "--time", "--monotonic", "1", "--fork", "ip", "link", "add", "a0", "type", "veth"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no network and time namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


class Program:
    """A Python program in namespaces of its own.

    Args:
        module: run with `python -m`, once `start` was called.
        ahead_s: how far its monotonic clock is ahead; None: it shares the namespaces of `beside`.
        beside: see ahead_s.
    """

    def __init__(self, module: str, *, ahead_s: int = 0, beside: "Program | None" = None) -> None:
        enter = (
            ["unshare", "--net", "--time", "--monotonic", str(ahead_s), "--fork", "--kill-child"]
            if beside is None
            else ["nsenter", "--target", str(beside.pid), "--net"]
        )
        # the shell waits for the arguments, so that the links are there before the program starts
        script = f'set -f; ip link set lo up && echo up && read -r words && exec "$1" -m {module} $words'
        self._process = subprocess.Popen(
            [*enter, "sh", "-c", script, "sh", sys.executable], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "up\n"
        self.pid = self._process.pid

    def start(self, mode: str, *arguments: Any) -> None:
        """Starts it with a mode and arguments, as JSON without spaces."""
        self.tell(f"{mode} {json.dumps(arguments, separators=(',', ':'))}")

    def tell(self, words: str) -> None:
        assert self._process.stdin is not None
        print(words, file=self._process.stdin, flush=True)

    def hear(self) -> Any:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends it, and waits for that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class Hosts:
    """A coordinator and hosts, each with a link to it; a context manager that ends them all.

    Args:
        module: the program of all.
        count: number of hosts.
        routed: whether the hosts reach each other, by way of the coordinator.

    Attributes:
        coordinator: its monotonic clock is the machine's.
        hosts: the first one's clock is ahead by AHEAD_S, the second one's by twice that.
    """

    def __init__(self, module: str, count: int, *, routed: bool = False) -> None:
        self._module = module
        self._stack = ExitStack()
        try:
            self.coordinator = self._program()
            self.hosts = [self._program(ahead_s=AHEAD_S * number) for number in range(1, count + 1)]
            for number, host in enumerate(self.hosts):
                _ip(self.coordinator, f"link add h{number} type veth peer name link0 netns {host.pid}")
                for program, name, last in ((self.coordinator, f"h{number}", 1), (host, "link0", 2)):
                    _ip(program, f"address add 10.77.{number}.{last}/24 dev {name}")
                    _ip(program, f"link set {name} up")
                if routed:
                    _ip(host, f"route add default via 10.77.{number}.1")
            if routed:
                _in_network(self.coordinator, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        except BaseException:
            self._stack.close()
            raise

    def beside(self) -> Program:
        """Another program in the coordinator's network."""
        return self._program(beside=self.coordinator)

    def addresses(self) -> Sequence[str]:
        """The hosts' addresses."""
        return [f"10.77.{number}.2" for number in range(len(self.hosts))]

    def __enter__(self) -> "Hosts":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _program(self, **more: Any) -> Program:
        program = Program(self._module, **more)
        self._stack.callback(program.close)
        return program


def _ip(program: Program, words: str) -> None:
    _in_network(program, "ip", *words.split())


def _in_network(program: Program, *command: str) -> None:
    subprocess.run(["nsenter", "--target", str(program.pid), "--net", *command], check=True)
