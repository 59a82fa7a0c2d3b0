"""The load testers that the plugin is compared with if they are installed: `aiperf` and `guidellm`, found on PATH.

Each streams 16 answers at once from a paced server with a TTFT of 50 ms and does no other work, so that the rest of its
wall time is its fixed cost.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row
from pytest_llmperf.measure.calibrate import paced_server

AGENTS, TOK_S, TOKENS, TTFT_MS = 16, 115, 115, 50.0

# Both want a tokenizer of Hugging Face's layout, though the server counts the tokens; two words do.
_TOKENIZER = {
    "tokenizer.json": {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "word": 1}, "unk_token": "[UNK]"},
    },
    "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"},
    "config.json": {"model_type": "gpt2", "vocab_size": 2},
}


_WEIGH = (  # a process of its own: the peak of a child counts what its parent had in memory when it was started
    "import os, subprocess, sys; child = subprocess.Popen(sys.argv[2:]); _, status, usage = os.wait4(child.pid, 0); "
    "open(sys.argv[1], 'w').write(str(usage.ru_maxrss)); os._exit(os.waitstatus_to_exitcode(status))"
)


def run(
    command: Sequence[str], folder: Path, *, codes: Sequence[int] = (0,), **environment: str
) -> tuple[float, float]:
    """Wall time in s and peak memory in MB of a process, waited for; the memory is that of its largest process.

    Raises:
        RuntimeError: it ended with another code than these.
    """
    log, weight = folder / "run.log", folder / "peak.txt"
    started = time.monotonic()
    with log.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", _WEIGH, str(weight), *command],
            cwd=folder,
            env=os.environ | environment,
            stdout=out,
            stderr=out,
            check=False,
        )
    wall_s = time.monotonic() - started
    if done.returncode not in codes:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {log.read_text()[-500:]}")
    return wall_s, int(weight.read_text()) / 1024


def rows() -> list[Row]:
    """Fixed cost, memory and reported TTFT of each peer; a line for each that is not there."""
    rows: list[Row] = []
    for peer, measure in (("aiperf", _aiperf), ("guidellm", _guidellm)):
        if shutil.which(peer) is None:
            print(f"   {peer} is not on PATH: not compared", flush=True)
            continue
        with tempfile.TemporaryDirectory() as name, paced_server(ttft_ms=TTFT_MS, tok_s=TOK_S, tokens=TOKENS) as url:
            folder = Path(name)
            for file, content in _TOKENIZER.items():
                (folder / file).write_text(json.dumps(content))
            try:
                wall_s, peak_mb, timed_s, ttfts_ms = measure(url, folder)
            except (RuntimeError, OSError, ValueError, LookupError) as error:
                print(f"   {peer} could not be measured: {error}", flush=True)
                continue
        low, mean, high = ttfts_ms
        rows += [
            Row(f"fixed cost of a run of {peer}", wall_s - timed_s, "s"),
            Row(f"peak memory of a run of {peer}, largest process", peak_mb, "MB"),
            Row(f"TTFT that {peer} reports, 16 streams, truth 50", mean, "ms", beside=f"{low:.1f} to {high:.1f} ms"),
        ]
    return rows


Figures = tuple[float, float, float, tuple[float, float, float]]
"""Wall time in s, peak memory in MB, time of the load itself in s, and TTFT in ms: least, mean, most."""


def _aiperf(url: str, folder: Path) -> Figures:
    load = ["--concurrency", str(AGENTS), "--request-count", str(AGENTS), "--streaming", "--endpoint-type", "chat"]
    output = ["--ui", "none", "--output-artifact-dir", str(folder / "out"), "--tokenizer", str(folder)]
    wall_s, peak_mb = run(["aiperf", "profile", "--model", "paced", "--url", url, *load, *output], folder)
    report = json.loads((folder / "out" / "profile_export_aiperf.json").read_text())
    ttft = report["time_to_first_token"]
    return wall_s, peak_mb, report["benchmark_duration"]["avg"], (ttft["min"], ttft["avg"], ttft["max"])


def _guidellm(url: str, folder: Path) -> Figures:
    load = ["--profile", "concurrent", "--rate", str(AGENTS), "--max-requests", str(AGENTS)]
    data = ["--data", "prompt_tokens=8,output_tokens=115", "--processor", str(folder), "--model", "paced"]
    command = ["guidellm", "benchmark", "--target", url, *load, *data, "--output-path", str(folder / "out.json")]
    wall_s, peak_mb = run(command, folder)
    (benchmark,) = json.loads((folder / "out.json").read_text())["benchmarks"]
    ttft = benchmark["metrics"]["time_to_first_token_ms"]["successful"]
    timed_s = benchmark["duration"] if "duration" in benchmark else benchmark["run_stats"]["duration"]
    return wall_s, peak_mb, timed_s, (ttft["min"], ttft["mean"], ttft["max"])
