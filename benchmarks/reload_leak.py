"""How much memory the embedded server keeps of each reload, since it loads llama.cpp's model anew in one process.

Each reload asks for another number of threads, which moves neither the context nor its cache, and is followed by a
short generation. Prints a row: growth of the resident set over all reloads but the first three, by their number. It
grows in steps, where the C library's allocator begins another arena; with MALLOC_ARENA_MAX=1 in the environment one
sees what is really lost.
"""

import argparse
import sys

import psutil

from benchmarks.rows import Row, show
from pytest_llmperf.model import Settings, TopologyKind
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.ollama_client import OllamaClient

SETTLED = 3
"""Reloads that are not counted."""

MOST = 0.02
"""Limit as a share of the resident set with the model loaded: a leaked model would add a half, a leaked cache of 512
tokens a fiftieth."""


def resident_mb(port: int) -> float:
    """The resident set of the process of ours that listens on this port."""
    for process in psutil.Process().children(recursive=True):
        if any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for connection in process.net_connections()
        ):
            return process.memory_info().rss / 1e6
    raise RuntimeError(f"no process of ours listens on {port}")


def rows(reloads: int, backend: str = "embedded") -> list[Row]:
    """One row, from one server."""
    with choose(Settings(backend=backend)).open(TopologyKind.SINGLE, 1) as opened:
        url, model = opened.topology.instances[0].url, opened.topology.model
        port, sizes_mb = int(url.rpartition(":")[2]), []
        with OllamaClient(url) as control:
            for reload in range(reloads + 1):
                options = {"num_ctx": 512, "num_thread": 1 + reload % 2, "num_predict": 4}
                body = {"model": model, "prompt": "The sea", "stream": False, "options": options}
                answer = control.send("POST", "/api/generate", json=body, timeout=120.0)
                if answer.is_error:
                    raise RuntimeError(f"the server answered {answer.status_code}: {answer.text}")
                sizes_mb.append(resident_mb(port))
    kept_mb = (sizes_mb[-1] - sizes_mb[SETTLED]) / (reloads - SETTLED)
    beside = f"once loaded {sizes_mb[0]:.0f} MB, after {SETTLED} {sizes_mb[SETTLED]:.0f}, "
    beside += f"most {max(sizes_mb):.0f}, at the end {sizes_mb[-1]:.0f}"
    figure = f"kept of a reload, {reloads} reloads ({backend}): over the set once loaded"
    return [Row(figure, kept_mb / sizes_mb[0], "x", most=MOST, beside=f"{kept_mb:.1f} MB; {beside}")]


def main() -> int:
    """Prints the row; 1 where a reload keeps more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=20, help="at least 5 (default: %(default)s)")
    return show(rows(parser.parse_args().reloads))


if __name__ == "__main__":
    sys.exit(main())
