from dataclasses import replace

import pytest

from pytest_llmperf.errors import ServerError
from pytest_llmperf.model import Instance, Script, Settings, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.clients.server_client import ModelEntry
from pytest_llmperf.servers.probes import consistency
from pytest_llmperf.servers.probes.consistency import Seat, check, shared

GIB = 2**30
ON_GPU = ModelEntry(name="m", size_bytes=4 * GIB, size_vram_bytes=4 * GIB, context_length=4096)
ON_CPU = replace(ON_GPU, size_vram_bytes=0)
SPILLED = replace(ON_GPU, size_vram_bytes=3 * GIB)


def seat(name: str, loaded: ModelEntry | None = ON_GPU, *, host: str = "127.0.0.1", **more) -> Seat:
    instance = Instance(name=name, url=f"http://{host}:1", version=more.pop("version", "0.33.0"))
    return Seat(**{"instance": instance, "digest": "d" * 64, "loaded": loaded, "asked_ctx": 4096, **more})


def test_instances_that_agree_need_no_words():
    """Same version, digest, context and place."""
    assert check("m", [seat("a"), seat("b")]) == ()
    assert check("m", [seat("a", ON_CPU), seat("b", ON_CPU)]) == ()


def test_different_models_under_one_name_are_refused():
    """Agents that talk to different models are not compared."""
    with pytest.raises(ServerError, match=r"different models under the name m: a has d{12}, b has eeee") as caught:
        check("m", [seat("a"), seat("b", digest="e" * 64)])
    assert "ollama pull m" in caught.value.next_step


@pytest.mark.parametrize(
    ("seats", "words"),
    [
        ([seat("a"), seat("b", version="0.32.0")], "different versions (a 0.33.0, b 0.32.0)"),
        ([seat("a"), seat("b", SPILLED)], "instance b: 25 % of the model (1.0 GiB) is outside"),
        ([seat("a"), seat("b", ON_CPU)], "GPU's memory on instance a, but not on instance b"),
        ([seat("a"), seat("b", None)], "instance b does not report the model"),
        ([seat("a", replace(ON_GPU, context_length=2048))], "a context of 2048 tokens instead of the requested 4096"),
        (
            [seat("a", asked_ctx=None), seat("b", replace(ON_GPU, context_length=8192), asked_ctx=None)],
            "instances a and b gave the same request different contexts: 4096 and 8192 tokens",
        ),
    ],
)
def test_what_differs_is_said(seats, words):
    """One note, which names the instance and the figures."""
    (note,) = check("m", seats)
    assert words in note


def test_agents_that_ask_for_different_contexts_get_them():
    """A requested difference is no finding; neither is a value that a server does not report."""
    assert check("m", [seat("a"), seat("b", replace(ON_GPU, context_length=512), asked_ctx=512)]) == ()
    assert check("m", [seat("a"), seat("b", replace(ON_GPU, context_length=0, size_vram_bytes=None))]) == ()


@pytest.mark.parametrize(
    ("seats", "gpus", "words"),
    [
        ([seat("a"), seat("b", host="localhost")], 1, "instances a and b share the GPU of this machine"),
        ([seat("a"), seat("b")], 2, None),
        ([seat("a", ON_CPU), seat("b", ON_CPU)], 0, "instances a and b share the CPU of this machine"),
        ([seat("a", ON_CPU, host="h"), seat("b", ON_CPU, host="h")], 0, "share the CPU of h"),
        ([seat("a", host="h"), seat("b", host="h")], 0, "are on h, whose GPUs they may share"),
        ([seat("a", host="h"), seat("b", host="i")], 1, None),
        ([seat("a")], 1, None),
    ],
)
def test_what_instances_of_one_machine_share(seats, gpus, words):
    """Two servers on one GPU or CPU are accepted with a note."""
    notes = shared(seats, gpus=lambda: gpus)
    assert len(notes) == bool(words)
    assert all(words in note for note in notes)


@pytest.mark.parametrize(("script", "count"), [("echo 'GPU 0: A'; echo 'GPU 1: B'; echo '  MIG 1g'", 2), ("exit 9", 0)])
def test_gpus_are_counted_by_the_driver_s_own_tool(script, count, tmp_path, monkeypatch):
    """A line a GPU; a tool that fails counts none."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert consistency._count_gpus() == count


def test_no_driver_no_gpu(tmp_path, monkeypatch):
    """Neither without the tool, nor with one that cannot be run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert consistency._count_gpus() == 0
    (tmp_path / "nvidia-smi").write_text("\0")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert consistency._count_gpus() == 0


def test_running_instances_are_asked():
    """Two real servers with the model loaded agree; a context below the requested one is found."""
    settings = Settings(backend="simulated", script=Script(load_ms=0))
    with choose(settings).open(TopologyKind.DUAL, 2) as opened:
        for instance in opened.topology.instances:
            with OllamaClient(instance.url) as control:
                control.preload(opened.topology.model, {"num_ctx": 512})
        assert opened.settled({"a": 512, "b": 512}) == ()
        (note,) = opened.settled({"a": 512, "b": 1024})
        assert note.startswith("instance b gives the model a context of 512 tokens instead of the requested 1024")
