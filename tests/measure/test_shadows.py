"""Processes of ours, started in a folder that holds modules of the names of Python's."""

import contextlib
from pathlib import Path

import pytest

from pytest_llmperf.measure.runtimes.process_runtime import ProcessesRuntime
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.measure.tap.tap_runtime import TapRuntime
from tests.measure.scripted import request_to, serving
from tests.started import start_own


def test_no_process_of_ours_imports_from_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's `selectors.py` is the user's: client processes, the tap and the servers start all the same."""
    for name in ("selectors", "json", "h11", "uvicorn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not me')")
    monkeypatch.chdir(tmp_path)
    with serving(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")) as url, contextlib.closing(Tap()) as tap:
        for runtime in (ProcessesRuntime(), TapRuntime(tap)):
            with contextlib.closing(runtime):
                assert runtime.run([[request_to(url)]], timeout_s=30).exchanges
    process, _ = start_own(["--engine", "scripted", "--script", "{}"], label="a", timeout_s=60)
    process.stop()
