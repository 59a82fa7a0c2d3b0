"""Faults on demand: each kind as a client sees it, from a server process of its own."""

import hashlib
import json
import socket
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import Settings
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from pytest_llmperf.servers.emulator.api.model_scheduler import BUSY
from pytest_llmperf.servers.emulator.faults.fault_kinds import (
    BETWEEN,
    FROM_THE_START,
    KINDS,
    OF_ANSWERS,
    OF_PACE,
    OF_WORK,
)
from pytest_llmperf.servers.emulator.faults.fault_plan import Fault, FaultPlan, load_plan
from pytest_llmperf.servers.emulator.faults.fired import fired_faults
from pytest_llmperf.servers.emulator.scripted_engine import MODEL_NAME, OUT_OF_MEMORY
from tests.servers.conftest import PATIENCE_S
from tests.started import start_own

FAST = '{"ttft_ms": 1, "decode_tok_s": 2000, "load_ms": 1, "jitter_pct": 0}'
RESET = (httpx.ReadError, httpx.RemoteProtocolError)
LOST = (httpx.NetworkError, httpx.RemoteProtocolError)
"""Refused, or accepted and thrown away a moment later."""


@pytest.fixture
def server(tmp_path: Path):
    """`server(plan, script)`: an instance `a` with this plan; gives its process and a client of it."""
    started, clients = [], []

    def start(plan: str, script: str = FAST):
        file = tmp_path / "plan.toml"
        file.write_text(plan)
        process, port = start_own(
            ["--engine", "scripted", "--script", script, "--faults", str(file), "--keep-alive-s", "-1"],
            label="instance a",
            timeout_s=PATIENCE_S,
        )
        started.append(process)
        clients.append(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False))
        return process, clients[-1]

    yield start
    for client in clients:
        client.close()
    for process in started:
        process.stop()


def ask(client: httpx.Client, tokens: int = 4, **more) -> httpx.Response:
    """A whole streamed answer."""
    options = {"num_predict": tokens}
    body = {"model": MODEL_NAME, "prompt": "one two", "options": options, **more}
    return client.post("/api/generate", json=body, headers={"connection": "close"})


def entry(kind: str, requests: object = 1, **more) -> str:
    """A fault in TOML."""
    given = {"kind": kind, "requests": requests, **more}
    return "[[fault]]\n" + "".join(f"{key} = {value!r}\n" for key, value in given.items())


def lines_of(response: httpx.Response) -> list[str]:
    return response.text.splitlines(keepends=True)


def is_whole(response: httpx.Response) -> bool:
    return response.status_code == 200 and '"done":true' in lines_of(response)[-1]


def test_answers_are_spoilt_as_planned_and_no_others(server):
    """Each kind hits its own request, in its way; those without an entry are whole."""
    plan = [
        entry("reset", 1),
        entry("reset", 2, after_tokens=2),
        entry("half_line", 3),
        entry("no_done", 4, after_tokens=2),
        entry("error_line", 5, message="out of memory"),
        entry("garbage", 6),
        entry("repeat", 7),
        entry("status", 8, status=404),
        entry("status", 9),
        entry("status", 10, status=503),
        entry("status", 11, message="so it is"),
        entry("stall", 12, seconds=0.2, after_tokens=1),
    ]
    _, client = server("\n".join(plan))
    for _ in range(2):
        with pytest.raises(RESET):
            ask(client)
    half = lines_of(ask(client))
    assert len(half) == 2
    assert not half[1].endswith("\n")
    cut = lines_of(ask(client))
    assert len(cut) == 2
    assert all(line.endswith("\n") for line in cut)
    assert lines_of(ask(client))[1:] == ['{"error":"out of memory"}\n']
    assert lines_of(ask(client))[1:] == ["<html>\n"]
    repeated = lines_of(ask(client))
    assert len(repeated[1:]) == 31
    assert len(set(repeated[1:])) == 1
    refusals = [(answer.status_code, answer.json()["error"]) for answer in (ask(client) for _ in range(4))]
    assert refusals[0] == (404, f"model '{MODEL_NAME}' not found")
    assert (refusals[1][0], refusals[2], refusals[3]) == (500, (503, BUSY), (500, "so it is"))
    began_s = time.monotonic()
    assert is_whole(ask(client))
    assert time.monotonic() - began_s >= 0.2  # at least
    assert is_whole(ask(client))


def test_a_reset_is_a_reset_and_no_end(server):
    """The kernel says ECONNRESET: what was under way is thrown away."""
    _, client = server(entry("reset", 1, after_tokens=1))
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        body = f'{{"model": "{MODEL_NAME}", "prompt": "x"}}'
        raw.sendall(
            f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        with pytest.raises(ConnectionResetError):
            list(iter(lambda: raw.recv(4096), b""))


def test_a_stall_for_good_ends_with_its_client(server):
    """The slot is free again as soon as the client has gone."""
    _, client = server(entry("stall", 1))
    with pytest.raises(httpx.ReadTimeout):
        client.post("/api/generate", json={"model": MODEL_NAME, "prompt": "x"}, timeout=httpx.Timeout(20, read=0.3))
    assert is_whole(ask(client))


def test_refused_for_a_while(server):
    """After each answer nobody listens (who still waits there is reset); then the same port answers again."""
    _, client = server(entry("refuse", "2-", seconds=0.3))
    seen: list[str] = []
    while seen[-3:] != ["whole", "lost", "whole"]:  # a client that is slow misses some of the refusals
        try:
            assert is_whole(ask(client))
            outcome = "whole"
        except LOST:
            outcome = "lost"
        if seen[-1:] != [outcome]:
            seen.append(outcome)


def test_an_instance_that_dies(server):
    """The process is gone, and its log says that this was planned."""
    process, client = server(entry("die", 2, after_tokens=1))
    assert is_whole(ask(client))
    with pytest.raises(RESET):
        ask(client)
    deadline_s = time.monotonic() + PATIENCE_S
    while process.alive:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert "fault plan: die at request 2" in process.log_tail()


def test_the_model_leaves_comes_otherwise_and_the_server_restarts(server):
    """What `/api/ps` and `/api/version` say between requests; the request that follows pays for the load."""
    plan = [entry("unload", 2), entry("reload", 3, num_ctx=1024), entry("restart", 4, version="9.9-simulated")]
    _, client = server("\n".join(plan), FAST.replace('"load_ms": 1', '"load_ms": 100'))
    with OllamaClient(str(client.base_url)) as control:

        def later(condition) -> None:
            deadline_s = time.monotonic() + PATIENCE_S
            while not condition():
                assert time.monotonic() < deadline_s
                time.sleep(0.005)

        assert is_whole(ask(client))
        later(lambda: not control.is_loaded(MODEL_NAME))
        answer = ask(client)
        assert loaded_ms(answer) >= 90
        later(lambda: [entry.context_length for entry in control.ps()] == [1024])
        assert loaded_ms(ask(client)) >= 90
        later(lambda: control.version() == "9.9-simulated")
        assert loaded_ms(ask(client)) >= 90
        later(lambda: loaded_ms(ask(client)) < 90)


def loaded_ms(response: httpx.Response) -> float:
    assert is_whole(response)
    return json.loads(lines_of(response)[-1])["load_duration"] / 1e6


def test_another_clients_traffic_takes_the_slot(server):
    """The request waits until the other one is served."""
    _, client = server(entry("traffic", 2, tokens=100), FAST.replace("2000", "500"))
    ask(client)
    assert queued_ms(ask(client)) > 190
    while queued_ms(ask(client)) > 100:  # a busy machine may keep it waiting, too
        pass


def queued_ms(response: httpx.Response) -> float:
    last = json.loads(lines_of(response)[-1])
    return (
        last["total_duration"] - last.get("load_duration", 0) - last["prompt_eval_duration"] - last["eval_duration"]
    ) / 1e6


def test_a_load_that_fails_and_one_that_takes_long(server):
    """Loads are counted, not requests; the error is the server's own."""
    _, client = server(entry("out_of_memory", 1) + entry("slow_load", 2, seconds=0.3))
    refused = ask(client)
    assert (refused.status_code, refused.json()["error"]) == (500, OUT_OF_MEMORY)
    assert loaded_ms(ask(client)) >= 300
    while loaded_ms(ask(client)) >= 300:  # without a load, only a stalled machine takes this time
        pass


def test_work_that_is_done_differently(server):
    """Longer than asked for; late, as for a load; late on the way, of which the server's own times know nothing."""
    _, client = server(entry("longer", 1, tokens=9) + entry("slow_acquire", 2, seconds=0.2) + entry("delay", 3))
    longer, acquired, delayed = (
        (json.loads(lines_of(answer)[-1]), answer.elapsed.total_seconds()) for answer in (ask(client) for _ in range(3))
    )
    assert longer[0]["eval_count"] == 9
    assert acquired[0]["load_duration"] >= 200_000_000
    assert (delayed[0]["eval_count"], delayed[0]["done"]) == (4, True)
    assert delayed[1] >= delayed[0]["total_duration"] / 1e9 + 0.099


def test_an_answer_under_way_ends_with_its_client(server):
    """What is still on its way is forgotten; the next request is answered."""
    _, client = server(entry("delay", 1, seconds=0.5))
    with pytest.raises(httpx.ReadTimeout):
        client.post("/api/generate", json={"model": MODEL_NAME, "prompt": "x"}, timeout=httpx.Timeout(20, read=0.1))
    assert is_whole(ask(client))


def test_what_a_server_is_like(server):
    """Its version, its model's digest and the context that it has memory for."""
    kinds = ("other_version", "other_model", "small_context")
    _, client = server("".join(f'[[fault]]\nkind = "{kind}"\n' for kind in kinds))
    ask(client)
    assert client.get("/api/version").json() == {"version": "0.0.1-simulated"}
    (entry_,) = client.get("/api/ps").json()["models"]
    assert entry_["context_length"] == 2048
    assert entry_["digest"] == hashlib.sha256(f"{MODEL_NAME} of a".encode()).hexdigest()


def test_a_spill_is_seen_in_ps_and_in_show(server):
    """A part of the model is in VRAM; the plan's kinds are part of what the server says of itself."""
    _, client = server('[[fault]]\nkind = "spill"\nfactor = 0.25')
    ask(client)
    (model,) = client.get("/api/ps").json()["models"]
    assert model["size_vram"] == model["size"] * 0.25 > 0
    assert client.post("/api/show", json={"model": MODEL_NAME}).json()["model_info"]["llmperf.faults"] == "spill"


def test_pace(server):
    """Rates as the durations of the answers tell them: at half, a tenth, and sinking."""
    plan = [
        entry("slow_decode", 2, factor=0.5),
        entry("slow_prefill", 3, factor=0.1),
        entry("throttle", "4-", factor=0.5, seconds=0),
    ]
    _, client = server("\n".join(plan), FAST.replace("2000", "500").replace('"ttft_ms": 1', '"ttft_ms": 10'))
    answers = [json.loads(lines_of(ask(client, 20))[-1]) for _ in range(5)]
    rates = [answer["eval_count"] * 1e9 / answer["eval_duration"] for answer in answers]
    first_ms = [answer["prompt_eval_duration"] / 1e6 for answer in answers]
    assert [rate < 300 for rate in rates] == [False, True, False, True, True]
    assert [ms > 95 for ms in first_ms] == [False, False, True, False, False]


# the plan


def plan_of(tmp_path: Path, text: str) -> FaultPlan:
    file = tmp_path / "faults.toml"
    file.write_text(text)
    return load_plan(file)


def test_a_plan_is_read(tmp_path):
    """Defaults come from the kind; a range is open or closed."""
    plan = plan_of(
        tmp_path,
        """
        seed = 3

        [[fault]]
        kind = "stall"
        instance = "b"
        requests = "3-7"
        probability = 0.5
        seconds = 2

        [[fault]]
        kind = "half_line"
        requests = "4-"
        """,
    )
    assert plan == FaultPlan(
        seed=3,
        faults=(
            Fault(kind="stall", instance="b", first=3, last=7, probability=0.5, seconds=2),
            Fault(kind="half_line", first=4, after_tokens=1),
        ),
    )


def test_what_strikes_and_what_does_not_is_known(server):
    """The log, which outlives the instance, lists them: from the start, on loads, and on answers really changed."""
    entries = [
        entry("slow_load", seconds=0),
        entry("no_done", 1, after_tokens=9),  # which an answer of four tokens never reaches
        entry("status", 1),  # and the first that hits an answer is the only one that does
        entry("slow_decode", "2-"),
        entry("reset", 3, instance="b"),
        "[[fault]]\nkind = 'spill'\n",
        entry("status", 2),
        entry("die", 3),
    ]
    process, client = server("".join(entries))
    ask(client)
    ask(client)
    with pytest.raises(httpx.HTTPError):
        ask(client)
    until_dead = time.monotonic() + PATIENCE_S
    while process.alive and time.monotonic() < until_dead:
        time.sleep(0.01)
    assert fired_faults(process.log()) == {1, 4, 6, 7, 8}


def test_a_plan_in_words():
    """Which faults have fired, and each that has not, in the plan's words."""
    faults = (
        Fault(kind="die", number=1),
        Fault(kind="reset", instance="c", first=3, last=3, number=2),
        Fault(kind="stall", first=3, last=7, number=3),
        Fault(kind="spill", instance="b", number=4),
    )
    assert FaultPlan(faults=faults).so_far({1}) == (
        "3 of 4 never fired: fault 2 (reset, instance c, requests 3); fault 3 (stall, every instance, requests 3-7); "
        "fault 4 (spill, instance b)"
    )
    assert FaultPlan(faults=faults).so_far({1, 2, 3, 4}) == "all 4 faults have fired"
    assert FaultPlan(faults=faults[:1]).so_far({1}) == "its fault has fired"
    assert str(faults[0]) == "fault 1 (die, every instance, requests 1-)"


def test_probabilities_are_seeded_and_of_their_size():
    """The same seed hits the same requests, in each instance others; about the share that is wanted."""

    def hit(seed: int, instance: str) -> list[int]:
        plan = FaultPlan(faults=(Fault(kind="reset", probability=0.2),), seed=seed)
        return [number for number in range(1000) if any(plan.hits(instance, number + 1, "reset"))]

    assert hit(1, "a") == hit(1, "a")
    assert len({tuple(hit(1, "a")), tuple(hit(2, "a")), tuple(hit(1, "b"))}) == 3
    assert 150 < len(hit(1, "a")) < 250


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", "unknown key 'colour', wanted one of seed, fault"),
        ('seed = "x"', "seed = 'x', wanted an integer"),
        ("fault = 3", "fault: wanted tables, each with the head"),
        ("[[fault]]", "fault 1: kind = None, wanted one of refuse, reset"),
        ('[[fault]]\nkind = "rest"', "did you mean 'reset'?"),
        (
            '[[fault]]\nkind = "reset"\nafter_token = 3',
            "fault 1 (reset): unknown key 'after_token', wanted one of kind",
        ),
        ('[[fault]]\nkind = "reset"\nafter_token = 3', "did you mean 'after_tokens'?"),
        ('[[fault]]\nkind = "reset"\nafter_tokens = 1.5', "after_tokens = 1.5, wanted a whole number of 0 to 1e"),
        ('[[fault]]\nkind = "reset"\nafter_tokens = true', "after_tokens = True, wanted"),
        ('[[fault]]\nkind = "slow_decode"\nfactor = nan', "factor = nan, wanted a number of 0.001 to 1"),
        ('[[fault]]\nkind = "reset"\ninstance = 1', "instance = 1, wanted a text"),
        ('[[fault]]\nkind = "reset"\ninstance = "B"', "instance = 'B', wanted the name of an instance: a, b, c, ..."),
        ('[[fault]]\nkind = "reset"\nrequests = "7-3"', 'requests = \'7-3\', wanted 3, "3-7" or "3-"'),
        ('[[fault]]\nkind = "reset"\nrequests = 0', "requests = 0, wanted"),
        ('[[fault]]\nkind = "spill"\nrequests = 1', "unknown key 'requests'"),
        ("[[fault", "is not TOML"),
    ],
)
def test_a_plan_that_is_wrong(tmp_path, text, words):
    """File, entry, key, got against wanted, the nearest that there is."""
    with pytest.raises(UsageError) as caught:
        plan_of(tmp_path, text)
    assert words in str(caught.value)
    assert "faults.toml" in str(caught.value)
    assert "next: see docs/faults.md" in str(caught.value)


def test_every_fault_of_a_plan_is_listed_at_once(tmp_path):
    """One run tells them all."""
    with pytest.raises(UsageError) as caught:
        plan_of(tmp_path, '[[fault]]\nkind = "x"\n[[fault]]\nkind = "stall"\nseconds = -1\nfactor = 2')
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:4]] == [
        "  fault 1",
        "  fault 2 (stall)",
        "  fault 2 (stall)",
    ]


def test_a_plan_that_is_not_there_or_not_a_plan(tmp_path):
    """The path is named; a huge file is not read to its end."""
    with pytest.raises(UsageError, match=r"nowhere.toml: No such file"):
        load_plan(tmp_path / "nowhere.toml")
    huge = tmp_path / "huge.toml"
    with huge.open("wb") as file:
        file.truncate(50_000_000_000)
    with pytest.raises(UsageError, match="larger than 1000000 bytes"):
        load_plan(huge)


def test_only_the_simulated_server_has_faults(tmp_path):
    """A plan that nobody would follow is an error, before anything starts; so is a wrong one."""
    with pytest.raises(UsageError, match="only the simulated server has faults on demand, llmperf_backend is auto"):
        choose(Settings(faults="plan.toml"))
    with pytest.raises(UsageError, match=r"fault plan .*nowhere.toml"):
        choose(Settings(backend="simulated", faults=str(tmp_path / "nowhere.toml")))


def test_every_kind_is_somebodys():
    """A kind that nothing acts on would be a fault that never happens."""
    others = {"traffic", "out_of_memory", "slow_load"}
    assert {*OF_ANSWERS, *BETWEEN, *OF_PACE, *OF_WORK, *FROM_THE_START, *others} == set(KINDS)


def test_the_page_shows_every_kind_and_its_keys():
    """docs/faults.md has a row for each, in the code's own words; its example is a plan."""
    page = (Path(__file__).parents[4] / "docs/faults.md").read_text()
    for name, kind in KINDS.items():
        keys = ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in kind.keys.items()) or "-"
        assert f"| `{name}` | {kind.effect} | {keys} |" in page
    assert len(plan_of_page(page).faults) == 2


def plan_of_page(page: str) -> FaultPlan:
    with tempfile.TemporaryDirectory() as folder:
        return plan_of(Path(folder), page.split("```toml")[1].split("```", maxsplit=1)[0])
