"""Matrix files: what they may say, and what becomes of it."""

from pathlib import Path

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.model import SCENARIOS, Agent, GenerationOptions, Profile, Script, Workload
from pytest_llmperf.study.matrices.matrix_cells import (
    cell_name,
    cells_of,
    config_name,
    foreign_axes,
    scenario_of_cell,
    script_of,
    unplayed,
)
from pytest_llmperf.study.matrices.matrix_files import load, parse
from tests.study.build import matrix

PROMPTS = {"scenario": "", "prompts": ["a", "b"], "axes": {"num_ctx": [512]}}


def test_a_matrix_is_the_product_of_its_axes_and_what_is_listed() -> None:
    """The last axis varies fastest; a cell that is listed and in the product runs once."""
    made = matrix(axes={"num_ctx": [512, 1024], "temperature": [0.2, 1.0]}, cell=[{"num_ctx": 64}, {"num_ctx": 64}])
    assert [config_name(cell) for cell in cells_of(made)] == [
        "ctx512_temp0p2", "ctx512_temp1p0", "ctx1024_temp0p2", "ctx1024_temp1p0", "ctx64",
    ]  # fmt: skip


def test_words_of_ones_own_name_their_axis() -> None:
    """The same word on two axes makes two configurations, and two names to store measurements under."""
    made = matrix(axes={}, cell=[{"tuned": "one"}, {"start": "one"}])
    assert [config_name(cell) for cell in cells_of(made)] == ["tuned-one", "start-one"]
    assert len({cell_name(made, cell) for cell in cells_of(made)}) == 2


def test_only_listed_cells() -> None:
    """Without axes there is no product, and with neither one cell as the matrix is."""
    assert cells_of(matrix(axes={}, cell=[{"num_ctx": 64}])) == ({"num_ctx": 64},)
    assert cells_of(matrix(axes={})) == ({},)
    assert config_name({}) == "default"


def test_an_axis_that_is_not_swept_here() -> None:
    """The product lacks it, and each cell runs once; listed cells that name it fall away."""
    made = matrix(axes={"num_gpu": [0, 80], "num_ctx": [512]}, cell=[{"num_gpu": 99}, {"num_ctx": 64}])
    assert cells_of(made, without=("num_gpu",)) == ({"num_ctx": 512}, {"num_ctx": 64})


def test_prompts_are_blocks_of_one_configuration() -> None:
    """Each prompt is a cell with a name of its own, under one configuration's name."""
    made = matrix(**PROMPTS)
    assert cells_of(made) == ({"num_ctx": 512, "prompt": 1}, {"num_ctx": 512, "prompt": 2})
    assert {config_name(cell) for cell in cells_of(made)} == {"ctx512"}
    assert [cell_name(made, cell) for cell in cells_of(made)] == ["m_ctx512_prompt1", "m_ctx512_prompt2"]
    agents = [scenario_of_cell(made, cell).agents[0] for cell in cells_of(made)]
    assert [agent.prompts for agent in agents if isinstance(agent, Agent)] == [("a",), ("b",)]


def test_agents_that_do_the_same() -> None:
    """The matrix states the number of agents."""
    made = matrix(scenario="", prompts=["a"], agents=2, axes={})
    assert [agent.name for agent in scenario_of_cell(made, {}).agents] == ["agent_1", "agent_2"]


def test_an_axis_over_numbers_of_agents() -> None:
    """It overrides the matrix's number; without prompts, only the user's function can give it a meaning."""
    made = matrix(scenario="", prompts=["a"], agents=2, axes={"agents": [1, 3]})
    assert [len(scenario_of_cell(made, cell).agents) for cell in cells_of(made)] == [1, 3]
    assert foreign_axes(made) == ()
    assert foreign_axes(matrix(axes={"agents": [1, 3]})) == ("agents",)


def test_a_cells_options_win_over_everything() -> None:
    """Over the matrix's, which win over the scenario's; and no baseline's workload changes what is varied."""
    made = matrix(options={"num_predict": 7, "num_ctx": 1})
    scenario = scenario_of_cell(made, {"num_ctx": 512}).scaled(Workload(reason="small", num_ctx=9, num_gpu=0))
    assert {agent.options.num_ctx for agent in scenario.agents} == {512}
    assert {agent.options.num_predict for agent in scenario.agents} == {7}
    assert {agent.options.num_gpu for agent in scenario.agents} == {0}
    assert scenario.scaled_by == "num_gpu=0 (small)"
    assert scenario.name == "chimera_homo_ctx512"


def test_a_profiles_options_are_defaults() -> None:
    """They override the agents' options; the matrix's options and axes override them; stop texts are included."""
    options = GenerationOptions(num_ctx=1, num_predict=2, temperature=0.5, stop=("END",))
    made = matrix(profile="ours", options={"num_predict": 7})
    scenario = scenario_of_cell(made, {"num_ctx": 512}, profile=Profile(mode="multi_agent", options=options))
    asked = [agent.options for agent in scenario.agents]
    assert {(options.num_ctx, options.num_predict, options.temperature, options.stop) for options in asked} == {
        (512, 7, 0.5, ("END",))
    }
    assert "profile ours (multi_agent)" in scenario.source


def test_thinking_is_an_axis_and_an_option() -> None:
    """It is sent beside the options; a cell's wins over the matrix's, which wins over the profile's."""
    made = matrix(axes={"think": [True, False, "high"]}, options={"num_predict": 7, "think": "low"}, profile="ours")
    profile = Profile(mode="multi_agent", think=False)
    scenarios = [scenario_of_cell(made, cell, profile=profile) for cell in ({}, *cells_of(made))]
    assert [{agent.think for agent in scenario.agents if isinstance(agent, Agent)} for scenario in scenarios] == [
        {"low"},
        {True},
        {False},
        {"high"},
    ]
    assert [scenario.name for scenario in scenarios[1:]] == [
        f"chimera_homo_think-{word}" for word in ("true", "false", "high")
    ]
    assert foreign_axes(made) == ()


def test_an_axis_of_scenarios() -> None:
    """Their names tell which; names of files and of models keep letters, digits and points."""
    made = matrix(scenario="", axes={"scenario": list(SCENARIOS), "model": ["x/y:1.5b"]})
    cell = cells_of(made)[0]
    assert cell_name(made, cell) == "baseline_vs_chimera_x-y-1.5b"
    assert scenario_of_cell(made, cell).agents == SCENARIOS["baseline_vs_chimera"].agents


def test_what_to_do_must_be_said() -> None:
    """By a scenario, prompts, or a function, whose scenario takes their place."""
    made = matrix(scenario="")
    with pytest.raises(UsageError, match="has axes but neither a scenario nor prompts"):
        scenario_of_cell(made, {"num_ctx": 512})
    given = scenario_of_cell(made, {"num_ctx": 512}, SCENARIOS["conversation"])
    assert given.name == "m_ctx512"
    assert foreign_axes(matrix(axes={"files": [1], "num_ctx": [1]}, cell=[{"depth": 2}])) == ("files", "depth")


def test_how_the_simulated_server_is_played() -> None:
    """All tables that match, later ones over earlier ones; what somebody typed wins over both."""
    made = matrix(
        played=[
            {"script": {"ttft_ms": 5, "decode_tok_s": 50}},
            {"when": {"num_ctx": 512}, "script": {"decode_tok_s": 100}},
        ]
    )
    assert script_of(made, {"num_ctx": 512}, Script()) == Script(ttft_ms=5, decode_tok_s=100)
    assert script_of(made, {"num_ctx": 1024}, Script()) == Script(ttft_ms=5, decode_tok_s=50)
    assert script_of(made, {"num_ctx": 512}, Script(decode_tok_s=7)) == Script(ttft_ms=5, decode_tok_s=7)


def test_what_is_played_on_the_simulated_server_only() -> None:
    """Options over all others; models that nobody says how to play are none of the script's."""
    played = [{"when": {"model": "a"}, "options": {"num_predict": 3}}]
    made = matrix(axes={"model": ["a", "b"]}, options={"num_predict": 64}, played=played)
    asked = [scenario_of_cell(made, cell, simulated=True).agents[0].options.num_predict for cell in cells_of(made)]
    assert asked == [3, 64]
    assert scenario_of_cell(made, {"model": "a"}).agents[0].options.num_predict == 64
    assert [unplayed(made, cell) for cell in ({"model": "a"}, {"model": "b"}, {"num_ctx": 1})] == ["", "b", ""]
    assert unplayed(matrix(axes={"model": ["a", "b"]}), {"model": "b"}) == ""


@pytest.mark.parametrize(
    ("tables", "fault"),
    [
        ({"schema": 2}, "schema: got 2, wanted 1"),
        ({"name": "x"}, "name: not a key, a matrix is named after its file"),
        ({"axis": {}}, "axis: unknown key, wanted one of .*axes"),
        ({"axes": {"num_ctx": []}}, "axes.num_ctx: empty"),
        ({"axes": {"num_ctx": [1, 1]}}, "axes.num_ctx: a value is listed twice"),
        ({"axes": {"num_ctx": [True]}}, "got True, wanted a string or a number"),
        ({"axes": {"think": ["much"]}}, "axes.think is 'much', wanted true, false, low"),
        ({"options": {"think": 1}}, "options.think is 1, wanted true, false, low"),
        ({"axes": {"mine": [True]}}, "axes.mine: got True, wanted a string or a number"),
        ({"axes": {"num_ctx": [float("inf")]}}, "got inf, wanted a finite number"),
        ({"axes": {"num_ctx": ["many"]}}, "axes.num_ctx: got 'many', wanted a number"),
        ({"axes": {"topology": ["triple"]}}, "axes.topology: got 'triple', wanted one of single"),
        ({"axes": {"scenario": ["x"]}}, "axes.scenario: got 'x', wanted one of baseline_vs_chimera"),
        ({"axes": {"runtime": ["tokio"]}}, "axes.runtime: got 'tokio', wanted one of threads"),
        ({"axes": {"model": [7]}}, "axes.model: got 7, wanted a model's name"),
        ({"axes": {"prompt": [1]}}, "axes.prompt: reserved, the key prompts creates this axis"),
        ({"cell": [{"topology": "x"}]}, r"cell\[0\].topology: got 'x'"),
        ({"options": {"num_cpu": 1}}, "options.num_cpu: unknown option, wanted one of num_ctx"),
        ({"scenario": "x"}, "scenario: got 'x'"),
        ({"prompts": ["a"]}, "scenario and prompts: wanted one of them"),
        ({"mode": "solo"}, "mode: got 'solo', wanted one of single_inference"),
        ({"agents": 0}, "wanted 1 or more agents"),
        (
            {"scenario": "", "prompts": ["a"], "axes": {"agents": [0]}},
            "axes.agents: got 0, wanted a number of agents, 1 or more",
        ),
        ({"played": [{"script": {"speed": 1}}]}, r"played\[0\].script.speed: unknown"),
        ({"played": [{"options": {"num_cpu": 1}}]}, "options.num_cpu: unknown option"),
        ({"played": [{"script": {"decode_tok_s": 0}}]}, r"played\[0\].script: decode_tok_s = 0, wanted 0.001"),
        ({"claim": [{"id": "a", "claim": "", "source": ""}] * 2}, "claim 'a' is listed twice"),
    ],
)
def test_what_makes_no_sense_is_said(tables: dict, fault: str) -> None:
    """Each fault by its key, with what was wanted."""
    with pytest.raises(UsageError, match=fault):
        matrix(**tables)


def test_a_name_that_is_no_file_name() -> None:
    """Results are called after the matrix."""
    with pytest.raises(UsageError, match="because it names files"):
        parse({"schema": 1}, name="../m")


@pytest.mark.parametrize(
    ("text", "fault"), [(None, "cannot be read"), ("a = ", "is not TOML"), ("\xff", "is not TOML")]
)
def test_files_that_are_none(tmp_path: Path, text: str | None, fault: str) -> None:
    """The error says that the file is missing or is not TOML."""
    path = tmp_path / "m.toml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=fault):
        load(path)


def test_the_files_stem_is_the_name(tmp_path: Path) -> None:
    """Unless another is given."""
    path = tmp_path / "m.toml"
    path.write_text("schema = 1")
    assert load(path).name == "m"
    assert load(path, name="other").name == "other"


def test_tables_of_python_may_hold_what_toml_cannot() -> None:
    """Half a character anywhere, or tables without end: a fault with its place, before anything runs."""
    good = {"schema": 1, "topology": "single", "prompts": ["x"], "axes": {"num_ctx": [512]}}
    for change, where in (
        ({"prompts": ["x", "caf\udce9"]}, r"prompts\[1\]: holds the lone surrogate"),
        ({"description": "caf\udce9"}, "description: holds the lone surrogate"),
        ({"axes": {"caf\udce9": [1]}}, r"axes\..*: holds the lone surrogate"),
    ):
        with pytest.raises(UsageError, match=where) as caught:
            parse({**good, **change}, name="m")
        str(caught.value).encode()
    endless: dict = {}
    endless["axes"] = endless
    with pytest.raises(UsageError, match="nested too deeply"):
        parse({**good, "axes": endless}, name="m")
