"""A row a figure, with its limit and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure of a benchmark.

    Attributes:
        figure: what was measured.
        value: in `unit`.
        unit: of value and limit.
        most, least: the limits; None = none on that side, both None = only shown.
        beside: conditions and the figures behind it.
    """

    figure: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    beside: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value keeps its limits."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    def __str__(self) -> str:
        limit = f"at most {self.most:g}" if self.most is not None else ""
        limit = f"at least {self.least:g}" if self.least is not None else limit
        verdict = ("holds" if self.holds else "FALLS SHORT") if limit else ""
        return f"{self.figure:<62} {self.value:>9.4g} {self.unit:<5} {limit:<14} {verdict:<12} {self.beside}".rstrip()


def show(rows: list[Row]) -> int:
    """Prints them; 1 where one falls short, else 0."""
    for row in rows:
        print(row, flush=True)
    short = [row for row in rows if not row.holds]
    print(f"{len(rows)} figures, {len(short)} fall short" if short else f"{len(rows)} figures, all limits hold")
    return 1 if short else 0
