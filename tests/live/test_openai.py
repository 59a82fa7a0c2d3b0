"""Two real `llama-server` processes, reached by the OpenAI-compatible API: what it can give, and what it cannot."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.servers.emulator.model_files import assemble_packaged
from pytest_llmperf.servers.processes.server_process import ServerProcess, free_port, wait_until
from tests.live import KEEPS_UP, PATIENCE_S

pytestmark = pytest.mark.live


@pytest.fixture
def servers():
    """Two of them with the packaged Gemma 3 270M, one thread and one slot each."""
    if (binary := shutil.which("llama-server")) is None:
        pytest.skip("no `llama-server` on PATH")
    model = str(assemble_packaged())
    with ExitStack() as stack:
        urls = []
        for name in "ab":
            port = free_port()
            options = ["-m", model, "--alias", "gemma", "--port", str(port), "-c", "512", "-np", "1", "-t", "1"]
            process = ServerProcess([binary, *options], label=f"llama-server {name}")
            stack.callback(process.stop)
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda url=url: _ready(url), process, timeout_s=PATIENCE_S, poll_s=0.1)
            urls.append(url)
        yield urls


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=5).is_success
    except httpx.HTTPError:
        time.sleep(0.1)
        return False


def test_the_suite_that_users_run(servers, tmp_path):
    """Tokens, client times and llama-server's own timings are there; queue time is not, and the summary says so."""
    options = [
        "--llmperf-backend=openai",
        f"--llmperf-urls={servers[0]},{servers[1]}/v1",
        "--llmperf-baseline=embedded",
        "--llmperf-rounds=2",
        "--llmperf-max-rounds=2",
        f"--llmperf-start-timeout={PATIENCE_S:g}",
        f"--llmperf-timeout={PATIENCE_S:g}",
        "--llmperf-limit=efficiency=1,contention=1",  # how busy this machine is, is not what is tested here
        "--llmperf-on-inconclusive=warn",
        f"--llmperf-json={tmp_path / 'run.json'}",
    ]
    command = [sys.executable, "-m", "pytest", "perf_suites", "-m", "multiagent", *KEEPS_UP, "-p", "no:cacheprovider"]
    root = Path(__file__).parent.parent.parent
    wide = {**os.environ, "COLUMNS": "1000"}  # the summary's lines are not broken
    done = subprocess.run(
        [*command, "-W", "default", *options],
        cwd=root,
        env=wide,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "queue time and server TTFT are not known" in done.stdout
    records = json.loads((tmp_path / "run.json").read_text())["records"]
    assert len(records) == 3
    for record in records:
        facts = record["measurement"]["manifest"]["facts"]
        assert (facts["backend"], facts["engine"], facts["model"]) == ("openai", "OpenAI-compatible", "gemma")
        (request,) = record["measurement"]["rounds"][0]["solo"][0]["requests"]
        assert 0 < request["eval_count"] <= 32
        assert request["eval_duration_ns"] > 0
        assert request["total_duration_ns"] == 0
