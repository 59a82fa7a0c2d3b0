"""Makes the pictures of README and docs anew: real runs on the embedded engine, looked at in the system's Chromium."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.report.browser import ARGUMENTS, BROWSER

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "pictures" / "report.png"
MADE_OF = PICTURE.with_suffix(".sha256")
"""The hash of the report's sources that the picture was made with."""

SIZE = {"width": 1280, "height": 760}
RUN = ("perf_suites", "-m", "multiagent", "-k", "identical", "--llmperf-topology=single", "--llmperf-backend=embedded")


def sources_sha256() -> str:
    """The hash of all that decides how the first screen of the report looks."""
    folder = ROOT / "pytest_llmperf" / "report" / "html"
    digest = hashlib.sha256()
    for name in ("page.html", "page.css", "verdict_rows.py"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def make() -> None:
    """Runs the suite and takes the picture."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the development tools

    if BROWSER is None:
        sys.exit("no Chromium on PATH\n  next: install it (apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        command = (sys.executable, "-m", "pytest", *RUN, f"--llmperf-html={page}")
        subprocess.run(command, cwd=ROOT, check=False)  # it fails, and the report says why
        with sync_playwright() as playwright:
            started = playwright.chromium.launch(executable_path=BROWSER, args=list(ARGUMENTS))
            shown = started.new_page(viewport=SIZE, color_scheme="light")
            shown.goto(page.as_uri())
            PICTURE.parent.mkdir(exist_ok=True)
            shown.screenshot(path=PICTURE)
            started.close()
    MADE_OF.write_text(f"{sources_sha256()}\n", encoding="utf-8")


if __name__ == "__main__":
    make()
