"""The specification of SPEC.md, apart from its HTTP client: a program supplies `ask`."""

import asyncio
import csv
import json
import os
import platform
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path


def body(prompt):
    """The body of a request; its prompt begins unlike any other."""
    options = {"num_predict": int(os.environ.get("LLMPERF_NUM_PREDICT", "32")), "seed": 42}
    prompt = f"{uuid.uuid4().hex} {prompt}"
    return {"model": os.environ["LLMPERF_MODEL"], "prompt": prompt, "stream": True, "options": options}


def ingest(folder):
    """Reads the files of the folder, and returns a sentence about them."""
    rates, configurations, words = [], 0, 0
    for path in sorted(Path(folder).iterdir()):
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                rates += [float(row["tok_s"]) for row in csv.DictReader(file)]
        elif path.suffix == ".json":
            str(json.loads(path.read_text("utf-8"))["name"])
            configurations += 1
        elif path.suffix == ".md":
            words += len(path.read_text("utf-8").split())
    mean = sum(rates) / len(rates)
    return f"{len(rates)} runs of {configurations} configurations: mean {mean:.1f} tok/s, {words} words"


def mark(base, moment):
    """Posts a mark to the tap if it reads marks; a server that does not know it answers 404, which is no error."""
    if os.environ.get("LLMPERF_MARKS") != "1":
        return
    request = urllib.request.Request(f"{base}/llmperf/{moment}", data=b"", headers={"Connection": "close"})
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        error.close()


async def agent(name, base, ask):
    """One agent: `ask(base, body)` posts a body and returns the text of the streamed answer."""
    await asyncio.to_thread(mark, base, "begin")
    if sys.argv[1] == "workflow":
        first = f"Readings of {ingest(sys.argv[2])}. What stands out is"
        second, reports = "Write the report. The readings show", sys.argv[3:]
    else:
        first, second, reports = "Describe the readings.", "In one sentence, the readings show", sys.argv[2:]
    analysis = await ask(base, body(first))
    report = await ask(base, body(second))
    for folder in reports:
        text = f"# Report\n\n## Analysis\n\n{analysis}\n\n## Report\n\n{report}\n"
        (Path(folder) / f"{name}.md").write_text(text, "utf-8")
    await asyncio.to_thread(mark, base, "end")


async def team(ask):
    """One agent for each name in LLMPERF_AGENTS, or a single one at LLMPERF_BASE_URL."""
    if names := os.environ.get("LLMPERF_AGENTS"):
        named = [(name, os.environ[f"LLMPERF_BASE_URL_{name.upper()}"]) for name in names.split(",")]
    else:
        named = [("agent", os.environ["LLMPERF_BASE_URL"])]
    await asyncio.gather(*(agent(name, base, ask) for name, base in named))


def print_about(runtime):
    """Prints the line about this program."""
    print(json.dumps({"language": "python", "runtime": runtime, "version": platform.python_version()}))
