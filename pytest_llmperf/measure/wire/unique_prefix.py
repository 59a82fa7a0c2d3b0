"""A unique prefix for every request, so that no server finds another request's work in its cache.

Each word below is one token in the vocabularies of the model families that Ollama serves (Gemma, Llama, Qwen,
Mistral, Phi), so that every prefix costs the same number of tokens; a test with the real engine pins that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

_WORDS = (
    "the and for you not are but all can her was one our out day get "
    "has him how man new now old see two way who boy did its let put"
).split()
_COUNTER_WORDS = 4  # 32**4: a million requests before the counter repeats
_SALT_WORDS = 4


def prefixes(salt: bytes | None = None) -> Iterator[str]:
    """Endless distinct prefixes of eight words each; neighbours differ in the first word already.

    Args:
        salt: tells sessions apart; four bytes or more, random by default (never from the user's generator).
    """
    salt = os.urandom(_SALT_WORDS) if salt is None else salt
    tail = [_WORDS[byte % len(_WORDS)] for byte in salt[:_SALT_WORDS]]
    count = 0
    while True:
        digits, rest = [], count
        for _ in range(_COUNTER_WORDS):
            rest, digit = divmod(rest, len(_WORDS))
            digits.append(_WORDS[digit])
        yield " ".join(digits + tail) + ". "
        count += 1
