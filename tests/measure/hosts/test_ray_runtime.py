"""The runtime ray without Ray: real actors, clients and clocks, but all hosts are threads of this process."""

import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmperf.errors import MeasurementError, MissingExtraError, UsageError
from pytest_llmperf.measure.client_pool import Clients
from pytest_llmperf.measure.hosts import crews as crews_module
from pytest_llmperf.measure.hosts import ray_runtime as module
from pytest_llmperf.measure.hosts.clock_probe import Clocks, ClockServer
from pytest_llmperf.measure.hosts.host_actor import HostActor, HostFacts, check_versions, facts_here
from pytest_llmperf.measure.hosts.ray_cluster import Host, HostLostError, check_installed
from pytest_llmperf.measure.hosts.ray_plan import RayPlan
from pytest_llmperf.measure.hosts.ray_runtime import RayRuntime
from pytest_llmperf.measure.wire.prepared_request import Request
from pytest_llmperf.model import Step
from tests.measure.runtimes.test_turns import ANSWER, LOOPED, PAUSED, TEAM, check_turns, clients_of
from tests.measure.scripted import request_to, serving

HOUR_S = 3600.0


class Actor:
    """A HostActor whose methods run in threads, as Ray runs them: `actor.method.remote(...)`."""

    def __init__(self, actor: HostActor) -> None:
        self.actor = actor
        self.threads = ThreadPoolExecutor(4)

    def __getattr__(self, name: str) -> Any:
        class Method:
            @staticmethod
            def remote(*arguments: Any) -> Future[Any]:
                return self.threads.submit(getattr(self.actor, name), *arguments)

        return Method


class Cluster:
    """In place of RayCluster."""

    own = False

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.all = list(hosts)
        self.actors: list[tuple[Host, Actor]] = []
        self.killed: list[Any] = []
        self.dying: HostLostError | None = None
        self.closed = 0

    def hosts(self) -> tuple[Host, ...]:
        return tuple(self.all)

    def actor(self, host: Host, key: bytes) -> Actor:
        self.actors.append((host, Actor(HostActor(host.address, key))))
        return self.actors[-1][1]

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)
        actor.actor.give_up(actor.actor._part)
        actor.actor._close()

    def answers(self, calls: Any, *, limit_s: float, each: Callable[[Any], None] = lambda _: None) -> list[Any]:
        if self.dying is not None:
            wait([future for _, future in calls], timeout=limit_s)
            error, self.dying = self.dying, None
            raise error
        pending = {future for _, future in calls}
        while pending:
            done, pending = wait(pending, timeout=limit_s, return_when=FIRST_COMPLETED)
            for future in done:
                each(future.result())
        return [future.result() for _, future in calls]

    def close(self) -> None:
        self.closed += 1


def host(number: int, **changes: Any) -> Host:
    """A host on this machine, with the label `role=rN`."""
    plain = Host(node=f"n{number}", address="127.0.0.1", labels={"role": f"r{number}"}, here=True)
    return replace(plain, **changes)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster([host(0), host(1)])
    yield made
    for _, actor in made.actors:
        actor.threads.shutdown()
        if actor.actor._clock is not None:
            actor.actor._clock.close()
        if actor.actor._stamping is not None:
            actor.actor._stamping.close()


@pytest.fixture
def runtime(cluster: Cluster) -> Iterator[RayRuntime]:
    plan = RayPlan(
        address="auto", labels={"edge": "role=r1", "lost": "role=r7"}, start=lambda: pytest.fail("own cluster")
    )
    made = RayRuntime(plan, cluster=lambda *_: cluster)
    yield made
    made.close()


def seated(url: str, agent: str, seat: int, label: str = "") -> Request:
    return replace(request_to(url, label or agent), agent=agent, seat=seat)


def places_of(cluster: Cluster) -> list[str]:
    return [host.node for host, _ in cluster.actors]


def test_each_client_gets_its_answers_in_order(runtime: RayRuntime, cluster: Cluster) -> None:
    """Agents take turns on the hosts; the part has all of them in their order, on one clock, with a bound."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        clients = [[seated(url, name, seat, f"{name}{turn}") for turn in range(2)] for seat, name in enumerate("abc")]
        for _ in range(2):  # the actors stay for the next part
            part = runtime.run(clients, timeout_s=30)
            labels = [[exchange.label for exchange in client] for client in part.exchanges]
            assert labels == [["a0", "a1"], ["b0", "b1"], ["c0", "c1"]]
            assert places_of(cluster) == ["n0", "n1"]
            assert (len(part.cpu_ns), len(part.lag_ns)) == (2, 3)
            assert part.clock_bound_ns > 0
            for client in part.exchanges:
                assert client[0].sent_ns >= part.start_ns - part.clock_bound_ns
                assert [b"".join(piece.data for piece in exchange.pieces) for exchange in client] == [ANSWER] * 2


def test_an_agent_stays_on_its_host(runtime: RayRuntime, cluster: Cluster) -> None:
    """Alone and together; alone there is one clock only, and no bound."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        assert runtime.run([[seated(url, "b", 1)]], timeout_s=30).clock_bound_ns is None
        assert places_of(cluster) == ["n1"]
        runtime.run([[seated(url, "a", 0)], [seated(url, "b", 1)]], timeout_s=30)
        assert places_of(cluster) == ["n1", "n0"]


def test_a_label_chooses_the_host(runtime: RayRuntime, cluster: Cluster) -> None:
    """Whatever the turn; an unknown one is an error that says what to do."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        runtime.run([[seated(url, "edge", 0)]], timeout_s=30)
        assert places_of(cluster) == ["n1"]
        with pytest.raises(UsageError, match=r"(?s)agent lost: no host .* the label role=r7.*--labels=role=r7"):
            runtime.run([[seated(url, "lost", 0)]], timeout_s=30)


def test_many_clients_share_several_actors(
    runtime: RayRuntime, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An actor has at most that number of clients; the clients of one host have one clock, and no bound."""
    monkeypatch.setattr(module, "MOST_CLIENTS", 2)
    cluster.all = [host(0)]
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        part = runtime.run([[seated(url, f"a{seat}", seat)] for seat in range(5)], timeout_s=30)
    assert [exchanges[0].label for exchanges in part.exchanges] == [f"a{seat}" for seat in range(5)]
    assert (len(cluster.actors), len(part.cpu_ns), part.clock_bound_ns) == (3, 3, None)


@pytest.mark.parametrize("team", [TEAM, LOOPED, PAUSED], ids=["fan-out and join", "loop", "pauses"])
def test_every_request_waits_for_its_turn(runtime: RayRuntime, team: Any, cluster: Cluster) -> None:
    """The actors whose agents wait for a request hear of its end. Here the hosts have one clock."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        for _ in range(2):
            clients = [
                [replace(request, seat=seat) for request in own] for seat, own in enumerate(clients_of(url, team))
            ]
            part = runtime.run(clients, timeout_s=30)
            assert set(places_of(cluster)) == {"n0", "n1"}
            within_ns = 2 * part.clock_bound_ns
            late = [[replace(each, sent_ns=each.sent_ns + within_ns) for each in own] for own in part.exchanges]
            check_turns(replace(part, exchanges=late), team)


def test_a_failure_ends_the_clients_of_other_hosts(runtime: RayRuntime) -> None:
    """Those that wait for an hour, too; the actors can be used again."""

    def reset(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with serving(reset) as bad, serving(lambda sock: sock.sendall(ANSWER)) as good:
        dreamer = replace(seated(good, "b", 1), step=Step(think_ns=round(HOUR_S * 1e9)))
        with pytest.raises(MeasurementError, match="a: the connection failed"):
            runtime.run([[seated(bad, "a", 0)], [dreamer]], timeout_s=30)
        part = runtime.run([[seated(good, "a", 0)], [seated(good, "b", 1)]], timeout_s=30)
        assert [exchanges[0].label for exchanges in part.exchanges] == ["a", "b"]


def test_a_refused_connection_names_the_agent(runtime: RayRuntime) -> None:
    """Before the barrier; the other host's connection is given up."""
    with serving(lambda sock: sock.sendall(ANSWER)) as good:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(MeasurementError, match="a: the connection failed"):
            runtime.run([[seated(gone, "a", 0)], [seated(good, "b", 1)]], timeout_s=30)


def test_loopback_is_another_machine_on_each_host(runtime: RayRuntime, cluster: Cluster) -> None:
    """Only the servers that the user named are measured: on another host, 127.0.0.1 is that host."""
    cluster.all = [host(0, here=False, address="10.0.0.7")]
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        with pytest.raises(UsageError, match=r"(?s)a: its client runs on host 10.0.0.7, where 127.0.0.1 is that host"):
            runtime.run([[seated(url, "a", 0)]], timeout_s=30)
        named = replace(seated(url, "a", 0), host="localhost")
        assert crews_module.near_request([replace(named, host="10.1.1.1"), named]) is named
        assert crews_module.near_request([replace(named, host="servers.example")]) is None


def test_a_process_that_died_is_replaced(runtime: RayRuntime, cluster: Cluster) -> None:
    """The part may be repeated; a host that left is not asked again, and is remembered."""
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        clients = [[seated(url, "a", 0)], [seated(url, "b", 1)]]
        runtime.run(clients, timeout_s=30)
        cluster.dying = HostLostError(host(1), "the process of its clients died", next_step="", passing=True)
        with pytest.raises(MeasurementError, match=r"host 127.0.0.1: the process of its clients died") as caught:
            runtime.run(clients, timeout_s=30)
        assert caught.value.passing
        assert runtime.lost == ()
        runtime.run(clients, timeout_s=30)
        assert places_of(cluster).count("n1") == 2
        cluster.dying = HostLostError(host(1), "it left the cluster", next_step="", passing=False)
        with pytest.raises(MeasurementError, match="left the cluster"):
            runtime.run(clients, timeout_s=30)
        cluster.all = [host(0)]
        runtime.run(clients, timeout_s=30)
        assert runtime.lost == ("host 127.0.0.1: it left the cluster",)
        assert runtime.facts().startswith("1 x CPython")


def test_a_clock_that_steps_is_found(runtime: RayRuntime, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the host; the part may be repeated, and the clock is judged anew."""
    step_ns = [0]

    def stepping(address: str, key: bytes) -> ClockServer:
        return ClockServer(address, key, clocks=Clocks(monotonic=lambda: module.time.monotonic_ns() + step_ns[0]))

    monkeypatch.setattr("pytest_llmperf.measure.hosts.host_actor.ClockServer", stepping)

    def answer(sock: socket.socket) -> None:
        step_ns[0] += 10**9
        sock.sendall(ANSWER)

    with serving(answer) as url:
        with pytest.raises(MeasurementError, match=r"host 127.0.0.1: the monotonic clock .* was stepped") as caught:
            runtime.run([[seated(url, "a", 0)]], timeout_s=30)
        assert caught.value.passing
    with serving(lambda sock: sock.sendall(ANSWER)) as url:
        runtime.run([[seated(url, "a", 0)]], timeout_s=30)


@pytest.mark.parametrize(
    ("name", "changes"), [("Python", {"python": "CPython 3.9"}), ("pytest-llmperf", {"plugin": "x"})]
)
def test_other_versions_are_an_error(name: str, changes: dict[str, str]) -> None:
    """Other versions of Python and the plugin, with the host's name; another kernel is only recorded."""
    ours = facts_here()
    check_versions("host 10.0.0.7", replace(ours, kernel="Linux 2.4"), ours)
    with pytest.raises(UsageError, match=rf"(?s)host 10.0.0.7 runs {name} .*install the same {name}"):
        check_versions("host 10.0.0.7", replace(ours, **changes), ours)
    assert ours == HostFacts(python=ours.python, plugin=ours.plugin, kernel=ours.kernel)


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything starts, and without an import of Ray."""
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"(?s)needs Ray.*pip install 'pytest-llmperf\[ray\]'"):
        check_installed()
    with pytest.raises(MissingExtraError):
        Clients(RayPlan(address="", start=lambda: pytest.fail("started"))).check("ray")


def test_what_a_cluster_cannot_do_is_refused() -> None:
    """External agents run here, and so does the calibration's server; on a cluster of this machine both work."""
    plan = RayPlan(address="10.0.0.7:6379", start=lambda: pytest.fail("started"))
    with closing(Clients(plan)) as there, closing(Clients(replace(plan, address=""))) as here:
        with pytest.raises(UsageError, match="external agents run on this machine"):
            there.check_external("ray")
        with pytest.raises(MeasurementError, match="its paced server runs on this machine"):
            there.calibration(there.runtime("ray"), [], 2)
        there.check_external("threads")
        here.check_external("ray")
        assert (here.hosts("threads"), here.lost) == ("", ())
