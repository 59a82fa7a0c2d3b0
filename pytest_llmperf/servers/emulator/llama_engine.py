"""The real engine: llama.cpp inside this process, through the `xllamacpp` wheel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import xllamacpp

from pytest_llmperf.servers.emulator.engine import (
    Completion,
    Embeddings,
    Emit,
    EngineError,
    Job,
    LoadOptions,
    ModelCard,
    Sampling,
    effective_num_ctx,
)

_log = logging.getLogger(__name__)

DEFAULT_NUM_BATCH = 128
"""Tokens a prefill step. A cancelled request is noticed between steps, so a step must not take seconds."""

_RANDOM_SEED = 0xFFFFFFFF  # llama.cpp's word for another seed each time

_GEMMA_TEMPLATE = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = ns.system + message['content'] + '\n\n' %}{% else %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else 'user' }}\n"
    "{{ ns.system if message['role'] == 'user' else '' }}{{ message['content'] }}<end_of_turn>\n"
    "{% if message['role'] == 'user' %}{% set ns.system = '' %}{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""The turn format of the Gemma family, for its base models, whose files bring no chat template."""


class LlamaEngine:
    """One GGUF model in llama.cpp.

    Args:
        path: the GGUF file.
        card: what it is.
        slots: generations at once; each has a context of its own.
        threads: CPU threads when the request names none.
    """

    def __init__(self, path: Path, card: ModelCard, *, slots: int, threads: int) -> None:
        self._path = path
        self._card = replace(
            card,
            info={**card.info, "llmperf.slots": slots, "llmperf.threads": threads},
            capabilities=("completion", "embedding"),
        )
        self._slots = slots
        self._threads = threads
        self._server: Any = None
        self._embedder: Any = None
        self._embedding = threading.Lock()
        self._options = LoadOptions()

    @property
    def card(self) -> ModelCard:
        """The given card with the engine's settings added to `model_info`."""
        return self._card

    @property
    def version(self) -> str:
        """A version that names the engine and that no Ollama has."""
        return f"0.0.0-embedded+xllamacpp.{package_version('xllamacpp')}"

    @property
    def slots(self) -> int:
        """The given number of slots."""
        return self._slots

    def load(self, options: LoadOptions) -> None:
        """Loads the file; about one to two seconds for the packaged model."""
        self._options = options
        parameters = self._parameters(options)
        try:
            self._server = xllamacpp.Server(parameters)
        except Exception as error:
            raise EngineError(f"llama.cpp could not load {self._path.name} with {options}: {error}") from error

    def unload(self) -> None:
        """Frees the model."""
        self._server = self._embedder = None

    def generate(self, job: Job, emit: Emit, cancelled: threading.Event) -> Completion:
        """Runs one job; llama.cpp releases the interpreter while it computes."""
        answer = _Answer(emit, cancelled)
        request = {**_sampling(job.sampling), "stream": True, "cache_prompt": True, "return_progress": True}
        if job.messages:
            request["messages"] = [{"role": m.role, "content": m.content} for m in job.messages]
            self._server.handle_chat_completions(request, answer)
        else:
            self._server.handle_completions({**request, "prompt": job.prompt}, answer)
        return answer.completion()

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Mean of the model's last layer, by a second copy that is loaded at the first request: the first is for text.

        Raises:
            EngineError: llama.cpp refuses a text, e.g. one that is longer than its context.
        """
        with self._embedding:
            if self._embedder is None:
                parameters = self._parameters(self._options)
                parameters.embedding = True
                parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
                parameters.n_batch = parameters.n_ubatch = effective_num_ctx(self._options, self._card)
                self._embedder = xllamacpp.Server(parameters)
            answer = self._embedder.handle_embeddings({"input": list(texts)})
        if error := answer.get("error"):
            raise EngineError(str(error.get("message", error)), status=int(error.get("code", 500)))
        vectors = tuple(tuple(entry["embedding"]) for entry in answer["data"])
        return Embeddings(vectors=vectors, prompt_eval_count=answer["usage"]["prompt_tokens"])

    def _parameters(self, options: LoadOptions) -> Any:
        threads = options.num_thread or self._threads
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self._path)
        parameters.n_ctx = effective_num_ctx(options, self._card) * self._slots
        parameters.n_parallel = self._slots
        parameters.n_batch = options.num_batch or DEFAULT_NUM_BATCH
        parameters.n_ubatch = min(parameters.n_batch, 512)
        parameters.n_gpu_layers = options.num_gpu
        parameters.main_gpu = options.main_gpu
        if options.use_mmap is not None:
            modes = xllamacpp.llama_load_mode
            parameters.load_mode = modes.LLAMA_LOAD_MODE_MMAP if options.use_mmap else modes.LLAMA_LOAD_MODE_NONE
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.cache_ram_mib = 0  # no second cache that grows and copies during timed requests
        parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        parameters.verbosity = -1
        parameters.ui = False
        if not self._card.template and self._card.family.startswith("gemma"):
            parameters.chat_template = _GEMMA_TEMPLATE
        return parameters


class _Answer:
    """Takes llama.cpp's chunks; called from the thread that called the engine."""

    def __init__(self, emit: Emit, cancelled: threading.Event) -> None:
        self._emit = emit
        self._cancelled = cancelled
        self._error: EngineError | None = None
        self._finish = ""
        self._timings: dict[str, Any] = {}

    def __call__(self, chunk: dict[str, Any]) -> bool:
        """Passes text on; True asks llama.cpp to stop."""
        if error := chunk.get("error"):
            self._error = EngineError(str(error.get("message", error)), status=int(error.get("code", 500)))
            return True
        self._timings = chunk.get("timings") or self._timings
        for choice in chunk.get("choices", ()):
            self._finish = choice.get("finish_reason") or self._finish
            text = choice.get("text") or (choice.get("delta") or {}).get("content")
            if text:
                self._emit(text)
        return self._cancelled.is_set()

    def completion(self) -> Completion:
        """The outcome, after the engine's call has returned."""
        if self._error is not None:
            raise self._error
        if not self._finish and not self._cancelled.is_set():
            raise EngineError("llama.cpp ended the generation without saying why")
        timings = self._timings
        return Completion(
            done_reason="length" if self._finish == "length" else "stop",
            prompt_eval_count=int(timings.get("cache_n", 0)) + int(timings.get("prompt_n", 0)),
            prompt_eval_duration_ns=round(timings.get("prompt_ms", 0.0) * 1e6),
            eval_count=int(timings.get("predicted_n", 0)),
            eval_duration_ns=round(timings.get("predicted_ms", 0.0) * 1e6),
        )


def _sampling(sampling: Sampling) -> dict[str, object]:
    """Ollama's names to llama.cpp's."""
    return {
        "n_predict": sampling.num_predict,
        "seed": sampling.seed if sampling.seed >= 0 else _RANDOM_SEED,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "typical_p": sampling.typical_p,
        "repeat_last_n": sampling.repeat_last_n,
        "repeat_penalty": sampling.repeat_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "n_keep": sampling.num_keep,
        "stop": list(sampling.stop),
    }
