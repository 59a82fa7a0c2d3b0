"""Keeps secrets out of whatever is shown, stored or raised: values that hide themselves, and texts without them.

Three layers. A `Secret` shows itself as `***`. `SEALED` cuts the frames of other people's code off an error: their
local variables hold what they were given. `masked` takes out of a text the secrets that the environment holds, and
what looks like one; all text for terminals, reports and errors passes it.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

MASK = "***"

_LEAST_LETTERS = 8
"""Of a value that is taken for a secret by its variable's name; below, it may be any word."""

_LEAST_WATCHED = 6
"""Of a value, or of a password, that somebody named as a secret."""

_watched: set[str] = set()
"""Names of variables that options name as secrets; the values are read where they are needed."""


class Secret(bytes):
    """Bytes that show themselves as `***`, whoever prints, formats or dumps them; `bytes` operations give the content.

    >>> token = Secret(b"hunter2")
    >>> repr(token), str(token), f"{token}", f"{[token]}"
    ('***', '***', '***', '[***]')
    >>> b"x" + token
    b'xhunter2'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return MASK

    def __bytes__(self) -> bytes:
        return self  # a copy would no longer hide itself

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled: pass on the name of its variable")

    __reduce_ex__ = lambda self, _: self.__reduce__()  # noqa: E731 - bytes have their own


class Hidden(dict[str, str]):
    """A dict that does not show what it holds: an environment.

    >>> Hidden(TOKEN="hunter2")
    <1 hidden entries>
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} hidden entries>"


class _Seal:
    """See SEALED."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is not None:
            forget_frames(error)
        return False


SEALED = _Seal()
"""`with SEALED:` whatever is raised inside leaves without the frames inside."""


def forget_frames(error: BaseException) -> None:
    """Takes the frames off an error, and off those that led to it; their local variables may hold secrets."""
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        each = rest.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            rest += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]


def watch(name: str) -> None:
    """From now on, what the environment variable holds is taken for a secret."""
    _watched.add(name)


def known() -> tuple[str, ...]:
    """What is taken for a secret now, longest first: of watched variables, and of those whose name says so."""
    values: set[str] = set()
    for name, value in os.environ.items():
        if name in _watched:
            values |= _forms(value.strip())
        elif len(value) >= _LEAST_LETTERS and names_secret(name) and not _names_place(name):
            values.add(value)
    return tuple(sorted(values, key=len, reverse=True))


def masked(text: str, secrets: Iterable[str] | None = None) -> str:
    """The text without secrets.

    Args:
        text: any.
        secrets: to be taken out, longest first; None = the known ones.

    >>> masked("http://me:hunter2@host/x?api_key=abc Authorization: Bearer abc123def")
    'http://***@host/x?api_key=*** Authorization: Bearer ***'
    """
    for value in known() if secrets is None else secrets:
        if value in text:
            text = text.replace(value, MASK)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def without_pieces(text: str, secrets: Iterable[str]) -> str:
    """As `masked`, for text in which long values were cut short by `...`, as tracebacks do."""
    for value in secrets:
        for size in range(len(value) - 1, _LEAST_WATCHED - 1, -1):
            if "..." not in text:
                break
            text = text.replace(f"{value[:size]}...", f"{MASK}...").replace(f"...{value[-size:]}", f"...{MASK}")
    return masked(text, secrets)


def refused(text: str) -> str:
    """A value that is refused, for the refusal: at most the host of it, if it may hold a user or a password."""
    if "@" in text:
        plain = _LOGIN_AT_HOST.fullmatch(text)
        return f"{plain[1]}{MASK}@{plain[2]}" if plain else MASK
    return re.sub(r"([?#]).*", rf"\1{MASK}", masked(text), flags=re.DOTALL)


def masked_words(words: Sequence[str]) -> tuple[str, ...]:
    """A command's words without secrets, by the names beside them and by what they look like.

    >>> masked_words(["agent", "--token", "abc", "--api-key=abc", "HF_TOKEN=abc", "--max-tokens", "9"])
    ('agent', '--token', '***', '--api-key=***', 'HF_TOKEN=***', '--max-tokens', '9')
    """
    return tuple(shown for shown, _ in _each_word(words))


def secrets_of(words: Sequence[str]) -> tuple[str, ...]:
    """What `masked_words` takes out of a command's words by their names, longest first; no short ones."""
    values = {value for _, hidden in _each_word(words) for value in hidden if len(value) >= _LEAST_WATCHED}
    return tuple(sorted(values, key=len, reverse=True))


@lru_cache(maxsize=4096)
def names_secret(name: str) -> bool:
    """Whether a variable, option, header or key of that name holds a secret.

    >>> [names_secret(name) for name in ("OPENAI_API_KEY", "--authToken", "x-api-key", "--max-tokens", "PWD")]
    [True, True, True, False, False]
    """
    parts = [part.lower() for part in re.split(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])", name) if part]
    return name not in ("PWD", "OLDPWD") and any(part in _NAMES or part.endswith(_ENDS) for part in parts)


_ENDS = ("token", "secret", "password", "passwd", "passphrase", "apikey", "authkey", "accesskey", "privatekey")
_NAMES = frozenset(
    "key keys apikeys secrets pass passwords pwd pw cred creds credential credentials auth authorization bearer cookie "
    "cookies login pat jwt sas sig signature".split()
)
_PLACES = frozenset("sock file path dir folder url uri host port type kind method name user timeout".split())
_LOGIN_AT_HOST = re.compile(r"([a-z]+://)[^\s/?#,@]*@([A-Za-z0-9.-]+(?::\d{1,5})?/?)")
_LOGINS = frozenset(("-u", "--user", "--proxy-user", "-U", "--login"))
"""Options whose value is `user:password`, if it has a colon."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), shown)
    for pattern, shown in (
        (r"(://)[^\s'\"<>]*@", rf"\1{MASK}@"),
        (r"(?i)([?&][\w.-]*(?:token|key|secret|passw|auth|sig)[\w.-]*=)[^&\s'\"<>]+", rf"\1{MASK}"),
        (r"(?i)\b(bearer|basic)(\s+)(?=[^\s'\"]*[\d=._-])[\w.~+/=-]{8,}", rf"\1\2{MASK}"),
        (r"(?<![A-Za-z0-9_])(?:sk|pk|rk|nvapi|glpat|xox[abprs])-[A-Za-z0-9_-]{8,}", MASK),
        (r"(?<![A-Za-z0-9_])(?:gh[pousr]|github_pat|hf|gsk|r8)_[A-Za-z0-9]{10,}\w*", MASK),
        (r"(?<![A-Za-z0-9_])(?:AKIA[0-9A-Z]{16}|AIza[\w-]{30,})", MASK),
        (r"(?<![A-Za-z0-9_])eyJ[\w-]{6,}\.[\w-]{4,}(?:\.[\w-]*)?", MASK),
    )
)
"""Logins in addresses, secrets in queries, authorizations, and keys by their makers' prefixes."""

_ASSIGNED = re.compile(r"([\"']?)(-{0,2}[A-Za-z_][\w.-]*)(\1\s*=\s*|(?<=[\"'\w])[\"']\s*:\s*)([\"']?)([^\"',;&}\s]+)")
_FOLLOWED = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]*)(\s+)([^\s-]\S*)")
_WHOLE = re.compile(r"(-{0,2}[A-Za-z_][\w.-]*)(=|:\s*)(\s*\S.*)", re.DOTALL)


def _names_place(name: str) -> bool:
    """Whether a name ends as those of paths and addresses do."""
    return name.lower().rpartition("_")[2] in _PLACES


def _forms(value: str) -> set[str]:
    """A secret as it may stand in a text: itself, its password, and both as they are sent."""
    forms = {value, value.partition(":")[2], base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()}
    forms |= {quote(form, safe="") for form in forms}
    return {form for form in forms if len(form) >= _LEAST_WATCHED}


def _each_word(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each word as it may be shown, and what was taken out of it by a name."""
    before, hidden = "", list[str]()
    for word in words:
        if before in _LOGINS and ":" in word:
            yield MASK, [word, word.partition(":")[2]]
        elif before.startswith("-") and "=" not in before and names_secret(before) and not word.startswith("--"):
            yield MASK, [word]
        elif (whole := _WHOLE.fullmatch(word)) and names_secret(whole[1]):
            hidden = [whole[3], whole[3].split()[0 if whole[2] == "=" else -1]]  # of a script, or `Bearer ...`
            _inside(whole[3], hidden)
            yield f"{whole[1]}{whole[2]}{MASK}", hidden
        else:
            hidden = []
            yield masked(_inside(word, hidden)), hidden
        before = word


def _inside(word: str, hidden: list[str]) -> str:
    """A word that may be a script, JSON or a query of its own, without the values that have a secret's name."""

    def assigned(match: re.Match[str]) -> str:
        if not names_secret(match[2]):
            return match[0]
        hidden.append(match[5])
        return f"{match[1]}{match[2]}{match[3]}{match[4]}{MASK}"

    def followed(match: re.Match[str]) -> str:
        if not names_secret(match[1]):
            return match[0]
        hidden.append(match[3])
        return f"{match[1]}{match[2]}{MASK}"

    return _FOLLOWED.sub(followed, _ASSIGNED.sub(assigned, word))
