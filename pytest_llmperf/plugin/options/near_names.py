"""Whether a word is probably a misspelling of a known one."""

from __future__ import annotations

from collections.abc import Iterable


def near_ours(word: str, ours: Iterable[str]) -> str:
    """The known word that a word is probably a misspelling of; empty if there is none.

    Case and underscores are ignored. A word within one edit (a letter added, removed or replaced, or two neighbours
    swapped) is a misspelling; for words of eight letters or more within two edits, from twelve letters on within three.

    >>> near_ours("efficency", ["efficiency", "scaling"])
    'efficiency'
    >>> near_ours("scale", ["efficiency", "scaling"])
    ''
    """
    plain = _plain(word)
    known = {name: _plain(name) for name in ours}
    if word in known:
        return ""
    distances = {name: edits(plain, text) for name, text in known.items()}
    best = min(distances, key=lambda name: distances[name], default="")
    return best if best and distances[best] <= max(1, len(known[best]) // 4) else ""


def edits(first: str, second: str) -> int:
    """The optimal string alignment distance: letters added, removed or replaced, and neighbours swapped.

    >>> [edits("ttft", word) for word in ("ttft", "tfft", "ttf", "tftt", "cost")]
    [0, 1, 1, 1, 3]
    """
    rows = [list(range(len(second) + 1))]
    for i, letter in enumerate(first, 1):
        row = [i]
        for j, its in enumerate(second, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != its)))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == its:
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def _plain(word: str) -> str:
    return word.lower().replace("_", "")
