"""`pytest-llmperf init`: what it writes works as it is, and what is there stays as it is."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from errno import EACCES
from pathlib import Path

# pytester forgets the modules that an inner run has imported; these cannot be loaded twice.
import httpcore  # noqa: F401
import numpy as np  # noqa: F401
import pytest
import yaml

from pytest_llmperf.cli import init_command, main
from pytest_llmperf.cli.arguments import parser
from pytest_llmperf.cli.ci_host import server_of
from pytest_llmperf.config import load
from pytest_llmperf.judge.baselines.baseline_files import load as load_baseline
from pytest_llmperf.model import Script
from tests.lent import known
from tests.started import Handler, http_server, simulated_server

ROOT = Path(__file__).parents[2]
TESTS = "perf/test_agents_together.py"
EVERYWHERE = {".gitignore", "llmperf.toml", TESTS}
FILES = {
    "github": EVERYWHERE | {".github/workflows/llmperf.yml"},
    "gitlab": EVERYWHERE | {".gitlab-ci.yml", ".gitlab/llmperf.yml"},
    "none": EVERYWHERE,
}
SCRIPT = {"ttft_ms": 5, "load_ms": 1, "decode_tok_s": 800, "jitter_pct": 0.2}


def git(*arguments: object, folder: Path | None = None) -> str:
    command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, which is the current folder."""
    folder = tmp_path / "project"
    git("init", "--quiet", "--initial-branch=main", folder)
    monkeypatch.chdir(folder)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


@pytest.mark.parametrize("host", FILES)
def test_what_is_written_and_that_a_second_run_leaves_it(
    project: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    """A line per file; the second time each is left alone, also if it was changed; both end with 0."""
    assert main(["init", "--ci", host]) == 0
    written = files_in(project)
    assert written.keys() == FILES[host]
    out = capsys.readouterr().out
    assert all(f"wrote       {name}" in out for name in written)
    assert out.endswith("\n  next: pytest perf -m multiagent\n")
    (project / TESTS).write_text("# mine\n")
    assert main(["init", "--ci", host]) == 0
    assert files_in(project) == written | {TESTS: b"# mine\n"}
    again = capsys.readouterr().out
    assert "wrote" not in again
    assert again.count("left alone  ") == len(written)


def test_the_files_parse(project: Path) -> None:
    """Python, TOML (with its examples, too), YAML; no placeholder is left."""
    for host in ("github", "gitlab"):
        main(["init", "--ci", host])
    compile((project / TESTS).read_text(), TESTS, "exec")
    assert load(project / "llmperf.toml").deployments["simulated"].backend == "simulated"
    text = (project / "llmperf.toml").read_text()
    (project / "llmperf.toml").write_text(text.replace("# [", "[").replace("# u", "u").replace("# m", "m"))
    examples = load(project / "llmperf.toml")
    assert len(examples.deployments["production"].urls) == 2
    assert examples.prices is not None
    for name, content in files_in(project).items():
        assert b"__" not in content, name
    github = yaml.safe_load((project / ".github/workflows/llmperf.yml").read_text())
    assert github[True]["push"] == {"branches": ["main"]}  # YAML 1.1 reads `on` as a truth value
    assert {job: bool(github["jobs"][job]["permissions"]) for job in github["jobs"]} == dict.fromkeys(
        ("measure", "comment", "keep"), True
    )
    gitlab = yaml.safe_load((project / ".gitlab/llmperf.yml").read_text())
    assert gitlab.keys() == {".llmperf", "llmperf", "llmperf-publish"}
    assert yaml.safe_load((project / ".gitlab-ci.yml").read_text()) == {"include": [{"local": ".gitlab/llmperf.yml"}]}


@pytest.mark.parametrize(
    ("remotes", "there", "host", "reason"),
    [
        ({"origin": "git@github.com:o/r.git"}, (), "github", "the remote origin is on github.com"),
        ({"origin": "https://me:t0ken@gitlab.example.org:8443/o/r"}, (), "gitlab", "origin is on gitlab.example.org"),
        ({"origin": "git@github.com:o/r.git"}, (".gitlab-ci.yml",), "github", "the remote origin"),
        ({"mirror": "git@gitlab.com:o/r", "origin": "git@github.com:o/r"}, (), "github", "the remote origin"),
        ({"origin": "ssh://git@git.example.org/github/r.git"}, (".gitlab-ci.yml",), "gitlab", ".gitlab-ci.yml exists"),
        ({}, (".github/dependabot.yml",), "github", ".github exists"),
        ({}, (".gitlab/x", ".github/x"), "none", ".github and .gitlab exist"),
        ({"origin": "/srv/github/r.git"}, (), "none", "neither a remote nor a file of the repository tells the host"),
    ],
)
def test_the_host(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    remotes: dict[str, str],
    there: Sequence[str],
    host: str,
    reason: str,
) -> None:
    """By the server of a remote, origin first, else by files; if that tells nothing, the options are named."""
    for name, url in remotes.items():
        git("remote", "add", name, url)
    for name in there:
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).touch()
    assert main(["init"]) == 0
    out = capsys.readouterr().out
    assert files_in(project).keys() == FILES[host] | set(there)
    assert reason in out
    assert "t0ken" not in out
    assert ("--ci=github or --ci=gitlab" in out) == (host == "none")
    assert ("commits them to the branch llmperf-baselines" in out) == (host != "none")


def test_addresses_of_remotes() -> None:
    """Only the server counts, in each form that git knows."""
    servers = {
        "git@github.com:o/r.git": "github.com",
        "github-work:o/r": "github-work",
        "ssh://git@GitLab.example.org:2222/o/r": "gitlab.example.org",
        "https://me:p:w@github.com/o/r": "github.com",
        "https://example.org/github/r": "example.org",
        "/srv/gitlab/r": "",
        "../github/r": "",
        "file:///srv/github/r": "",
        "": "",
    }
    assert {address: server_of(address) for address in servers} == servers


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, b"llmperf-results/\n"),
        (b"", b"llmperf-results/\n"),
        (b"*.pyc\n", b"*.pyc\nllmperf-results/\n"),
        (b"*.pyc", b"*.pyc\nllmperf-results/\n"),
        (b"*.pyc\r\n\xff", b"*.pyc\r\n\xff\r\nllmperf-results/\r\n"),
        (b"/llmperf-results\n", b"/llmperf-results\n"),
        (b"llmperf-*/\n", b"llmperf-*/\n"),
    ],
)
def test_the_entry_in_gitignore(project: Path, before: bytes | None, after: bytes) -> None:
    """Added as a line of its own, with the file's line ends, unless git ignores the folder."""
    if before is not None:
        (project / ".gitignore").write_bytes(before)
    assert main(["init"]) == 0
    assert (project / ".gitignore").read_bytes() == after


def test_no_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but a workflow is written, and the output says so; a requested workflow is written to the folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert main(["init", "here"]) == 0
    out = capsys.readouterr().out
    assert files_in(tmp_path / "here").keys() == EVERYWHERE
    assert "no CI workflow: this is no git repository; choose one with --ci=github or --ci=gitlab" in out
    assert out.endswith("\n  next: cd here && pytest perf -m multiagent\n")
    assert main(["init", "here", "--ci", "github"]) == 0
    assert files_in(tmp_path / "here").keys() == FILES["github"]


def test_tests_of_the_user_stay(project: Path) -> None:
    """In a perf/ that exists, also behind a link."""
    (project / "elsewhere").mkdir()
    (project / "elsewhere" / "test_mine.py").write_text("# mine")
    (project / "perf").symlink_to("elsewhere")
    assert main(["init"]) == 0
    assert {path.name for path in (project / "elsewhere").iterdir()} == {"test_mine.py", Path(TESTS).name}
    assert (project / "elsewhere" / "test_mine.py").read_text() == "# mine"


def test_an_existing_pipeline_is_told_what_to_include(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The job is a file of its own."""
    (project / ".gitlab-ci.yml").write_text("stages: [test]\n")
    assert main(["init"]) == 0
    out = capsys.readouterr().out
    assert "left alone  .gitlab-ci.yml: it exists; add to it, unless it is there: include: [{local: " in out
    assert (project / ".gitlab-ci.yml").read_text() == "stages: [test]\n"


@pytest.mark.parametrize("obstacle", ["file", "permissions", "missing", "dangling"])
def test_places_that_cannot_be_written(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    """Found before anything is written: exit code 2, the file, the reason, the next step."""
    arguments = ["init", "--ci", "github"]
    if obstacle == "file":
        (project / "perf").touch()
    elif obstacle == "dangling":
        (project / ".github").symlink_to("/proc/nowhere")
    elif obstacle == "missing":
        arguments.append("nowhere")
    else:

        def refuse(path: Path) -> None:
            raise PermissionError(EACCES, os.strerror(EACCES), str(path))

        monkeypatch.setattr(init_command, "probe", refuse)
    before = sorted(project.iterdir())
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pytest-llmperf init: ")
    assert "\n  next: " in err
    assert sorted(project.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]\n"),
        ("pyproject.toml", "[project]\n"),
        ("pytest.ini", ""),
        ("tox.ini", "[pytest]\n"),
        ("setup.cfg", "[tool:pytest]\n"),
        ("setup.py", ""),
    ],
)
def test_the_root_folder_is_pytests(
    project: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    """llmperf.toml is looked up in pytest's root folder: in another one, nothing is written."""
    (project / name).write_text(text)
    (project / "part").mkdir()
    os.chdir(project)
    assert main(["init", "part"]) == 2
    assert f"pytest's root folder is ., by {name} there" in capsys.readouterr().err
    assert list((project / "part").iterdir()) == []
    assert main(["init"]) == 0
    capsys.readouterr()
    (project / "part" / "perf").mkdir()
    os.chdir(project / "part")
    printed = pytester.run(sys.executable, "-m", "pytest", "--collect-only", project / "part" / "perf").stdout.str()
    assert f"rootdir: {project}\n" in printed


def test_a_part_of_a_repository(project: Path) -> None:
    """With a configuration of its own: the workflow is at the repository's top, and works in the folder."""
    (project / "part").mkdir()
    (project / "part" / "pytest.ini").touch()
    for host in ("github", "gitlab"):
        assert main(["init", "part", "--ci", host]) == 0
    workflow = yaml.safe_load((project / ".github" / "workflows" / "llmperf.yml").read_text())
    assert workflow["jobs"]["measure"]["defaults"]["run"]["working-directory"] == "part"
    assert workflow["jobs"]["measure"]["steps"][-1]["with"]["path"] == "part/baselines/ci.toml"
    job = yaml.safe_load((project / ".gitlab" / "llmperf.yml").read_text())["llmperf"]
    assert job["before_script"][0] == "cd part"
    assert (project / "part" / TESTS).exists()


@pytest.mark.parametrize("branch", ["main", "master", "trunk"])
@pytest.mark.parametrize("cloned", [True, False])
def test_the_default_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, branch: str, cloned: bool) -> None:
    """That of the remote, also while another branch is checked out."""
    origin, folder = tmp_path / "origin", tmp_path / "project"
    git("init", "--quiet", f"--initial-branch={branch}", origin)
    git("commit", "--quiet", "--allow-empty", "--message=first", folder=origin)
    if cloned:
        git("clone", "--quiet", origin, folder)
    else:
        origin.rename(folder)
    if cloned or branch != "trunk":
        git("switch", "--quiet", "--create", "topic", folder=folder)
    monkeypatch.chdir(folder)
    assert main(["init", "--ci", "github"]) == 0
    workflow = yaml.safe_load((folder / ".github" / "workflows" / "llmperf.yml").read_text())
    assert workflow[True]["push"]["branches"] == [branch]


@pytest.mark.slow
@pytest.mark.parametrize("attached", [False, True], ids=["own servers", "a single server"])
def test_the_tests_pass_as_they_are(project: Path, pytester: pytest.Pytester, attached: bool) -> None:
    """On servers of our own, and on one that all agents share; llmperf.toml is read."""
    assert main(["init"]) == 0
    os.chdir(project)
    script = ",".join(f"{key}={value}" for key, value in SCRIPT.items())
    command = ("perf", "-m", "multiagent", "--strict-markers", "-p", "no:cacheprovider", "-W", "error")
    if attached:
        with simulated_server(**SCRIPT) as url, known(url, Script(**SCRIPT)):
            result = pytester.runpytest_inprocess(*command, f"--llmperf-urls={url}")
    else:
        result = pytester.runpytest_inprocess(*command, "--llmperf-deployment=simulated", f"--llmperf-script={script}")
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize("page", ["start.md", "ci.md"])
def test_the_pages_show_commands_that_exist(project: Path, page: str) -> None:
    """Each command of ours can be parsed, each of pytest's collects the tests, and the YAML is what `init` writes."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    main(["init", "--ci", "gitlab"])
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for command in commands:
        program, *words = shlex.split(command)
        if program == "pytest-llmperf":
            parser().parse_args(words)
        elif program == "pytest":
            words = [word for word in words if "compare" not in word]
            subprocess.run(
                [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *words], check=True
            )
    assert any(command.startswith("pytest perf") for command in commands)
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        assert block == (project / ".gitlab-ci.yml").read_text()


def steps_of(job: dict) -> dict[str, str]:
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


class Machine:
    """A CI machine: it runs shell scripts in a clone, on simulated servers in scripted time."""

    def __init__(self, folder: Path, options: Sequence[str], **variables: str) -> None:
        self.folder = folder
        script = ",".join(f"{key}={value}" for key, value in SCRIPT.items())
        added = ("--llmperf-backend=simulated", f"--llmperf-script={script}", "-k", "parallel", *options)
        self.environment = {
            **os.environ,
            **{f"GIT_{who}_{key}": f"ci@{key}" for who in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")},
            "PATH": f"{folder.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTEST_ADDOPTS": " ".join(added),
            "KEEP_IN": "branch",
            **variables,
        }

    def run(self, script: str, *, inside: str = "", **variables: str) -> str:
        """What a script prints that must succeed."""
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.folder / inside,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def origin(project: Path, tmp_path: Path) -> Path:
    """The project with both workflows, on a server."""
    for host in ("github", "gitlab"):
        main(["init", "--ci", host])
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    git("clone", "--quiet", "--bare", project, tmp_path / "origin.git")
    (tmp_path / "bin").mkdir()
    return tmp_path / "origin.git"


def cloned(origin: Path, name: str) -> Path:
    git("clone", "--quiet", origin, origin.parent / name)
    return origin.parent / name


def stored_sessions(origin: Path) -> int:
    """How many sessions of its only measurement the branch has."""
    path = origin.parent / "stored.toml"
    path.write_text(git("show", "llmperf-baselines:ci.toml", folder=origin))
    (entry,) = load_baseline(path).stored
    return len(entry.session)


FAKE_GH = """#!/usr/bin/env bash
echo "$*" >> "$GH_LOG"
case "$*" in
  *--paginate*) if [ -e "$GH_LOG.posted" ]; then echo 42; fi ;;
  *) touch "$GH_LOG.posted" ;;
esac
"""


@pytest.mark.slow
def test_the_github_workflow_runs(
    origin: Path, scripted_time: tuple[str, ...], client_keeps_up: tuple[str, ...]
) -> None:
    """Two pushes store sessions on the branch, a pull request is compared with them, its comment is kept up to date."""
    (origin.parent / "bin" / "gh").write_text(FAKE_GH)
    (origin.parent / "bin" / "gh").chmod(0o755)
    options = (*scripted_time, *client_keeps_up)
    jobs = yaml.safe_load((origin.parent / "project/.github/workflows/llmperf.yml").read_text())["jobs"]
    measure, commit = steps_of(jobs["measure"]), steps_of(jobs["keep"])["Commit to the branch llmperf-baselines"]
    for number, event in enumerate(("push", "push", "pull_request", "workflow_dispatch")):
        machine = Machine(cloned(origin, f"run{number}"), options, GITHUB_OUTPUT=str(origin.parent / f"output{number}"))
        machine.run(measure["Fetch the stored sessions"])
        printed = machine.run(measure["Measure"], EVENT=event)
        assert ("::notice::no stored sessions yet" in printed) == (number == 0)
        assert ("compared with baseline ci" in printed) == (number in (1, 2))
        assert ("replace their sessions in baseline ci" in printed) == (number == 3)
        machine.run(measure["See what there is to keep"], KEEP=json.dumps(event != "pull_request"))
        outputs = Path(machine.environment["GITHUB_OUTPUT"]).read_text().splitlines()
        assert outputs == ["reported=true", *(["saved=true"] if event != "pull_request" else [])]
        if event != "pull_request":
            keeping = Machine(cloned(origin, f"keep{number}"), (), GITHUB_SHA="abc")
            (keeping.folder / "llmperf-sessions").mkdir()
            (machine.folder / "baselines/ci.toml").rename(keeping.folder / "llmperf-sessions/ci.toml")
            keeping.run(commit)
        assert stored_sessions(origin) == (1, 2, 2, 1)[number]
        if event == "pull_request":
            log = machine.folder / "llmperf-results" / "gh"
            for _ in range(2):
                text = steps_of(jobs["comment"])["Write or update the comment"]
                there = {"COMMENTS": "repos/o/r/issues/7/comments", "COMMENT": "repos/o/r/issues/comments"}
                machine.run(text, inside="llmperf-results", GH_LOG=str(log), **there)
            calls = [line for line in log.read_text().splitlines() if "--paginate" not in line]
            assert calls == [
                "api --silent repos/o/r/issues/7/comments --field body=@comment.md",
                "api --silent --method PATCH repos/o/r/issues/comments/42 --field body=@comment.md",
            ]
            comment = (machine.folder / "llmperf-results" / "comment.md").read_text()
            assert comment.startswith("<!-- pytest-llmperf -->\n### llmperf: 1 test passed (SIMULATED)")
    assert git("ls-tree", "--name-only", "llmperf-baselines", folder=origin) == "ci.toml"
    assert git("rev-list", "--count", "main", folder=origin) == "1"


class Notes(Handler):
    """GitLab's API for the comments of a merge request."""

    notes: list[dict]
    methods: list[str]

    def do_GET(self) -> None:
        assert self.headers["PRIVATE-TOKEN"] == "t0ken"
        self.answer(json.dumps(self.notes if self.path.endswith("page=1") else []).encode())

    def do_POST(self) -> None:
        self.methods.append("POST")
        self.notes.append({"id": 5, **self.body()})
        self.answer(b"{}")

    def do_PUT(self) -> None:
        self.methods.append(f"PUT {self.path}")
        self.notes[-1] |= self.body()
        self.answer(b"{}")


@pytest.mark.slow
def test_the_gitlab_job_runs(origin: Path, scripted_time: tuple[str, ...], client_keeps_up: tuple[str, ...]) -> None:
    """As on GitHub; the token's bot pushes and comments, without the token both are left out."""
    jobs = yaml.safe_load((origin.parent / "project/.gitlab/llmperf.yml").read_text())
    measure = [line for line in (*jobs["llmperf"]["before_script"], *jobs["llmperf"]["script"]) if "pip " not in line]
    publish = "\n".join(jobs["llmperf-publish"]["script"])
    pushed = f"https://llmperf:t0ken@git.example.org:443/{origin.stem}.git"
    common = {
        "CI_DEFAULT_BRANCH": "main",
        "CI_COMMIT_SHA": "abc",
        "CI_PROJECT_ID": "3",
        "CI_PROJECT_PATH": origin.stem,
        "CI_SERVER_PROTOCOL": "https",
        "CI_SERVER_HOST": "git.example.org",
        "CI_SERVER_PORT": "443",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"url.{origin}.insteadOf",
        "GIT_CONFIG_VALUE_0": pushed,
        "GIT_CONFIG_KEY_1": "receive.advertisePushOptions",
        "GIT_CONFIG_VALUE_1": "true",
    }
    git("config", "receive.advertisePushOptions", "true", folder=origin)
    token = {"LLMPERF_TOKEN": "t0ken"}
    for number, variables in enumerate(({"CI_COMMIT_BRANCH": "main"}, {"CI_MERGE_REQUEST_IID": "7"})):
        machine = Machine(cloned(origin, f"run{number}"), (*scripted_time, *client_keeps_up), **common, **variables)
        printed = machine.run("\n".join(measure))
        assert ("no stored sessions yet" in printed) == (number == 0)
        assert ("compared with baseline ci" in printed) == (number == 1)
        assert "LLMPERF_TOKEN is not set: no comment, and nothing is committed" in machine.run(publish)
        Notes.notes, Notes.methods = [{"id": 4, "body": "well done"}], []
        with http_server(Notes) as url:
            for _ in range(1 + number):
                machine.run(publish, CI_API_V4_URL=url, **token)
        assert Notes.methods == [[], ["POST", "PUT /projects/3/merge_requests/7/notes/5"]][number]
        assert stored_sessions(origin) == 1
    assert Notes.notes[1]["body"].startswith("<!-- pytest-llmperf -->\n### llmperf: 1 test passed")
    assert Notes.notes[0] == {"id": 4, "body": "well done"}
