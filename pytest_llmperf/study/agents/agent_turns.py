"""The order in which implementations take turns, so that no place in a round favours one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

WILLIAMS_MAX = 6
"""The largest number of implementations for which a whole Williams design has a practical number of rounds."""


def turns(names: Sequence[str], rounds: int, *, seed: int = 0) -> tuple[tuple[str, ...], ...]:
    """The order of the implementations in each round.

    For up to `WILLIAMS_MAX` implementations this is a Williams design (E. J. Williams, 1949). After n rounds (2n if n
    is odd) each was equally often at each position, and each was equally often directly before
    each other one. For more implementations it is a sequence of seeded Latin squares: after every n rounds each was
    equally often at each position; the neighbours are drawn anew for each square.

    Args:
        names: the implementations, each once.
        rounds: the number of rounds; a multiple of the design's rounds completes the balance.
        seed: draws the squares of more than `WILLIAMS_MAX` implementations.

    Raises:
        ValueError: a name occurs twice.

    >>> turns(["a", "b"], 2)
    (('a', 'b'), ('b', 'a'))
    """
    if len(set(names)) != len(names):
        raise ValueError(f"wanted each name once, got {', '.join(names)}")
    if not names:
        return ((),) * rounds
    generator = random.Random(seed)
    rows: list[tuple[int, ...]] = []
    while len(rows) < rounds:
        rows += _williams(len(names)) if len(names) <= WILLIAMS_MAX else _latin_square(len(names), generator)
    return tuple(tuple(names[index] for index in row) for row in rows[:rounds])


def rounds_of_design(count: int) -> int:
    """The number of rounds after which `count` implementations are balanced."""
    return 2 * count if count % 2 and 1 < count <= WILLIAMS_MAX else max(count, 1)


def _williams(count: int) -> list[tuple[int, ...]]:
    """The rows 0, n-1, 1, n-2, ... shifted by each number; for an odd count also reversed."""
    first = [place // 2 if place % 2 == 0 else count - 1 - place // 2 for place in range(count)]
    rows = [tuple((index + shift) % count for index in first) for shift in range(count)]
    return rows + [row[::-1] for row in rows] if rounds_of_design(count) == 2 * count else rows


def _latin_square(count: int, generator: random.Random) -> list[tuple[int, ...]]:
    """A cyclic square with its rows, columns and numbers in a drawn order."""
    shifts, columns, numbers = (generator.sample(range(count), count) for _ in range(3))
    return [tuple(numbers[(column + shift) % count] for column in columns) for shift in shifts]
