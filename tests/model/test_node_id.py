"""Parts of node ids; parameters may hold anything."""

import pytest

from pytest_llmperf.model.node_id import file_of, function_of, short_name


@pytest.mark.parametrize(
    ("test", "file", "short", "function"),
    [
        ("t.py::test_x", "t.py", "test_x", "test_x"),
        ("p/t.py::TestX::test_y", "p/t.py", "test_y", "test_y"),
        ("t.py::test_x[a::b]", "t.py", "test_x[a::b]", "test_x"),
        ("t.py::TestX::test_y[::]", "t.py", "test_y[::]", "test_y"),
        ("t.py::test_x[http://[::1]:80/a[b]]", "t.py", "test_x[http://[::1]:80/a[b]]", "test_x"),
        ("a[1]/t.py::test_x[c]", "a[1]/t.py", "test_x[c]", "test_x"),
        ("a script's own name", "a script's own name", "a script's own name", ""),
    ],
)
def test_parts(test: str, file: str, short: str, function: str) -> None:
    assert (file_of(test), short_name(test), function_of(test)) == (file, short, function)
