"""Whether a word is nearly another one."""

from __future__ import annotations

from collections.abc import Iterable


def near_ours(word: str, ours: Iterable[str]) -> str:
    """The known word that a word was meant to be, if it is so near that a slip of the keyboard explains it; else empty.

    Case and underscores do not count. One edit (a letter more, less or other, or two letters exchanged) is near; in
    words of eight letters or more two are, three from twelve on.

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


def edits(one: str, two: str) -> int:
    """The optimal string alignment distance: letters more, less or other, and neighbours exchanged.

    >>> [edits("ttft", word) for word in ("ttft", "tfft", "ttf", "tftt", "cost")]
    [0, 1, 1, 1, 3]
    """
    rows = [list(range(len(two) + 1))]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, its in enumerate(two, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != its)))
            if i > 1 and j > 1 and letter == two[j - 2] and one[i - 2] == its:
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def _plain(word: str) -> str:
    return word.lower().replace("_", "")
