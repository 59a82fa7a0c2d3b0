"""A pytest plugin that repeats each test that uses sockets, processes or sleeps, beside busy neighbours (make flaky).

A test that takes less than half a second runs 50 times, a longer test 10 times, or until it fails. A journal has a line
for each test, so that an interrupted run can be continued; a failed test is repeated.

LLMPERF_SHARD=2/4 runs the second quarter of the files, LLMPERF_NEIGHBOURS sets the busy loops (default: two a core).
"""

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

JOURNAL = Path(".flaky.jsonl")
MANY, FEW, QUICK_S = 50, 10, 0.5
TOUCHES = ("socket.bind", "socket.connect", "subprocess.Popen", "os.posix_spawn", "os.fork", "time.sleep")
"""Events of the interpreter's audit; Python before 3.13 does not audit sleeping, so that we do."""

BUSY = "import os, sys\nwhile os.path.exists('/proc/' + sys.argv[1]): pass"
NEIGHBOURS = """
import subprocess, sys
for _ in range(int(sys.argv[3])):
    subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1], sys.argv[2]])
"""
"""Starts them and ends, so that they are nobody's children: tests look for their own. They end when pytest does."""

_touched: set[str] = set()


def _audit(event: str, _: tuple[object, ...]) -> None:
    if event in TOUCHES:
        _touched.add(event)


def _audited_sleep(seconds: float, _sleep: Callable[[float], None] = time.sleep) -> None:
    _touched.add("time.sleep")
    _sleep(seconds)


def pytest_configure() -> None:
    """The neighbours begin; the tests are watched."""
    time.sleep = _audited_sleep
    count = os.environ.get("LLMPERF_NEIGHBOURS", str(2 * (os.cpu_count() or 1)))
    subprocess.run([sys.executable, "-S", "-c", NEIGHBOURS, BUSY, str(os.getpid()), count], check=True)
    sys.addaudithook(_audit)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """This shard's tests that no run before this one has passed."""
    shard, _, shards = os.environ.get("LLMPERF_SHARD", "1/1").partition("/")
    done = {entry["test"] for entry in _entries() if not entry["failed"]}
    ours = [
        item
        for item in items
        if zlib.crc32(item.nodeid.partition("::")[0].encode()) % int(shards) == int(shard) - 1
        and item.nodeid not in done
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(ours)])
    items[:] = ours


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Runs it once, and again where it touched what may behave in more than one way."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    _touched.clear()
    begun_s = time.monotonic()
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    took_s = time.monotonic() - begun_s
    touched, runs = sorted(_touched), 1
    ran = not any(report.skipped for report in reports)
    wanted = (MANY if took_s < QUICK_S else FEW) if touched and ran else 1
    while runs < wanted and not any(report.failed for report in reports):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        runs += 1
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    if ran:
        failed = any(report.failed for report in reports)
        _note(test=item.nodeid, runs=runs, failed=failed, touched=touched, first_s=round(took_s, 3))
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the journal holds."""
    last = {entry["test"]: entry for entry in _entries()}
    touching = [entry for entry in last.values() if entry["touched"]]
    counts = ", ".join(f"{sum(entry['runs'] == n for entry in touching)} ran {n} times" for n in (MANY, FEW))
    terminalreporter.line(f"{JOURNAL}: {len(touching)} tests use sockets, processes or sleeps; {counts}")
    for entry in last.values():
        if entry["failed"]:
            terminalreporter.line(f"failed in run {entry['runs']}: {entry['test']}", red=True)


def _entries() -> list[dict]:
    if not JOURNAL.exists():
        return []
    return [json.loads(line) for line in JOURNAL.read_text().splitlines()]


def _note(**entry: object) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(json.dumps(entry) + "\n")
