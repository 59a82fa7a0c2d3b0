"""The runtime ray on two hosts in network and time namespaces, with clocks 1,000 s apart."""

import importlib.util
import json
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.namespaces import AHEAD_S, Hosts, Program, why_not

WHY_NOT = why_not() or ("" if importlib.util.find_spec("ray") else "Ray is not installed: pip install -e '.[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

HOSTS = int(os.environ.get("LLMPERF_RAY_HOSTS", "2"))
"""Beside the coordinator's."""

LABELS = ("one", "two", "three", "four")
HEAD, HEAD_ADDRESS = "10.77.0.1", "10.77.0.1:6379"
AHEAD_NS = {f"10.77.{number}.2": AHEAD_S * (number + 1) * 1_000_000_000 for number in range(HOSTS)} | {HEAD: 0}


class Cluster:
    """Ray on the coordinator and two hosts with the labels `role=one` and `role=two`."""

    def __init__(self, stack: ExitStack) -> None:
        self.network = stack.enter_context(Hosts("tests.measure.hosts.ray_program", HOSTS, routed=True))
        self.nodes = [self.network.beside(), *self.network.hosts]
        self._start(self.nodes[0], HEAD, "", "head")
        for host, address, label in zip(self.network.hosts, self.network.addresses(), LABELS, strict=False):
            self._start(host, address, HEAD_ADDRESS, label)
        self.driver: Program | None = None

    def part(self, kind: str = "") -> Any:
        """What the runtime says of one part; one driver runs all of them."""
        if self.driver is None:
            self.driver = self.network.beside()
            self.driver.start("drive", HEAD_ADDRESS, HEAD, AHEAD_NS)
            assert self.driver.hear() == "ready"
        self.driver.tell(kind)
        return self.driver.hear()

    def _start(self, program: Program, *arguments: str) -> None:
        program.start("node", *arguments)
        assert "session" in (said := program.hear()), said


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield Cluster(stack)


def test_times_are_on_one_clock(cluster: Cluster) -> None:
    """No request arrives before it was sent, no token before it left the server, and each clock is within its bound."""
    for _ in range(3):
        said = cluster.part()
        assert "rows" in said, said
        bound_ns = said["bound_ns"]
        for row in said["rows"]:
            assert row["sent_early_ns"] >= -bound_ns
            assert row["least_late_ns"] >= -bound_ns
            assert row["sent_ns"] >= -bound_ns
        assert set(said["clocks"]) == {"10.77.0.2", "10.77.1.2"}
        for estimates in said["clocks"].values():
            assert all(abs(error_ns) <= own_bound_ns for error_ns, own_bound_ns in estimates)
    print(f"\na part on two hosts: {json.dumps(said)}")
    assert said["facts"].startswith(f"{HOSTS + 1} x CPython ")
    assert len(said["cpu_ns"]) == 2


def test_an_agent_waits_for_one_of_another_host(cluster: Cluster) -> None:
    """One host's actor calls the other's when a request has ended."""
    said = cluster.part("chain")
    first, second = said["rows"]
    print(f"\nfrom host to host: {(second['sent_ns'] - first['ended_ns']) / 1e6:.2f} ms")
    assert second["sent_ns"] >= first["ended_ns"] - 2 * said["bound_ns"]


@pytest.mark.parametrize("count", [16, 64])
def test_many_agents(cluster: Cluster, count: int) -> None:
    """On all hosts at once: each gets its whole answer, in its own place of the part."""
    said = cluster.part(f"many {count}")
    assert said.pop("labels") == [f"m{seat}" for seat in range(count)]
    assert said.pop("chunks") == [40 + 1] * count  # the last line has the counts
    assert said["actors"] == HOSTS + 1
    print(f"\n{count} agents on {HOSTS + 1} hosts: {json.dumps(said)}")


def test_a_whole_run(cluster: Cluster, tmp_path: Path) -> None:
    """Pytest on the coordinator, agents on the hosts of their labels; the record has the bound of the clocks."""
    (tmp_path / "llmperf.toml").write_text('[hosts]\nx = "role=one"\ny = "role=two"\n', encoding="utf-8")
    (tmp_path / "test_it.py").write_text(
        "from pytest_llmperf import Agent, Scenario\n"
        "AGENTS = (Agent(name='x', prompts=('a', 'b')), Agent(name='y', prompts=('c', 'd')))\n"
        "def test_it(dual_ollama, run_agents):\n"
        "    run_agents(Scenario(name='pair', agents=AGENTS), on=dual_ollama)\n",
        encoding="utf-8",
    )
    options = ("runtime=ray", f"ray-address={HEAD_ADDRESS}", "rounds=3", "max-rounds=3", "json=out.json")
    pytest_ = cluster.network.beside()
    pytest_.start("pytest", HEAD, str(tmp_path), [f"--llmperf-{option}" for option in options])
    said = pytest_.hear()
    print(said["output"])
    assert said["status"] == 0, said["output"]
    (record,) = json.loads((tmp_path / "out.json").read_text("utf-8"))["records"]
    measurement = record["measurement"]
    assert measurement["manifest"]["facts"]["hosts"].startswith(f"{HOSTS + 1} x CPython ")
    rounds = measurement["rounds"] + measurement["discarded"]
    assert len(rounds) >= 3
    for round_ in rounds:
        assert round_["clock_bound_ns"] > 0
        for run in (*round_["solo"], *round_["together"]):
            sent_ns = [request["sent_ns"] for request in run["requests"]]
            assert sent_ns == sorted(sent_ns)
    assert any("not be calibrated" in note for note in measurement["notes"])


def test_what_is_gone_is_named(cluster: Cluster) -> None:
    """A killed process may be replaced, and the part repeated; a lost host may not."""
    assert "rows" in cluster.part()
    (killed,) = actors_in(cluster.network.hosts[0])
    os.kill(killed, signal.SIGKILL)
    said = cluster.part()
    assert "host 10.77.0.2: the process of its clients died" in said["error"]
    assert said["passing"]
    assert "rows" in cluster.part()
    cluster.network.hosts[1].tell("die")
    assert cluster.network.hosts[1].hear() == "dead"
    said = cluster.part()
    assert "host 10.77.1.2: " in said["error"]
    while "left the cluster" not in said["error"]:  # Ray notices a moment later
        said = cluster.part()
    assert not said["passing"]
    assert [text.partition(": it left")[0] for text in said["lost"]] == ["host 10.77.1.2"]
    said = cluster.part()
    assert "no host of the cluster has the label role=two" in said["error"]


def actors_in(host: Program) -> list[int]:
    """The processes of our actors in the network of a host."""
    network = Path(f"/proc/{host.pid}/ns/net").readlink()
    pids = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if "HostActor" in " ".join(process.cmdline()) and Path(f"/proc/{process.pid}/ns/net").readlink() == network:
                pids.append(process.pid)
    return pids
