"""One row per figure, with its limit and whether the figure is within it.

No limit is an absolute time or memory size, which would depend more on the machine than on the plugin. A limit applies
to a ratio: the plugin's figure over a figure measured in the same run, in turn with it. Absolute figures have no limit.
"""

from __future__ import annotations

from dataclasses import dataclass

ABSOLUTE = ("s", "ms", "us", "min", "MB", "%", "pp")
"""Units in which there is no limit."""


@dataclass(frozen=True)
class Row:
    """One figure of a benchmark.

    Attributes:
        figure: what was measured.
        value: in `unit`.
        unit: the unit of value and limit.
        most, least: the limits of ratios (`x`) and counts; None = no limit on that side, both None = only shown.
        beside: the conditions and the underlying figures.
    """

    figure: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    beside: str = ""

    def __post_init__(self) -> None:
        if (self.most is not None or self.least is not None) and self.unit in ABSOLUTE:
            raise ValueError(f"{self.figure}: a limit is one of a ratio or a count, this is in {self.unit}")

    @property
    def holds(self) -> bool:
        """Whether the value is within its limits."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    def __str__(self) -> str:
        limit = f"at most {self.most:g}" if self.most is not None else ""
        limit = f"at least {self.least:g}" if self.least is not None else limit
        verdict = ("holds" if self.holds else "FALLS SHORT") if limit else ""
        return f"{self.figure:<62} {self.value:>9.5g} {self.unit:<5} {limit:<16} {verdict:<12} {self.beside}".rstrip()


def show(rows: list[Row]) -> int:
    """Prints them; 1 where one falls short, else 0."""
    for row in rows:
        print(row, flush=True)
    short = [row for row in rows if not row.holds]
    print(f"{len(rows)} figures, {len(short)} fall short" if short else f"{len(rows)} figures, all limits hold")
    return 1 if short else 0
