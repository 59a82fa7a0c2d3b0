"""The architecture, pinned: which room may import which, and what importing the plugin costs."""

import ast
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import pytest_llmperf
from pytest_llmperf.report import schema

PACKAGE = Path(pytest_llmperf.__file__).parent
MAY_IMPORT = {
    "masking": set(),
    "errors": {"masking"},
    "strict": set(),
    "toml_text": {"whole"},
    "special_files": set(),
    "whole": {"special_files"},
    "channel": set(),
    "listening": set(),
    "foreign_json": set(),
    "refusals": {"errors", "foreign_json"},
    "model": {"errors", "masking"},
    "config": {"errors", "toml_text", "masking", "model", "strict", "whole"},
    "servers": {"errors", "toml_text", "masking", "model", "refusals", "whole", "channel", "listening", "foreign_json"},
    "measure": {"errors", "masking", "model", "refusals", "channel", "foreign_json"},
    "telemetry": {"errors", "model", "listening"},
    "judge": {"errors", "toml_text", "model", "strict", "whole"},
    "report": {"errors", "masking", "model", "judge", "whole"},
    "session": {"errors", "masking", "whole", "model", "config", "servers", "measure", "telemetry", "judge"},
    "experiments": {"errors", "toml_text", "strict", "whole", "model", "config", "judge", "session"},
    "plugin": {
        *("errors", "masking", "special_files", "whole"),
        *("model", "config", "judge", "report", "session", "experiments"),
    },
    "cli": {"errors", "masking", "model", "config", "servers", "judge", "report", "whole"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names if name.startswith("pytest_llmperf.")]
    return {part[1] for part in parts if part[1] in MAY_IMPORT}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """A room imports itself and the rooms below it, nothing else; the two wings never see each other."""
    room = room_of(path)
    assert imported_rooms(path) <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_below_the_plugin_knows_pytest(path: Path) -> None:
    """Only the plugin's room imports pytest; a script can use all others."""
    text = path.read_text(encoding="utf-8")
    if room_of(path) != "plugin":
        assert "import pytest\n" not in text
        assert "from _pytest" not in text


def test_the_plugin_module_is_light() -> None:
    """Importing it brings neither httpx nor numpy nor any heavy room, and nothing outside pytest and the library."""
    code = (
        "import pytest, sys; before = set(sys.modules); import pytest_llmperf.plugin; "
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in printed if name.startswith("pytest_llmperf")}
    assert ours == {
        "pytest_llmperf",
        "pytest_llmperf.errors",
        "pytest_llmperf.masking",
        "pytest_llmperf.plugin",
        "pytest_llmperf.plugin.collection",
        "pytest_llmperf.plugin.fixtures",
        "pytest_llmperf.plugin.options",
        "pytest_llmperf.plugin.parsers",
        "pytest_llmperf.plugin.results",
        "pytest_llmperf.plugin.spelling",
        "pytest_llmperf.plugin.stale",
        "pytest_llmperf.plugin.written",
    }
    foreign = {name.split(".")[0] for name in printed} - {"pytest_llmperf"} - set(sys.stdlib_module_names)
    assert foreign == set()


def test_the_public_names_exist() -> None:
    """Everything that the package promises can be imported from it, and an unknown name is an AttributeError."""
    for name in pytest_llmperf.__all__:
        assert getattr(pytest_llmperf, name) is not None
    assert sorted(dir(pytest_llmperf)) == sorted(pytest_llmperf.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pytest_llmperf.nonsense


def test_the_published_schema_is_that_of_the_values() -> None:
    """The JSON Schema in the package is what the values give today; `make schema` writes it."""
    jsonschema.Draft202012Validator.check_schema(schema.schema())
    assert schema.PATH.read_text(encoding="utf-8") == schema.text(), "run: make schema"
