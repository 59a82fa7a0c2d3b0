"""`llmperf.toml`: one validated value, every fault named at once; the page that documents it and all options."""

import os
import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest

from pytest_llmperf.config import deployment_of, load, profile_of
from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import (
    Agent,
    Configuration,
    GenerationOptions,
    Loop,
    NamedDeployment,
    NamedScenario,
    Prices,
    Profile,
    Script,
    Settings,
)
from pytest_llmperf.model.access import Access
from pytest_llmperf.plugin.fixtures import FIXTURES
from pytest_llmperf.plugin.options.option_table import OPTIONS
from pytest_llmperf.plugin.options.resolved_settings import resolve
from pytest_llmperf.servers.emulator.faults.fault_plan import load_plan
from pytest_llmperf.study.matrices import matrix_files

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

GOOD = """
[deployments.production]
urls = ["http://one:11434/", "https://two"]
model = "gemma3:latest"

[deployments.demo]
backend = "simulated"
gguf = "models/small.gguf"
topology = "single"
script = { decode_tok_s = 80, seed = 3 }

[prices]
usd_per_hour = 1

[profiles.ours]
mode = "multi_agent"
options = { num_gpu = 80, temperature = 1, stop = ["end"] }

[[scenarios.review.agents]]
name = "writer"
prompts = ["write", "again"]
tool_s = 0.5

[[scenarios.review.agents]]
name = "critic"
prompts = ["judge"]
after = ["writer"]
options = { num_predict = 64 }
think_s = [1]
loop = { back_to = "writer", times = 3 }
"""

FAULTS = {
    "section": ("[deploymets.a]\nurls = []", "deploymets: unknown key", "did you mean 'deployments'?"),
    "key": ('[deployments.a]\nurl = ["http://a"]', "deployments.a.url: unknown key", "did you mean 'urls'?"),
    "type": ('[deployments.a]\nurls = "http://a"', "deployments.a.urls: got a text, wanted a list", ""),
    "no_table": ("deployments = 3", "deployments: got 3, wanted a table", ""),
    "item": ("[deployments.a]\nurls = [1]", "deployments.a.urls[0]: got 1, wanted text", ""),
    "mode": (
        '[profiles.a]\nmode = "multi"\noptions = {}',
        "profiles.a: mode = 'multi', wanted one of single_inference, agent_workflow, multi_agent; options are missing",
        "",
    ),
    "option": (
        '[profiles.a]\nmode = "multi_agent"\noptions = { num_gpus = 1 }',
        "profiles.a.options.num_gpus: unknown key",
        "did you mean 'num_gpu'?",
    ),
    "price": ("[prices]\nyears = 3", "prices.usd_per_hour: missing", ""),
    "cost": ("[prices]\nusd_per_hour = 0", "prices: usd_per_hour = 0, wanted a number above 0", ""),
    "truth": ('[deployments.a]\nbackend = "attach"\nthreads = true', "deployments.a.threads: got True", "whole number"),
    "nothing": ("[deployments.a]", "deployments.a: urls and backend are missing", ""),
    "backend": ('[deployments.a]\nbackend = "gpu"', "deployments.a: backend = 'gpu', wanted one of auto", ""),
    "both": ('[deployments.a]\nbackend = "embedded"\nurls = ["http://a"]', "urls belong to running servers", ""),
    "address": ('[deployments.a]\nurls = ["ftp://a"]', "urls: 'ftp://a' is not an address, wanted http://", ""),
    "ports": ('[deployments.a]\nbackend = "ollama"\nports = [0, 1]', "ports hold 0, wanted ports from 1", ""),
    "ray": (
        '[deployments.a]\nbackend = "attach"\nray_address = "ray://a:10001"',
        "ray_address: 'ray://a:10001', wanted auto, or HOST:PORT",
        "",
    ),
    "label": ('[hosts]\na = "edge"', "hosts.a = 'edge', wanted a label KEY=VALUE of a Ray node", ""),
    "threads": ('[deployments.a]\nbackend = "ollama"\nthreads = -1', "threads = -1, wanted 0 or more", ""),
    "topology": (
        '[deployments.a]\nbackend = "ollama"\ntopology = "ring"',
        "topology = 'ring', wanted one of",
        "",
    ),
    "script": ("[deployments.a.script]\njitter_pct = 101", "deployments.a.script: jitter_pct = 101, wanted 0 to", ""),
    "scenario": ("[scenarios.a]\nagents = []", "scenarios.a: agents is empty, wanted one or more", ""),
    "agent": (
        '[[scenarios.a.agents]]\nname = "x"\nprompt = "p"',
        "scenarios.a.agents[0].prompt: unknown key",
        "did you mean 'prompts'?",
    ),
    "twins": (
        'scenarios.a.agents = [{ name = "x", prompts = ["p"] }, { name = "x", prompts = ["p"] }]',
        "scenarios.a: agents has two agents of the name 'x'",
        "",
    ),
    "after": (
        'scenarios.a.agents = [{ name = "x", prompts = ["p"] }, { name = "y", prompts = ["p"], after = ["xx"] }]',
        "scenarios.a: agent 'y' comes after 'xx', which is no agent of the scenario",
        "did you mean 'x'?",
    ),
    "circle": (
        "scenarios.a.agents = [{ name = 'x', prompts = ['p'], after = ['y'] }, "
        "{ name = 'y', prompts = ['p'], after = ['x'] }]",
        "scenarios.a: a circle without a bound: ",
        "loop=Loop(back_to=",
    ),
    "loop": (
        "scenarios.a.agents = [{ name = 'x', prompts = ['p'], loop = { back_to = 'x' } }]",
        "scenarios.a.agents[0].loop: a loop back to 'x' needs a bound: times is 0, wanted 1 to 1000",
        "",
    ),
    "pause": (
        "scenarios.a.agents = [{ name = 'x', prompts = ['p'], think_s = 'long' }]",
        "scenarios.a.agents[0].think_s: got a text, wanted a number or a list of numbers",
        "",
    ),
    "pauses": (
        "scenarios.a.agents = [{ name = 'x', prompts = ['p'], tool_s = [1, 2] }]",
        "scenarios.a.agents[0]: agent 'x': tool_s has 2 numbers for 1 prompts",
        "",
    ),
    "script_key": ("[deployments.a.script]\njitter = 1", "deployments.a.script.jitter: unknown key", "'jitter_pct'?"),
}


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "llmperf.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_becomes_one_value(tmp_path: Path) -> None:
    """Deployments by name, addresses without a slash at their end, files from the folder of the file."""
    assert load(written(tmp_path, GOOD)) == Configuration(
        deployments={
            "production": NamedDeployment(urls=("http://one:11434", "https://two"), model="gemma3:latest"),
            "demo": NamedDeployment(
                backend="simulated",
                gguf=str(tmp_path / "models/small.gguf"),
                topology="single",
                script=Script(decode_tok_s=80.0, seed=3),
            ),
        },
        prices=Prices(usd_per_hour=1.0),
        profiles={
            "ours": Profile(mode="multi_agent", options=GenerationOptions(num_gpu=80, temperature=1.0, stop=("end",)))
        },
        scenarios={
            "review": NamedScenario(
                agents=(
                    Agent(name="writer", prompts=("write", "again"), tool_s=0.5),
                    Agent(
                        name="critic",
                        prompts=("judge",),
                        after=("writer",),
                        options=GenerationOptions(num_predict=64),
                        think_s=(1.0,),
                        loop=Loop(back_to="writer", times=3),
                    ),
                )
            )
        },
    )


@pytest.mark.parametrize(("text", "words", "more"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_names_file_key_and_what_was_wanted(tmp_path: Path, text: str, words: str, more: str) -> None:
    """Each kind of fault, with the way out."""
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert more in str(caught.value)
    assert "next: see docs/configuration.md" in str(caught.value)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    """Four faults in three tables: one error with a line for each fault; a table's values share a line."""
    text = '[deployments.a]\nurl = 1\n[deployments.b]\nbackend = "gpu"\nthreads = -1\n[prizes]\nusd = 1'
    with pytest.raises(UsageError) as caught:
        load(written(tmp_path, text))
    lines = str(caught.value).splitlines()
    for words in ("deployments.a.url: unknown", "deployments.b: backend = 'gpu'", "threads = -1", "prizes: unknown"):
        assert any(words in line for line in lines), lines


def test_what_is_no_file_of_ours(tmp_path: Path) -> None:
    """A missing file that was named, a folder, no UTF-8, no TOML: each an error that names the path."""
    assert load(tmp_path / "none.toml", wanted=False) == Configuration()
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path, wanted=False)
    with pytest.raises(UsageError, match=r"cannot be read: .*utf-8"):
        load(written(tmp_path, b"\xff\xfe"))
    with pytest.raises(UsageError, match=r"is no TOML: .*at end of document"):
        load(written(tmp_path, "[deployments"))
    with pytest.raises(UsageError, match="is no TOML: it is nested too deeply"):
        load(written(tmp_path, f"a = {'[' * 100_000}"))


def test_an_unknown_deployment_names_the_nearest(tmp_path: Path) -> None:
    """And all that there are, or that there is none."""
    configuration = load(written(tmp_path, GOOD))
    with pytest.raises(UsageError, match="has production, demo; did you mean 'production'"):
        deployment_of(configuration, "prodution")
    with pytest.raises(UsageError, match="has none"):
        deployment_of(Configuration(), "x")


def test_a_profile_of_the_file_stands_before_the_reports(tmp_path: Path) -> None:
    """The report's are there without a file; an unknown one names the nearest and all."""
    assert profile_of(Configuration(), "agent_workflow").options.num_ctx == 512
    text = '[profiles.agent_workflow]\nmode = "agent_workflow"\noptions = { num_ctx = 300 }'
    assert profile_of(load(written(tmp_path, text)), "agent_workflow").options.num_ctx == 300
    with pytest.raises(UsageError, match=r"wanted one of single_inference, .*; did you mean 'multi_agent'"):
        profile_of(Configuration(), "multi_agents")


def test_a_deployment_comes_after_what_was_typed_and_before_the_ini_file(pytester: pytest.Pytester) -> None:
    """The model is typed, the backend the deployment's, the number of threads the ini file's."""
    pytester.makeini("[pytest]\nllmperf_backend = embedded\nllmperf_threads = 3\nllmperf_model = ini\n")
    written(pytester.path, GOOD)
    settings = resolve(pytester.parseconfigure("--llmperf-deployment=demo", "--llmperf-model=typed"))
    assert (settings.backend, settings.threads, settings.model) == ("simulated", 3, "typed")
    assert (settings.force_topology, settings.script.decode_tok_s) == ("single", 80.0)
    settings = resolve(pytester.parseconfigure("--llmperf-deployment=production"))
    assert (settings.backend, settings.urls, settings.model) == (
        "attach",
        ("http://one:11434", "https://two"),
        "gemma3:latest",
    )


def test_the_file_is_read_where_it_is_named(pytester: pytest.Pytester) -> None:
    """From the folder that pytest was started in, or that of the ini file; without one, settings are as ever."""
    assert resolve(pytester.parseconfigure()).configuration == Configuration()
    (pytester.mkdir("other") / "my.toml").write_text(GOOD, encoding="utf-8")
    assert set(resolve(pytester.parseconfigure("--llmperf-config=other/my.toml")).configuration.deployments) == {
        "production",
        "demo",
    }
    pytester.makeini("[pytest]\nllmperf_config = other/my.toml\n")
    assert resolve(pytester.parseconfigure()).configuration.deployments["demo"].backend == "simulated"


def test_a_wrong_file_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """Beside wrong options, in one error, before anything starts; a run that does not use us is left alone."""
    written(pytester.path, "[deployments.a]\nurl = 1")
    pytester.makepyfile("def test_it(run_agents): pass")
    result = pytester.runpytest("--llmperf-rounds=0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--llmperf-rounds*", "*llmperf.toml: wrong settings:", "*deployments.a.url: *"])
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result = pytester.runpytest("--llmperf-deployment=b")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    pytester.makepyfile("def test_it(): pass")
    assert pytester.runpytest().ret == pytest.ExitCode.OK


def test_the_page_holds_every_option_and_every_key() -> None:
    """Every option with its ini twin in one row and no other; every section of the file, every key."""
    rows = dict(re.findall(r"^\| `(--llmperf-[\w-]+)(?: [^`]*)?` \| `(\w+)` \| [^|]*\| \w", PAGE, re.MULTILINE))
    assert rows == {f"--llmperf-{option.name}": option.ini for option in OPTIONS}
    file = PAGE.partition("\n## llmperf.toml\n")[2]
    assert re.findall(r"^### (\w+)", file, re.MULTILINE) == [section.name for section in fields(Configuration)]
    keys = set(re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE))
    assert {key.name for kind in (NamedDeployment, NamedScenario, Prices, Profile) for key in fields(kind)} <= keys


def test_generated_tables_are_those_of_the_code() -> None:
    """A page whose tables are not what the code gives fails; `make docs` writes them."""
    generator = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    for page in generator["TABLES"]:
        assert (ROOT / page).read_text(encoding="utf-8") == generator["generated"](page), "run: make docs"


def test_a_default_is_that_of_the_settings() -> None:
    """The text of each default gives the value of Settings; without one, the value is empty, or a folder's name."""
    settings = Settings()
    for option in OPTIONS:
        value = getattr(settings, option.field)
        if option.default:
            assert option.parse(option.default) == value, option.name
        else:
            assert not value or value == Script() or option.unset == f"ROOTDIR/{value}", option.name


def test_every_setting_has_an_option() -> None:
    """But for the two that hold what `llmperf.toml` says."""
    named = {key.name for key in fields(Settings)} - {"configuration", "incumbent"}
    assert {option.field for option in OPTIONS} == named
    assert len(OPTIONS) == len({option.name for option in OPTIONS})


def test_help_and_page_say_the_same(pytester: pytest.Pytester) -> None:
    """`pytest --help` prints each option's text and default; `pytest --fixtures` has every fixture of the README."""
    printed = "".join(pytester.runpytest("--help").stdout.str().split())
    for option in OPTIONS:
        assert "".join(option.help_text.split()) in printed, option.name
    printed = pytester.runpytest("--fixtures").stdout.str()
    for name in FIXTURES:
        assert re.search(rf"^{name}( \[session scope\])? -- ", printed, re.MULTILINE), name


def test_the_page_shows_a_file_that_can_be_read(tmp_path: Path) -> None:
    """Its examples are read as they stand."""
    text = "\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
    assert set(load(written(tmp_path, text)).deployments) >= {"production", "one_server", "demo"}


class TestTheFileItself:
    """What may be at the path of the configuration file."""

    @pytest.mark.parametrize("kind", ["FIFO", "folder", "device"])
    def test_what_is_no_plain_file(self, tmp_path: Path, kind: str) -> None:
        """Configuration, matrix, fault plan, certificates: an error at once, never a wait."""
        path = tmp_path / "llmperf.toml"
        {"FIFO": os.mkfifo, "folder": Path.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](path)
        for work in (load, matrix_files.load, load_plan, lambda path: Access(ca_file=str(path)).check()):
            with pytest.raises(UsageError) as caught:
                work(path)
            assert str(path) in str(caught.value)
            assert caught.value.next_step

    def test_a_byte_order_mark(self, tmp_path: Path) -> None:
        """As Notepad writes it."""
        path = tmp_path / "llmperf.toml"
        path.write_bytes(b'\xef\xbb\xbf[deployments.new]\r\nurls = ["http://h1:1"]\r\n')
        assert load(path).deployments["new"].urls == ("http://h1:1",)
        path.write_bytes(b"\xef\xbb\xbfseed = 3\n")
        assert load_plan(path).seed == 3

    def test_marks_of_a_conflict(self, tmp_path: Path) -> None:
        """Their lines are named."""
        path = tmp_path / "llmperf.toml"
        path.write_text("<<<<<<< HEAD\n[prices]\n=======\n[profiles]\n>>>>>>> theirs\n")
        for work in (load, matrix_files.load):
            with pytest.raises(UsageError, match="lines 1, 3, 5 have git's conflict markers: merge the file"):
                work(path)
