"""Secrets planted in every way in; every failure and every output turned on; they are nowhere."""

import base64
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_llmperf.config import load
from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import NamedDeployment
from pytest_llmperf.plugin.options.option_table import OPTIONS
from pytest_llmperf.plugin.options.resolved_settings import resolve
from pytest_llmperf.servers.emulator.faults.fault_plan import FaultPlan
from tests.faults.conftest import FAST, served
from tests.servers.relays import Handle, address, listening, proxy, pump

TOKEN, PASSWORD, KEY, WORD, HEADER = (f"c4nary{number}-of-{letter * 9}" for number, letter in enumerate("abcde"))
LOGIN = f"me:{PASSWORD}"
CANARIES = (TOKEN, PASSWORD, KEY, WORD, HEADER, base64.b64encode(LOGIN.encode()).decode())

EVERYTHING = (
    *(
        "--showlocals",
        "-vv",
        "-rA",
        "--full-trace",
        "--log-level=DEBUG",
        "-o",
        "log_cli=true",
        "-o",
        "junit_logging=all",
    ),
    *(f"--llmperf-{kind}=out/run.{kind}" for kind in ("json", "html", "markdown", "codequality", "openmetrics", "csv")),
    *("--junitxml=out/junit.xml", "-o", "junit_family=xunit1", "--llmperf-calibrate=off", "--llmperf-timeout=9"),
)

SUITE = """
    import os
    import warnings

    import h11
    import pytest
    from pair import PAIR

    @pytest.fixture(autouse=True)
    def broken():
        open("broken", "w").close()

    @pytest.fixture(params=["", "cut"])
    def cut(request, monkeypatch, broken):
        def send(self, event):
            pytest.fail("Timeout: as pytest-timeout does, in the middle of anything")

        if request.param:
            monkeypatch.setattr(h11.Connection, "send", send)

    def test_urls(cut, dual_ollama):
        dual_ollama.urls

    def test_open(cut, single_ollama):
        single_ollama.open()

    def test_manifest(cut, llmperf_manifest):
        pass

    def test_warm_up(cut, dual_ollama, ollama_warmup):
        ollama_warmup(PAIR, on=dual_ollama)

    def test_measure(cut, llmperf):
        llmperf.measure(PAIR, "dual", test="x")

    def test_run(cut, dual_ollama, run_agents):
        run_agents(PAIR, on=dual_ollama)

    def test_ours(llmperf):
        token, environment = os.environ["MY_TOKEN"], dict(os.environ)
        print(environment, "token=" + token)
        warnings.warn(f"the token is {token}")
        assert environment == {}, token

    @pytest.mark.xfail(reason=f"the token is {os.environ['MY_TOKEN']}")
    def test_expected(llmperf):
        raise ValueError
"""

AGENTS = """
    import os
    import sys

    import pytest

    HEADER = f"X-Api-Key: {os.environ['A_HEADER']}"
    COMMAND = [sys.executable, "agent.py", "--token", os.environ["A_WORD"], "-H", HEADER]

    @pytest.mark.parametrize("ending", ["0", "3", "no program"])
    def test_it(single_ollama, run_agents, ending):
        command = [*COMMAND, ending]
        run_agents([command[1:] if ending == "no program" else command], on=single_ollama)

    def test_refused(single_ollama, run_agents):
        run_agents([" ".join(COMMAND)], on=single_ollama)

    def test_refused_too(single_ollama, run_agents):
        run_agents(" ".join(COMMAND), on=single_ollama)
"""

AGENT = """
import json, os, sys, urllib.request
print(sys.argv, dict(os.environ))
body = {"model": os.environ["LLMPERF_MODEL"], "prompt": "and?", "options": {"num_predict": 8}}
urllib.request.urlopen(os.environ["OLLAMA_HOST"] + "/api/generate", json.dumps(body).encode()).read()
sys.exit(int(sys.argv[-1]))
"""


@pytest.fixture(autouse=True)
def planted(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, under names that say so and under one that only an option names."""
    for name, value in {
        "MY_TOKEN": TOKEN,
        "MY_LOGIN": LOGIN,
        "OPENAI_API_KEY": KEY,
        "LLMPERF_TEST_PROXY": f"http://{LOGIN}@proxy.example:3128",
    }.items():
        monkeypatch.setenv(name, value)
    pytester.mkdir("out")


def found_in(pytester: pytest.Pytester, result: pytest.RunResult) -> dict[str, str]:
    """What any output holds of a canary, with some text around it; a piece of one counts."""
    texts = {str(path): path.read_text("utf-8", "replace") for path in pytester.path.rglob("out/*") if path.is_file()}
    texts |= {"terminal": result.stdout.str() + result.stderr.str()}
    assert {"junit.xml", "run.json"} <= {Path(name).name for name in texts}
    pieces = "|".join({re.escape(piece) for canary in CANARIES for piece in (canary[:7], canary[-8:])})
    return {
        name: text[max(0, match.start() - 99) : match.end() + 9]
        for name, text in texts.items()
        if (match := re.search(pieces, text))
    }


@pytest.fixture
def echoes(pytester: pytest.Pytester) -> Iterator[list[str]]:
    """Two servers; once there is a file `broken`, they answer with errors that repeat all headers, as gateways do."""
    broken = pytester.path / "broken"

    def handler(url: str) -> Handle:
        def handle(client: socket.socket) -> None:
            if not broken.exists():
                with socket.create_connection(address(url)) as server:
                    pump(client, server)
                return
            head = client.recv(65536).partition(b"\r\n\r\n")[0].decode().replace("\r\n", " ").replace('"', "")
            body = f'{{"error": "not let in: {head}"}}'.encode()
            client.sendall(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))

        return handle

    with ExitStack() as stack:
        urls = [stack.enter_context(served(FaultPlan(), name, FAST)).url for name in "ab"]
        yield [f"http://127.0.0.1:{stack.enter_context(listening(handler(url)))}" for url in urls]


WAYS = {
    "straight": ("--llmperf-auth=bearer:MY_TOKEN",),
    "a login": ("--llmperf-auth=basic:MY_LOGIN",),
    "through a proxy": (
        "--llmperf-auth=bearer:MY_TOKEN",
        "--llmperf-proxy-auth=basic:MY_LOGIN",
        "--llmperf-proxy={proxy}",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_no_secret_of_a_server_s_is_shown(simulated, pytester: pytest.Pytester, echoes: list[str], way: str) -> None:
    """Every fixture fails, by an error that repeats the login and by an end in the middle of a request."""
    pytester.makepyfile(SUITE)
    with proxy([]) as through:
        options = [option.format(proxy=through) for option in WAYS[way]]
        result = simulated("--llmperf-backend=attach", f"--llmperf-urls={','.join(echoes)}", *options, *EVERYTHING)
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 13
    assert "not let in" in result.stdout.str()
    assert "***" in result.stdout.str()
    assert found_in(pytester, result) == {}


@pytest.mark.slow
def test_no_secret_of_a_command_s_is_shown(
    simulated, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither among its words nor in what it prints, whether it works, fails, cannot be started or is refused."""
    pytester.makepyfile(AGENTS)
    (pytester.path / "agent.py").write_text(AGENT)
    monkeypatch.setenv("A_WORD", WORD)
    monkeypatch.setenv("A_HEADER", HEADER)
    result = simulated(*EVERYTHING, "--llmperf-rounds=2", "--llmperf-max-rounds=2")
    result.assert_outcomes(passed=1, failed=4)
    assert found_in(pytester, result) == {}
    record = json.loads((pytester.path / "out" / "run.json").read_text())["records"][0]
    words = record["measurement"]["scenario"]["agents"][0]["run"]
    assert words[1:] == ["agent.py", "--token", "***", "-H", "X-Api-Key: ***", "0"]


REFUSED = {
    "user and password": "http://me:{0}@h",
    "without a scheme": "me:{0}@h:1",
    "a slash": "http://me:{0}/x@h",
    "a space": "http://me:a {0}@h",
    "a comma": "http://me:a,{0}@h",
    "without a scheme, a comma": "me:a,{0}@h",
    "a question mark": "http://me:a?{0}@h",
    "after a hash": "http://h#{0}",
    "a password after a hash": "http://me:a#{0}@h",
    "a query": "http://h?token={0}",
    "a port": "http://me:{0}",
    "two at signs": "http://me:x@{0}@h",
    "one of two": "http://a:1,http://me:{0}@h",
    "a key": "sk-{0}",
    "no scheme that is known": "ftp://me:{0}@h",
}


PLACES = (
    *("json", "html", "csv", "markdown", "codequality", "openmetrics", "results", "ca", "gguf", "faults", "config"),
    *("baselines-dir", "ollama-bin", "baseline", "compare", "model"),
)
"""Options that take nearly any text, as a path or a name."""


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_no_refusal_repeats_what_it_refuses(pytester: pytest.Pytester, text: str) -> None:
    """By every option, on the command line and in the ini file, in `llmperf.toml` by every key and of every type."""
    given, said = text.format(TOKEN), []
    for left_out in ("deployment", "against"):  # of which only the first is looked at
        options = [option for option in OPTIONS if option.metavar and option.name not in (left_out, *PLACES)]
        with pytest.raises(pytest.UsageError) as caught:
            resolve(pytester.parseconfigure(*(f"--llmperf-{option.name}={given}" for option in options)))
        said.append(str(caught.value))
        missing = [option.name for option in options if f"--llmperf-{option.name}: " not in said[-1]]
        assert set(missing) <= {"against", "deployment"} or text.startswith("sk-")  # which may be a host's name
    for key in NamedDeployment.__dataclass_fields__:
        for value in (f'"{given}"', f'["{given}"]', f'{{ x = "{given}" }}'):
            (pytester.path / "llmperf.toml").write_text(f"[deployments.x]\n{key} = {value}\n")
            with pytest.raises(UsageError) as refused:
                load(pytester.path / "llmperf.toml")
            said.append(str(refused.value))
    assert [text for text in said if "c4nary" in text] == []
