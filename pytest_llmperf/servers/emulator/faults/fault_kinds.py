"""Every kind of fault that the simulated server has; docs/faults.md shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """What a kind of fault does, and its own keys with their defaults."""

    effect: str
    keys: Mapping[str, Any] = {}


_EARLY, _LATE = {"after_tokens": 0}, {"after_tokens": 1}

KINDS = {
    "refuse": Kind("connections are refused from this request on, for `seconds` (0: for good)", {"seconds": 0.0}),
    "reset": Kind("the connection is reset after so many tokens", _EARLY),
    "stall": Kind("nothing comes for `seconds` (0: ever) after so many tokens", {**_EARLY, "seconds": 0.0}),
    "half_line": Kind("the answer ends in the middle of a line", _LATE),
    "no_done": Kind("the answer ends well, but without a line that says `done`", _LATE),
    "error_line": Kind("an error in place of the next token", {**_LATE, "message": "an error was encountered"}),
    "crash": Kind(
        "the model's runner dies after so many tokens; the model is still listed, and loaded anew for the next request",
        {**_LATE, "message": "an error was encountered while running the model: unexpected EOF"},
    ),
    "garbage": Kind("a line that is `message` in place of the next token", {**_LATE, "message": "<html>"}),
    "repeat": Kind("one token 31 times, then an end without `done`: a model that is cut off", _LATE),
    "status": Kind("an HTTP error; without `message` in Ollama's words", {"status": 500, "message": ""}),
    "die": Kind("the instance's process ends, for good", _EARLY),
    "restart": Kind("the server starts anew before this request, as `version`", {"version": "0.0.1-simulated"}),
    "unload": Kind("the model has left before this request, as after its keep-alive"),
    "reload": Kind("another client loads the model with this context before this request", {"num_ctx": 2048}),
    "traffic": Kind("another client asks for so many tokens just before this request", {"tokens": 32}),
    "out_of_memory": Kind("the load of the model fails (`requests` counts loads)", {"message": ""}),
    "slow_load": Kind("the load takes `seconds` more (`requests` counts loads)", {"seconds": 1.0}),
    "slow_prefill": Kind("the first token takes 1/`factor` times as long", {"factor": 0.5}),
    "slow_decode": Kind("tokens come at `factor` times the rate", {"factor": 0.5}),
    "throttle": Kind("the rate of tokens sinks over `seconds` to `factor` of it", {"factor": 0.5, "seconds": 60.0}),
    "slow_acquire": Kind("the request waits `seconds` for the model, as for a load", {"seconds": 0.1}),
    "delay": Kind("all bytes of the answer come `seconds` later, which the server does not know", {"seconds": 0.1}),
    "longer": Kind("the answer has so many tokens, whatever was asked for", {"tokens": 64}),
    "spill": Kind("only `factor` of the model sits in VRAM: `/api/ps` says so", {"factor": 0.4}),
    "other_version": Kind("the server is of this version", {"version": "0.0.1-simulated"}),
    "other_model": Kind("the name stands for another model: its digest says so"),
    "few_slots": Kind("the server works on `slots` requests at once, whatever was asked for", {"slots": 1}),
    "small_context": Kind("the model gets no more than `num_ctx` tokens of context", {"num_ctx": 2048}),
}

OF_ANSWERS = ("reset", "stall", "half_line", "no_done", "error_line", "crash", "garbage", "repeat", "status", "die")
"""What spoils one answer; where several hit a request, the first of the plan does."""

BETWEEN = ("refuse", "restart", "unload", "reload")
"""What happens before a request, as soon as the one before has ended."""

OF_PACE = ("slow_prefill", "slow_decode", "throttle")

OF_WORK = ("slow_acquire", "delay", "longer")
"""What is done differently, besides the pace."""

FROM_THE_START = ("spill", "other_version", "other_model", "few_slots", "small_context")
"""What a server is like: no matter of requests."""
