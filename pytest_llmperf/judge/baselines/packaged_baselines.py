"""The baselines that come with the package."""

from __future__ import annotations

from pathlib import Path


def builtin_dir() -> Path:
    """The folder of the baselines that come with us: in the installed package, else in the repository."""
    packaged = Path(__file__).parent / "packaged"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "baselines"


def builtin_names() -> tuple[str, ...]:
    """Names of the baselines that come with us."""
    return tuple(sorted(path.stem for path in builtin_dir().glob("*.toml")))


def to_save(name: str) -> str:
    """The command that saves a session to a baseline; a name that comes with us would be refused."""
    return f"pytest --llmperf-save {'NAME' if name in builtin_names() else name}"
