"""A real Ollama is started, loaded, measured, killed; nothing of it is left, its `llama-server` children included."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.errors import ModelMissingError, ServerError
from pytest_llmperf.model import Agent, GenerationOptions, Scenario, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.backends.ollama_backend import own_store
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.emulator import gguf
from pytest_llmperf.servers.emulator.model_files import PACKAGED_SHA256, assemble_packaged
from pytest_llmperf.servers.processes.server_process import port_in_use
from pytest_llmperf.session.progress_listener import SilentListener
from pytest_llmperf.session.session import Session
from tests.live import KEEPS_UP, PATIENCE_S
from tests.live.conftest import OPTIONS, assert_nothing_left, ours, until

pytestmark = pytest.mark.live

RUNNERS = "llama-server"


def load(opened) -> None:
    """On every instance, as a session does."""
    for instance in opened.topology.instances:
        with OllamaClient(instance.url, timeout_s=PATIENCE_S) as control:
            control.preload(opened.topology.model, OPTIONS, keep_alive=3600)


def test_two_instances_from_start_to_end(settings):
    """Each has a process group, a runner and the imported file of its own; they agree, share the CPU, and are gone."""
    with choose(settings).open(TopologyKind.DUAL, 2) as opened:
        load(opened)
        assert opened.settled({"a": 512, "b": 512}) == ("instances a and b share the CPU of this machine",)
        servers, runners = ours(" serve"), ours(RUNNERS)
        assert (
            len({os.getpgid(process.pid) for process in servers})
            == len({os.getpgid(process.pid) for process in runners})
            == 2
        )
        assert os.getpgid(0) not in {os.getpgid(process.pid) for process in servers}
        versions = {instance.version for instance in opened.topology.instances}
        assert len(versions) == 1
        ports = [int(instance.url.rpartition(":")[2]) for instance in opened.topology.instances]
        for instance in opened.topology.instances:
            with OllamaClient(instance.url) as control:
                if settings.gguf:
                    assert PACKAGED_SHA256 in control.show(opened.topology.model)["modelfile"]
                assert control.loaded(opened.topology.model).context_length == 512
        opened.alive()
    assert_nothing_left()
    assert not any(map(port_in_use, ports))


def test_a_file_is_imported_once(settings):
    """The second start finds the model made of this very file, and sends nothing."""
    if not settings.gguf:
        pytest.skip("LLMPERF_LIVE_MODEL names a model, no file")
    created = []
    for _ in "12":
        with (
            choose(settings).open(TopologyKind.SINGLE, 1) as opened,
            OllamaClient(opened.topology.instances[0].url) as client,
        ):
            created.append(client.send("GET", "/api/tags").json()["models"][0]["modified_at"])
    assert len(set(created)) == 1


def in_another_order(path: Path, target: Path) -> Path:
    """A copy of a GGUF file with its keys the other way round: the same model, and another file."""
    data = path.read_bytes()
    reader = gguf._Reader(data)
    _, _, keys = reader._take("<IQQ")
    begin, pairs = reader._at, []
    for _ in range(keys):
        start = reader._at
        reader._text()
        (kind,) = reader._take("<I")
        reader._value(kind)
        pairs.append(data[start : reader._at])
    target.write_bytes(data[:begin] + b"".join(reversed(pairs)) + data[reader._at :])
    return target


def test_a_file_that_ollama_rewrites_is_imported_once_and_stored_once(settings, tmp_path, monkeypatch):
    """Whatever it becomes: three starts send it once, and the store holds one copy."""
    file = in_another_order(assemble_packaged(), tmp_path / "other.gguf")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given, said = replace(settings, gguf=str(file), model="other:1"), []
    for kind in (TopologyKind.DUAL, TopologyKind.SINGLE, TopologyKind.SINGLE):
        with choose(given, say=said.append).open(kind, 2) as opened:
            load(opened)
    assert [line for line in said if line.startswith("importing")] == ["importing other.gguf as other:1 (253 MB)"]
    sizes = [blob.stat().st_size for blob in (own_store() / "blobs").iterdir()]
    assert sum(size > file.stat().st_size / 2 for size in sizes) == 1


class Killer(SilentListener):
    """Kills the runner of instance a, once, while the second round runs."""

    def __init__(self) -> None:
        self.thread = threading.Thread(target=self.kill)

    def round_done(self, *_: object, **__: object) -> None:
        if self.thread.ident is None:
            self.thread.start()

    def kill(self) -> None:
        time.sleep(0.2)
        ours(RUNNERS)[0].kill()


def test_a_runner_that_dies_costs_one_repeated_round(settings, tmp_path):
    """Ollama goes on listing the model; the measurement goes on, though only one round may be repeated."""
    options = GenerationOptions(num_ctx=512, num_predict=48, seed=1, num_gpu=0, num_thread=1)
    pair = Scenario(name="pair", agents=tuple(Agent(name=name, prompts=("The sea",), options=options) for name in "xy"))
    listener = Killer()
    given = replace(settings, min_rounds=3, max_rounds=3, calibrate=False)
    session = Session(given, root=tmp_path, listener=listener)
    try:
        measurement = session.measure(pair, TopologyKind.DUAL, test="t").measurement
    finally:
        session.close()
        if listener.thread.ident is not None:
            listener.thread.join(PATIENCE_S)
    assert [incident.handling for incident in measurement.incidents] == ["it was repeated"], measurement.incidents
    assert len(measurement.rounds) + len(measurement.discarded) == 3


def test_slots_serve_at_once(settings):
    """A short request, sent while a long one is answered, ends before it with a slot each, and after it with one."""
    body = {"prompt": "The sea", "options": {**OPTIONS, "num_predict": 64}, "stream": True}
    for kind, overlap in ((TopologyKind.SINGLE_PARALLEL, True), (TopologyKind.SINGLE, False)):
        with choose(settings).open(kind, 2) as opened:
            load(opened)
            url, body["model"] = opened.topology.instances[0].url, opened.topology.model
            with (
                httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client,
                client.stream("POST", "/api/generate", json=body) as first,
            ):
                lines = first.iter_lines()
                next(lines)
                second = client.post("/api/generate", json={**body, "stream": False, "options": OPTIONS}).json()
                last = [json.loads(line) for line in lines][-1]
                ended = [datetime.fromisoformat(record["created_at"]) for record in (second, last)]
                assert (ended[0] < ended[1]) is overlap, (kind, second, last)


CHILD = """
import sys, time
from pytest_llmperf.model import Settings, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.ollama_client import OllamaClient

patience_s = float(sys.argv[3])
backend = choose(Settings(backend="ollama", model=sys.argv[1], gguf=sys.argv[2], start_timeout_s=patience_s))
with backend.open(TopologyKind.DUAL, 2) as opened:
    for instance in opened.topology.instances:
        with OllamaClient(instance.url, timeout_s=patience_s) as control:
            control.preload(opened.topology.model, {"num_ctx": 512, "num_gpu": 0}, keep_alive=3600)
    print("loaded", flush=True)
    time.sleep(3600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_whoever_started_it(settings, number):
    """However that ends, servers and runners end with it, and homes and logs go."""
    command = [sys.executable, "-c", CHILD, settings.model, settings.gguf, str(PATIENCE_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "loaded\n"
        assert len(ours(RUNNERS)) == 2
        child.send_signal(number)
        child.wait(PATIENCE_S)
        assert_nothing_left()


def test_a_server_that_is_killed_leaves_no_runner(settings):
    """SIGKILL orphans `llama-server`; the death is noticed and named, and the runner goes."""
    with choose(settings).open(TopologyKind.DUAL, 2) as opened:
        load(opened)
        port = opened.topology.instances[1].url.rpartition(":")[2]
        (victim,) = [process for process in ours(" serve") if process.environ()["OLLAMA_HOST"].endswith(f":{port}")]
        victim.kill()
        until(lambda: len(ours(RUNNERS)) == 1, "the runner outlived its server")

        def dead() -> bool:
            try:
                opened.alive()
            except ServerError as error:
                assert "instance b (ollama) died while it was in use" in str(error)  # noqa: PT017 - polled
                return True
            return False

        until(dead, "the death of instance b was never noticed")


def test_a_model_that_is_not_there(settings):
    """Its name and those that there are; pulling a name that no registry has says what the server said."""
    nowhere = replace(settings, gguf="", model="no-such-namespace/no-such-model:1")
    with pytest.raises(ModelMissingError, match="does not have model 'no-such-namespace/no-such-model:1'"):
        choose(nowhere).open(TopologyKind.SINGLE, 1)
    with pytest.raises(ServerError, match="could not be pulled; its last status was: pull"):
        choose(replace(nowhere, pull=True)).open(TopologyKind.SINGLE, 1)


def test_a_server_that_cannot_start_says_why(settings, monkeypatch):
    """The error has the last lines of its log."""
    monkeypatch.setenv("OLLAMA_MODELS", "/proc/no-such-folder")
    with pytest.raises(ServerError, match=r"instance a \(ollama\) died while it started") as caught:
        choose(replace(settings, gguf="")).open(TopologyKind.SINGLE, 1)
    assert "/proc/no-such-folder" in str(caught.value)


def test_the_suite_that_users_run(settings, tmp_path):
    """`pytest perf_suites -m multiagent` on two real servers: three measurements, everything gone."""
    root = Path(__file__).parent.parent.parent
    options = [
        "--llmperf-backend=ollama",
        f"--llmperf-model={settings.model}",
        *([f"--llmperf-gguf={settings.gguf}"] if settings.gguf else []),
        "--llmperf-baseline=embedded",
        "--llmperf-threads=1",
        "--llmperf-rounds=2",
        "--llmperf-max-rounds=2",
        f"--llmperf-start-timeout={PATIENCE_S:g}",
        f"--llmperf-timeout={PATIENCE_S:g}",
        "--llmperf-limit=efficiency=1,contention=1",  # how busy this machine is, is not what is tested here
        "--llmperf-on-inconclusive=warn",
        f"--llmperf-json={tmp_path / 'run.json'}",
    ]
    command = [sys.executable, "-m", "pytest", "perf_suites", "-m", "multiagent", *KEEPS_UP, "-W", "default", *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=4 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout
    records = json.loads((tmp_path / "run.json").read_text())["records"]
    assert len(records) == 3
    for record in records:
        facts = record["measurement"]["manifest"]["facts"]
        assert (facts["backend"], facts["engine"], facts["model"]) == ("ollama", "ollama", settings.model)
        assert len(record["measurement"]["rounds"]) == 2
        assert "instances a and b share the CPU of this machine" in record["measurement"]["notes"]
