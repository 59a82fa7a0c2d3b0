"""The table of faults: how each is injected, what the user sees, what is done about it. docs/faults.md shows it."""

import json
import re
from dataclasses import dataclass, field

from pytest_llmperf.model import Script
from tests.faults.conftest import FAST, slow

REPEATED, AGAIN, FAILS, MARKED = (
    "the round is repeated, once",
    "the model is loaded again, off the clock",
    "the measurement fails",
    "the round counts, and is marked",
)
STOPS = "the measurement fails; the next test starts or finds the servers afresh"


@dataclass(frozen=True)
class Scene:
    """A fault that is played by a function of its own: its name, how it is injected, what is seen, what is done."""

    name: str
    injected: str
    seen: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault.

    Attributes:
        name: a name in words, and the test's id.
        faults: the faults of the plan, on instance b unless they name another one.
        seen: the error or the note below the table that the user sees; `...` matches anything.
        answer: how the plugin handles it.
        script: the script of the servers.
        settings: the settings of the session.
    """

    name: str
    faults: tuple[dict, ...]
    seen: str
    answer: str
    script: Script = FAST
    settings: dict = field(default_factory=dict)

    @property
    def injected(self) -> str:
        """The faults as the page shows them."""
        shown = []
        for fault in self.faults:
            shown.append("`" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in fault.items()) + "`")
        return "; ".join(shown)


def b(kind: str, requests: object = 3, **more) -> dict:
    """A fault of instance b: request 1 is its warm-up, 2 its turn alone in round 1, 3 that together."""
    return {"kind": kind, "requests": requests, **more}


SLOW_LOAD = slow(load_ms=800)

ROWS = (
    Row(
        name="refused for a moment",
        faults=(b("refuse", seconds=0.5),),
        seen="round ...instance b ...; it was repeated",
        answer=REPEATED,
    ),
    Row(
        name="refused for good",
        faults=(b("refuse"),),
        seen="UnreachableError: instance b ...: nothing answers there ...next: is the server running? curl ...",
        answer=STOPS,
    ),
    Row(
        name="reset before the first token",
        faults=(b("reset"),),
        seen="round 1: agent y, instance b ...Connection reset by peer... it was repeated",
        answer=REPEATED,
    ),
    Row(
        name="reset in mid-stream",
        faults=(b("reset", after_tokens=5),),
        seen="round 1: agent y, instance b ...Connection reset by peer... it was repeated",
        answer=REPEATED,
    ),
    Row(
        name="reset again in the repeated round",
        faults=(b("reset", "3-4"),),
        seen="MeasurementError: agent y, instance b ...reset by peer... round 1 had been repeated already: ...",
        answer=FAILS,
    ),
    Row(
        name="reset in the warm-up",
        faults=(b("reset", 1),),
        seen="the warm-up: agent y, instance b ...reset by peer... it was repeated",
        answer="the warm-up is repeated, once",
    ),
    Row(
        name="reset in every round",
        faults=(b("reset", 3), b("reset", 7), b("reset", 11)),
        seen="MeasurementError: too many faults to continue: round 3: ... round 1: ...reset... round 2: ...reset...",
        answer=FAILS,
        settings={"min_rounds": 4, "max_rounds": 4},
    ),
    Row(
        name="stalled before the first token",
        faults=(b("stall"),),
        seen="MeasurementError: agent y, instance b ...: no complete answer within 1 s after 0 bytes ... raise ...",
        answer=FAILS,
        settings={"timeout_s": 1.0},
    ),
    Row(
        name="stalled in mid-stream",
        faults=(b("stall", after_tokens=3),),
        seen="MeasurementError: agent y, instance b ...: no complete answer within 1 s after ... bytes ... raise ...",
        answer=FAILS,
        settings={"timeout_s": 1.0},
    ),
    Row(
        name="half a line",
        faults=(b("half_line", after_tokens=2),),
        seen="round 1: agent y, instance b ...: no JSON object: ... (line 3, byte ... of the body); it was repeated",
        answer=REPEATED,
    ),
    Row(
        name="an answer without done",
        faults=(b("no_done", after_tokens=4),),
        seen="round 1: agent y, instance b ...: the stream ended after 4 chunks without `done` ... it was repeated",
        answer=REPEATED,
    ),
    Row(
        name="no answer ever has done",
        faults=(b("no_done", "2-", after_tokens=4),),
        seen="MeasurementError: agent y, instance b ... without `done` ... round 1 had been repeated already: ...",
        answer=FAILS,
    ),
    Row(
        name="an error line in mid-stream",
        faults=(b("error_line", message="an unknown error was encountered"),),
        seen="round 1: ...the server reported an error in mid-stream: an unknown error...; it was repeated",
        answer=REPEATED,
    ),
    Row(
        name="out of memory in mid-stream",
        faults=(b("error_line", message="CUDA error: out of memory"),),
        seen="MeasurementError: ...error in mid-stream: CUDA error: out of memory... next: free memory...",
        answer=FAILS,
    ),
    Row(
        name="the model's runner dies",
        faults=(b("crash", after_tokens=2),),
        seen="round 1: agent y, instance b ...error in mid-stream: ...unexpected EOF...; it was repeated",
        answer=REPEATED,
        script=SLOW_LOAD,
    ),
    Row(
        name="a line of another language",
        faults=(b("garbage", message="504 Bad Gateway"),),
        seen="MeasurementError: ...no JSON object: b'504 Bad Gateway'... next: ...is this Ollama's API...",
        answer=FAILS,
    ),
    Row(
        name="an error that holds terminal escapes",
        faults=(b("status", status=400, message="\x1b[2Jgone\x07"),),
        seen="MeasurementError: ...the server answered 400: \\x1b[2Jgone\\x07...",
        answer=FAILS,
    ),
    Row(
        name="30 identical chunks",
        faults=(b("repeat", after_tokens=3),),
        seen="MeasurementError: ...; the last 30 are all ...: the server cut off a model that repeats itself...",
        answer=FAILS,
    ),
    Row(
        name="404: the model was removed",
        faults=(b("status", status=404),),
        seen="...the server answered 404: model 'simulated:scripted' not found... next: ...tags...",
        answer=FAILS,
    ),
    Row(
        name="400: the request is refused",
        faults=(b("status", status=400, message="exceeds the available context size"),),
        seen="MeasurementError: ...the server answered 400: exceeds the available context size...",
        answer=FAILS,
    ),
    Row(
        name="500 once",
        faults=(b("status", status=500),),
        seen="round 1: ...the server answered 500: an internal error of the server; it was repeated",
        answer=REPEATED,
    ),
    Row(
        name="500 from now on",
        faults=(b("status", "3-", status=500),),
        seen="MeasurementError: ...the server answered 500: ... round 1 had been repeated already: ...",
        answer=FAILS,
    ),
    Row(
        name="503: the queue is full",
        faults=(b("status", status=503),),
        seen="round 1: ...the server answered 503: server busy, please try again.  maximum pending... it was repeated",
        answer=REPEATED,
    ),
    Row(
        name="503 from now on",
        faults=(b("status", "3-", status=503),),
        seen="MeasurementError: ...503: server busy... next: the server's queue is full...",
        answer=FAILS,
    ),
    Row(
        name="500: no memory for the request",
        faults=(b("status", status=500, message="model requires more system memory (5.6 GiB) than is available"),),
        seen="MeasurementError: ...the server answered 500: model requires more system memory... next: free memory...",
        answer=FAILS,
    ),
    Row(
        name="no memory for the model",
        faults=(b("out_of_memory", 1),),
        seen="ServerError: instance b ...answered 500: llama runner process ...: out of memory... next: free memory...",
        answer=FAILS,
    ),
    Row(
        name="another model under the name",
        faults=({"kind": "other_model"},),
        seen="ServerError: the instances serve different models under the name simulated:scripted: a has ..., b has "
        "... next: ollama pull simulated:scripted on each of them...",
        answer=FAILS,
    ),
    Row(
        name="the model leaves between rounds",
        faults=(b("unload", 4),),
        seen="round 2: instance b: the model had left; it was loaded again before the clock ran",
        answer=AGAIN,
    ),
    Row(
        name="another client loads the model otherwise",
        faults=(b("reload", 4, num_ctx=512),),
        seen="round 2: instance b: somebody else had loaded the model, with a context of 512 tokens, not 4096; ...",
        answer=AGAIN,
    ),
    Row(
        name="the model leaves within a round",
        faults=(b("unload", 3),),
        seen="round 1: a request of agent y waited ... ms for instance b to load the model; it was repeated",
        answer=REPEATED,
        script=SLOW_LOAD,
    ),
    Row(
        name="the model leaves within every round",
        faults=(b("unload", 3), b("unload", 5)),
        seen="MeasurementError: round 1 was repeated, and again a request of agent y waited ... ms ... next: ...api/ps",
        answer=FAILS,
        script=SLOW_LOAD,
    ),
    Row(
        name="the server restarts as another version",
        faults=(b("restart", 4, version="9.9.9-simulated"),),
        seen="ServerError: instance b ... answers as version 9.9.9-simulated before round 2, it was 0.0.0-simulated...",
        answer=STOPS,
    ),
    Row(
        name="the server restarts as it was",
        faults=(b("restart", 4, version="0.0.0-simulated"),),
        seen="round 2: instance b: the model had left; it was loaded again before the clock ran",
        answer=AGAIN,
    ),
    Row(
        name="another client's traffic",
        faults=(b("traffic", 2, tokens=400),),
        seen="round 1: agent y, alone, waited ... ms for instance b to begin: another client uses it; it counts...",
        answer=MARKED,
    ),
    Row(
        name="the second instance spills to the CPU",
        faults=({"kind": "spill", "factor": 0.4},),
        seen="instance b: 60 % of the model (0.6 GiB) is outside the GPU's memory and runs on the CPU: ...",
        answer="a note says so; a failing gate's diagnosis names it",
    ),
    Row(
        name="one instance grows hot and slow",
        faults=(b("throttle", "1-", factor=0.1, seconds=0.1),),
        seen="one agent takes longer than the other: balance ...",
        answer="the table says which effect it is; a soak sees the rate sink",
        script=slow(decode_tok_s=200),
    ),
    Row(
        name="one instance decodes slowly",
        faults=(b("slow_decode", "1-", factor=0.2),),
        seen="one agent takes longer than the other: balance ...",
        answer="the table says which effect it is",
        script=slow(decode_tok_s=200),
    ),
)


def matches(pattern: str, seen: str) -> bool:
    """Whether the text matches the pattern, whatever its line breaks; `...` matches anything."""
    parts = [re.escape(" ".join(part.split())) for part in pattern.split("...")]
    return re.search(".*".join(parts), " ".join(seen.split())) is not None
