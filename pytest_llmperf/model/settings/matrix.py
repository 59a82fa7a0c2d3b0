"""The content of a matrix file: the cells of an experiment, and a report's claims about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float
"""The value of an axis in a cell."""

Cell = Mapping[str, Value]
"""One combination: the value of each axis by its name."""

FIGURES = ("value", "difference", "change_pct", "ratio", "spread", "spread_pct", "order")
STATISTICS = ("mean", "median", "min", "max", "sd", "variance", "cv_pct")
RELATIONS = ("direction", "near", "at least", "at most", "order")


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What differs on the simulated server, in the cells that match.

    Attributes:
        when: values by axis; a cell matches if it has all of them; axes that are not named may have any value.
        script: the server's behavior: fields of Script, by name.
        options: options for every agent, over all others, so that a simulated figure takes no longer than necessary.
    """

    when: Cell = field(default_factory=dict)
    script: Mapping[str, float] = field(default_factory=dict)
    options: Cell = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A report's claim about the cells, as a comparison that can fail.

    Attributes:
        id: a short id that is unique in the matrix.
        claim: the claim in words.
        source: report and section.
        reference: the keys that select one row of the decision card: `report`, `metric`, `statistic`, and, if needed,
            parts of `source` and `context`; empty if the report states only an order or a direction.
        figure: the figure to compute from the measured rows: one of FIGURES.
        metric: column of the results.
        statistic: statistic of the metric over the rows of a selection, one of STATISTICS.
        of: the cells that the claim is about; empty: all.
        against: the cells that they are compared with; for `difference`, `change_pct` and `ratio`.
        over: the axis whose values are the groups; for `spread`, `spread_pct` and `order`.
        order: the groups, the largest figure first; for `order`.
        holds: the required relation of the figure to the report's: `direction` (the same sign, and the interval
            excludes 0, or 1 for a ratio), `near` (within the tolerance), `at least` or `at most` (give or take the
            tolerance), `order`.
        limit: a limit that the claim itself states, in the figure's unit; used instead of a reference.
        tolerance: the tolerance in the figure's unit.
        needs: `machine` if the figure depends on the report's hardware (simulated figures count); `gpu` if it needs a
            real GPU; else empty.
        saturated: whether the claim is about rounds in which the client was saturated, which otherwise do not count.
        untestable: why the claim cannot be tested; empty if it can.
    """

    id: str
    claim: str
    source: str
    reference: Mapping[str, str] = field(default_factory=dict)
    figure: str = "value"
    metric: str = ""
    statistic: str = "mean"
    of: Cell = field(default_factory=dict)
    against: Cell = field(default_factory=dict)
    over: str = ""
    order: tuple[Value, ...] = ()
    holds: str = "near"
    limit: float | None = None
    tolerance: float = 0.0
    needs: str = ""
    saturated: bool = False
    untestable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One TOML file: an experiment.

    Attributes:
        schema: layout version, 1.
        name: the file's stem, which is also the name of the results.
        description: the question that the experiment answers.
        mode: the value of the Mode that its configurations are for, or empty.
        topology: `single`, `single_parallel`, `dual` or `fleet`; used if no axis sets the topology.
        scenario: the name of a scenario of SCENARIOS or llmperf.toml; used if no axis sets the scenario; empty if
            `prompts` is set or a function makes the agents.
        prompts: prompts of agents that are defined here, in rotation: each is a block, named `prompt` in the cells.
        agents: the number of agents that do the same work at once, if `prompts` is set.
        rounds: rounds of each cell; 0: the number in the settings.
        profile: the name of a Profile whose options apply to every agent unless the matrix overrides them; empty: none.
        options: options of every agent, by Ollama's names; axes override them.
        axes: values by axis; the cells are their product, in which the last axis varies fastest.
        cell: more cells, one by one, which need not name every axis.
        show: columns of the results by which the summary ranks the values of each axis.
        played: what differs on the simulated server; all matching entries apply, later entries override earlier ones.
        claim: the claims of the report.
    """

    schema: int
    name: str = ""
    description: str = ""
    mode: str = ""
    topology: str = "single"
    scenario: str = ""
    prompts: tuple[str, ...] = ()
    agents: int = 1
    rounds: int = 0
    profile: str = ""
    options: Cell = field(default_factory=dict)
    axes: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    cell: tuple[Cell, ...] = ()
    show: tuple[str, ...] = ()
    played: tuple[Played, ...] = ()
    claim: tuple[Claim, ...] = ()
