"""The habits of an open project: metadata, links, workflows, templates, the release script."""

import re
import runpy
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pytest_llmperf.cli.arguments import parser
from pytest_llmperf.plugin.options.option_table import OPTIONS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RELEASE = runpy.run_path(str(ROOT / ".ci" / "release.py"))
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "docs/upgrading.md", "docs/start.md", "docs/ci.md")


def test_the_pictures_are_of_today() -> None:
    """`make pictures` after a change of how the report looks."""
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    assert pictures["MADE_OF"].read_text("utf-8").strip() == pictures["sources_sha256"]()


def test_every_link_of_the_package_s_page_is_absolute() -> None:
    """There, the README has no files beside it; each link leads to a file of the repository."""
    picture, rule = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    readme = (ROOT / "README.md").read_text("utf-8")
    pictures = re.findall(picture["pattern"], readme)
    assert pictures
    assert all((ROOT / target).is_file() for _, target in pictures)
    readme = re.sub(picture["pattern"], picture["replacement"], readme)
    relative = re.findall(rule["pattern"], readme)
    assert relative
    for target in relative:
        assert (ROOT / target.partition("#")[0]).exists(), target
    page = re.sub(rule["pattern"], rule["replacement"], readme)
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert {link.partition(":")[0] for link in links} == {"https"}
    repository = PROJECT["project"]["urls"]["Source"]
    assert all(f"{repository}/blob/main/{target}" in links for target in relative)
    assert all(url.startswith(repository) for url in PROJECT["project"]["urls"].values())


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_yaml_parses(path: Path) -> None:
    """Workflows say what they may do, and use no action that runs on a runtime that is gone."""
    content = yaml.safe_load(path.read_text("utf-8"))
    assert isinstance(content, dict)
    if path.parent.name == "workflows":
        assert "permissions" in content
        least = {"checkout": 6, "setup-python": 6, "upload-artifact": 6, "download-artifact": 7}
        least |= {"upload-pages-artifact": 4, "deploy-pages": 4}
        for action, major in re.findall(r"uses: actions/([\w-]+)@v(\d+)", path.read_text("utf-8")):
            assert int(major) >= least[action]


def test_ci_runs_every_python_that_the_metadata_names() -> None:
    """The classifiers, the matrix and `requires-python` agree."""
    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))["jobs"]["test"]
    classifiers = " ".join(PROJECT["project"]["classifiers"])
    named = re.findall(r"Python :: (3\.\d+)", classifiers)
    assert job["strategy"]["matrix"]["python"] == named
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"


@pytest.mark.parametrize("page", PAGES)
def test_what_the_pages_name_exists(page: str) -> None:
    """Links, options, commands of ours, targets of make."""
    path = ROOT / page
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    options = {option.name for option in OPTIONS}
    assert set(re.findall(r"--llmperf-([\w-]+)", text)) <= options
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"`make (\w+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for words in map(shlex.split, block.splitlines()):
            if words[0] == "pytest-llmperf":
                parser().parse_args(words[1:])


CHANGES = """# Changelog

## [{heading}

### Added

- Something.

## [0.1.0] - 2026-01-01

- The beginning.
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[[str, str], Path]:
    """`checkout(heading, owner)`: a project with this heading in its changelog."""

    def make(heading: str, owner: str = "team") -> Path:
        (tmp_path / "CHANGELOG.md").write_text(CHANGES.format(heading=heading))
        project = f'[project]\nversion = "0.1.0"\nurl = "https://example.org/{owner}/x"\n'
        (tmp_path / "pyproject.toml").write_text(project)
        return tmp_path

    return make


@pytest.mark.parametrize("heading", ["Unreleased]", "0.2.0] - unreleased"])
def test_a_release_is_cut(checkout: Callable[..., Path], heading: str) -> None:
    """The section gets version and date, an empty one is above it, and the notes are its text."""
    root = checkout(heading)
    RELEASE["cut"](root, "0.2.0", "2026-12-01")
    text = (root / "CHANGELOG.md").read_text()
    assert re.findall(r"^## .*$", text, re.MULTILINE) == [
        "## [Unreleased]",
        "## [0.2.0] - 2026-12-01",
        "## [0.1.0] - 2026-01-01",
    ]
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"] == "0.2.0"
    assert RELEASE["notes"](root, "0.2.0") == "### Added\n\n- Something.\n"
    assert RELEASE["notes"](root, "0.1.0") == "- The beginning.\n"


@pytest.mark.parametrize(
    ("heading", "owner", "version", "words"),
    [
        ("Unreleased]", "OWNER", "0.2.0", "the placeholder OWNER"),
        ("Unreleased]", "team", "v0.2.0", "without v"),
        ("Unreleased]", "team", "0.1.0", "has a released section 0.1.0"),
        ("0.3.0] - unreleased", "team", "0.2.0", r"has no section \[Unreleased\] or \[0.2.0\] - unreleased"),
    ],
)
def test_what_cannot_be_released(
    checkout: Callable[..., Path], heading: str, owner: str, version: str, words: str
) -> None:
    """Nothing is changed."""
    root = checkout(heading, owner)
    before = [path.read_text() for path in sorted(root.iterdir())]
    with pytest.raises(ValueError, match=words):
        RELEASE["cut"](root, version, "2026-12-01")
    assert [path.read_text() for path in sorted(root.iterdir())] == before


def test_no_notes_without_text(checkout: Callable[..., Path]) -> None:
    """A version that the changelog does not have."""
    with pytest.raises(ValueError, match="has no text for 9"):
        RELEASE["notes"](checkout("Unreleased]"), "9.0.0")


def test_this_changelog_can_be_cut(checkout: Callable[..., Path]) -> None:
    """Its newest section is unreleased, and the version of the package is on the way to it."""
    root = checkout("")
    (root / "CHANGELOG.md").write_text((ROOT / "CHANGELOG.md").read_text("utf-8"))
    version = PROJECT["project"]["version"].partition(".dev")[0]
    RELEASE["cut"](root, version, "2026-12-01")
    assert "### Now fails" in RELEASE["notes"](root, version)
