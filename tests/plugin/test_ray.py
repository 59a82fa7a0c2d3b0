"""Whole runs with `--llmperf-runtime=ray` on a cluster of their own: the suite passes, and nothing is left of it."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'"),
]

ROOT = Path(__file__).parents[2]
SECRET = "sesame-4711-open"

LOGGED_IN = """
import os, socket
from pathlib import Path
import psutil
from pytest_llmperf import CHIMERA_HOMO

def test_it(dual_ollama, run_agents):
    run_agents(CHIMERA_HOMO, on=dual_ollama)
    folder = Path(os.environ["WATCHED"])
    mine = psutil.Process().children(recursive=True)
    rays = [process for process in mine if "ray" in process.name() or "gcs" in process.name()]
    assert rays, [process.name() for process in mine]
    listening = {
        connection.laddr.ip
        for process in rays
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    (folder / "listening").write_text(" ".join(sorted(listening)))
    secret = os.environ["LOGIN"].encode()
    left = []
    files = [path for top in folder.glob("ray-*") for path in top.rglob("*") if path.is_file()]
    assert any("raylet" in path.name for path in files), files
    store = []
    for process in rays:
        if "raylet" in process.name():  # its store is a file without a name
            links = Path(f"/proc/{process.pid}/fd").iterdir()
            store += [link for link in links if "plasma" in str(link.readlink()) and not link.readlink().name.isdigit()]
            store = [link for link in store if link.is_file()]
    assert store
    for path in [*files, *store]:
        if secret in path.read_bytes():
            left.append(path.name)
    for process in rays:
        for entry in [part for part in process.cmdline() if os.environ["LOGIN"] in part]:
            left.append(entry)
    (folder / "found").write_text(" ".join(left))
"""


def ray_processes(temp: Path) -> list[str]:
    """What still runs with a folder in this one."""
    left = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            temporary = process.environ().get("TMPDIR", "")
        except (psutil.Error, OSError):
            continue
        if temporary == str(temp) and ("ray" in words or "gcs" in words):
            left.append(words[:100])
    return left


@pytest.fixture
def temp() -> Iterator[Path]:
    """A folder whose name is short enough for Ray's sockets."""
    made = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def run(temp: Path, *arguments: str, cwd: Path, **environment: str) -> "subprocess.Popen[str]":
    """Pytest in a process of its own, whose temporary files are in this folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--llmperf-runtime=ray", *arguments],
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(temp), "HOME": str(temp), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_shipped_suite_passes(temp: Path) -> None:
    """On the simulated backend, unchanged; no process and no folder is left, and nothing in the user's home."""
    arguments = ("perf_suites", "-m", "multiagent", "--llmperf-backend=simulated", "-p", "tests.keeps_up")
    process = run(temp, *arguments, cwd=ROOT, PYTHONPATH=str(ROOT))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "runtime ray" in output
    assert ray_processes(temp) == []
    assert [path.name for path in temp.iterdir()] == []


def test_no_login_reaches_ray_and_no_socket_leaves_loopback(temp: Path, tmp_path: Path) -> None:
    """In its files, its object store and its command lines there is no token of the servers."""
    (tmp_path / "test_it.py").write_text(LOGGED_IN, encoding="utf-8")
    script = [sys.executable, "-m", "pytest_llmperf.servers.emulator.serve", "--engine=scripted"]
    servers = [subprocess.Popen(script, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        urls = ",".join(server.stdout.readline().strip() for server in servers)
        options = (f"--llmperf-urls={urls}", "--llmperf-auth=bearer:LOGIN", "--llmperf-rounds=3")
        environment = {"LOGIN": SECRET, "WATCHED": str(temp), "PYTHONPATH": str(ROOT)}
        process = run(temp, "-p", "tests.keeps_up", *options, cwd=tmp_path, **environment)
        output, _ = process.communicate()
    finally:
        for server in servers:
            server.kill()
            server.communicate()
    assert process.returncode == 0, output
    assert SECRET not in output
    assert (temp / "found").read_text() == ""
    assert set((temp / "listening").read_text().split()) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_killed_pytest_leaves_no_cluster(temp: Path, tmp_path: Path) -> None:
    """SIGKILL while agents are at work: Ray's processes and its folder are gone a moment later."""
    (tmp_path / "test_it.py").write_text(
        "from pytest_llmperf import CHIMERA_HOMO\n"
        "def test_it(dual_ollama, run_agents):\n"
        "    run_agents(CHIMERA_HOMO, on=dual_ollama)\n",
        encoding="utf-8",
    )
    options = ("--llmperf-backend=simulated", "--llmperf-rounds=500", "--llmperf-max-rounds=500", "-s")
    process = run(temp, *options, cwd=tmp_path)
    for line in process.stdout:
        if "round 1" in line:
            break
    assert ray_processes(temp)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    while ray_processes(temp) or list(temp.glob("ray-*")):
        time.sleep(0.2)
