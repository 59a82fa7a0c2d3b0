"""Texts that stand for texts that were not kept.

Each word is one token in the vocabularies of the model families that Ollama serves (Gemma, Llama, Qwen, Mistral, Phi);
a test with the real engine pins that.
"""

from __future__ import annotations

from itertools import cycle, islice

WORDS = (
    "the and for you not are but all can her was one our out day get "
    "has him how man new now old see two way who boy did its let put"
).split()


def filler_of_tokens(count: int, *, first: int = 0) -> str:
    """A text of this many tokens.

    >>> filler_of_tokens(3), filler_of_tokens(2, first=4)
    ('the and for', 'not are')
    """
    return " ".join(islice(cycle(WORDS), first % len(WORDS), first % len(WORDS) + count))


def filler_of_characters(count: int) -> str:
    """A text of this many characters, of whole words as far as they fit.

    >>> filler_of_characters(9)
    'the and f'
    """
    return filler_of_tokens(count // 4 + 1)[:count]
