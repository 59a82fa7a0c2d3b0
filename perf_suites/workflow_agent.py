"""An agent's workflow, as TR109 measured it: scan a folder, read its files, an analysis call, a report call, a report.

A program of its own that uses only the standard library. Its only link to pytest-llmperf is two environment variables,
OLLAMA_HOST and LLMPERF_MODEL.

    python workflow_agent.py FOLDER --report FILE [--analysis JSON] [--writing JSON] [--cold]
"""

import argparse
import csv
import json
import os
import statistics
import time
import urllib.request
import uuid
from pathlib import Path


def main() -> None:
    """The five steps, one after the other."""
    parser = argparse.ArgumentParser(description="scan, ingest, analyse, write")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--analysis", type=json.loads, default={}, help="options of the analysis call")
    parser.add_argument("--writing", type=json.loads, default={}, help="options of the report call")
    parser.add_argument("--cold", action="store_true", help="have the server unload the model first")
    asked = parser.parse_args()

    ask("/api/version")  # is it there?
    if asked.cold:
        unload()
    files = ingest(asked.folder)
    analysis = generate(f"Readings of {files}. In short, what stands out? What stands out is", asked.analysis)
    report = generate(f"Notes: {analysis[:200]} Write the report. It begins: The readings show", asked.writing)
    asked.report.write_text(f"# Report\n\n{files}\n\n## Analysis\n\n{analysis}\n\n## Report\n\n{report}\n", "utf-8")


def ingest(folder: Path) -> str:
    """What is in the files of the folder, in a sentence."""
    rates, names, words = [], [], 0
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                rates += [float(row["tok_s"]) for row in csv.DictReader(file)]
        elif path.suffix == ".json":
            names.append(json.loads(path.read_text("utf-8"))["name"])
        elif path.suffix == ".md":
            words += len(path.read_text("utf-8").split())
    middle, spread = statistics.fmean(rates), statistics.stdev(rates)
    return f"{len(rates)} runs of {len(names)} configurations: mean {middle:.1f} tok/s, sd {spread:.1f}, {words} words"


def generate(prompt: str, options: dict) -> str:
    """One call; the prompt begins unlike any other, so that no server finds it in its cache."""
    body = {"model": os.environ["LLMPERF_MODEL"], "prompt": f"{uuid.uuid4()} {prompt}", "options": options}
    lines = ask("/api/generate", body).splitlines()
    return "".join(json.loads(line).get("response", "") for line in lines)


def unload() -> None:
    """The server forgets the model; that takes a moment."""
    ask("/api/generate", {"model": os.environ["LLMPERF_MODEL"], "keep_alive": 0})
    while json.loads(ask("/api/ps"))["models"]:
        time.sleep(0.01)


def ask(path: str, body: dict | None = None) -> str:
    """A request to the server, and its answer."""
    data = None if body is None else json.dumps(body).encode()
    url = os.environ["OLLAMA_HOST"]
    request = urllib.request.Request(f"{url}{path}" if "://" in url else f"http://{url}{path}", data=data)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return answer.read().decode()


if __name__ == "__main__":
    main()
