"""The HTML report, a single page that opens offline: verdicts first, then each measurement with charts and tables.

Needs the extra `report`: Vega-Lite draws the charts in Python, so that the page contains plain SVG, and Jinja fills in
the page and escapes every text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import MissingExtraError
from pytest_llmperf.model.node_id import short_name
from pytest_llmperf.report.comparisons import NOISE_ONLY, NOISE_ONLY_NOTE
from pytest_llmperf.report.document import Document, endings_of, headline, unexplained

_HERE = Path(__file__).parent
_MOST_DRAWN = 20
"""A measurement takes some 300 kB of the page, nearly all for charts."""

_PACKAGES = {"jinja2": "jinja2", "vl_convert": "vl-convert-python"}


def check() -> None:
    """Checks that the packages of the extra are installed.

    Raises:
        MissingExtraError: a package of the extra is not installed.
    """
    if missing := [package for module, package in _PACKAGES.items() if find_spec(module) is None]:
        raise MissingExtraError(
            f"--llmperf-html needs {', '.join(missing)}, which is not installed",
            next_step="pip install 'pytest-llmperf[report]'",
        )


def page(content: Document) -> str:
    """The whole page.

    Args:
        content: the session's document.

    Raises:
        MissingExtraError: a package of the extra is not installed.
    """
    check()
    import jinja2  # noqa: PLC0415 - of the extra

    from pytest_llmperf.report.figures import CALLED  # noqa: PLC0415 - loads numpy
    from pytest_llmperf.report.html.verdict_rows import are_folded, failures  # noqa: PLC0415 - as above
    from pytest_llmperf.report.html.views import breakable, view  # noqa: PLC0415 - loads the extra

    script, style = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    endings = endings_of(content)
    drawn = _drawn(content["records"])
    views = [
        view(record, number, endings.get(record["test"], ""), drawn=number in drawn)
        for number, record in enumerate(content["records"], 1)
    ]
    rows = [row for each in views for row in each.judged]
    failed = unexplained(content)
    listed, in_all = failures(views, failed)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": breakable, "short_name": short_name}
    return environment.get_template("page.html").render(
        content=content,
        headline=headline(content),
        views=views,
        failed=failed,
        failures=listed,
        failures_in_all=in_all,
        folded=are_folded(rows),
        undrawn=len(views) - len(drawn),
        compared_with=dict.fromkeys(row.compared_with for row in rows if row.compared_with),
        noise_note=NOISE_ONLY_NOTE if any(row.allowed == NOISE_ONLY for row in rows) else "",
        contention=any(row.gate == "contention" for row in rows),
        called=CALLED,
        script=script,
        style=style,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        # No text may end the script element that contains it.
        timelines=json.dumps([view_.timeline for view_ in views if view_.timeline], separators=(",", ":")).replace(
            "<", "\\u003c"
        ),
    )


def _drawn(records: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    """The numbers, from 1, of the measurements that get charts: if there are too many, failed tests come first."""
    numbers = sorted(range(1, len(records) + 1), key=lambda number: bool(records[number - 1]["passed"]))
    return frozenset(numbers[:_MOST_DRAWN])
