"""The cells of a matrix: their values, their names and their scenarios."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from itertools import product
from typing import Any

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import (
    SCENARIOS,
    Agent,
    Cell,
    GenerationOptions,
    Matrix,
    Profile,
    Scenario,
    Script,
)

OPTIONS = tuple(field.name for field in fields(GenerationOptions) if field.name != "stop")
"""Axes that are generation options, which override every agent's options."""

THINK = "think"
"""The axis or option for reasoning, which is sent outside the generation options."""

PROMPT = "prompt"
"""The axis that several prompts create; its values are 1, 2, ..."""

AGENTS = "agents"
"""The axis for the number of agents with the same prompt."""

_PLACES = ("model", "topology", "scenario", "runtime")
_SHORT = {"num_gpu": "gpu", "num_ctx": "ctx", "temperature": "temp", "num_thread": "threads", "num_predict": "predict"}


def cells_of(matrix: Matrix, *, without: tuple[str, ...] = ()) -> tuple[Cell, ...]:
    """All cells, in the order in which they run.

    Args:
        matrix: the matrix as read from the file.
        without: axes that are not swept here; single cells that name them are dropped.
    """
    axes = {axis: values for axis, values in matrix.axes.items() if axis not in without}
    listed = [cell for cell in matrix.cell if not set(without) & set(cell)]
    swept = [dict(zip(axes, combination, strict=True)) for combination in product(*axes.values())]
    cells = [*(swept if axes or not matrix.cell else []), *map(dict, listed)]
    if len(matrix.prompts) > 1:
        cells = [{**cell, PROMPT: number} for cell in cells for number in range(1, len(matrix.prompts) + 1)]
    unique = {tuple(sorted(cell.items(), key=str)): cell for cell in cells}
    return tuple(unique.values())


def config_name(cell: Cell) -> str:
    """The configuration's label in the style of appendix R.1, without the prompt.

    >>> config_name({"num_gpu": 80, "num_ctx": 1024, "temperature": 0.6, "prompt": 2})
    'gpu80_ctx1024_temp0p6'
    >>> config_name({"topology": "dual", "start": "cold"})
    'dual_start-cold'
    """
    words = []
    for axis, given in cell.items():
        if axis == PROMPT:
            continue
        value = str(given).lower() if isinstance(given, bool) else given
        text = str(value).replace(".", "p") if not isinstance(value, str) else re.sub(r"[^A-Za-z0-9.]+", "-", value)
        if not isinstance(value, str):
            text = f"{_SHORT.get(axis, axis)}{text}"
        elif axis not in _PLACES:  # a word of the user's, which may stand for something else on another axis
            text = f"{axis}-{text}"
        words.append(text)
    return "_".join(words) or "default"


def cell_name(matrix: Matrix, cell: Cell) -> str:
    """The name of a cell's scenario, unique in the matrix."""
    parts = [str(cell.get("scenario", matrix.scenario)) or matrix.name]
    parts.append(config_name({axis: value for axis, value in cell.items() if axis not in ("scenario", "topology")}))
    if PROMPT in cell:
        parts.append(f"prompt{cell[PROMPT]}")
    return "_".join(part for part in parts if part != "default")


def foreign_axes(matrix: Matrix) -> tuple[str, ...]:
    """Axes that only a user's function can give a meaning."""
    known = (*OPTIONS, *_PLACES, THINK, *((AGENTS,) if matrix.prompts else ()))
    return tuple(axis for axis in named_axes(matrix) if axis not in known)


def named_axes(matrix: Matrix) -> tuple[str, ...]:
    """All axes, of the product or of single cells."""
    return tuple(dict.fromkeys((*matrix.axes, *(axis for cell in matrix.cell for axis in cell))))


def scenario_of_cell(
    matrix: Matrix,
    cell: Cell,
    made: Scenario | None = None,
    *,
    profile: Profile | None = None,
    simulated: bool = False,
    scenarios: Mapping[str, Scenario] = SCENARIOS,
) -> Scenario:
    """The scenario of a cell.

    Args:
        matrix: the matrix of the cell.
        cell: its options override each agent's, and no baseline's workload changes them.
        made: agents made by the user's function, instead of the matrix's own agents.
        profile: the profile of the matrix; overrides the agents' options, and is overridden by all others.
        simulated: whether the server is simulated.
        scenarios: the scenarios that the matrix may name.

    Raises:
        UsageError: the matrix has neither a scenario nor prompts, and there is no function.
    """
    scenario = made or _named_scenario(matrix, cell, scenarios)
    if profile is not None:
        scenario = profile.over(scenario, matrix.profile)
    laid: dict[str, Any] = {key: value for key, value in {**matrix.options, **cell}.items() if key in (*OPTIONS, THINK)}
    for played in matrix.played if simulated else ():
        laid |= played.options if matches(cell, played.when) else {}
    agents = tuple(agent.with_options(laid) if isinstance(agent, Agent) else agent for agent in scenario.agents)
    fixed = tuple(dict.fromkeys((*scenario.fixed, *(axis for axis in cell if axis in OPTIONS))))
    return replace(scenario, name=cell_name(matrix, cell), agents=agents, fixed=fixed)


def _named_scenario(matrix: Matrix, cell: Cell, scenarios: Mapping[str, Scenario]) -> Scenario:
    if name := str(cell.get("scenario", matrix.scenario)):
        return scenarios[name]
    if not matrix.prompts:
        raise UsageError(
            f"matrix {matrix.name} has axes but neither a scenario nor prompts",
            next_step='add `scenario = "chimera_homo"`, `prompts = [...]`, or run_matrix(..., agents=FUNCTION)',
        )
    prompt = matrix.prompts[int(cell.get(PROMPT, 1)) - 1]
    count = int(cell.get(AGENTS, matrix.agents))
    names = ("agent",) if count == 1 else tuple(f"agent_{number + 1}" for number in range(count))
    return Scenario(name=matrix.name, agents=tuple(Agent(name=name, prompts=(prompt,)) for name in names))


def script_of(matrix: Matrix, cell: Cell, given: Script) -> Script:
    """The simulated server's script in a cell: the matrix's, overridden by the user's.

    Args:
        matrix: its matching `played` tables apply, later tables override earlier ones.
        cell: the cell to match.
        given: the script of the settings; values other than the defaults win.
    """
    default = asdict(Script())
    typed = {key: value for key, value in asdict(given).items() if value != default[key]}
    laid: dict[str, Any] = {}
    for played in matrix.played:
        if matches(cell, played.when):
            laid |= played.script
    return Script(**{**default, **laid, **typed})


def unplayed(matrix: Matrix, cell: Cell) -> str:
    """The model of a cell if the matrix has scripts for other models only; else empty."""
    models = {played.when["model"] for played in matrix.played if "model" in played.when}
    return str(cell["model"]) if models and cell.get("model", next(iter(models))) not in models else ""


def matches(cell: Cell, wanted: Cell) -> bool:
    """Whether the cell has each of these values.

    >>> matches({"num_ctx": 512, "model": "a"}, {"num_ctx": 512}), matches({}, {"num_ctx": 512})
    (True, False)
    """
    return all(cell.get(axis) == value for axis, value in wanted.items())
