"""Keeps secrets out of whatever is shown, stored or raised: values that hide themselves, and texts without them.

Three layers. A `Secret` shows itself as `***`. `SEALED` cuts the frames of other people's code off an error: their
local variables hold what they were given. `masked` takes out of a text the secrets that the environment holds, and
what looks like one; all text for terminals, reports and errors passes it.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from types import TracebackType
from typing import Any, Literal
from unicodedata import normalize
from urllib.parse import quote, unquote

MASK = "***"

_LEAST_LETTERS = 8
"""Of a value that is taken for a secret by its variable's name; below, it may be any word."""

_LEAST_WATCHED = 6
"""Of a value, or of a password, that somebody named as a secret."""

_LEAST_LINE = 16
"""Of a line of a secret of several lines, a key file's, which tracebacks and logs show line by line."""

_MOST_PIECE = 4096
"""Of a value that is cut short by `...`; pytest shows at most 2,400 letters of one that it cuts."""

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
            values |= _spelt(value)
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
    for pattern, shown in _patterns():
        text = pattern.sub(shown, text)
    return text


def without_pieces(text: str, secrets: Iterable[str]) -> str:
    """As `masked`, for text in which long values were cut short by `...`, as tracebacks do."""
    secrets = tuple(secrets)
    pieces = masked(text, secrets).split("...")
    for value in secrets if len(pieces) > 1 else ():
        pieces[:-1] = [_without_begin(piece, value) for piece in pieces[:-1]]
        pieces[1:] = [_without_end(piece, value) for piece in pieces[1:]]
    return "...".join(pieces)


def has_login(text: str) -> bool:
    """Whether an `@` is in a text, in whatever way it is written: what is before it may be a user and a password.

    >>> [has_login(text) for text in ("me:pw@h", "me%3Apw%40h", "me%253Apw%2540h", "me:pw\uff20h", "h:1")]
    [True, True, True, True, False]
    """
    return "@" in _decoded(text)


def refused(text: str) -> str:
    """A refused value for its error message, without whatever in it may be a secret.

    Any value may be an address by mistake. At most its scheme, host and port are shown, and the port only if it is
    one: behind the colon may be a password. With a login, only a plain host is shown.

    >>> refused("http://me:a@h:1"), refused("http://me:hunter2"), refused("http://h:1;hunter2"), refused("ftp://h:1")
    ('http://***@h:1', 'http://me:***', 'http://h:***', 'ftp://h:1')
    """
    if has_login(text):
        plain = re.fullmatch(_LOGIN_AT_HOST, text)
        return f"{plain[1]}{MASK}@{plain[2]}" if plain else MASK
    text = re.sub(r"([?#]).*", rf"\1{MASK}", masked(text), flags=re.DOTALL)
    return re.sub(_ADDRESS, _host_only, text) if "://" in text else re.sub(_NO_PORT, rf"\1{MASK}", text)


def masked_words(words: Sequence[str]) -> tuple[str, ...]:
    """A command's words without secrets, by the names beside them and by what they look like.

    >>> masked_words(["agent", "--token", "abc", "--api-key=abc", "HF_TOKEN=abc", "--max-tokens", "9"])
    ('agent', '--token', '***', '--api-key=***', 'HF_TOKEN=***', '--max-tokens', '9')
    """
    return tuple(shown for shown, _ in _each_word(words))


def secrets_of(words: Sequence[str]) -> tuple[str, ...]:
    """What `masked_words` takes out of a command's words by their names, longest first; no short ones."""
    values = {value for _, hidden in _each_word(words) for value in hidden if len(value) >= _LEAST_WATCHED}
    values = {form for value in values for form in _spelt(value)}
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
_ADDRESS = r"(?s)(?P<start>://)(?:(?P<host>(?:[\w.*-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{1,5})?)(?=[:/,?#]|$))?(?P<rest>.*)"
"""From an address to the text's end: its host and port, if they are plain, and whatever follows."""

_NO_PORT = r"(?s)(?<!:)(:)(?!//|[0-9]{1,5}(?:[/,]|$)).*"
"""What follows a colon and is no port, to the text's end: it may be a password, which may hold anything."""

_LOGIN_MARK = r"@|%(?:25)*40|\uff20|\ufe6b"
"""An `@`, however it is written."""

_HOST_NO_PORT = r"(?i)([\w.-]*:)(?!(?:port|\{\w+\})\b|[0-9]{1,5}(?![\w%$!&*+=~^\\|-]|;\S))[^/]"
"""A host, a colon, and something that is neither a port nor a placeholder for one: it may be a password."""

_LOGIN_AT_HOST = r"([a-z]+://)[^\s/?#,@]*@([A-Za-z0-9.-]+(?::\d{1,5})?/?)"
_LOGINS = frozenset(("-u", "--user", "--proxy-user", "-U", "--login"))
"""Options whose value is `user:password`, if it has a colon."""

_ASSIGNED = r"([\"']?)(-{0,2}[A-Za-z_][\w.-]{0,80}+)(\1\s*=\s*|(?<=[\"'\w])[\"']\s*:\s*)([\"']?)([^\"',;&}\s]+)"
_FOLLOWED = r"(?<!\S)(--?[A-Za-z][\w-]*)(\s+)([^\s-]\S*)"
_WHOLE = r"(-{0,2}[A-Za-z_][\w.-]*)(=|:\s*)(\s*\S.*)"


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]:
    """Logins in addresses, secrets in queries, authorizations, and keys by their makers' prefixes.

    Each takes time in proportion to the text, which a hostile server may have written; compiled when first needed,
    since every pytest run imports this module.
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
    """An address without what is before its last `@`, or behind a colon that no port follows."""
    *_, last = None, *re.finditer(_LOGIN_MARK, match[2])
    if last is not None:
        return f"{match[1]}{MASK}@{match[2][last.end() :]}"
    host = re.match(_HOST_NO_PORT, match[2])
    return f"{match[1]}{host[1]}{MASK}" if host else match[0]


def _decoded(text: str) -> str:
    """A text with its percent encoding undone, however often it was applied, and full-width characters made plain."""
    while (plain := normalize("NFKC", unquote(text))) != text:
        text = plain
    return text


def _host_only(match: re.Match[str]) -> str:
    """An address as far as its host and port."""
    rest = match["rest"] if match["host"] is not None else "***"
    hidden = rest if rest in ("", "/") else f"{rest[0] if rest[0] in ':/,?#' else ''}{MASK}"
    return f"{match['start']}{match['host'] or ''}{hidden}"


def _names_place(name: str) -> bool:
    """Whether a name ends as those of paths and addresses do."""
    return name.lower().rpartition("_")[2] in _PLACES


def _forms(value: str) -> set[str]:
    """A secret as it may stand in a text: itself, its password, and both as they are sent."""
    forms = {value, value.partition(":")[2], base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()}
    forms |= {quote(form, safe="") for form in forms}
    return {spelt for form in forms for spelt in _spelt(form) if len(spelt) >= _LEAST_WATCHED}


@lru_cache(maxsize=1024)
def _spelt(value: str) -> frozenset[str]:
    """A secret as Python, JSON and HTML write it, and its lines alone: most are shown in only one way."""
    if value.isascii() and value.isprintable() and not any(letter in value for letter in "\\'\"&<>"):
        return frozenset({value})
    forms = {value, *(line for line in map(str.strip, value.splitlines()) if len(line) >= _LEAST_LINE)}
    written = (repr, ascii, lambda form: repr(form.encode("utf-8", "surrogateescape"))[1:], json.dumps)
    forms |= {write(form)[1:-1] for form in forms for write in written}
    return frozenset(forms | {html.escape(form) for form in forms})


def _without_begin(piece: str, value: str) -> str:
    """A text that `...` follows, without the begin of a secret at its end."""
    at = piece.find(value[:_LEAST_WATCHED], max(0, len(piece) - min(len(value) - 1, _MOST_PIECE)))
    while at >= 0:
        if value.startswith(piece[at:]):
            return f"{piece[:at]}{MASK}"
        at = piece.find(value[:_LEAST_WATCHED], at + 1)
    return piece


def _without_end(piece: str, value: str) -> str:
    """A text that follows `...`, without the end of a secret at its begin."""
    end = value[-_LEAST_WATCHED:]
    at = piece.rfind(end, 0, min(len(value) - 1, _MOST_PIECE))
    while at >= 0:
        stop = at + len(end)
        if value.endswith(piece[:stop]):
            return f"{MASK}{piece[stop:]}"
        at = piece.rfind(end, 0, stop - 1)
    return piece


def _each_word(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each word as it may be shown, and what was taken out of it by a name."""
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

    return re.sub(_FOLLOWED, followed, re.sub(_ASSIGNED, assigned, word))
