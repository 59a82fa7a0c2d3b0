"""The default scorer: what can be said of an answer without understanding it.

It sees answers that are broken: empty, cut to a few words, garbled, going round in circles. It knows nothing of
meaning, truth or style: two answers of one score are not equally good. For that, there is the hook
`pytest_llmperf_score`.
"""

from __future__ import annotations

import re
import unicodedata

NAME = "the default scorer (format, repetition and length; it understands nothing)"

_WORD = re.compile(r"\w+")
_RUN = 4
_ENOUGH_WORDS = 8


def score(response: str) -> float:
    """The product of three shares, 0 (bad) to 1; see `well_formed`, `unrepeated` and `long_enough`.

    >>> score("The second agent waits, because the first holds the only slot there is.")
    1.0
    >>> score("")
    0.0
    """
    return well_formed(response) * unrepeated(response) * long_enough(response)


def well_formed(response: str) -> float:
    r"""Share of characters that text is made of: no control characters, unassigned ones or replacement characters.

    >>> well_formed("fine"), well_formed("ba\ufffd\x00")
    (1.0, 0.5)
    """
    if not response:
        return 0.0
    bad = sum(
        character == "\ufffd"
        or (unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs") and character not in "\n\r\t")
        for character in response
    )
    return 1 - bad / len(response)


def unrepeated(response: str) -> float:
    """Share of runs of four words that are not a repetition of an earlier one.

    >>> unrepeated("a b c d a b c d a b c d")
    0.4444444444444444
    """
    words = [word.lower() for word in _WORD.findall(response)]
    runs = [tuple(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


def long_enough(response: str) -> float:
    """Words over eight, at most 1.

    >>> long_enough("two words")
    0.25
    """
    return min(1.0, len(_WORD.findall(response)) / _ENOUGH_WORDS)
