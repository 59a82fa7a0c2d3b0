"""A hook of the site: links that leave docs/ lead to the repository, and the home page is the README."""

import re
from pathlib import Path
from typing import Any

_OUT = re.compile(r"\]\(\.\./(?=[\w.])([^)]*)\)")
_DOCS = re.compile(r"\]\(docs/([^)]*)\)")
_REPOSITORY = re.compile(r"\]\((?!\w+:|#)((?:[A-Z]+\.md)[^)]*)\)")
HOME = "index.md"


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """The page's text with links that work on the site."""
    del files
    blob = f"{config.repo_url.rstrip('/')}/blob/main"
    if page.file.src_uri == HOME:
        readme = Path(config.config_file_path).with_name("README.md")
        markdown = _DOCS.sub(r"](\1)", readme.read_text(encoding="utf-8"))
        return _REPOSITORY.sub(rf"]({blob}/\1)", markdown)
    return _OUT.sub(rf"]({blob}/\1)", markdown) if "/" not in page.file.src_uri else markdown
