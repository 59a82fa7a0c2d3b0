"""How much error a verdict may make, and how it is shared over the looks of a session and the gates of a run.

The two errors are `fail` if nothing is lost, and `pass` if DETECT_DELTAS times delta is lost. Each is kept at ALPHA
over all looks: most of it is left for the last look, the earlier ones share the rest. Looks at growing data are so
alike that the shares of a single gate may add up to more than ALPHA (`make verdicts` shows the totals); with several
gates each has so small a share that looks are less alike in the far tail, and the shares are smaller.

A run with several gates shares the error of `fail` equally (Bonferroni): the number of gates is known when tests are
collected, before any server starts, by every xdist worker alike, and a test can fail by itself, at once. Holm's method
would have to wait for the last test, and gains nothing as long as all is well.
"""

from __future__ import annotations

import math

ALPHA = 0.01
"""The error of a whole run, over all looks: false alarms, and passes of a change of DETECT_DELTAS times delta."""

BETA_AT_DELTA = 0.02
"""The error of a pass at the last look if the change is exactly delta; an earlier look has half of it."""

DETECT_DELTAS = 1.5
"""A change of this many deltas passes with at most ALPHA."""

HARD_FLOOR_DELTAS = 5.0
"""A change of this many deltas may fail at every look with the error of the last: the hard floor."""

FINAL_LOOK_SHARE = 0.7
"""The share of the error that is left for the last look."""


def error_of_look(looks: int, *, last: bool, gates: int = 1) -> float:
    """The one-sided error that this look may make.

    Args:
        looks: the number of looks of a session, 1 or more.
        last: whether this is the last.
        gates: the number of gates of the run, 1 or more.

    Raises:
        ValueError: fewer than one look or gate.
    """
    check_counts(looks, gates)
    whole = ALPHA / gates
    if looks == 1:
        return whole
    if last:
        return FINAL_LOOK_SHARE * whole
    return (1 - FINAL_LOOK_SHARE) * whole / math.pow(looks - 1, 0.25 if gates == 1 else 0.75)


def check_counts(looks: int, gates: int = 1) -> None:
    """At least one look and one gate, or a ValueError."""
    if looks < 1:
        raise ValueError(f"looks is {looks}, wanted at least 1")
    if gates < 1:
        raise ValueError(f"gates is {gates}, wanted at least 1")
