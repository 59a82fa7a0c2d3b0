"""Secrets are taken out of texts: known from the environment, by the name beside them, or by how they look."""

import html
import json
import subprocess
import sys
import time

import pytest

from pytest_llmperf.errors import LlmperfError, clean, printable
from pytest_llmperf.masking import known, masked, masked_words, names_secret, refused, secrets_of, watch, without_pieces
from pytest_llmperf.model import Access, ExternalAgent, scenario_of

TOKEN = "c4nary-" + "q" * 20


KEPT = {
    "a name": "agent --model gemma3:270m --max-tokens 100 --temperature=0.8 -n 3 --sort-by tokens",
    "a path": "python /srv/task-runner/main.py --out=/tmp/x --config conf.toml",
    "a prompt": "agent -p 'which key is it: the first?' --url {url}",
    "words with sk in them": "task-force-alpha-12 desk-lamp-123456",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT.keys())
def test_what_is_no_secret_stays(text: str) -> None:
    """Commands can be told apart in reports."""
    words = text.split()
    assert masked_words(words) == tuple(words)
    assert secrets_of(words) == ()


BY_NAME = (
    ["agent", "--token", TOKEN],
    ["agent", "--token=" + TOKEN],
    ["agent", "--api-key", TOKEN, "--n", "3"],
    ["agent", f"-api_key={TOKEN}"],
    ["env", f"OPENAI_API_KEY={TOKEN}", "agent"],
    ["env", f"DB_PASSWORD={TOKEN}", "agent"],
    ["curl", "-H", f"Authorization: Bearer {TOKEN}"],
    ["curl", "-H", f"x-api-key: {TOKEN}"],
    ["curl", "-u", f"me:{TOKEN}"],
    ["curl", "--user", f"me:{TOKEN}"],
    ["curl", f"http://me:{TOKEN}@h/x"],
    ["curl", f"http://h/x?a=1&access_token={TOKEN}&b=2"],
    ["bash", "-c", f"HF_TOKEN={TOKEN} agent"],
    ["bash", "-c", f"agent --password {TOKEN} --n 3"],
    ["agent", json.dumps({"clientSecret": TOKEN, "n": 3})],
    ["agent", "--authToken", TOKEN],
    ["agent", "--password", "-" + TOKEN],
)


@pytest.mark.parametrize("words", BY_NAME, ids=str)
def test_a_command_s_words_are_masked_by_name(words: list[str]) -> None:
    """In records, in the agent's own `repr`, in the scenario's, and in the name that it is given."""
    agent = ExternalAgent(name="x", run=tuple(words))
    scenario = scenario_of([words], name="y")
    for shown in (str(masked_words(words)), repr(agent), str(agent.stored), repr(scenario), scenario.agents[0].name):
        assert "c4nary" not in shown
    assert agent.run == tuple(words)
    assert masked_words(words)[0] == words[0]


BY_LOOK = (
    "sk-proj-abcdefgh12345678",
    "ghp_abcdefghijklmnop1234",
    "github_pat_11ABCDEFG0abcdefghij",
    "hf_abcdefghijKLMN",
    "glpat-abcdefghij12345",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sflKxwRJSMeKKF2QT4",
    "Bearer abcdefgh.12345678",
    "Basic bWU6c2VjcmV0MTIz",
    "http://me:s3cret@host",
    "https://me:s3/c@ret@host",
)


@pytest.mark.parametrize("secret", BY_LOOK)
def test_what_looks_like_a_secret_is_masked(secret: str) -> None:
    """In any text that leaves, in the middle of it, and in every word of a command."""
    core = secret.rsplit(maxsplit=1)[-1].partition("@")[0].rpartition("/")[2][-8:]
    for text in (f"the server said {secret!r}, sorry", f"a={secret}", secret):
        for shown in (masked(text), clean(text), printable(text), str(LlmperfError(text)), repr(LlmperfError(text))):
            assert core not in shown, shown
    assert core not in str(masked_words(["agent", secret]))
    assert core not in scenario_of([["agent", secret]], name="x").agents[0].name


def test_the_environment_s_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a name tells, and those that an option names; with the forms in which they are sent."""
    monkeypatch.setenv("MY_API_TOKEN", TOKEN)
    monkeypatch.setenv("SOMETHING", f"me:p{TOKEN}")
    monkeypatch.setenv("MY_TOKEN_FILE", "/run/secrets/token")
    monkeypatch.setenv("SHORT_KEY", "ollama")
    assert masked(f"<{TOKEN}> /run/secrets/token ollama") == "<***> /run/secrets/token ollama"
    Access(auth="basic:SOMETHING")
    assert f"p{TOKEN}" in known()
    assert masked(f"me:p{TOKEN}|p{TOKEN}") == "***|***"


def test_a_value_that_was_cut_short_is_masked() -> None:
    """As pytest cuts long values in the middle."""
    text = f"token = '{TOKEN[:12]}...{TOKEN[-9:]}'"
    assert without_pieces(text, (TOKEN,)) == "token = '***...***'"


def test_names() -> None:
    """Options, variables, headers and keys; not what only begins or sounds alike."""
    secret = "token --api-key OPENAI_API_KEY apiKey X-Auth-Token password PGPASSWORD client_secret Authorization cookie"
    harmless = "tokens max_tokens --tokenizer model PWD keyboard authority secretary url"
    assert [name for name in secret.split() if not names_secret(name)] == []
    assert [name for name in harmless.split() if names_secret(name)] == []


def test_a_refused_value_is_not_repeated() -> None:
    """At most the host if there is an `@`; nothing behind `?` and `#`."""
    for text in ("me:a b/c@h", "http://me:a/b@h", "http://me:a@b@h", "http://me:a,b@h", "me:a@h"):
        assert refused(text) == "***"
    assert refused("http://me:a@h:1") == "http://***@h:1"
    assert refused("http://h?x=1") == "http://h?***"
    assert refused("ftp://h") == "ftp://h"


def test_a_watched_variable_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value is read when a text is masked; an unset one is nothing."""
    watch("LLMPERF_TEST_WATCHED")
    assert masked(TOKEN) == TOKEN
    monkeypatch.setenv("LLMPERF_TEST_WATCHED", TOKEN)
    assert masked(TOKEN) == "***"


SEVERAL_LINES = (
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----"
)


@pytest.mark.parametrize(
    "value", ['it\'s \\ "c4nary" <&>', "c4nary\tk\u00e4y 12345", SEVERAL_LINES], ids=["quotes", "letters", "lines"]
)
def test_a_secret_is_masked_as_every_writer_spells_it(value, monkeypatch):
    """In tracebacks with local variables, JSON and HTML it looks different from what the variable holds."""
    monkeypatch.setenv("AGENT_SECRET", value)
    as_words = secrets_of(["agent", "--token", value])
    shown = [value, repr(value), ascii(value), repr(value.encode()), json.dumps(value), html.escape(value)]
    shown += [repr({"x": value}), *(f"E   {line}" for line in value.split("\n"))]
    for text in shown:
        for secrets in (None, as_words):
            hidden = masked(text, secrets)
            assert not any(piece in hidden for piece in ("c4nary", "MIIEvQ", "AQEFAA", "PRIVATE"))


@pytest.mark.parametrize(
    "begin", ["://", "://x", "?key", "&akey", "eyJ-", "sk-eyJ", "basic ", "bearer=", "a=", "a:", "..."]
)
def test_masking_takes_time_in_proportion_to_the_text(begin, monkeypatch):
    """A hostile server's error, or a long word of a command, must not hold up the run.

    Ten times the text takes ten times the steps; one that begins anew at each place takes a hundred.
    """
    monkeypatch.setenv("AGENT_SECRET", begin * 1000)

    def least_s(times: int) -> float:
        text = begin * times
        spent = []
        for _ in range(3):
            start = time.process_time()
            without_pieces(text, known())
            masked_words(["agent", text])
            spent.append(time.process_time() - start)
        return min(spent)

    assert least_s(10_000) < 40 * least_s(1_000) + 0.01


def test_what_is_cut_off_an_error_is_not_searched():
    """A body of 16 MB costs no more than what is shown of it; a secret across the cut is still masked."""
    text = "x" * 195 + "http://me:hunter2" + "z" * 100 + "@host" + "y" * 50_000
    assert "hunter2" not in printable(text)


def test_importing_us_compiles_no_pattern_of_masking():
    """Every pytest run imports the module, also where no test uses us: patterns are compiled when first needed."""
    code = "import re, pytest_llmperf.masking as m; assert not any(isinstance(v, re.Pattern) for v in vars(m).values())"
    code += "; assert m._patterns.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", code], check=True)
