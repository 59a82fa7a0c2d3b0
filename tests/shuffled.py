"""A pytest plugin: files and the tests in them run in another order each time (`-p tests.shuffled`).

LLMPERF_SHUFFLE is the seed; without one the header says which was drawn.
"""

import os
import random

import pytest

SEED = "LLMPERF_SHUFFLE"


def pytest_configure() -> None:
    """Before workers start, which must agree on the order."""
    os.environ.setdefault(SEED, str(random.randrange(1_000_000)))


def pytest_report_header() -> str:
    """How to run them in this order again."""
    return f"shuffled: {SEED}={os.environ[SEED]}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files stay whole: what a module sets up is set up once."""
    chance = random.Random(os.environ[SEED])
    by_file: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_file.setdefault(item.nodeid.partition("::")[0], []).append(item)
    files = list(by_file.values())
    chance.shuffle(files)
    for tests in files:
        chance.shuffle(tests)
    items[:] = [item for tests in files for item in tests]
