"""A unique prefix for every request, so that no server finds another request's work in its cache.

Every prefix costs the same number of tokens, one a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pytest_llmperf.recordings.filler import WORDS

_COUNTER_WORDS = 4  # 32**4: a million requests before the counter repeats
_SALT_WORDS = 4


def prefixes(salt: bytes | None = None) -> Iterator[str]:
    """Endless distinct prefixes of eight words each; neighbours differ in the first word already.

    Args:
        salt: tells sessions apart; four bytes or more, random by default (never from the user's generator).
    """
    salt = os.urandom(_SALT_WORDS) if salt is None else salt
    tail = [WORDS[byte % len(WORDS)] for byte in salt[:_SALT_WORDS]]
    count = 0
    while True:
        digits, rest = [], count
        for _ in range(_COUNTER_WORDS):
            rest, digit = divmod(rest, len(WORDS))
            digits.append(WORDS[digit])
        yield " ".join(digits + tail) + ". "
        count += 1
