import subprocess

import pytest

from pytest_llmperf.model import KEYS, Instance, Settings, Topology, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.probes import deployment_facts
from pytest_llmperf.servers.processes.server_process import free_port
from pytest_llmperf.session.session import Session

SMI = {
    ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"): "RTX 4080, 550.54\nRTX 4080, 550.54",
    ("nvidia-smi",): "| NVIDIA-SMI 550.54   Driver Version: 550.54   CUDA Version: 12.4 |",
}


def topology_of(*urls, version="0.33.0", backend="attach"):
    instances = tuple(Instance(name="ab"[i], url=url, version=version, slots=1) for i, url in enumerate(urls))
    return Topology(kind=TopologyKind.DUAL, instances=instances, model="gemma3:latest", backend=backend)


def manifest(topology):
    return deployment_facts.manifest(topology, runtime="asyncio", timing_source="read").facts


@pytest.fixture
def fresh():
    """No fact remembered from before, none left for later."""
    deployment_facts._machine.cache_clear()
    deployment_facts._git.cache_clear()
    yield
    deployment_facts._machine.cache_clear()
    deployment_facts._git.cache_clear()


def test_of_running_servers():
    """Machine, model, engine and settings; only known keys, no empty value, and it says that it is simulated."""
    with choose(Settings(backend="simulated")).open(TopologyKind.DUAL, 2) as opened:
        with OllamaClient(opened.topology.instances[0].url) as control:
            control.preload(opened.topology.model, {"num_ctx": 512})
        facts = manifest(opened.topology)
    assert set(facts) <= set(KEYS)
    assert all(facts.values())
    assert facts["backend"] == "simulated"
    assert facts["engine"] == "scripted (simulated)"
    assert facts["engine_version"] == "0.0.0-simulated"
    assert facts["quantization"] == "none"
    assert "num_ctx=512" in facts["server_settings"]
    assert "decode_tok_s" in facts["server_settings"]
    assert {"cpu", "cpu_count", "memory_gib", "os", "python", "plugin_version", "model_digest"} <= set(facts)


def test_of_servers_that_are_gone():
    """What they would have said is absent, and nothing is raised."""
    facts = manifest(topology_of(f"http://127.0.0.1:{free_port()}"))
    assert "model_digest" not in facts
    assert (facts["model"], facts["engine_version"], facts["engine"]) == ("gemma3:latest", "0.33.0", "ollama")


def test_of_another_machine(monkeypatch):
    """The hardware here is not the hardware there: the facts are unknown, with the name of the host."""
    monkeypatch.setattr(deployment_facts, "_model", lambda _: {})
    facts = manifest(topology_of("http://gpu-box:11434", "http://127.0.0.1:11435"))
    assert "gpu-box" in facts["cpu"]
    assert not {"cpu_count", "memory_gib", "os", "gpu"} & set(facts)


def test_instances_that_differ_are_told_apart():
    """Two versions are both in the manifest."""
    first, second = Instance(name="a", url="http://h:1", version="1"), Instance(name="b", url="http://h:2", version="2")
    topology = Topology(kind=TopologyKind.DUAL, instances=(first, second), model="m", backend="attach")
    assert manifest(topology)["engine_version"] == "a: 1, b: 2"


def test_a_gpu_is_described(monkeypatch, fresh):
    """Names with their number, driver and CUDA as `nvidia-smi` says."""
    monkeypatch.setattr(deployment_facts.shutil, "which", lambda _: "nvidia-smi")
    monkeypatch.setattr(deployment_facts, "output_of", lambda *command: SMI.get(command))
    assert deployment_facts._gpu() == {"gpu": "2 x RTX 4080", "gpu_driver": "550.54", "cuda": "12.4"}


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.TimeoutExpired("x", 1), PermissionError()])
def test_commands_that_fail_cost_a_fact_and_nothing_else(monkeypatch, fresh, error):
    """No git, no nvidia-smi, or one that hangs."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(deployment_facts.shutil, "which", lambda _: "nvidia-smi")
    facts = manifest(topology_of(f"http://127.0.0.1:{free_port()}"))
    assert not {"git_commit", "git_dirty", "gpu"} & set(facts)
    assert "cpu" in facts


def test_a_source_that_breaks_costs_its_facts_only(monkeypatch):
    """Whatever goes wrong, there is a manifest."""
    monkeypatch.setattr(deployment_facts, "_software", lambda: 1 / 0)
    facts = manifest(topology_of(f"http://127.0.0.1:{free_port()}"))
    assert "python" not in facts
    assert "cpu" in facts


def test_the_commit_and_whether_it_was_changed(tmp_path, monkeypatch, fresh):
    """The facts describe the folder that the tests run in."""

    def git(*command):
        identity = ("-c", "user.name=n", "-c", "user.email=e@x")
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    clean = dict(deployment_facts._git(tmp_path))
    assert len(clean["git_commit"]) == 40
    assert clean["git_dirty"] == "no"
    (tmp_path / "new").write_text("x")
    deployment_facts._git.cache_clear()
    assert dict(deployment_facts._git(tmp_path))["git_dirty"] == "yes"


def test_the_commit_is_that_of_the_tests(tmp_path, monkeypatch, fresh):
    """Wherever pytest was started, and in a hook of another repository, which git tells its children of."""
    commits = {}
    for name in ("tests", "here"):
        (tmp_path / name).mkdir()
        for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", name], ["rev-parse", "HEAD"]):
            identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
            done = subprocess.run(
                ["git", *identity, *command], cwd=tmp_path / name, check=True, capture_output=True, text=True
            )
        commits[name] = done.stdout.strip()
    (tmp_path / "tests" / "test_it.py").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "here" / ".git"))
    topology = topology_of(f"http://127.0.0.1:{free_port()}")
    context = Session(Settings(), root=tmp_path / "tests")._context
    for test in ("test_it.py::test_x", "a script's own name", "", "../tests/test_it.py::test_y"):
        assert context.manifest(topology, "threads", test).facts["git_commit"] == commits["tests"]
    context = Session(Settings(), root=tmp_path)._context
    assert context.manifest(topology, "threads", "tests/test_it.py::test_x").facts["git_commit"] == commits["tests"]
    assert manifest(topology)["git_commit"] == commits["here"]


def test_machine_facts_are_looked_up_once(monkeypatch, fresh):
    """The second manifest does not read them again."""
    calls = []
    monkeypatch.setattr(deployment_facts, "_cpu", lambda: calls.append(1) or "cpu")
    for _ in range(3):
        manifest(topology_of(f"http://127.0.0.1:{free_port()}"))
    assert len(calls) == 1
