"""What docs/security.md says: loopback, no shell, names that stay in their folder, servers' words as data."""

import ast
import gzip
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

import pytest_llmperf
from pytest_llmperf.errors import (
    BaselineError,
    LlmperfError,
    ServerError,
    UnreachableError,
    UsageError,
    clean,
    printable,
)
from pytest_llmperf.judge.baselines import baseline_files, store
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.model import Settings, TopologyKind
from pytest_llmperf.servers.clients import control_client
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.session.session import Session
from tests.faults.conftest import FAST, served
from tests.plugin.conftest import PAIR

PACKAGE = Path(pytest_llmperf.__file__).parent
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "getoutput", "getstatusoutput"}
LISTEN_CALLS = {"bind", "create_server", "start_server", "TCPServer", "HTTPServer", "ThreadingHTTPServer", "Config"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle"}
HOSTILE = "0.0.0\x1b]0;owned\x07\u202e<script>alert(1)</script>-simulated"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_a_shell_or_what_it_reads(path: Path) -> None:
    """No `shell=True`, no `eval`, no pickle, no YAML, and no address but loopback's to listen at."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            whose = getattr(getattr(node.func, "value", None), "id", "builtins")  # re.compile is another thing
            name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
            assert whose not in ("builtins", "os", "subprocess") or name not in FORBIDDEN_CALLS, node.lineno
            assert not any(keyword.arg == "shell" for keyword in node.keywords), node.lineno
            if name in LISTEN_CALLS:
                given = [
                    each.value
                    for argument in (*node.args, *node.keywords)
                    for each in ast.walk(argument)
                    if isinstance(each, ast.Constant)
                ]
                assert not {"0.0.0.0", "::", ""} & set(map(str, given)), node.lineno
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            assert not {name.split(".")[0] for name in names} & FORBIDDEN_MODULES, node.lineno


def listeners() -> set[tuple[str, int]]:
    """Addresses that this process and its children listen at."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [connection for process in processes for connection in process.net_connections("inet")]
    return {tuple(connection.laddr) for connection in sockets if connection.status == psutil.CONN_LISTEN}


@pytest.mark.usefixtures("fresh_servers")
def test_all_that_listens_does_so_on_loopback(tmp_path: Path) -> None:
    """The servers that we start, and the tap."""
    session = Session(Settings(backend="simulated", script=FAST), root=tmp_path)
    tap, before = Tap(), listeners()
    try:
        urls = [instance.url for instance in session.open(TopologyKind.DUAL).instances]
        tap.open(urls, ["a", "b"])
        opened = listeners() - before
    finally:
        tap.close()
        session.close()
    assert {address for address, _ in opened} == {"127.0.0.1"}
    assert len(opened) == 4


@pytest.mark.parametrize(
    "name", ["../mine", "a/b", "/etc/mine", "..", ".", "", "mine\x00", "mine\n", "-mine", "a\\b", "~x"]
)
def test_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    """A name with a path in it names no baseline, for reading or writing, even if a file exists there."""
    folder = tmp_path / "baselines"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "mine.toml").write_text('schema = 1\ndescription = "x"\n')
    with pytest.raises(UsageError):
        store.path_of(name, folder)
    with pytest.raises(BaselineError):
        baseline_files.load_named(name, (folder,))


def answering(content: object, **headers: str) -> OllamaClient:
    """A client of a server that answers everything with this."""
    make = content if callable(content) else lambda: content
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=make(), headers=headers))
    return OllamaClient("http://127.0.0.1:1", transport=transport)


def endless(piece: bytes, pause_s: float = 0.0) -> Iterator[bytes]:
    """Pieces for ever."""
    for _ in itertools.count():
        time.sleep(pause_s)
        yield piece


def test_answers_without_end_fill_no_memory() -> None:
    """In full flow: an error long before the memory is full; packed ones, which hold a thousand times more: refused."""
    me = psutil.Process()
    bomb = gzip.compress(bytes(1024 * 1024))
    before = me.memory_info().rss
    with (
        answering(lambda: endless(b"x" * 65536)) as client,
        pytest.raises(ServerError, match="more than 16777216 bytes"),
    ):
        client.version()
    with (
        answering(bomb, **{"content-encoding": "gzip"}) as client,
        pytest.raises(ServerError, match="compressed bytes"),
    ):
        client.tags()
    assert me.memory_info().rss - before < 150e6


def test_answers_in_drops_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps nobody for ever; on a busy machine not even the first may come in time."""
    monkeypatch.setattr(control_client, "_QUICK_S", 0.05)
    with answering(lambda: endless(b" ", 0.01)) as client, pytest.raises(UnreachableError) as caught:
        client.version()
    assert "did not end" in str(caught.value) or "no answer to GET /api/version within" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"models": 3}',
        b'{"models": {"a": 1}}',
        b'{"models": [3, null, "x", []]}',
        b'{"models": [{"name": {"a": 1}, "size": "large", "size_vram": -1, "details": [], "digest": 7}]}',
        b'{"models": [{"name": "m", "size": 1e999, "context_length": true, "expires_at": 3}]}',
    ],
)
def test_lists_of_the_wrong_types_are_no_models(body: bytes) -> None:
    """Nothing breaks, and no figure is made up."""
    with answering(body) as client:
        for entry in (*client.tags(), *client.ps()):
            assert entry.name in ("", "m")
            assert (entry.size_bytes, entry.context_length, entry.digest, entry.expires_at) == (0, 0, "", "")
            assert entry.size_vram_bytes is None


def test_words_of_others_steer_no_terminal() -> None:
    """Escapes, other control characters and reversed text are spelt out; our own line ends stay."""
    assert clean("a\nb\tc\x1b[2J\x07\u202e\x9b\r") == "a\nb\tc\\x1b[2J\\x07\\u202e\\x9b\\r"
    assert printable("a\nb\x1b") == "a\\nb\\x1b"
    assert len(printable("x" * 10_000)) < 250
    assert "\x1b" not in str(LlmperfError("\x1b[2J", next_step="look\x1b"))


def test_a_hostile_server_changes_no_output(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version holds escapes and markup: neither terminal nor report obeys."""
    from pytest_llmperf.servers.emulator import scripted_engine
    from pytest_llmperf.servers.emulator.faults.fault_plan import FaultPlan

    monkeypatch.setattr(scripted_engine, "VERSION", HOSTILE)
    pytester.makepyfile(
        pair=PAIR,
        test_it="""
        import pytest
        from pair import PAIR

        @pytest.mark.efficiency(min_pct=100)
        def test_pair(single_ollama, run_agents):
            run_agents(PAIR, on=single_ollama)
        """,
    )
    with served(FaultPlan(), "a", FAST) as server:
        result = pytester.runpytest_inprocess(
            f"--llmperf-urls={server.url}",
            "--llmperf-calibrate=off",
            "--llmperf-rounds=2",
            "--llmperf-max-rounds=2",
            "--llmperf-html=report.html",
            "--junitxml=junit.xml",
            "--llmperf-markdown=report.md",
        )
    text = result.stdout.str() + result.stderr.str()
    assert "\x1b" not in text
    assert "\u202e" not in text
    page = (pytester.path / "report.html").read_text()
    assert "<script>alert(1)" not in page
    assert "alert(1)" in page  # it is there, as text
    for name in ("junit.xml", "report.md"):
        assert "\x1b" not in (pytester.path / name).read_text()
