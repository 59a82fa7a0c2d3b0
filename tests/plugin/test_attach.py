"""Servers that somebody else runs: reached by login, TLS and proxy, told apart, shared with others, left as found."""

import base64
import json
import threading
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.probes import restore
from tests.plugin.conftest import PAIR, SCREEN_LINES, Aftermath, assert_clear
from tests.servers.relays import certificate, proxy, relay
from tests.started import Handler, http_server, simulated_servers

TOKEN = "s3cret-t0ken"
PASSWORD = "pr0xy-s3cret"
MODEL = "simulated:scripted"
QUICK = ("--llmperf-calibrate=off", "--llmperf-rounds=2", "--llmperf-max-rounds=2", "-p", "no:cacheprovider")

TEST = """
    from pair import PAIR

    def test_pair({fixture}, run_agents):
        run_agents(PAIR, on={fixture})
"""


@pytest.fixture
def servers(aftermath: Aftermath):
    """Two running simulated servers, with time enough in a request to be disturbed."""
    with simulated_servers(2, load_ms=0, ttft_ms=20, decode_tok_s=800, jitter_pct=0.1) as urls:
        yield urls


@pytest.fixture
def inner(pytester: pytest.Pytester, servers):
    """`inner(*options)`: measures a pair of agents."""
    pytester.makepyfile(pair=PAIR, test_it=TEST.format(fixture="dual_ollama"))
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")

    def run(*options: str, own_process: bool = False) -> pytest.RunResult:
        start = pytester.runpytest_subprocess if own_process else pytester.runpytest_inprocess
        return start(*QUICK, *options)

    return run


@pytest.mark.parametrize("runtime", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_logins_tls_and_a_proxy(
    inner, servers, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    """Every request, even a timed one, goes through the proxy's tunnel with its login; the secret is never printed."""
    login = f"me:{PASSWORD}"
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setenv("MY_LOGIN", login)
    cert, context = certificate(Path(pytester.path))
    heard: list[str] = []
    inside: list[bytes] = []
    bearer = f"Authorization: Bearer {TOKEN}"
    with (
        relay(servers[0], tls=context, needs=bearer, heard=inside) as first,
        relay(servers[1], tls=context, needs=bearer) as second,
        proxy(heard, needs=f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}") as address,
    ):
        result = inner(
            f"--llmperf-urls={first},{second}",
            "--llmperf-auth=bearer:MY_TOKEN",
            f"--llmperf-ca={cert}",
            f"--llmperf-proxy={address}",
            "--llmperf-proxy-auth=basic:MY_LOGIN",
            f"--llmperf-runtime={runtime}",
            "--llmperf-json=run.json",
            "--junitxml=junit.xml",
            "--showlocals",
            "-v",
        )
    result.assert_outcomes(passed=1)
    way = f"(bearer from MY_TOKEN, through the proxy {address} with basic from MY_LOGIN)"
    result.stdout.fnmatch_lines([f"llmperf: attach,*{way}*"])
    assert {line.split()[0] for line in heard} == {"CONNECT"}
    assert any(b"POST /api/generate" in head for head in inside)
    assert b"proxy-authorization" not in b"".join(inside).lower()
    (record,) = json.loads(Path(pytester.path, "run.json").read_text())["records"]
    assert {instance["access"]["auth"] for instance in record["measurement"]["topology"]["instances"]} == {
        "bearer:MY_TOKEN"
    }
    assert record["measurement"]["manifest"]["facts"]["timing_source"] == "read"
    written = result.stdout.str() + result.stderr.str()
    written += "".join(path.read_text("utf-8", "replace") for path in Path(pytester.path).rglob("*") if path.is_file())
    for secret in (TOKEN, PASSWORD, base64.b64encode(login.encode()).decode()):
        assert secret not in written


def test_timed_requests_log_in_at_a_proxy_without_a_tunnel(inner, servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that speak plain HTTP: every request goes through, with the login; none without."""
    monkeypatch.setenv("MY_LOGIN", f"me:{PASSWORD}")
    heard: list[str] = []
    needs = f"Proxy-Authorization: Basic {base64.b64encode(f'me:{PASSWORD}'.encode()).decode()}"
    with proxy(heard, needs=needs) as address:
        through = (f"--llmperf-urls={','.join(servers)}", f"--llmperf-proxy={address}")
        inner(*through, "--llmperf-proxy-auth=basic:MY_LOGIN").assert_outcomes(passed=1)
        timed = [line for line in heard if "/api/generate " in line]
        assert len(timed) >= 4
        result = inner(*through)
    refused = f"*instance a*the proxy {address} refused*407*"
    assert_clear(result, pytest.ExitCode.USAGE_ERROR, refused, "*next: *--llmperf-proxy-auth*")


def test_a_login_that_fails_is_one_clear_screen(inner, servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which server, which answer; without the secret, even where local variables are shown."""
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    with relay(servers[0], needs="Authorization: Bearer other") as relayed:
        result = inner(f"--llmperf-urls={relayed},{servers[1]}", "--llmperf-auth=bearer:MY_TOKEN", "--showlocals")
    assert_clear(result, pytest.ExitCode.USAGE_ERROR, f"*instance a ({relayed})*401*", "*next: *--llmperf-auth*")
    assert TOKEN not in result.stdout.str() + result.stderr.str()


def test_passwords_in_addresses_are_refused_without_repeating_them(inner) -> None:
    """Neither address nor proxy may hold one; nor is a token accepted in place of its variable."""
    result = inner(
        f"--llmperf-urls=http://me:{TOKEN}@h1",
        f"--llmperf-proxy=http://me:{TOKEN}@p",
        f"--llmperf-auth=bearer:{TOKEN}",
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--llmperf-urls: an address holds a user or password*--llmperf-auth*"])
    assert TOKEN not in result.stderr.str() + result.stdout.str()


class Passing(Handler):
    """In front of a server: hands on what is asked and answered."""

    protocol_version = "HTTP/1.1"
    url = ""

    def do_GET(self) -> None:
        answer = httpx.get(self.url + self.path, trust_env=False)
        self.answer(json.dumps(self.altered(answer.json())).encode(), status=answer.status_code)

    def do_POST(self) -> None:
        body = self.body()
        if self.ignored(body):
            return self.answer(b'{"done": true}')
        answer = httpx.post(self.url + self.path, json=body, trust_env=False)
        return self.answer(answer.content, status=answer.status_code, kind=answer.headers["content-type"])

    def altered(self, told: dict) -> dict:
        """What is answered."""
        return told

    def ignored(self, body: dict) -> bool:
        """Whether the server never learns what was asked."""
        return False


def dated(server: str, moment: str) -> type[Handler]:
    """It says that its model leaves at this moment."""

    class Dated(Passing):
        url = server

        def altered(self, told: dict) -> dict:
            models = [{**model, "expires_at": moment} for model in told.get("models", ())]
            return {**told, "models": models} if self.path == "/api/ps" else told

    return Dated


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "2999-12-31T23:59:59.123456789Z"])
def test_two_servers_that_say_the_same_moment(inner, servers, moment: str) -> None:
    """Accepted as two, with a note that it cannot be determined; and no sign of another client."""
    with http_server(dated(servers[0], moment)) as first, http_server(dated(servers[1], moment)) as second:
        result = inner(f"--llmperf-urls={first},{second}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*whether instances a and b are different servers cannot be determined: *{moment}*"])
    assert "somebody else" not in result.stdout.str()


def deaf(server: str, *, more: int = 0) -> type[Handler]:
    """It ignores `keep_alive: 0`, and at first says of models that they are loaded, too."""
    lies = {"models": [{"name": f"lie-{number}:1"} for number in range(more)]}
    asked: list[str] = []

    class Deaf(Passing):
        url = server

        def altered(self, told: dict) -> dict:
            asked.append(self.path)
            return lies if self.path == "/api/ps" and more and asked.count(self.path) == 1 else told

        def ignored(self, body: dict) -> bool:
            return body.get("keep_alive") == 0

    return Deaf


@pytest.mark.parametrize("more", [0, 500])
def test_what_cannot_be_put_back_fails_nothing(inner, servers, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """The tests pass; a few lines at the end list the models that could not be restored."""
    monkeypatch.setattr(restore, "RESTORE_S", 1.0)
    with http_server(deaf(servers[0], more=more)) as url:
        result = inner(f"--llmperf-urls={url},{servers[1]}")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"*instance a ({url}) was not left as it was found: *", "*next: *"])
    assert len(result.stdout.lines) < SCREEN_LINES


@pytest.mark.slow
def test_a_worker_tells_what_it_could_not_put_back(inner, servers) -> None:
    """Under xdist the controller prints it once."""
    with http_server(deaf(servers[0])) as url:
        result = inner(f"--llmperf-urls={url},{servers[1]}", "-n1", own_process=True)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert result.stdout.str().count(f"instance a ({url}) was not left as it was found: ") == 1


def test_one_server_under_two_addresses_is_no_dual(inner, servers) -> None:
    """The central mistake: both agents would share a server. Found before anything is measured."""
    with relay(servers[0]) as alias:
        result = inner(f"--llmperf-urls={servers[0]},{alias}")
    assert_clear(
        result,
        pytest.ExitCode.TESTS_FAILED,
        "UsageError: the addresses of instances a and b*lead to one server*",
        "*next: start a second server*",
    )


def test_another_client_marks_the_round(inner, servers, pytester: pytest.Pytester) -> None:
    """The summary reports it and the record stores it; the round counts."""
    ended = threading.Event()

    def disturb() -> None:
        body = {"model": MODEL, "prompt": "x", "keep_alive": 60, "stream": False, "options": {"num_predict": 1}}
        with httpx.Client(base_url=servers[1], trust_env=False) as client:
            while not ended.wait(0.002):
                client.post("/api/generate", json=body)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        result = inner(f"--llmperf-urls={','.join(servers)}", "--llmperf-json=run.json")
    finally:
        ended.set()
        thread.join()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*round 1: somebody else used instance b*sooner*it counts all the same*"])
    (record,) = json.loads(Path(pytester.path, "run.json").read_text())["records"]
    assert any(
        "somebody else used instance b" in incident["problem"] for incident in record["measurement"]["incidents"]
    )
    assert not any("instance a" in incident["problem"] for incident in record["measurement"]["incidents"])


def test_alone_no_round_is_marked_and_all_is_as_before(inner, servers, pytester: pytest.Pytester) -> None:
    """Nobody else: no incident; the model that was loaded on one server stays, the other's goes."""
    with OllamaClient(servers[0]) as first:
        first.preload(MODEL, {"num_ctx": 1024}, keep_alive=500)
    result = inner(f"--llmperf-urls={','.join(servers)}", "--llmperf-json=run.json")
    result.assert_outcomes(passed=1)
    (record,) = json.loads(Path(pytester.path, "run.json").read_text())["records"]
    assert record["measurement"]["incidents"] == []
    with OllamaClient(servers[0]) as first, OllamaClient(servers[1]) as second:
        assert first.loaded(MODEL).context_length == 1024
        assert second.loaded(MODEL) is None
