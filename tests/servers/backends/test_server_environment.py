"""The environment of the plugin's `ollama serve`: what is passed on, what is recorded, and the notes on the rest."""

from pathlib import Path

import pytest

from pytest_llmperf.servers.backends.server_environment import dropped, environment, recorded

COMPUTING = (
    "OLLAMA_VULKAN OLLAMA_IGPU_ENABLE OLLAMA_GPU_OVERHEAD OLLAMA_SCHED_SPREAD OLLAMA_CONTEXT_LENGTH OLLAMA_GO_TEMPLATE "
    "OLLAMA_LOAD_TIMEOUT OLLAMA_FLASH_ATTENTION OLLAMA_KV_CACHE_TYPE OLLAMA_LLM_LIBRARY LLAMA_ARG_FIT "
    "LLAMA_ARG_FIT_TARGET"
).split()
DEVICES = "CUDA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES GGML_VK_VISIBLE_DEVICES".split()
DROPPED = "LLAMA_ARG_THREADS LLAMA_ARG_CTX_SIZE OLLAMA_HOST OLLAMA_MAX_QUEUE OLLAMA_NUM_PARALLEL OLLAMA_NEWER".split()


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Nothing is set but a home."""
    monkeypatch.setattr("os.environ", {"HOME": "/home/somebody"})


def test_what_is_ours(tmp_path, monkeypatch):
    """Own home, port and slots, the user's models; and nothing to say."""
    env = environment(tmp_path, 4321, 2)
    env.pop("PYTEST_CURRENT_TEST", None)
    assert env == {
        "HOME": str(tmp_path),
        "OLLAMA_HOST": "127.0.0.1:4321",
        "OLLAMA_MODELS": str(Path("/home/somebody/.ollama/models")),
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NUM_PARALLEL": "2",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NO_CLOUD": "1",
    }
    assert recorded(env, ollama=True) == dropped(env) == ()
    monkeypatch.setattr("os.environ", {"HOME": "/h", "OLLAMA_MODELS": "/big/models", "OLLAMA_NUM_PARALLEL": "2"})
    env = environment(tmp_path, 4321, 2)
    assert env["OLLAMA_MODELS"] == "/big/models"
    assert recorded(env, ollama=True) == dropped(env) == ()


@pytest.mark.parametrize("name", COMPUTING + DEVICES)
def test_what_decides_how_it_computes_is_kept_and_recorded(tmp_path, monkeypatch, name):
    """Each variable; the embedded server reads only the variables for devices. An empty variable is ignored."""
    monkeypatch.setenv(name, "7")
    env = environment(tmp_path, 1, 1)
    assert env[name] == "7"
    assert recorded(env, ollama=True) == (f"{name}=7",)
    assert recorded(env, ollama=False) == ((f"{name}=7",) if name in DEVICES else ())
    assert dropped(env) == ()
    assert recorded({name: ""}, ollama=True) == ()


def test_the_gpu_that_was_asked_for_is_what_is_recorded(tmp_path, monkeypatch):
    """It takes the place of the environment's."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert recorded(environment(tmp_path, 1, 1, gpu="1"), ollama=True) == ("CUDA_VISIBLE_DEVICES=1",)


@pytest.mark.parametrize("name", DROPPED)
def test_what_is_dropped_is_said(tmp_path, monkeypatch, name):
    """By its name, without its value, which may be a secret."""
    monkeypatch.setenv(name, "hunter2")
    env = environment(tmp_path, 4321, 1)
    assert env.get(name) != "hunter2"
    (note,) = dropped(env)
    assert f"do not get {name} from the environment" in note
    assert "hunter2" not in note
