"""The servers that a command measures, and the agent that it sends to them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pytest_llmperf.errors import UsageError
from pytest_llmperf.masking import has_login
from pytest_llmperf.model import Agent, GenerationOptions, Settings
from pytest_llmperf.model.access import addresses, auth_fault

_PROMPT = (
    "You write the diary of a lighthouse. Describe at length the weather, the ships and the visitors of every day. "
    "The diary begins: On the first of March the wind turned to the north, and before noon the"
)


def settings_of(given: Namespace, **more: Any) -> Settings:
    """The arguments as options of a session.

    Args:
        given: with `urls`, `llmperf_urls`, `auth`, `backend`, `model` and `runtime`.
        more: other options of the session, by name.

    Raises:
        UsageError: an address or a login is wrong; the text does not repeat it if it may be a secret.
    """
    texts = [*given.urls, *given.llmperf_urls]
    parts = [part for text in texts for part in ((text,) if has_login(text) else text.split(","))]
    try:
        urls = addresses(parts)
    except ValueError as error:
        raise UsageError(
            f"URL: {error}", next_step="give http://host:port, or no URL: --backend finds servers"
        ) from None
    auth = tuple(given.auth.split(",")) if given.auth else ()
    if faults := [fault for each in auth if (fault := auth_fault(each))]:
        raise UsageError(f"--auth: {faults[0]}", next_step="see docs/servers.md")
    return Settings(backend=given.backend, urls=urls, auth=auth, model=given.model, runtime=given.runtime, **more)


def diarist(name: str, tokens: int = 64) -> Agent:
    """An agent with a short prompt that asks for a long answer.

    Args:
        name: of the agent.
        tokens: the length of its answer.
    """
    options = GenerationOptions(num_predict=tokens, seed=1, temperature=0)
    return Agent(name=name, prompts=(_PROMPT,), options=options)
