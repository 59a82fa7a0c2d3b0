"""The architecture, pinned: which room may import which, and what importing the plugin costs."""

import ast
import functools
import graphlib
import json
import os
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

import pytest_llmperf

PACKAGE = Path(pytest_llmperf.__file__).parent
MAY_IMPORT = {
    "masking": set(),
    "errors": {"masking"},
    "programs": set(),
    "secret_values": {"masking"},
    "files": {"errors"},
    "recordings": {"errors", "files", "masking"},
    "model": {"errors", "masking", "recordings", "secret_values"},
    "net": {"errors"},
    "config": {"errors", "files", "masking", "model"},
    "servers": {"errors", "files", "masking", "model", "net", "programs", "secret_values"},
    "measure": {"errors", "masking", "model", "net", "recordings", "secret_values"},
    "telemetry": {"model", "net"},
    "judge": {"errors", "files", "model", "programs"},
    "report": {"errors", "files", "judge", "masking", "model"},
    "session": {
        *("config", "errors", "files", "judge", "masking"),
        *("measure", "model", "recordings", "servers", "telemetry"),
    },
    "study": {"config", "errors", "files", "judge", "model", "report", "session"},
    "plugin": {
        *("config", "errors", "files", "judge", "masking", "model"),
        *("recordings", "report", "secret_values", "session", "study"),
    },
    "cli": {
        *("errors", "files", "judge", "masking", "model", "plugin", "programs"),
        *("recordings", "report", "servers", "session", "study"),
    },
}
"""The rooms that each room may import, in order of imports."""

INSIDE = {
    "model": {
        "texts": set(),
        "paths": set(),
        "node_id": set(),
        "model_names": set(),
        "access": set(),
        "endpoints": set(),
        "manifest": {"model_names"},
        "verdict": set(),
        "workload": {"access", "texts"},
        "results": {"manifest", "workload"},
        "settings": {"access", "workload"},
        "baseline": {"verdict", "workload"},
    },
    "servers": {
        "addresses": set(),
        "clients": set(),
        "processes": set(),
        "emulator": set(),
        "probes": {"addresses", "clients"},
        "provision": {"clients", "emulator"},
        "backends": {"addresses", "clients", "emulator", "probes", "processes", "provision"},
    },
    "measure": {
        "interrupts": set(),
        "waiting": set(),
        "wire": set(),
        "decoding": {"wire"},
        "runtimes": {"waiting", "wire"},
        "hosts": {"runtimes", "waiting", "wire"},
        "tap": {"decoding", "runtimes", "wire"},
        "agents": {"tap", "waiting", "wire"},
        "calibration_server": set(),
        "calibrate": {"runtimes", "wire"},
        "client_pool": {"calibrate", "hosts", "runtimes", "tap", "wire"},
        "replayed_requests": set(),
        "agent_requests": {"replayed_requests", "wire"},
        "client_times": {"wire"},
        "lanes": {"client_times", "runtimes", "wire"},
        "parts": {"agent_requests", "agents", "client_times", "decoding", "lanes", "runtimes", "tap"},
        "rounds": {"agent_requests", "decoding", "parts", "runtimes", "tap", "wire"},
    },
    "judge": {
        "default_scorer": set(),
        "marker_keywords": set(),
        "gate_kinds": {"marker_keywords"},
        "markers": {"gate_kinds", "marker_keywords"},
        "compared_metrics": {"gate_kinds"},
        "stats": set(),
        "metrics": {"gate_kinds", "stats"},
        "regression": {"stats"},
        "baselines": {"compared_metrics", "gate_kinds", "metrics", "regression", "stats"},
        "capacity": {"metrics", "stats"},
        "diagnosis": {"baselines", "clock_bounds", "gate_kinds", "metrics", "regression", "stats"},
        "clock_bounds": {"metrics", "stats"},
        "soak": {"baselines", "metrics", "stats"},
        "soak_drift": {"compared_metrics", "baselines", "metrics", "soak", "stats"},
        "record": {"baselines", "diagnosis", "metrics", "soak", "stats"},
        "gates": {
            "compared_metrics",
            "baselines",
            "clock_bounds",
            "gate_kinds",
            "marker_keywords",
            "markers",
            "metrics",
            "record",
            "regression",
            "stats",
        },
        "evidence": {"gates", "record"},
    },
    "session": {
        "progress_listener": set(),
        "lock": set(),
        "baselines_in_force": set(),
        "server_lease": {"lock", "progress_listener"},
        "server_pool": {"lock", "progress_listener", "server_lease"},
        "measurement": {"baselines_in_force", "progress_listener", "server_lease", "server_pool"},
        "capacity_run": {"measurement"},
        "session": {"baselines_in_force", "capacity_run", "measurement", "progress_listener", "server_pool"},
        "session_header": {"session"},
    },
    "report": {
        "capacity_text": set(),
        "severity_order": set(),
        "session_outcomes": set(),
        "figures": set(),
        "external_figures": set(),
        "repository_paths": set(),
        "wording": {"external_figures", "figures", "severity_order"},
        "terminal": {"figures", "severity_order", "wording"},
        "document": {"external_figures", "figures", "session_outcomes", "wording"},
        "comparisons": {"severity_order", "wording"},
        "html": {"comparisons", "document", "figures", "session_outcomes", "severity_order", "wording"},
        "files": {
            *("comparisons", "document", "html", "repository_paths"),
            *("session_outcomes", "severity_order", "wording"),
        },
    },
    "study": {
        "agents": set(),
        "economics": set(),
        "records": set(),
        "matrices": set(),
        "rows": {"matrices"},
        "scaling": {"matrices", "rows"},
        "claims": {"matrices", "rows"},
        "sweeps": {"claims", "matrices", "rows"},
    },
}
"""The same inside the large rooms."""

MOST_LINES = 310
MOST_MODULES = 13

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path, depth: int = 0) -> str:
    return path.relative_to(PACKAGE).parts[depth].removesuffix(".py")


@functools.cache
def imported_modules(path: Path) -> frozenset[tuple[str, ...]]:
    """What a file imports of ours, as parts of dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(tuple(name.split("."))[1:] for name in names if name.startswith("pytest_llmperf."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """A room imports itself and the rooms below it, nothing else; the two wings never see each other."""
    room = room_of(path)
    imported = imported_modules(path)
    assert {parts[0] for parts in imported} & set(MAY_IMPORT) <= MAY_IMPORT[room] | {room}
    if room in INSIDE and path != PACKAGE / room / "__init__.py":
        inner, inside = room_of(path, 1), INSIDE[room]
        reached = {parts[1] for parts in imported if parts[0] == room and len(parts) > 1}
        assert reached & set(inside) <= inside[inner] | {inner}


def test_the_tables_have_no_circle() -> None:
    """Every table can be sorted so that each room imports only earlier rooms; every name in it exists."""
    for folder, table in (("", MAY_IMPORT), *INSIDE.items()):
        tuple(graphlib.TopologicalSorter(table).static_order())
        modules = {
            path.stem
            for path in (PACKAGE / folder).iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert set(table) == modules - {"__init__"}


def test_no_circle_of_modules() -> None:
    """Nor do single modules import each other in a circle, in any room; types may, where only a checker imports."""
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    modules = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in FILES if path.name != "__init__.py"}
    for parts, path in modules.items():
        graph[parts] = imported_modules(path) & set(modules) - {parts}
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_no_name_twice() -> None:
    """Whoever looks for a module finds one."""
    counted = Counter(path.stem for path in FILES if path.name not in ("__init__.py", "__main__.py"))
    assert [name for name, count in counted.items() if count > 1] == []


def test_rooms_are_small() -> None:
    """A module fits a few screens, a package one look."""
    assert [str(path) for path in FILES if len(path.read_bytes().splitlines()) > MOST_LINES] == []
    folders = Counter(path.parent for path in FILES)
    assert [str(folder) for folder, count in folders.items() if count > MOST_MODULES] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_below_the_plugin_knows_pytest(path: Path) -> None:
    """Only the plugin's room imports pytest; a script can use all others."""
    text = path.read_text(encoding="utf-8")
    if room_of(path) != "plugin":
        assert "import pytest\n" not in text
        assert "from _pytest" not in text


VAGUE = {"one", "what", "found", "which", "other"}


def test_variables_are_nouns() -> None:
    """No variable, argument or attribute of a class is called by a word that could mean anything."""
    root = PACKAGE.parent
    paths = [
        path
        for folder in ("pytest_llmperf", "tests", "benchmarks", "perf_suites")
        for path in root.joinpath(folder).rglob("*.py")
    ]
    vague = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE
            if stored or (isinstance(node, ast.arg) and node.arg in VAGUE):
                vague.append(f"{path.relative_to(root)}:{node.lineno}")
    assert vague == []


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
        "pytest_llmperf.judge",
        "pytest_llmperf.judge.gate_kinds",
        "pytest_llmperf.judge.marker_keywords",
        "pytest_llmperf.plugin",
        "pytest_llmperf.plugin.fixtures",
        "pytest_llmperf.plugin.marker_table",
        "pytest_llmperf.plugin.options",
        "pytest_llmperf.plugin.options.option",
        "pytest_llmperf.plugin.options.option_table",
        "pytest_llmperf.plugin.options.run_options",
        "pytest_llmperf.plugin.options.server_options",
        "pytest_llmperf.plugin.options.parsers",
        "pytest_llmperf.plugin.results",
        "pytest_llmperf.plugin.results.session_results",
    }
    foreign = {name.split(".")[0] for name in printed} - {"pytest_llmperf"} - set(sys.stdlib_module_names)
    assert foreign == set()


@pytest.mark.parametrize("arguments", [("--help",), ("--markers",), ("--collect-only",), ()], ids=" ".join)
def test_a_run_that_does_not_use_us_imports_no_numpy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Neither help nor collection nor tests of other things: it comes with the first session that judges."""
    (tmp_path / "test_plain.py").write_text("def test_plain(): pass\n", encoding="utf-8")
    code = "import pytest, sys; status = pytest.main(sys.argv[1:]); print(int(status), 'numpy' in sys.modules)"
    command = [sys.executable, "-c", code, "-p", "pytest_llmperf.plugin", *arguments]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "0 False"


def test_the_session_imports_no_numpy_and_no_ray() -> None:
    """Nor does collecting tests of ours: numpy is imported while the servers of the first judged test start.

    Ray, which takes seconds, is imported by the runtime of its name only.
    """
    code = "import sys, pytest_llmperf.plugin.runner; print(bool({'numpy', 'ray'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False"]


def test_the_commands_help_imports_no_numpy() -> None:
    """Each command's module comes when it is called."""
    code = (
        "import sys; from pytest_llmperf.cli import main\ntry: main(['--help'])\nfinally: print('numpy' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "False"


def test_the_public_names_exist() -> None:
    """Everything that the package promises can be imported from it, and an unknown name is an AttributeError."""
    for name in pytest_llmperf.__all__:
        assert getattr(pytest_llmperf, name) is not None
    assert sorted(dir(pytest_llmperf)) == sorted(pytest_llmperf.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pytest_llmperf.nonsense


def test_the_published_schema_is_that_of_the_values() -> None:
    """The JSON Schema in the package is what the values give today; `make schema` writes it."""
    generator = runpy.run_path(str(PACKAGE.parent / "docs" / "json_schema.py"))
    published = (PACKAGE / "report" / "llmperf.schema.json").read_text(encoding="utf-8")
    assert published == generator["text"](), "run: make schema"
    jsonschema.Draft202012Validator.check_schema(json.loads(published))
