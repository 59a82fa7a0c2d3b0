"""Every kind of fault that the simulated server has; docs/faults.md shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """The effect of a kind of fault, and its own keys with their defaults."""

    effect: str
    keys: Mapping[str, Any] = {}


_EARLY, _LATE = {"after_tokens": 0}, {"after_tokens": 1}

KINDS = {
    "refuse": Kind("connections are refused from this request on, for `seconds` (0: for good)", {"seconds": 0.0}),
    "reset": Kind("the connection is reset after `after_tokens` tokens", _EARLY),
    "stall": Kind(
        "the answer stops for `seconds` (0: for good) after `after_tokens` tokens", {**_EARLY, "seconds": 0.0}
    ),
    "half_line": Kind("the answer ends in the middle of a line", _LATE),
    "no_done": Kind("the answer ends normally, but without a line with `done`", _LATE),
    "error_line": Kind("an error in place of the next token", {**_LATE, "message": "an error was encountered"}),
    "crash": Kind(
        "the model's runner dies after `after_tokens` tokens; it is still listed and loaded again for the next request",
        {**_LATE, "message": "an error was encountered while running the model: unexpected EOF"},
    ),
    "garbage": Kind("the line `message` in place of the next token", {**_LATE, "message": "<html>"}),
    "repeat": Kind("one token 31 times, then an end without `done`: a model that is cut off", _LATE),
    "status": Kind("an HTTP error with the text `message`, or Ollama's own text", {"status": 500, "message": ""}),
    "die": Kind("the instance's process ends for good", _EARLY),
    "restart": Kind("the server restarts before this request with `version`", {"version": "0.0.1-simulated"}),
    "unload": Kind("the model is unloaded before this request, as after its keep-alive"),
    "reload": Kind("another client loads the model with this context before this request", {"num_ctx": 2048}),
    "traffic": Kind("another client asks for `tokens` tokens just before this request", {"tokens": 32}),
    "out_of_memory": Kind("the load of the model fails (`requests` counts loads)", {"message": ""}),
    "slow_load": Kind("the load takes `seconds` more (`requests` counts loads)", {"seconds": 1.0}),
    "slow_prefill": Kind("the first token takes 1/`factor` times as long", {"factor": 0.5}),
    "slow_decode": Kind("tokens come at `factor` times the rate", {"factor": 0.5}),
    "throttle": Kind("the token rate falls over `seconds` to `factor` of it", {"factor": 0.5, "seconds": 60.0}),
    "slow_acquire": Kind("the request waits `seconds` for the model, as for a load", {"seconds": 0.1}),
    "delay": Kind(
        "all bytes of the answer arrive `seconds` later, which the server's own times do not show", {"seconds": 0.1}
    ),
    "longer": Kind("the answer has `tokens` tokens, whatever the request says", {"tokens": 64}),
    "spill": Kind("only `factor` of the model is in VRAM, according to `/api/ps`", {"factor": 0.4}),
    "other_version": Kind("the server has this version", {"version": "0.0.1-simulated"}),
    "other_model": Kind("the name is that of another model, according to its digest"),
    "few_slots": Kind("the server works on `slots` requests at once, whatever was configured", {"slots": 1}),
    "small_context": Kind("the model gets at most `num_ctx` tokens of context", {"num_ctx": 2048}),
}

OF_ANSWERS = ("reset", "stall", "half_line", "no_done", "error_line", "crash", "garbage", "repeat", "status", "die")
"""Faults that spoil one answer; if several hit a request, the first one in the plan wins."""

BETWEEN = ("refuse", "restart", "unload", "reload")
"""Faults that happen before a request, as soon as the previous one has ended."""

OF_PACE = ("slow_prefill", "slow_decode", "throttle")

OF_WORK = ("slow_acquire", "delay", "longer")
"""Faults that change the work, besides the pace."""

FROM_THE_START = ("spill", "other_version", "other_model", "few_slots", "small_context")
"""Faults of a server from its start, independent of requests."""
