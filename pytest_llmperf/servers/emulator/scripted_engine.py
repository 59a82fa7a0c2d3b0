"""The scripted engine: no model, only stated times, kept to absolute deadlines so that its rates do not drift."""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from pytest_llmperf.model import Script
from pytest_llmperf.servers.emulator.api.tool_offers import call_text, sample
from pytest_llmperf.servers.emulator.engine import (
    Completion,
    Embeddings,
    Emit,
    EngineError,
    Job,
    LoadOptions,
    ModelCard,
    Sampling,
    ToolCall,
    effective_num_ctx,
    most_tokens,
)
from pytest_llmperf.servers.emulator.faults.fault_kinds import FROM_THE_START
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault, FaultPlan
from pytest_llmperf.servers.emulator.faults.fired import tell

MODEL_NAME = "simulated:scripted"
VERSION = "0.0.0-simulated"
"""Everything that shows a version shows that nothing here is real."""

OUT_OF_MEMORY = "llama runner process has terminated: out of memory"

NATURAL_END = 256
"""Tokens after which a scripted answer ends by itself, if the request sets no length."""

_WORDS = (
    "this text is scripted and carries no meaning it only stands where a model would have put words so that "
    "clients can count them and time them"
).split()
_SPILT_BYTES = 1_000_000_000  # a scripted model has no size; one that spills needs a size
_MOST_CTX = 131072
_TOKEN = re.compile(r"\w+|[^\w\s]")
_PIECE = re.compile(r"\s*(?:\w+|[^\w\s])")

_NO_FAULTS = FaultPlan()

Clock = Callable[[], int]
Wait = Callable[[threading.Event, float], bool]
"""Waits for the event, at most the given number of seconds; True if the event is set."""


class ScriptedEngine:
    """Answers with made-up words at the times that a script states.

    The first token leaves `ttft_ms` plus the prompt's prefill time after the start, each further token one
    interval later, and the end one interval after the last token, so that `eval_count / eval_duration` is the
    stated rate. Durations reported are the measured ones. Slots do not slow each other.

    Args:
        script: the times.
        slots: generations at once.
        clock: monotonic nanoseconds.
        wait: see Wait.
        plan: its faults of loads, and what its server is like, are this engine's; all others are done around it.
        instance: its name in the plan.

    Attributes:
        script, plan, instance: the given values.
        version: says that it is simulated; a fault may change it.
    """

    def __init__(
        self,
        script: Script,
        *,
        slots: int = 1,
        clock: Clock = time.monotonic_ns,
        wait: Wait = threading.Event.wait,
        plan: FaultPlan = _NO_FAULTS,
        instance: str = "",
    ) -> None:
        self.version = next((fault.version for fault in plan.hits(instance, 1, "other_version")), VERSION)
        self.plan = plan
        self.instance = instance
        self._loads = 0
        self.script = script
        self._slots = min([slots, *(fault.slots for fault in plan.hits(instance, 1, "few_slots"))])
        self._clock = clock
        self._wait = wait
        self._random = random.Random(script.seed)
        self._random_lock = threading.Lock()
        self._num_ctx = 0
        spills = list(plan.hits(instance, 1, "spill"))
        model = f"{MODEL_NAME} of {instance}" if any(plan.hits(instance, 1, "other_model")) else MODEL_NAME
        contexts = [fault.num_ctx for fault in plan.hits(instance, 1, "small_context")]
        for fault in plan.hits(instance, 1, *FROM_THE_START):
            tell(fault, "from the start")
        self._card = ModelCard(
            name=MODEL_NAME,
            digest=hashlib.sha256(model.encode()).hexdigest(),
            size_bytes=_SPILT_BYTES if spills else 0,
            size_vram_bytes=round(_SPILT_BYTES * spills[0].factor) if spills else 0,
            modified_at="1970-01-01T00:00:00Z",
            format="none",
            family="simulated",
            parameter_size="0",
            quantization="none",
            context_length=min([_MOST_CTX, *contexts]),
            capabilities=("completion", "tools", "embedding"),
            info={
                "simulated": True,
                "llmperf.slots": slots,
                "llmperf.script": json.dumps(asdict(script)),
                **({"llmperf.faults": plan.in_words(instance)} if plan.in_words(instance) else {}),
            },
        )

    @property
    def card(self) -> ModelCard:
        """Says that it is simulated."""
        return self._card

    @property
    def slots(self) -> int:
        """The given number of slots, unless a fault removes some; the server does not report that."""
        return self._slots

    def load(self, options: LoadOptions) -> None:
        """Takes `load_ms`. Raises EngineError if the plan says that memory runs out."""
        self._loads += 1
        more_s = sum(fault.seconds for fault in self._hits("slow_load"))
        self._wait(threading.Event(), self._jittered(self.script.load_ms) / 1e9 + more_s)
        for fault in self._hits("out_of_memory"):
            raise EngineError(fault.message or OUT_OF_MEMORY)
        self._num_ctx = effective_num_ctx(options, self._card)

    def _hits(self, kind: str) -> Iterator[Fault]:
        """The faults of this load, said in the log."""
        for fault in self.plan.hits(self.instance, self._loads, kind):
            tell(fault, f"at load {self._loads}")
            yield fault

    def unload(self) -> None:
        """Takes no time."""
        self._num_ctx = 0

    def generate(self, job: Job, emit: Emit, cancelled: threading.Event) -> Completion:
        """Emits one word a token, at the script's times; a call comes whole, with its last token."""
        prompt = _as_text(job)
        prompt_tokens = max(1, count_tokens(prompt))
        if prompt_tokens >= self._num_ctx:
            raise EngineError(
                f"request ({prompt_tokens} tokens) exceeds the available context size ({self._num_ctx} tokens), "
                "try increasing it",
                status=400,
            )
        room = min(job.sampling.num_predict, self._num_ctx - prompt_tokens)
        limited = job.sampling.num_predict < most_tokens(self._num_ctx)
        limit = room if limited else min(room, NATURAL_END)
        script = self.script
        start_ns = self._clock()
        prefill_tok_s, decode_tok_s = script.prefill_tok_s * job.pace.prefill, script.decode_tok_s * job.pace.decode
        due_ns = start_ns + self._jittered(script.ttft_ms / job.pace.prefill + prompt_tokens / prefill_tok_s * 1e3)
        first_ns = 0
        held = _StopFilter(job.sampling.stop)
        count = 0
        call = scripted_call(job, self.script.tool_calls)
        for word in _pieces_of(job, call, prompt, limit):
            if self._until(due_ns, cancelled):
                break
            first_ns = first_ns or self._clock()
            count += 1
            text, stopped = ("", False) if call else held.feed(word)
            if text:
                emit(text)
            due_ns += self._jittered(1e3 / decode_tok_s)
            if stopped:
                break
        self._until(due_ns, cancelled)
        if call and count == count_tokens(call_text(call.name, call.arguments)):
            emit(call)
        elif not held.stopped and (rest := held.rest()):
            emit(rest)
        end_ns = self._clock()
        return Completion(
            done_reason="length" if count == room and not held.stopped else "stop",
            prompt_eval_count=prompt_tokens,
            prompt_eval_duration_ns=(first_ns or end_ns) - start_ns,
            eval_count=count,
            eval_duration_ns=end_ns - first_ns if first_ns else 0,
        )

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Made-up vectors, the same for the same text, after `ttft_ms` and the prefill of all texts."""
        tokens = sum(max(1, count_tokens(text)) for text in texts)
        duration_ns = self._jittered(self.script.ttft_ms + tokens / self.script.prefill_tok_s * 1e3)
        self._wait(threading.Event(), duration_ns / 1e9)
        vectors = (
            tuple(byte / 127.5 - 1 for byte in hashlib.sha256(text.encode("utf-8", "replace")).digest())
            for text in texts
        )
        return Embeddings(vectors=tuple(vectors), prompt_eval_count=tokens)

    def _until(self, due_ns: int, cancelled: threading.Event) -> bool:
        """Waits for an absolute moment; True when cancelled."""
        left_ns = due_ns - self._clock()
        return self._wait(cancelled, left_ns / 1e9) if left_ns > 0 else cancelled.is_set()

    def _jittered(self, duration_ms: float) -> int:
        """A stated duration with the script's jitter, nanoseconds."""
        with self._random_lock:
            factor = self._random.gauss(1.0, self.script.jitter_pct / 100)
        return round(duration_ms * 1e6 * max(0.0, factor))


class _StopFilter:
    """Cuts a stream of text before the first stop text, holding back what may be the beginning of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> tuple[str, bool]:
        """The text that may be shown now, and whether the stream ends here."""
        self._held += text
        ends = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._held[: min(ends)], True
        keep = max(
            (n for stop in self._stops for n in range(1, len(stop)) if self._held.endswith(stop[:n])),
            default=0,
        )
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, False

    def rest(self) -> str:
        """The text that was held back, but was not a stop text."""
        return self._held


def count_tokens(text: str) -> int:
    """Tokens of a text as this engine counts: words and marks."""
    return len(_TOKEN.findall(text))


def _as_text(job: Job) -> str:
    return job.prompt or "\n".join(f"{message.role}: {message.content}" for message in job.messages)


def scripted_call(job: Job, most: int) -> ToolCall | None:
    """The call that is the answer to a job; None if the answer is text.

    Args:
        job: the job with the offered tools.
        most: calls before the answer to a user is text.
    """
    roles = [message.role for message in job.messages]
    asked = max((at for at, role in enumerate(roles) if role == "user"), default=-1)
    made = roles[asked + 1 :].count("tool")
    if not job.tools or not (job.must_call or made < most):
        return None
    tool = job.tools[made % len(job.tools)]
    arguments = sample({**tool.parameters, "type": "object"})
    return ToolCall(name=tool.name, arguments=arguments if isinstance(arguments, dict) else {})


def _pieces_of(job: Job, call: ToolCall | None, prompt: str, limit: int) -> Iterator[str]:
    """The tokens of an answer: of a call, of JSON that fits the schema, or made-up words."""
    if call is not None or job.schema is not None:
        text = call_text(call.name, call.arguments) if call else json.dumps(sample(job.schema))
        return iter(_PIECE.findall(text)[:limit])
    return _words(prompt, _seed(job.sampling), limit)


def _seed(sampling: Sampling) -> int:
    """The seed, or 0 if sampling is greedy and the seed has no effect."""
    greedy = sampling.temperature <= 0 or sampling.top_k == 1
    return 0 if greedy else sampling.seed


def _words(prompt: str, seed: int, limit: int) -> Iterator[str]:
    """The same words for the same prompt and seed, on every machine."""
    chooser = random.Random(f"{seed} {prompt}")
    for index in range(limit):
        yield chooser.choice(_WORDS) if index == 0 else f" {chooser.choice(_WORDS)}"
