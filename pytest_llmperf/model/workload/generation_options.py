"""Options of a request, and how much a model may think."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pytest_llmperf.model.texts import check_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """Options of one request, by Ollama's names; None leaves the server's default in force.

    Attributes:
        num_ctx: context window, tokens.
        num_predict: maximum number of tokens to generate.
        seed: seed of the sampler.
        temperature: temperature of the sampler; 0 is greedy.
        top_k: number of candidates kept.
        top_p: probability mass kept.
        stop: texts that end the answer.
        num_thread: CPU threads of the engine.
        num_gpu: layers on the GPU.
    """

    num_ctx: int | None = None
    num_predict: int | None = None
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] | None = None
    num_thread: int | None = None
    num_gpu: int | None = None

    def __post_init__(self) -> None:
        check_texts("stop: a text", self.stop or ())

    def as_request(self) -> dict[str, object]:
        """The `options` object of a request: only what is set."""
        return {key: value for key, value in asdict(self).items() if value is not None}


SERVER_DEFAULTS = GenerationOptions()
"""No option is set."""

OLLAMA_ONLY = ("num_ctx", "num_thread", "num_gpu")
"""Options that an OpenAI-compatible API does not have; they are never sent there."""


Think = bool | str
"""Whether a model thinks before it answers, or how much: one of LEVELS."""

LEVELS = ("low", "medium", "high", "max")
"""How much a model may think, if it has levels."""


def think_fault(think: object) -> str:
    """What is wrong with a value of `think`; empty if nothing is.

    >>> think_fault(False), think_fault("high"), think_fault("much")
    ('', '', "think is 'much', wanted true, false, low, medium, high or max")
    """
    if think is None or isinstance(think, bool) or think in LEVELS:
        return ""
    return f"think is {think!r}, wanted true, false, {', '.join(LEVELS[:-1])} or {LEVELS[-1]}"
