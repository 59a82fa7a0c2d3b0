"""What a session was asked to do: options, ini values and defaults, resolved once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

BACKENDS = ("auto", "attach", "ollama", "embedded", "simulated")
RUNTIMES = ("threads", "asyncio", "uvloop", "processes")
"""How clients run at once; the first is the default."""

_DAY_MS = 86_400_000
_RANGES = {
    "ttft_ms": (0, _DAY_MS),
    "prefill_tok_s": (1e-3, 1e9),
    "decode_tok_s": (1e-3, 1e9),
    "jitter_pct": (0, 100),
    "load_ms": (0, _DAY_MS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How the scripted engine of the simulated backend behaves.

    The default rate is the report's. Its TTFTs are no defaults: 1437 ms (TR109, 5.2.2) and 603 ms (TR111_v2, 5.4.2)
    are cold starts (I.2), which our warm-up leaves out, and it states no warm one: 40 ms is a choice of ours.

    Attributes:
        ttft_ms: time to the first token besides prefill; 0 to a day.
        prefill_tok_s: prompt tokens a second; 0.001 to 1e9.
        decode_tok_s: generated tokens a second and slot; 0.001 to 1e9.
        jitter_pct: standard deviation of each duration, percent of it; 0 to 100.
        seed: of the jitter.
        load_ms: time to load the model; 0 to a day.

    Raises:
        ValueError: a figure that is out of its range, or none; lists every one.
    """

    ttft_ms: float = 40.0
    prefill_tok_s: float = 4000.0
    decode_tok_s: float = 102.85  # TR108: gemma3:latest, one agent
    jitter_pct: float = 0.5
    seed: int = 108
    load_ms: float = 50.0

    def __post_init__(self) -> None:
        faults = []
        for one in fields(self):
            value, (low, high) = getattr(self, one.name), _RANGES.get(one.name, (-math.inf, math.inf))
            if not (math.isfinite(value) and low <= value <= high):
                faults.append(f"{one.name} = {value:g}, wanted {low:g} to {high:g}")
        if faults:
            raise ValueError("; ".join(faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a session. Each has an option `--llmperf-...` and an ini twin `llmperf_...`.

    Attributes:
        backend: one of BACKENDS.
        urls: base addresses for `attach`.
        model: name on the servers; empty = the backend's choice.
        gguf: a GGUF file for `embedded` (or to import into `ollama`); empty = the packaged model.
        ports: ports for the instances that we start; empty = the system chooses.
        threads: CPU threads an instance; 0 = cores divided by instances.
        ollama_bin: path of the binary; empty = PATH.
        runtime: one of RUNTIMES.
        calibrate: whether the harness measures its own cost before the first round.
        min_rounds, max_rounds: bounds of the number of rounds.
        warmups: discarded requests an instance.
        timeout_s: most seconds for one request.
        start_timeout_s: most seconds for an instance to answer and load.
        baseline: name or path; empty = by backend.
        baselines_dir: folder of the user's baselines.
        save: name to save under; empty = do not.
        compare: name to gate against; empty = do not.
        update: name whose sessions of the tests that ran are replaced; empty = do not.
        limits: limits by marker name, from the command line or ini.
        on_inconclusive: what an undecided limit gate does: `fail` or `warn`.
        on_inconclusive_regression: what an undecided regression gate does: `fail`, `warn`, or `young`: warn while
            its baseline has fewer than `min_sessions`, fail after.
        min_sessions: how many stored sessions make a baseline old enough.
        on_mismatch: `fail`, `warn` or `skip`.
        json: file to write; empty = none.
        force_topology: run every test on this topology kind; empty = as its fixture says.
        script: of the simulated backend.
    """

    backend: str = "auto"
    urls: tuple[str, ...] = ()
    model: str = ""
    gguf: str = ""
    ports: tuple[int, ...] = ()
    threads: int = 0
    ollama_bin: str = ""
    runtime: str = RUNTIMES[0]
    calibrate: bool = True
    min_rounds: int = 5
    max_rounds: int = 20
    warmups: int = 1
    timeout_s: float = 300.0
    start_timeout_s: float = 120.0
    baseline: str = ""
    baselines_dir: str = "baselines"
    save: str = ""
    compare: str = ""
    update: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    on_inconclusive: str = "fail"
    on_inconclusive_regression: str = "young"
    min_sessions: int = 4
    on_mismatch: str = "fail"
    json: str = ""
    force_topology: str = ""
    script: Script = Script()
