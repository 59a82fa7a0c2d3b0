import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from pytest_llmperf.errors import ServerError
from pytest_llmperf.servers.processes.server_process import ServerProcess, free_port, port_in_use, wait_until
from tests.started import start_own

SCRIPTED = ("--engine", "scripted")
PATIENCE_S = 20.0

# a server with a child of its own, both deaf to everything but SIGKILL, that says when it is ready
STUBBORN = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
child = os.fork()
print("ready", flush=True) if child else None
time.sleep(600)
"""


def until(condition, problem):
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, problem
        time.sleep(0.01)


def group_of(pid):
    """The living processes of a group."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members


def gone(pid):
    until(lambda: not group_of(pid), f"group {pid} still has {group_of(pid)}")


def refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def start_stubborn(**more):
    process = ServerProcess([sys.executable, "-c", STUBBORN], label="stubborn", **more)
    until(lambda: "ready" in process.log_tail(), "never ready")
    until(lambda: len(group_of(process.pid)) == 3, "not supervisor, server and child")
    return process


def test_a_server_starts_answers_and_stops():
    """It announces its port, answers there, and after stop nothing of it is left: no process, no port, no log."""
    process, port = start_own(SCRIPTED, label="instance a", timeout_s=PATIENCE_S)
    assert process.alive
    assert not refuses(port)
    process.stop()
    assert not process.alive
    assert not group_of(process.pid)
    assert refuses(port)
    assert not process.log_path.exists()
    process.stop()  # a second time is nothing


def test_a_port_that_was_asked_for_is_used():
    """The given port is the one it listens on."""
    wanted = free_port()
    process, port = start_own([*SCRIPTED, "--port", str(wanted)], label="instance a", timeout_s=PATIENCE_S)
    process.stop()
    assert port == wanted


def test_a_port_in_use_is_named():
    """The error says which port and what to do, and leaves nothing behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port_in_use(port)
        with pytest.raises(ServerError, match=f"instance a: port {port}: .*in use") as caught:
            start_own([*SCRIPTED, "--port", str(port)], label="instance a", timeout_s=PATIENCE_S)
    assert "--llmperf-ports" in caught.value.next_step
    assert not port_in_use(port)


def test_death_at_start_shows_the_end_of_the_log():
    """Why it died is in the message."""
    with pytest.raises(ServerError, match="instance a died while it started") as caught:
        start_own(["--engine", "llama", "--gguf", "no/such.gguf"], label="instance a", timeout_s=PATIENCE_S)
    assert "such.gguf does not exist" in str(caught.value)


def test_a_start_that_takes_too_long_is_an_error(monkeypatch):
    """With the option to raise, and nothing left running."""
    with pytest.raises(ServerError, match="did not start within 0 s") as caught:
        start_own(SCRIPTED, label="instance a", timeout_s=0)
    assert "--llmperf-start-timeout" in caught.value.next_step


def test_a_command_that_does_not_exist_dies_at_start():
    """The log names the missing binary."""
    process = ServerProcess(["no-such-binary-of-ours"], label="instance a")
    with pytest.raises(ServerError, match="no-such-binary-of-ours"):
        wait_until(lambda: False, process, timeout_s=PATIENCE_S)
    process.stop()


def test_stop_kills_the_deaf_and_their_children():
    """What ignores SIGTERM is killed after the grace, with its children."""
    process = start_stubborn(grace_s=0.1)
    process.stop()
    assert not group_of(process.pid)


def test_a_killed_supervisor_takes_the_server_with_it():
    """Even the supervisor's own SIGKILL leaves no server; stop clears the rest of the group."""
    process, port = start_own(SCRIPTED, label="instance a", timeout_s=PATIENCE_S)
    os.kill(process.pid, signal.SIGKILL)
    if sys.platform == "linux":
        gone(process.pid)
    process.stop()
    assert refuses(port)
    stubborn = start_stubborn()
    os.kill(stubborn.pid, signal.SIGKILL)
    stubborn.stop()
    assert not group_of(stubborn.pid)


def test_a_server_that_dies_is_noticed():
    """`alive` says so, and the error carries the log."""
    process = ServerProcess([sys.executable, "-c", "print('my last words')"], label="instance a")
    until(lambda: not process.alive, "the supervisor outlives its server")
    assert "my last words" in str(process.died("while it was in use"))
    process.stop()


PARENT = """
import json, os, sys, time
from pytest_llmperf.servers.processes.server_process import OwnServer
process = OwnServer({arguments!r}, label="a")
port = process.port(20)
{more}
print(json.dumps([process.pid, port, str(process.log_path)]), flush=True)
time.sleep(600)
"""


def start_parent(more=""):
    code = textwrap.dedent(PARENT).format(arguments=list(SCRIPTED), more=more)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    pid, port, log = json.loads(parent.stdout.readline())
    return parent, pid, port, log


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_death_of_the_parent_leaves_a_server(number):
    """SIGKILL included: the supervisor sees the end of its pipe and ends the group, and the log goes too."""
    parent, pid, port, log = start_parent()
    with parent:
        assert len(group_of(pid)) == 2
        parent.send_signal(number)
        parent.wait(PATIENCE_S)
    gone(pid)
    assert refuses(port)
    assert not os.path.exists(log)  # noqa: PTH110 - a str from another process


HOLDER = """
import json, sys, time
from pathlib import Path
from pytest_llmperf.servers.processes.server_process import ServerProcess
process = ServerProcess([sys.executable, "-c", "import time; time.sleep(600)"], label="x", folder=Path(sys.argv[1]))
print(json.dumps(process.pid), flush=True)
time.sleep(600)
"""


def test_a_killed_parent_leaves_no_folder_of_the_server(tmp_path):
    """What the parent can no longer remove, a key in the server's home for one, its supervisor removes."""
    folder = tmp_path / "home"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "key").write_text("secret")
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE) as parent:
        pid = json.loads(parent.stdout.readline())
        assert folder.exists()
        parent.kill()
    gone(pid)
    assert not folder.exists()
    assert tmp_path.exists()


def test_a_forked_child_of_the_parent_does_not_keep_the_server():
    """A forked process holds the pipe open; the supervisor notices all the same that its parent is gone."""
    parent, pid, port, _ = start_parent(more="if os.fork() == 0: time.sleep(600)")
    with parent:
        parent.kill()
        parent.wait(PATIENCE_S)
        try:
            gone(pid)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)
    assert refuses(port)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server():
    """The server lives in a session of its own; the parent decides when it ends."""
    parent, pid, port, _ = start_parent(more="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    with parent:
        os.killpg(parent.pid, signal.SIGINT)
        assert len(group_of(pid)) == 2
        assert not refuses(port)
        parent.kill()
    gone(pid)
