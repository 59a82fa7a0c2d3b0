"""Names of models, as Ollama compares them."""

from __future__ import annotations

_DEFAULTS = ("registry.ollama.ai/", "library/")
"""Host and namespace that a name without them has."""


def full_name(name: str) -> str:
    """The name with its tag and without what goes without saying, in lower case: equal for names of one model.

    >>> [full_name(name) for name in ("Gemma3", "library/gemma3", "registry.ollama.ai/library/gemma3:latest")]
    ['gemma3:latest', 'gemma3:latest', 'gemma3:latest']
    >>> full_name("hf.co/library/gemma3:Q4_0"), full_name("localhost:5000/team/gemma3")
    ('hf.co/library/gemma3:q4_0', 'localhost:5000/team/gemma3:latest')
    """
    name = name.lower()
    scheme, separator, rest = name.partition("://")
    name = rest if separator and scheme in ("http", "https") else name
    for default in _DEFAULTS:
        name = name.removeprefix(default)
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def same_model(first: str, second: str) -> bool:
    """Whether two names mean the same model."""
    return full_name(first) == full_name(second)
