"""The site of docs/: it is built without a warning, and every page is in it."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a missing page, a broken link or anchor, or a page that is in no menu is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder)
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Links(HTMLParser):
    """What a page loads and leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("script", "img") or (tag == "link" and named.get("rel") == "stylesheet"):
            self.loaded += filter(None, (named.get("src"), named.get("href")))


@pytest.mark.slow
def test_it_builds_and_loads_nothing_from_elsewhere(site: Path) -> None:
    """A page of ours is read without telling anybody."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").glob("*.md")))
    for page in pages:
        links = Links()
        links.feed(page.read_text("utf-8"))
        assert [link for link in links.loaded if link.startswith(("http", "//"))] == [], page


@pytest.mark.slow
def test_the_home_page_is_the_readme(site: Path) -> None:
    """With the picture, and links to pages of the site."""
    home = (site / "index.html").read_text("utf-8")
    assert "pictures/report.png" in home
    assert 'href="start/"' in home
    assert not re.search(r'href="docs/', home)


@pytest.mark.slow
def test_the_api_is_all_that_the_package_offers(site: Path) -> None:
    """By name."""
    import pytest_llmperf

    page = (site / "api" / "index.html").read_text("utf-8")
    for name in pytest_llmperf.__all__:
        assert f'id="pytest_llmperf.{name}"' in page


def test_every_page_is_in_the_menu() -> None:
    """As `mkdocs build --strict` wants it, without building."""
    menu = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    folder = ROOT / "docs"
    assert {str(page.relative_to(folder)) for page in folder.rglob("*.md")} == menu
