"""The engine that the API application needs: one model, loaded or not, that continues prompts in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

DEFAULT_NUM_CTX = 4096
"""Context window of a slot when the request sets none: Ollama's for machines with little or no VRAM."""

MIN_NUM_CTX = 4

_CONTEXTS_OF_OUTPUT = 10


class EngineError(Exception):
    """The engine refuses or fails; the API turns it into an answer.

    Attributes:
        status: HTTP status for a request that has not begun to stream.
    """

    def __init__(self, message: str, *, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What `/api/tags`, `/api/ps` and `/api/show` report about the model.

    Attributes:
        name: the name that clients use, with a tag.
        digest: SHA-256 of the file, hexadecimal; of the name if there is no file.
        size_bytes: size of the file.
        size_vram_bytes: size of the part on a GPU when it is loaded.
        modified_at: time of the last change, RFC 3339.
        format, family, parameter_size, quantization: the `details`.
        context_length: the model's maximum context, tokens.
        template: the model's own chat template; empty = none.
        info: further `model_info` for `/api/show`.
        capabilities: the capabilities that `/api/show` lists: `completion`, `tools`, `embedding`.
    """

    name: str
    digest: str
    size_bytes: int
    modified_at: str
    format: str
    family: str
    parameter_size: str
    quantization: str
    context_length: int
    template: str = ""
    size_vram_bytes: int = 0
    info: Mapping[str, object] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ("completion",)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The options that shape a loaded model; another value means a reload.

    Attributes:
        num_ctx: context window of each slot, tokens; None = the server's default.
        num_batch: tokens per prefill step; None = the server's default.
        num_gpu: layers on the GPU; negative = automatic.
        main_gpu: index of the main GPU.
        use_mmap: whether to map the file into memory; None = automatic.
        num_thread: CPU threads; 0 = the server's default.
    """

    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int = -1
    main_gpu: int = 0
    use_mmap: bool | None = None
    num_thread: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The options of one generation, with Ollama's defaults.

    Attributes:
        num_predict: maximum tokens to generate; zero or less = ten times the context size.
        seed: seed of the sampler; negative = another seed for each generation.
        stop: texts that end the answer and are not part of it.
    """

    num_predict: int = -1
    seed: int = -1
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    num_keep: int = 4
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the scripted engine works on a job, as parts of its script's rates; a real engine has its own pace."""

    prefill: float = 1.0
    decode: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that a request offers.

    Attributes:
        name: the name of the tool.
        parameters: JSON Schema of its arguments.
    """

    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model asks for."""

    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One generation: either a raw prompt, or messages for the chat template.

    Attributes:
        tools: those that the model may call.
        must_call: whether it has to call one.
        schema: JSON Schema of the text, if it has to be JSON.
    """

    prompt: str = ""
    messages: tuple[Message, ...] = ()
    sampling: Sampling = Sampling()
    pace: Pace = Pace()
    tools: tuple[Tool, ...] = ()
    must_call: bool = False
    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How a generation went; durations as the engine measured them.

    Attributes:
        done_reason: `stop` or `length`.
        prompt_eval_count: prompt tokens, cached ones included.
        prompt_eval_duration_ns: for the tokens that were not cached.
        eval_count: tokens generated.
        eval_duration_ns: for generating them.
    """

    done_reason: str
    prompt_eval_count: int
    prompt_eval_duration_ns: int
    eval_count: int
    eval_duration_ns: int


Piece = str | ToolCall
"""What an answer is made of: pieces of text, and calls, each of which comes whole."""

Emit = Callable[[Piece], None]
"""Takes each piece as it is generated; called from the engine's thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors of texts, in their order.

    Attributes:
        vectors: one a text.
        prompt_eval_count: tokens of all texts.
    """

    vectors: tuple[tuple[float, ...], ...]
    prompt_eval_count: int


class Engine(Protocol):
    """One model. All methods block and are called from worker threads."""

    @property
    def card(self) -> ModelCard:
        """The model it serves."""
        ...

    @property
    def version(self) -> str:
        """The version that `/api/version` reports."""
        ...

    @property
    def slots(self) -> int:
        """How many `generate` calls may run at once."""
        ...

    def load(self, options: LoadOptions) -> None:
        """Loads the model; nothing is loaded before. Raises EngineError."""
        ...

    def unload(self) -> None:
        """Gives the model's memory back; no `generate` is running."""
        ...

    def generate(self, job: Job, emit: Emit, cancelled: threading.Event) -> Completion:
        """Runs one job to its end, or until `cancelled` is set. Raises EngineError."""
        ...

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """The vectors of these texts; only if `embedding` is among the capabilities. Raises EngineError."""
        ...


def effective_num_ctx(options: LoadOptions, card: ModelCard) -> int:
    """The context window of a slot, tokens: the default if unset, at most the model's maximum."""
    wanted = DEFAULT_NUM_CTX if options.num_ctx is None else max(options.num_ctx, MIN_NUM_CTX)
    return min(wanted, card.context_length) if card.context_length else wanted


def most_tokens(num_ctx: int) -> int:
    """The longest answer that can be asked for, tokens: what an unlimited `num_predict` means, as in Ollama."""
    return _CONTEXTS_OF_OUTPUT * num_ctx
