"""Takes secrets out of texts: the secrets that the environment holds, and what looks like a secret.

All text for terminals, reports and errors passes `masked`.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from unicodedata import normalize
from urllib.parse import quote, unquote

MASK = "***"

_LEAST_LETTERS = 8
"""Minimum length of a value that its variable's name marks as a secret; a shorter one may be any word."""

_LEAST_WATCHED = 6
"""Minimum length of a value, or of a password, that an option names as a secret."""

_LEAST_LINE = 16
"""Minimum length of a line of a multi-line secret (a key file), which tracebacks and logs show line by line."""

_MOST_PIECE = 4096
"""Characters searched in a value that is cut short by `...`; pytest shows at most 2,400 characters of such a value."""

_watched: set[str] = set()
"""Environment variables that options name as secrets; their values are read when they are needed."""


def watch(name: str) -> None:
    """Marks the environment variable's value as a secret from now on."""
    _watched.add(name)


def known() -> tuple[str, ...]:
    """The secrets known now, longest first: values of watched variables, and of variables with a secret's name."""
    values: set[str] = set()
    for name, value in os.environ.items():
        if name in _watched:
            values |= _forms(value.strip())
        elif len(value) >= _LEAST_LETTERS and names_secret(name) and not _names_place(name):
            values |= _spelt(value)
    return tuple(sorted(values, key=len, reverse=True))


def masked(text: str, secrets: Iterable[str] | None = None) -> str:
    """The text without secrets.

    Args:
        text: any.
        secrets: the values to take out, longest first; None = the known ones.

    >>> masked("http://me:hunter2@host/x?api_key=abc Authorization: Bearer abc123def")
    'http://***@host/x?api_key=*** Authorization: Bearer ***'
    """
    for value in known() if secrets is None else secrets:
        if value in text:
            text = text.replace(value, MASK)
    for pattern, shown in _patterns():
        text = pattern.sub(shown, text)
    return text


def without_pieces(text: str, secrets: Iterable[str]) -> str:
    """Like `masked`, for a text in which long values are cut short by `...`, as in tracebacks."""
    secrets = tuple(secrets)
    pieces = masked(text, secrets).split("...")
    for value in secrets if len(pieces) > 1 else ():
        pieces[:-1] = [_without_begin(piece, value) for piece in pieces[:-1]]
        pieces[1:] = [_without_end(piece, value) for piece in pieces[1:]]
    return "...".join(pieces)


def has_login(text: str) -> bool:
    """Whether a text contains an `@` in any encoding; a user and a password may stand before it.

    >>> [has_login(text) for text in ("me:pw@h", "me%3Apw%40h", "me%253Apw%2540h", "me:pw\uff20h", "h:1")]
    [True, True, True, True, False]
    """
    return "@" in _decoded(text)


def refused(text: str) -> str:
    """A refused value for its error message, without the parts that may be a secret.

    Any value may be an address by mistake. Only its scheme, host and port are shown, and the port only if it is a
    number, because a password may follow the colon. If there is a login, only a plain host is shown.

    >>> refused("http://me:a@h:1"), refused("http://me:hunter2"), refused("http://h:1;hunter2"), refused("ftp://h:1")
    ('http://***@h:1', 'http://me:***', 'http://h:***', 'ftp://h:1')
    """
    if has_login(text):
        plain = re.fullmatch(_LOGIN_AT_HOST, text)
        return f"{plain[1]}{MASK}@{plain[2]}" if plain else MASK
    text = re.sub(r"([?#]).*", rf"\1{MASK}", masked(text), flags=re.DOTALL)
    return re.sub(_ADDRESS, _host_only, text) if "://" in text else re.sub(_NO_PORT, rf"\1{MASK}", text)


def masked_words(words: Sequence[str]) -> tuple[str, ...]:
    """A command's words without secrets, recognised by the name beside them or by how they look.

    >>> masked_words(["agent", "--token", "abc", "--api-key=abc", "HF_TOKEN=abc", "--max-tokens", "9"])
    ('agent', '--token', '***', '--api-key=***', 'HF_TOKEN=***', '--max-tokens', '9')
    """
    return tuple(shown for shown, _ in _each_word(words))


def secrets_of(words: Sequence[str]) -> tuple[str, ...]:
    """The values that `masked_words` takes out because of their names, longest first; without short values."""
    values = {value for _, hidden in _each_word(words) for value in hidden if len(value) >= _LEAST_WATCHED}
    values = {form for value in values for form in _spelt(value)}
    return tuple(sorted(values, key=len, reverse=True))


@lru_cache(maxsize=4096)
def names_secret(name: str) -> bool:
    """Whether a variable, option, header or key with that name holds a secret.

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
_ADDRESS = r"(?s)(?P<start>://)(?:(?P<host>(?:[\w.*-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{1,5})?)(?=[:/,?#]|$))?(?P<rest>.*)"
"""An address and all text after it: host and port, if they are plain, and the rest."""

_NO_PORT = r"(?s)(?<!:)(:)(?!//|[0-9]{1,5}(?:[/,]|$)).*"
"""A colon that no port follows, and all text after it, which may be a password with any characters."""

_LOGIN_MARK = r"@|%(?:25)*40|\uff20|\ufe6b"
"""An `@` in any encoding."""

_HOST_NO_PORT = r"(?i)([\w.-]*:)(?!(?:port|\{\w+\})\b|[0-9]{1,5}(?![\w%$!&*+=~^\\|-]|;\S))[^/]"
"""A host, a colon, and text that is neither a port nor a placeholder for a port: it may be a password."""

_LOGIN_AT_HOST = r"([a-z]+://)[^\s/?#,@]*@([A-Za-z0-9.-]+(?::\d{1,5})?/?)"
_LOGINS = frozenset(("-u", "--user", "--proxy-user", "-U", "--login"))
"""Options whose value is `user:password`, if it has a colon."""

_ASSIGNED = r"([\"']?)(-{0,2}[A-Za-z_][\w.-]{0,80}+)(\1\s*=\s*|(?<=[\"'\w])[\"']\s*:\s*)([\"']?)([^\"',;&}\s]+)"
_FOLLOWED = r"(?<!\S)(--?[A-Za-z][\w-]*)(\s+)([^\s-]\S*)"
_WHOLE = r"(-{0,2}[A-Za-z_][\w.-]*)(=|:\s*)(\s*\S.*)"


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]:
    """Patterns for logins in addresses, secrets in queries, authorizations, and API keys with known prefixes.

    Each takes time in proportion to the text, because a hostile server may have written it. They are compiled when
    first needed, because every pytest run imports this module.
    """
    shown: dict[str, str | Callable[[re.Match[str]], str]] = {
        r"(://)([^\s'\"<>]+)": _without_login,
        r"(?i)([?&][\w.-]{0,60}(?:token|key|secret|passw|auth|sig)[\w.-]{0,60}=)[^&\s'\"<>]+": rf"\1{MASK}",
        r"(?i)\b(bearer|basic)(\s+)(?=[^\s'\"]*[\d=._-])[\w.~+/=-]{8,}": rf"\1\2{MASK}",
        r"(?<![A-Za-z0-9_])(?:sk|pk|rk|nvapi|glpat|xox[abprs])-[A-Za-z0-9_-]{8,}": MASK,
        r"(?<![A-Za-z0-9_])(?:gh[pousr]|github_pat|hf|gsk|r8)_[A-Za-z0-9]{10,}\w*": MASK,
        r"(?<![A-Za-z0-9_])(?:AKIA[0-9A-Z]{16}|AIza[\w-]{30,})": MASK,
        r"(?<![A-Za-z0-9_])eyJ[\w-]{6,400}+\.[\w-]{4,}(?:\.[\w-]*)?": MASK,
    }
    return tuple((re.compile(pattern), mask) for pattern, mask in shown.items())


def _without_login(match: re.Match[str]) -> str:
    """An address without the text before its last `@`, or after a colon that no port follows."""
    *_, last = None, *re.finditer(_LOGIN_MARK, match[2])
    if last is not None:
        return f"{match[1]}{MASK}@{match[2][last.end() :]}"
    host = re.match(_HOST_NO_PORT, match[2])
    return f"{match[1]}{host[1]}{MASK}" if host else match[0]


def _decoded(text: str) -> str:
    """A text with every level of percent encoding undone and full-width characters replaced by plain ones."""
    while (plain := normalize("NFKC", unquote(text))) != text:
        text = plain
    return text


def _host_only(match: re.Match[str]) -> str:
    """An address up to its host and port."""
    rest = match["rest"] if match["host"] is not None else "***"
    hidden = rest if rest in ("", "/") else f"{rest[0] if rest[0] in ':/,?#' else ''}{MASK}"
    return f"{match['start']}{match['host'] or ''}{hidden}"


def _names_place(name: str) -> bool:
    """Whether a name ends like the name of a path or an address."""
    return name.lower().rpartition("_")[2] in _PLACES


def _forms(value: str) -> set[str]:
    """The forms of a secret in a text: the value, its password, and both as HTTP sends them."""
    forms = {value, value.partition(":")[2], base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()}
    forms |= {quote(form, safe="") for form in forms}
    return {spelt for form in forms for spelt in _spelt(form) if len(spelt) >= _LEAST_WATCHED}


@lru_cache(maxsize=1024)
def _spelt(value: str) -> frozenset[str]:
    """A secret as Python, JSON and HTML write it, and each of its lines."""
    if value.isascii() and value.isprintable() and not any(letter in value for letter in "\\'\"&<>"):
        return frozenset({value})
    forms = {value, *(line for line in map(str.strip, value.splitlines()) if len(line) >= _LEAST_LINE)}
    written = (repr, ascii, lambda form: repr(form.encode("utf-8", "surrogateescape"))[1:], json.dumps)
    forms |= {write(form)[1:-1] for form in forms for write in written}
    return frozenset(forms | {html.escape(form) for form in forms})


def _without_begin(piece: str, value: str) -> str:
    """A text before `...`, without the beginning of a secret at its end."""
    at = piece.find(value[:_LEAST_WATCHED], max(0, len(piece) - min(len(value) - 1, _MOST_PIECE)))
    while at >= 0:
        if value.startswith(piece[at:]):
            return f"{piece[:at]}{MASK}"
        at = piece.find(value[:_LEAST_WATCHED], at + 1)
    return piece


def _without_end(piece: str, value: str) -> str:
    """A text after `...`, without the end of a secret at its beginning."""
    end = value[-_LEAST_WATCHED:]
    at = piece.rfind(end, 0, min(len(value) - 1, _MOST_PIECE))
    while at >= 0:
        stop = at + len(end)
        if value.endswith(piece[:stop]):
            return f"{MASK}{piece[stop:]}"
        at = piece.rfind(end, 0, stop - 1)
    return piece


def _each_word(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each word as it may be shown, and the values taken out of it because of a name."""
    before, hidden = "", list[str]()
    for word in words:
        if before in _LOGINS and ":" in word:
            yield MASK, [word, word.partition(":")[2]]
        elif before.startswith("-") and "=" not in before and names_secret(before) and not re.match("--[A-Za-z]", word):
            yield MASK, [word]
        elif (whole := re.fullmatch(_WHOLE, word, re.DOTALL)) and names_secret(whole[1]):
            hidden = [whole[3], whole[3].split()[0 if whole[2] == "=" else -1]]  # of a script, or `Bearer ...`
            _inside(whole[3], hidden)
            yield f"{whole[1]}{whole[2]}{MASK}", hidden
        else:
            hidden = []
            yield masked(_inside(word, hidden)), hidden
        before = word


def _inside(word: str, hidden: list[str]) -> str:
    """A word (it may be a script, JSON or a query) without the values that have a secret's name."""

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

    return re.sub(_FOLLOWED, followed, re.sub(_ASSIGNED, assigned, word))
