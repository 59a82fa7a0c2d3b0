"""The real engine, below HTTP: the parameters for llama.cpp, and how soon a cancelled generation ends."""

import math
import threading
from collections.abc import Iterator
from dataclasses import fields

import pytest
import xllamacpp

from pytest_llmperf.servers.emulator.engine import EngineError, Job, LoadOptions, Sampling
from pytest_llmperf.servers.emulator.llama_engine import DEFAULT_NUM_BATCH, LlamaEngine, _sampling
from pytest_llmperf.servers.emulator.model_files import model_file

SAMPLING = Sampling(
    num_predict=3,
    seed=4,
    temperature=0.5,
    top_k=6,
    top_p=0.7,
    min_p=0.08,
    typical_p=0.9,
    repeat_last_n=10,
    repeat_penalty=1.1,
    presence_penalty=0.12,
    frequency_penalty=0.13,
    num_keep=14,
    stop=("a", "b"),
)


@pytest.fixture(scope="module")
def engine() -> LlamaEngine:
    """Over the packaged model, with two slots and one thread; nothing is loaded."""
    file = model_file("", "")
    return LlamaEngine(file.path, file.card, slots=2, threads=1)


@pytest.fixture(scope="module")
def loaded(engine) -> Iterator[LlamaEngine]:
    """The same, loaded with a context of 1024 tokens a slot."""
    engine.load(LoadOptions(num_ctx=1024))
    yield engine
    engine.unload()


def test_every_option_of_a_generation_arrives():
    """Each under llama.cpp's name, none left out: all values differ from each other and from the defaults."""
    names = {"num_predict": "n_predict", "num_keep": "n_keep"}
    expected = {names.get(field.name, field.name): getattr(SAMPLING, field.name) for field in fields(Sampling)}
    assert _sampling(SAMPLING) == {**expected, "stop": ["a", "b"]}


@pytest.mark.parametrize("seed", [-1, -7])
def test_a_negative_seed_is_another_each_time(seed):
    """llama.cpp's word for it; no other value would do."""
    assert _sampling(Sampling(seed=seed))["seed"] == 0xFFFFFFFF


def test_every_option_of_a_load_arrives(engine):
    """Context for all slots, threads for prefill and decode alike, batch, layers and GPU."""
    told = engine._parameters(LoadOptions(num_ctx=300, num_batch=64, num_gpu=5, main_gpu=1, num_thread=3))
    assert (told.n_ctx, told.n_parallel, told.n_batch, told.n_ubatch) == (600, 2, 64, 64)
    assert (told.n_gpu_layers, told.main_gpu) == (5, 1)
    assert (told.cpuparams.n_threads, told.cpuparams_batch.n_threads) == (3, 3)


@pytest.mark.parametrize(("use_mmap", "mode"), [(True, "MMAP"), (False, "NONE"), (None, "AUTO")])
def test_mapping_the_file_is_as_asked(engine, use_mmap, mode):
    """The file's pages are shared with the system's cache, or read into memory of the process, or llama.cpp decides."""
    told = engine._parameters(LoadOptions(use_mmap=use_mmap))
    assert told.load_mode == xllamacpp.llama_load_mode[f"LLAMA_LOAD_MODE_{mode}"]


def test_what_a_load_leaves_out_is_ours(engine):
    """The server's threads and batch, Ollama's context for each slot, as many layers as fit."""
    told = engine._parameters(LoadOptions())
    assert (told.n_ctx, told.n_batch, told.n_gpu_layers) == (2 * 4096, DEFAULT_NUM_BATCH, -1)
    assert (told.cpuparams.n_threads, told.cpuparams_batch.n_threads) == (1, 1)


def test_a_cancelled_generation_ends_within_a_few_tokens(loaded):
    """Tokens are counted, not timed: of 900 requested tokens hardly any is generated after the client has left."""
    cancelled, after = threading.Event(), []

    def emit(text: str) -> None:
        if cancelled.is_set():
            after.append(text)
        cancelled.set()

    done = loaded.generate(Job(prompt="The sea", sampling=Sampling(num_predict=900, seed=1)), emit, cancelled)
    assert len(after) < 30
    assert done.eval_count < 30


def test_a_prompt_whose_client_has_gone_is_not_read_to_its_end(loaded):
    """It ends between two steps of the prefill: nothing is generated."""
    cancelled, pieces = threading.Event(), []
    cancelled.set()
    prompt = "The sea is wide. " * 150
    loaded.generate(Job(prompt=prompt, sampling=Sampling(num_predict=300, seed=1)), pieces.append, cancelled)
    assert len(pieces) < 30


def test_embeddings_are_those_of_the_model_and_leave_its_text_alone(loaded):
    """Texts that mean much the same are nearer to each other than to another; text is generated as before."""
    job = Job(prompt="The sun is", sampling=Sampling(num_predict=4, seed=1, temperature=0))
    before, after = [], []
    loaded.generate(job, before.append, threading.Event())
    done = loaded.embed(["The cat sleeps on the sofa.", "A cat is asleep on the couch.", "Interest rates rose again."])
    loaded.generate(job, after.append, threading.Event())
    assert before == after
    assert done.prompt_eval_count > 12
    cat, also_cat, money = done.vectors
    assert _cosine(cat, also_cat) > _cosine(cat, money)


def test_a_text_that_is_too_long_to_embed_is_refused(loaded):
    """With the engine's own words."""
    with pytest.raises(EngineError):
        loaded.embed(["word " * 20_000])


def _cosine(first, second):
    norm = math.sqrt(sum(a * a for a in first) * sum(b * b for b in second))
    return sum(a * b for a, b in zip(first, second, strict=True)) / norm
