import contextlib
import json
import os
import socket
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from pytest_llmperf.errors import MissingExtraError, ModelMissingError, ServerError, UsageError
from pytest_llmperf.model import Instance, Script, Settings, Topology, TopologyKind
from pytest_llmperf.net.port_owner import Owner
from pytest_llmperf.servers.backends import (
    attach,
    choose,
    discovery,
    instance_checks,
    instance_layout,
    ollama_backend,
    own_servers,
)
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.probes.deployment_facts import manifest
from pytest_llmperf.servers.processes.server_process import free_port, port_in_use
from tests.net.test_http_channel import ENDLESS
from tests.servers.conftest import HandEngine, serving
from tests.servers.emulator.test_model_files import gguf
from tests.servers.relays import listening
from tests.started import Handler, http_server, simulated_servers

QUICK = Script(ttft_ms=1, load_ms=0)
SIMULATED = Settings(backend="simulated", script=QUICK)
MODEL = "simulated:scripted"

FAKE_OLLAMA = """#!{python}
import json, os, sys
if sys.argv[1:] != ["serve"]:
    sys.exit("only serve")
with open(os.path.join(os.path.dirname(__file__), "env.json"), "w") as file:
    json.dump(dict(os.environ), file)
if os.environ.get("FAKE_DIES"):
    sys.exit("Error: the fake dies as told")
from pytest_llmperf.servers.emulator.serve import main
port = os.environ["OLLAMA_HOST"].rpartition(":")[2]
main(["--engine", "scripted", "--port", port, "--slots", os.environ["OLLAMA_NUM_PARALLEL"]])
"""


@pytest.fixture
def fake_ollama(tmp_path) -> str:
    """A stand-in for the `ollama` binary, which serves the scripted engine and notes its environment."""
    path = tmp_path / "ollama"
    path.write_text(FAKE_OLLAMA.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def no_servers(monkeypatch):
    """As on a machine where nothing runs on the usual ports."""
    monkeypatch.setattr(
        "pytest_llmperf.servers.backends.backend_factory.USUAL_URLS", (f"http://127.0.0.1:{free_port()}",) * 2
    )


@pytest.fixture
def two_servers():
    """Two running simulated servers, started by somebody else."""
    with simulated_servers(2, load_ms=0) as urls:
        yield urls


# which one


@pytest.mark.parametrize("kind", ["embedded", "simulated"])
def test_the_backend_that_is_asked_for(kind):
    """Named in the settings, taken, and the reason says so."""
    backend = choose(Settings(backend=kind))
    assert backend.kind == kind
    assert f"llmperf_backend = {kind}" in backend.reason
    assert backend.where


def test_an_unknown_backend_lists_the_known_ones():
    """A slip of the pen is a usage error."""
    with pytest.raises(UsageError, match="'vllm' is not one of auto, attach"):
        choose(Settings(backend="vllm"))


def test_auto_takes_given_addresses_first():
    """Addresses win over everything else, and nothing is asked of them yet; hosts' names are not shown to everyone."""
    backend = choose(Settings(urls=("http://h1:11434", "http://h2:11434")))
    assert (backend.kind, backend.where) == ("attach", "http://h***:11434, http://h***:11434")


def test_auto_takes_two_running_servers(two_servers, monkeypatch):
    """Both usual addresses answer: attach."""
    monkeypatch.setattr("pytest_llmperf.servers.backends.backend_factory.USUAL_URLS", two_servers)
    assert choose(Settings()).kind == "attach"


@pytest.fixture
def usual(monkeypatch):
    """`usual(url, ...)`: these are the usual addresses, the rest of two is free."""

    def be(*urls: str) -> tuple[str, ...]:
        both = (*urls, *(f"http://127.0.0.1:{free_port()}" for _ in range(2 - len(urls))))
        monkeypatch.setattr("pytest_llmperf.servers.backends.backend_factory.USUAL_URLS", both)
        return both

    return be


@pytest.mark.parametrize("kind", ["auto", "attach"])
@pytest.mark.parametrize("second", [False, True], ids=["11434", "11435"])
def test_one_server_is_used_and_named(two_servers, usual, kind, second):
    """Nothing else is there: on one instance; two are refused with what can be done."""
    urls = usual(two_servers[0])
    usual(*urls[::-1]) if second else None
    backend = choose(Settings(backend=kind, ollama_bin="no-such-ollama"))
    assert (backend.kind, backend.urls, backend.where) == ("attach", urls[:1], urls[0])
    assert kind == "attach" or f"one server answers, none at {urls[1]}" in backend.reason
    for topology in (TopologyKind.SINGLE, TopologyKind.SINGLE_PARALLEL):
        with backend.open(topology, 2) as opened:
            assert [instance.url for instance in opened.topology.instances] == [urls[0]]
    with pytest.raises(UsageError, match=rf"topology dual needs 2 servers .*: {urls[0]} \(") as caught:
        backend.open(TopologyKind.DUAL, 2)
    assert "single_ollama or single_parallel_ollama" in caught.value.next_step


def test_one_server_beside_a_binary_is_named(two_servers, usual, fake_ollama):
    """Two can be started; that the one found is not measured is in the reason and in a note."""
    urls = usual(two_servers[0])
    backend = choose(Settings(ollama_bin=fake_ollama))
    assert backend.kind == "ollama"
    assert f"the server at {urls[0]} is not measured (use --llmperf-backend=attach for that)" in backend.reason
    assert backend.passed_over in backend.reason


def test_a_file_of_the_user_s_cannot_be_given_to_servers_that_run(two_servers, usual, toy_file):
    """The file is measured; the servers are named."""
    usual(*two_servers)
    backend = choose(Settings(gguf=str(toy_file), ollama_bin="no-such-ollama"))
    assert backend.kind == "embedded"
    assert " and ".join(two_servers) in backend.passed_over


class Odd(Handler):
    """Something that listens, and is not a usable Ollama."""

    protocol_version = "HTTP/1.1"
    status, body = 200, b"<html>"

    def do_GET(self) -> None:
        self.answer(self.body, status=self.status)


@pytest.mark.parametrize("kind", ["auto", "attach"])
@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>"), (401, b'{"error": "no"}'), (503, b"starting"), (200, b'{"version": ' * 50_000), (200, b"{}")],
)
def test_what_cannot_be_used_is_refused_by_name(usual, kind, status, body):
    """Nothing else is measured in its place."""
    odd = type("Odd", (Odd,), {"status": status, "body": body})
    with http_server(odd) as url:
        usual(url)
        with pytest.raises(ServerError, match=rf"something listens at {url} but cannot be used: ") as caught:
            choose(Settings(backend=kind, ollama_bin="no-such-ollama"))
    assert "--llmperf-backend=ollama, embedded or simulated" in caught.value.next_step
    assert len(str(caught.value)) < 4000


@pytest.mark.parametrize("how", ["informational heads", "nothing at all", "a head in drops"])
def test_what_hangs_is_refused_by_name(usual, how, monkeypatch):
    """In bounded time: a plain `pytest` looks there when it collects."""
    monkeypatch.setattr(discovery, "LOOK_S", 0.05)
    with listening(ENDLESS[how]) as port:
        (url, _) = usual(f"http://127.0.0.1:{port}")
        with pytest.raises(ServerError, match=rf"something listens at {url} but cannot be used: .* within"):
            choose(Settings(ollama_bin="no-such-ollama"))


def test_the_server_that_the_environment_names(two_servers, usual, monkeypatch):
    """OLLAMA_HOST, as Ollama's own clients read it; what it names is used, or refused by name."""
    usual()
    monkeypatch.setenv("OLLAMA_HOST", two_servers[1].removeprefix("http://"))
    backend = choose(Settings(ollama_bin="no-such-ollama"))
    assert (backend.kind, backend.urls) == ("attach", two_servers[1:])
    assert "OLLAMA_HOST" in backend.reason
    monkeypatch.setenv("OLLAMA_HOST", "no-such-host.invalid")
    with pytest.raises(ServerError, match=r"OLLAMA_HOST names http://n\*\*\*:11434, but nothing answers there"):
        choose(Settings(ollama_bin="no-such-ollama"))
    monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{free_port()}")  # where a server would listen, and none does
    assert choose(Settings(ollama_bin="no-such-ollama")).kind == "embedded"


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_on_the_other_loopback_address(usual, monkeypatch, answers):
    """One that listens at ::1 does not answer at 127.0.0.1, and is not passed over for that."""
    (url, _) = usual()
    named = url.replace("127.0.0.1", "[::1]")
    monkeypatch.setattr(discovery, "answers_at", lambda at: answers and at == named)
    seen = discovery.look_around((url,), {"OLLAMA_HOST": named})
    assert (seen.servers, seen.named) == (((named,), True) if answers else ((), False))


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", ""),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://127.0.0.1:8080"),
        ("[2001:db8::1]", "http://[2001:db8::1]:11434"),
        ("2001:db8::1", "http://[2001:db8::1]:11434"),
        ("::", "http://127.0.0.1:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("http://h", "http://h:80"),
        ("h:x", ""),
        ("ftp://h", ""),
        (" 'h' ", "http://h:11434"),
    ],
)
def test_what_ollama_host_means(value, url):
    """As Ollama's own clients take it."""
    assert discovery.host_of(value) == url


def test_auto_takes_ollama_then_embedded(no_servers, fake_ollama):
    """A binary is taken if there is one, else the embedded engine; both say why."""
    backend = choose(Settings(ollama_bin=fake_ollama))
    assert backend.kind == "ollama"
    assert fake_ollama in backend.reason
    assert choose(Settings(ollama_bin="no-such-ollama")).kind == "embedded"


def test_nothing_at_all_says_what_to_install(no_servers, monkeypatch):
    """No server, no binary, no engine: the command that helps."""
    monkeypatch.setattr(own_servers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        choose(Settings(ollama_bin="no-such-ollama"))
    assert caught.value.next_step == "pip install 'pytest-llmperf[embedded]'"


@pytest.mark.parametrize("kind", ["embedded", "simulated"])
def test_a_missing_extra_is_told_before_anything_starts(kind, monkeypatch):
    """When it is chosen, with the extra's name."""
    monkeypatch.setattr(own_servers.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(MissingExtraError, match="not installed: uvicorn") as caught:
        choose(Settings(backend=kind))
    assert f"pytest-llmperf[{kind}]" in caught.value.next_step


@pytest.mark.parametrize(
    ("settings", "words"),
    [(Settings(backend="attach"), "no servers at"), (Settings(backend="ollama", ollama_bin="no-such"), "no binary")],
)
def test_a_backend_that_is_not_there(no_servers, settings, words):
    """Asked for by name and not to be had: an error with the next step, never another backend."""
    with pytest.raises(ServerError, match=words) as caught:
        choose(settings)
    assert caught.value.next_step


# own processes


@pytest.mark.parametrize(
    ("kind", "agents", "instances", "slots"),
    [
        (TopologyKind.SINGLE, 2, 1, 1),
        (TopologyKind.SINGLE_PARALLEL, 3, 1, 3),
        (TopologyKind.DUAL, 2, 2, 1),
        (TopologyKind.FLEET, 3, 3, 1),
    ],
)
def test_topologies(kind, agents, instances, slots):
    """The stated number of instances and slots; each instance answers at its own address, and closing ends all."""
    with choose(SIMULATED).open(kind, agents) as opened:
        topology = opened.topology
        opened.alive()
        assert [instance.name for instance in topology.instances] == list("abc"[:instances])
        assert [instance.slots for instance in topology.instances] == [slots] * instances
        urls = {instance.url for instance in topology.instances}
        assert len(urls) == instances
        assert topology.simulated
        assert topology.model == MODEL
        for url in urls:
            with OllamaClient(url) as control:
                assert control.show(MODEL)["model_info"]["llmperf.slots"] == slots
    opened.close()
    for url in urls:
        with OllamaClient(url) as control:
            assert not control.answers()


def test_ports_of_the_settings_are_used():
    """In the order of the instances."""
    ports = (free_port(), free_port())
    with choose(Settings(backend="simulated", ports=ports)).open(TopologyKind.DUAL, 2) as opened:
        assert [instance.url for instance in opened.topology.instances] == [f"http://127.0.0.1:{p}" for p in ports]


def test_a_start_that_fails_half_way_leaves_nothing():
    """The second port is in use: the first instance is ended again."""
    first = free_port()
    with serving(HandEngine()) as client:
        settings = Settings(backend="simulated", ports=(first, client.base_url.port))
        with pytest.raises(ServerError, match=f"instance b .*port {client.base_url.port}"):
            choose(settings).open(TopologyKind.DUAL, 2)
    assert not port_in_use(first)


class Recorded:
    """In place of a server of ours: notes what is done with it; that of the label in `late` does not come up."""

    done: ClassVar[list[str]] = []
    late = ""
    pid = 1

    def __init__(self, _, *, label):
        self.label = label[:10]
        self.note("starts")

    def note(self, step):
        self.done.append(f"{self.label} {step}")

    def port(self, _):
        self.note("is waited for")
        if self.label == self.late:
            raise ServerError("late")
        return 1

    def ask_to_end(self):
        self.note("is asked to end")

    def stop(self):
        self.note("is stopped")


@pytest.mark.parametrize("late", ["", "instance b"])
def test_instances_start_and_end_together(monkeypatch, late):
    """All are started before the first is waited for, and asked to end before; also where one does not come up."""
    monkeypatch.setattr(own_servers, "OwnServer", Recorded)
    monkeypatch.setattr(own_servers, "describe", lambda *_, **__: Instance(name="a", url="http://127.0.0.1:1"))
    monkeypatch.setattr(Recorded, "done", [])
    monkeypatch.setattr(Recorded, "late", late)
    with pytest.raises(ServerError, match="late") if late else contextlib.nullcontext():
        choose(SIMULATED).open(TopologyKind.DUAL, 2).close()
    steps = ["starts", "is waited for", "is asked to end", "is stopped"]
    assert [line.split(" ", 2)[2] for line in Recorded.done] == [step for step in steps for _ in "ab"]


@pytest.mark.parametrize("ports", [(1234,), (1234, 1234)])
def test_too_few_ports(ports):
    """As many different ports as instances, or none."""
    with pytest.raises(UsageError, match="2 different ports"):
        choose(Settings(backend="simulated", ports=ports)).open(TopologyKind.DUAL, 2)


def test_dual_has_room_for_two():
    """More agents need a fleet."""
    with pytest.raises(UsageError, match="3 agents"):
        choose(SIMULATED).open(TopologyKind.DUAL, 3)
    with pytest.raises(UsageError, match="at least one agent"):
        choose(SIMULATED).open(TopologyKind.FLEET, 0)


def test_a_dead_instance_is_named():
    """`alive` says which one died, with the end of its log."""
    with choose(SIMULATED).open(TopologyKind.DUAL, 2) as opened:
        dead = opened.topology.instances[1]
        _kill_server_at(dead.url)
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:  # its supervisor has to notice first, on a machine that may be busy
            try:
                opened.alive()
            except ServerError as error:
                assert "instance b (simulated) died" in str(error)  # noqa: PT017 - polled until it is noticed
                assert "Started server process" in str(error)  # noqa: PT017
                return
            time.sleep(0.005)
        raise AssertionError("the death of instance b was never noticed")


def _kill_server_at(url):
    import psutil

    port = int(url.rpartition(":")[2])
    for connection in psutil.net_connections("tcp4"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            psutil.Process(connection.pid).kill()
            return
    raise AssertionError(f"nobody listens at {url}")


def test_cores_are_divided_among_instances():
    """At least one thread each, or the requested number."""
    cores = len(os.sched_getaffinity(0))
    assert instance_layout.threads_each(0, 1) == cores
    assert instance_layout.threads_each(0, 1000) == 1
    assert instance_layout.threads_each(3, 1000) == 3


def test_names_of_instances_never_repeat():
    """Also beyond the alphabet."""
    assert len({instance_layout.instance_name(index) for index in range(100)}) == 100


def test_a_scripted_imbalance_slows_each_further_instance():
    """Each instance is slower than the previous one by the percentage; the first keeps the stated rate."""
    settings = Settings(backend="simulated", script=Script(decode_tok_s=100, imbalance_pct=20))
    backend = own_servers.OwnBackend("simulated", settings, "")
    assert [_rate(backend, index) for index in range(3)] == [100, 80, 64]


def _rate(backend, index):
    arguments = backend._engine_arguments(index, 3)
    return round(json.loads(arguments[arguments.index("--script") + 1])["decode_tok_s"], 6)


def test_embedded_with_the_user_s_file_passes_it_on(tmp_path, monkeypatch):
    """The file, its name and the threads reach the instance's command line."""
    path = tmp_path / "toy.gguf"
    path.write_bytes(gguf())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    commands = []

    def start(arguments, **_):
        commands.append(arguments)
        raise ServerError("seen")

    monkeypatch.setattr(own_servers, "OwnServer", start)
    with pytest.raises(ServerError, match="seen"):
        choose(Settings(backend="embedded", gguf=str(path), model="toy:1", threads=3)).open(TopologyKind.SINGLE, 2)
    (command,) = commands
    assert command[command.index("--gguf") + 1] == str(path)
    assert command[command.index("--name") + 1] == "toy:1"
    assert command[command.index("--threads") + 1] == "3"


# attach


@pytest.mark.parametrize(("keep_alive", "years"), [(600, 0), (-1, 200)])
def test_attach_leaves_servers_as_they_were_found(two_servers, keep_alive, years):
    """A model that was loaded stays, with its context and no longer than before; a model loaded by the plugin goes."""
    with OllamaClient(two_servers[0]) as control:
        control.preload(MODEL, {"num_ctx": 1024}, keep_alive=keep_alive)
        before = control.loaded(MODEL)
    with choose(Settings(urls=two_servers)).open(TopologyKind.DUAL, 2) as opened:
        opened.alive()
        for instance in opened.topology.instances:
            with OllamaClient(instance.url) as control:
                control.preload(opened.topology.model, {"num_ctx": 512}, keep_alive=-1 if not years else 5)
    with OllamaClient(two_servers[0]) as first, OllamaClient(two_servers[1]) as second:
        after = first.loaded(MODEL)
        assert after.context_length == before.context_length == 1024
        drift = datetime.fromisoformat(after.expires_at) - datetime.fromisoformat(before.expires_at)
        assert abs(drift) < timedelta(seconds=60)
        assert (datetime.fromisoformat(after.expires_at) - datetime.now(UTC)).days // 366 >= years
        assert not second.is_loaded(MODEL)
        assert second.answers()


def test_attached_simulations_are_called_simulated(two_servers):
    """However a simulated server was reached, its results say what it is."""
    with choose(Settings(urls=two_servers)).open(TopologyKind.DUAL, 2) as opened:
        assert opened.topology.simulated


@pytest.mark.parametrize("refusals", [2, 1000])
def test_a_found_server_that_restarts_is_given_a_moment(refusals):
    """It accepts and drops at first; then it answers, or after a second it is gone."""
    asked = []

    class Restarting(Handler):
        def do_GET(self):
            asked.append(self.path)
            if len(asked) <= refusals:
                self.close_connection = True
            else:
                self.answer(b'{"version": "1"}')

    with http_server(Restarting) as url, pytest.raises(ServerError) if refusals > 2 else contextlib.nullcontext():
        instance_checks.check_url(Instance(name="a", url=url))
    assert len(asked) == 3 or refusals > 2


def test_attach_takes_the_only_common_model():
    """Without a name the only common model is used; several or none is an error that lists them."""
    with serving(HandEngine()) as first, serving(HandEngine()) as second:
        urls = (str(first.base_url), str(second.base_url))
        with choose(Settings(urls=urls)).open(TopologyKind.DUAL, 2) as opened:
            assert opened.topology.model == "hand:driven"
            assert opened.topology.backend == "attach"


def test_attach_without_a_common_model(two_servers):
    """The error lists what each has."""
    with serving(HandEngine()) as client:
        urls = (two_servers[0], str(client.base_url))
        with pytest.raises(ModelMissingError, match=r"no model in common: .*simulated:scripted; .*hand:driven"):
            choose(Settings(urls=urls)).open(TopologyKind.DUAL, 2)


def test_attach_with_a_model_that_is_not_there(two_servers):
    """The error names the server and what it has."""
    with pytest.raises(ModelMissingError, match="'llama9'; it has simulated:scripted"):
        choose(Settings(urls=two_servers, model="llama9")).open(TopologyKind.DUAL, 2)


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (("http://h1:11434",), "needs 2 servers"),
        (("http://h1:11434", "http://h1:11434/"), "different addresses"),
        (("http://localhost:11434", "http://127.0.0.1:11434"), "different addresses"),
        (("h1:11434", "http://h2"), "is not an address"),
        (("http://h1:99999", "http://h2"), "is not an address"),
    ],
)
def test_dual_needs_two_different_addresses(urls, words):
    """The same server twice is no dual set-up, however it is written."""
    with pytest.raises(UsageError, match=words):
        choose(Settings(urls=urls)).open(TopologyKind.DUAL, 2)


def test_attach_to_nobody_names_the_instance():
    """A given address where nothing answers."""
    with pytest.raises(ServerError, match=r"instance a .*nothing answers"):
        choose(Settings(urls=(f"http://127.0.0.1:{free_port()}",))).open(TopologyKind.SINGLE, 2)


def test_attach_survives_a_server_that_is_gone_at_the_end(two_servers):
    """Nothing can be unloaded there, and nothing needs to be."""
    with choose(Settings(urls=two_servers)).open(TopologyKind.DUAL, 2) as opened:
        _kill_server_at(two_servers[1])
        with pytest.raises(ServerError, match="instance b"):
            opened.alive()
    assert attach.USUAL_URLS == ("http://127.0.0.1:11434", "http://127.0.0.1:11435")


# ollama


def test_ollama_instances_are_started_loaded_and_ended(fake_ollama, tmp_path):
    """Each with its own port and the model at hand; nothing is left, the homes included."""
    settings = Settings(backend="ollama", ollama_bin=fake_ollama, model=MODEL)
    with choose(settings).open(TopologyKind.DUAL, 2) as opened:
        opened.alive()
        urls = [instance.url for instance in opened.topology.instances]
        assert len(set(urls)) == 2
        for url in urls:
            with OllamaClient(url) as control:
                assert control.find(MODEL)
                assert not control.is_loaded(MODEL)  # before it is known what context the agents ask for
    for url in urls:
        with OllamaClient(url) as control:
            assert not control.answers()


def test_an_ollama_that_dies_shows_its_log(fake_ollama, monkeypatch):
    """Its own words are in the error."""
    monkeypatch.setenv("FAKE_DIES", "1")
    with pytest.raises(ServerError, match="the fake dies as told"):
        choose(Settings(backend="ollama", ollama_bin=fake_ollama, model=MODEL)).open(TopologyKind.SINGLE, 2)


@pytest.mark.parametrize("fixed", [True, False])
def test_another_server_on_the_port_of_a_dead_ollama(fake_ollama, monkeypatch, fixed):
    """It answers, and counts for nothing: neither on a port that was given, nor on one that was free a moment ago."""
    monkeypatch.setenv("FAKE_DIES", "1")
    monkeypatch.setattr(ollama_backend, "port_in_use", lambda _: False)
    with serving(HandEngine()) as client:
        port = client.base_url.port
        monkeypatch.setattr(ollama_backend, "free_port", lambda: port)
        settings = Settings(
            backend="ollama", ollama_bin=fake_ollama, model="hand:driven", ports=(port,) if fixed else ()
        )
        with pytest.raises(
            ServerError, match=rf"instance a \(ollama\): .* listens on port {port}, which is not"
        ) as caught:
            choose(settings).open(TopologyKind.SINGLE, 2)
    assert "--llmperf-urls" in caught.value.next_step


@contextlib.contextmanager
def answering():
    """A server of somebody else's; yields its port."""
    with serving(HandEngine()) as client:
        yield client.base_url.port


@contextlib.contextmanager
def silent():
    """A port that is taken, and where nobody answers."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize("held", [answering, silent])
def test_a_port_that_was_taken_meanwhile_is_left_for_another(held, fake_ollama, monkeypatch):
    """The next free one will do."""
    real_port, tries = ollama_backend.free_port, []
    with held() as taken:

        def port() -> int:
            tries.append(real_port() if tries else taken)
            return tries[-1]

        monkeypatch.setattr(ollama_backend, "free_port", port)
        with choose(Settings(backend="ollama", ollama_bin=fake_ollama, model=MODEL)).open(
            TopologyKind.SINGLE, 1
        ) as opened:
            assert opened.topology.instances[0].url.endswith(f":{tries[-1]}")
    assert len(tries) >= 2


@pytest.mark.parametrize("backend", ["simulated", "embedded", "ollama"])
@pytest.mark.parametrize("when", ["ready", "in use"])
def test_whose_the_socket_is_decides(backend, when, fake_ollama, monkeypatch, toy_file):
    """For every backend that starts servers: when it is ready, and whenever it is looked at."""
    monkeypatch.setattr(own_servers, "_ENGINE_PACKAGES", ())
    monkeypatch.setattr(own_servers.OwnBackend, "_engine_arguments", lambda *_: ["--engine", "scripted"])
    settings = Settings(backend=backend, ollama_bin=fake_ollama, model=MODEL if backend == "ollama" else "", gguf="")
    settings = replace(settings, gguf=str(toy_file)) if backend == "embedded" else settings
    opened = None if when == "ready" else choose(settings).open(TopologyKind.SINGLE, 1)
    for module in (instance_checks, ollama_backend):
        monkeypatch.setattr(module, "owner_of", lambda *_: Owner.STRANGER)
    with pytest.raises(ServerError, match="is not the server that the plugin started there"):
        opened.alive() if opened else choose(settings).open(TopologyKind.SINGLE, 1)
    if opened:
        opened.close()


def test_runners_must_be_ours_too(monkeypatch):
    """The port that an Ollama gave its `llama-server`."""
    instance = Instance(name="a", url="http://127.0.0.1:9")
    topology = Topology(kind=TopologyKind.SINGLE, instances=(instance,), model="m", backend="ollama")
    monkeypatch.setattr(instance_checks, "told_ports", lambda _: {11})
    owners = {9: Owner.OURS, 11: Owner.STRANGER}
    monkeypatch.setattr(instance_checks, "owner_of", lambda port, _: owners[port])
    with pytest.raises(ServerError, match=r"instance a .* listens on port 11") as caught:
        instance_checks.check_ours(topology, {"a": 1})
    assert caught.value.instance == "a"
    owners[11] = Owner.OURS
    assert instance_checks.check_ours(topology, {"a": 1}) == ()
    owners[9] = Owner.UNKNOWN
    (note,) = instance_checks.check_ours(topology, {"a": 1})
    assert "cannot be determined for instance a" in note
    assert instance_checks.check_ours(topology, {}) == ()  # found, not started


def test_an_ollama_without_the_model_says_so(fake_ollama):
    """The default model is missing: which there are, and the command that gets it."""
    with pytest.raises(ModelMissingError, match="gemma3:latest") as caught:
        choose(Settings(backend="ollama", ollama_bin=fake_ollama)).open(TopologyKind.SINGLE, 2)
    assert "ollama pull gemma3:latest" in caught.value.next_step


def test_an_ollama_port_in_use(fake_ollama):
    """Named before anything starts."""
    with serving(HandEngine()) as client:
        port = client.base_url.port
        settings = Settings(backend="ollama", ollama_bin=fake_ollama, model=MODEL, ports=(port,))
        with pytest.raises(ServerError, match=f"port {port}: address already in use"):
            choose(settings).open(TopologyKind.SINGLE, 2)


def test_a_file_of_the_user_s_has_a_store_of_its_own(toy_file, fake_ollama, tmp_path, monkeypatch):
    """Its name is the file's unless one is given, and the user's own models are neither used nor touched."""
    monkeypatch.setenv("OLLAMA_MODELS", "/somebody/models")
    settings = Settings(backend="ollama", ollama_bin=fake_ollama, gguf=str(toy_file))
    backend = choose(settings)
    assert backend.model == "toy"
    assert choose(replace(settings, model="mine:1")).model == "mine:1"
    with pytest.raises(ServerError):  # the stand-in has no blobs
        backend.open(TopologyKind.SINGLE, 1)
    env = json.loads((tmp_path / "env.json").read_text())
    assert env["OLLAMA_MODELS"] == str(tmp_path / "cache" / "pytest-llmperf" / "ollama")


def test_what_the_environment_sets_is_in_the_manifest_or_in_a_note(fake_ollama, monkeypatch):
    """What decides how it computes is kept and recorded; a setting that the server does not get is named."""
    monkeypatch.setenv("OLLAMA_KV_CACHE_TYPE", "q8_0")
    monkeypatch.setenv("OLLAMA_MAX_QUEUE", "3")
    settings = Settings(backend="ollama", ollama_bin=fake_ollama, model=MODEL)
    with choose(settings).open(TopologyKind.SINGLE, 1) as opened:
        facts = manifest(opened.topology, runtime="threads", timing_source="reads").facts
        notes = opened.settled({})
    assert "OLLAMA_KV_CACHE_TYPE=q8_0" in facts["server_settings"]
    assert [note for note in notes if "do not get OLLAMA_MAX_QUEUE from" in note]


@pytest.mark.parametrize(
    ("gpus", "seen"), [((), [None, None]), (("-1",), ["-1", "-1"]), (("0", "GPU-ab"), ["0", "GPU-ab"])]
)
def test_each_ollama_sees_the_gpu_that_it_was_given(gpus, seen, fake_ollama, tmp_path, monkeypatch):
    """One for each instance, or one for all; if none is given, the environment's variable stays."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices = []
    process = ollama_backend.ServerProcess

    def start(*arguments, env, **more):
        devices.append(env.get("CUDA_VISIBLE_DEVICES"))
        return process(*arguments, env=env, **more)

    monkeypatch.setattr(ollama_backend, "ServerProcess", start)
    with choose(Settings(backend="ollama", ollama_bin=fake_ollama, model=MODEL, gpus=gpus)).open(TopologyKind.DUAL, 2):
        assert devices == seen


def test_too_few_gpus(fake_ollama):
    """Two are given, three instances are to be started."""
    settings = Settings(backend="ollama", ollama_bin=fake_ollama, model=MODEL, gpus=("0", "1"))
    with pytest.raises(UsageError, match="llmperf_gpus has 0, 1; 3 instances"):
        choose(settings).open(TopologyKind.FLEET, 3)


def test_a_model_that_is_missing_is_pulled_only_where_that_is_allowed(fake_ollama):
    """By default the error says how; when allowed, the server is asked to (this one cannot)."""
    settings = Settings(backend="ollama", ollama_bin=fake_ollama, model="other:1")
    with pytest.raises(ModelMissingError) as caught:
        choose(settings).open(TopologyKind.SINGLE, 1)
    assert "--llmperf-pull=on" in caught.value.next_step
    with pytest.raises(ServerError, match="POST /api/pull answered 404"):
        choose(replace(settings, pull=True)).open(TopologyKind.SINGLE, 1)


def test_what_takes_time_is_told(fake_ollama, toy_file):
    """Whoever opens a topology hears of the import."""
    said = []
    settings = Settings(backend="ollama", ollama_bin=fake_ollama, gguf=str(toy_file))
    with pytest.raises(ServerError):  # the stand-in has no blobs
        choose(settings, say=said.append).open(TopologyKind.SINGLE, 1)
    assert said == ["importing Toy.gguf as toy (0 MB)"]
