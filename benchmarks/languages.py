"""One agent in several languages on the scripted server, by turns; writes docs/languages.md.

    python -m benchmarks.languages [--agents null,go,node] [--rates 115,1000] [--rounds 7] [--build] [--page FILE]

Two copies of each implementation of `perf_suites/agents/agents.toml` run alone and together on two servers, through the
tap, in the order of `agent_turns.turns`; the plugin's own runtimes take their turns with them, as `own-NAME`. Before
anything is timed, all implementations must have sent the same requests. An implementation whose program is missing, or
that is not built (without `--build`), is passed over, and the page lists it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.language_claims import Figures
from benchmarks.languages_page import Conditions, page
from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.measure.agents.agent_failures import Member
from pytest_llmperf.measure.agents.agent_parity import SentRequest, check_parity, run_for_parity
from pytest_llmperf.measure.rounds import Rounds
from pytest_llmperf.measure.runtimes import runtime_of
from pytest_llmperf.measure.tap.proxy_client import Tap
from pytest_llmperf.model import (
    Agent,
    ExternalAgent,
    GenerationOptions,
    Measurement,
    ProcessUse,
    Round,
    Scenario,
    Script,
    Settings,
    Topology,
    TopologyKind,
)
from pytest_llmperf.servers.backends import choose
from pytest_llmperf.study.agents.agent_programs import AgentBuilds, AgentProgram, read_agents
from pytest_llmperf.study.agents.agent_turns import turns

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "perf_suites" / "agents" / "agents.toml"
PAGE = ROOT / "docs" / "languages.md"

OWN = ("threads", "asyncio", "processes")
PAIR = ("collector", "insight")
PROMPTS = ("Describe the readings.", "In one sentence, the readings show")
TOKENS, TIMEOUT_S = 32, 120.0
SEED = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The implementations that are measured, by name, and those that are passed over, each with the reason."""

    programs: Mapping[str, AgentProgram]
    passed_over: Mapping[str, str]


def selection(table: Mapping[str, AgentProgram], *, builds: AgentBuilds | None) -> Selection:
    """What can run here, built by `builds`; without it, only what is already built.

    Raises:
        UsageError: a build failed.
    """
    programs, passed_over = {}, {}
    for name, program in table.items():
        if program.missing:
            passed_over[name] = f"{', '.join(program.missing)} is not on `PATH`"
        elif builds is None and program.build and not Path(program.run[0]).exists():
            passed_over[name] = "it was not built"
        else:
            if builds is not None:
                builds.build(name, program)
            programs[name] = program
    return Selection(programs=programs, passed_over=passed_over)


def measured(selected: Selection, own: Sequence[str], *, tok_s: float, rounds: int) -> dict[str, Measurement]:
    """The rounds of each implementation at one rate of the server, after parity was checked.

    Raises:
        MeasurementError: an implementation differs from the first, or a request failed.
    """
    settings = Settings(backend="simulated", script=Script(decode_tok_s=tok_s))
    with choose(settings).open(TopologyKind.DUAL, len(PAIR)) as opened, contextlib.closing(Tap()) as tap:
        topology = opened.topology
        check_parity(
            {name: _sent(name, program, tap, topology) for name, program in selected.programs.items()}, reports={}
        )
        runners = {
            name: _runner(_external(program), "threads", tap, topology) for name, program in selected.programs.items()
        }
        runners |= {f"own-{name}": _runner(_built_in(), name, tap, topology) for name in own}
        for runner in runners.values():
            runner.warm_up(1)
        taken: dict[str, list[Round]] = {name: [] for name in runners}
        for index, order in enumerate(turns(tuple(runners), rounds, seed=SEED)):
            print(f"{tok_s:g} tok/s, round {index + 1} of {rounds}: {', '.join(order)}", file=sys.stderr, flush=True)
            for name in order:
                taken[name].append(runners[name].run(index))
    pair = Scenario(name="pair", agents=_built_in())
    return {name: Measurement(scenario=pair, topology=topology, rounds=tuple(values)) for name, values in taken.items()}


def figures(measurement: Measurement) -> Figures:
    """The figures of one implementation, one value a round."""
    rounds = measurement.rounds
    return Figures(
        cpu_us=[value for round_ in rounds if (value := _cpu_us(round_)) is not None],
        ttft_ms=_defined(measurement, "ttft_ms"),
        decode_tok_s=_defined(measurement, "client_decode_tok_s"),
        efficiency_pct=series(measurement, "efficiency_pct"),
        scaling_pct=series(measurement, "scaling_efficiency_pct"),
        memory_mib=[
            max(peaks) / 2**20
            for round_ in rounds
            if (peaks := [use.peak_rss_bytes for use in _used(round_) if use.peak_rss_bytes is not None])
        ],
        start_up_ms=[
            fmean(starts)
            for round_ in rounds
            if (starts := [run.process.start_up_ns / 1e6 for run in round_.solo if run.process is not None])
        ],
    )


def _defined(measurement: Measurement, metric: str) -> tuple[float, ...]:
    """The series of a metric; empty if a round leaves it undefined, because no round may drop out."""
    try:
        return series(measurement, metric)
    except MeasurementError as error:
        print(f"{metric}: {error}", file=sys.stderr)
        return ()


def _used(round_: Round) -> list[ProcessUse]:
    return [run.process for run in round_.together if run.process is not None]


def _cpu_us(round_: Round) -> float | None:
    """CPU time of both agents together for a token, us; for the plugin's own runtimes, that of their client."""
    tokens = sum(run.eval_count for run in round_.together)
    cpu_ns = [use.cpu_ns for use in _used(round_)] or list(round_.client_cpu_ns)
    known = [value for value in cpu_ns if value is not None]
    if not tokens or not known or len(known) < len(cpu_ns):
        return None
    return sum(known) / tokens / 1e3


def _sent(name: str, program: AgentProgram, tap: Tap, topology: Topology) -> tuple[SentRequest, ...]:
    """The requests of one implementation alone."""
    member = Member(label=f"agent {name}", url=topology.instances[0].url, run=(*program.run, "plain"))
    return run_for_parity(member, tap=tap, model=topology.model, timeout_s=TIMEOUT_S)


def _external(program: AgentProgram) -> tuple[ExternalAgent, ...]:
    return tuple(ExternalAgent(name=name, run=(*program.run, "plain")) for name in PAIR)


def _built_in() -> tuple[Agent, ...]:
    return tuple(
        Agent(name=name, prompts=PROMPTS, options=GenerationOptions(num_predict=TOKENS, seed=42)) for name in PAIR
    )


def _runner(
    agents: tuple[ExternalAgent, ...] | tuple[Agent, ...], runtime: str, tap: Tap, topology: Topology
) -> Rounds:
    scenario = Scenario(name="pair", agents=agents)
    return Rounds(scenario, topology, runtime=runtime_of(runtime), timeout_s=TIMEOUT_S, tap=tap)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", default="", help="names of the table, separated by commas; default: all")
    parser.add_argument("--own", default=",".join(OWN), help="own runtimes, separated by commas")
    parser.add_argument("--rates", default="115,1000", help="tok/s of each server, separated by commas")
    parser.add_argument("--rounds", type=int, default=18, help="rounds of each implementation at each rate")
    parser.add_argument("--build", action="store_true", help="build first what needs to be built (minutes)")
    parser.add_argument("--table", type=Path, default=TABLE, help="the table of agents")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    given = parser.parse_args(arguments)
    table = read_agents(given.table)
    names = given.agents.split(",") if given.agents else list(table)
    if unknown := [name for name in names if name not in table]:
        parser.error(f"--agents: {', '.join(unknown)} is not in {given.table}, which has {', '.join(table)}")
    own = [name for name in given.own.split(",") if name]
    if unknown := [name for name in own if name not in OWN]:
        parser.error(f"--own: {', '.join(unknown)} is not one of {', '.join(OWN)}")
    if given.rounds < 2:
        parser.error("--rounds: an interval needs 2 rounds or more")
    selected = selection({name: table[name] for name in names}, builds=AgentBuilds() if given.build else None)
    left_out = {name: "left out with `--agents`" for name in table if name not in names}
    left_out |= {f"own-{name}": "left out with `--own`" for name in OWN if name not in own}
    if not selected.programs:
        raise MeasurementError("no implementation can run here", next_step="add --build, or install their languages")
    rates, load = [float(rate) for rate in given.rates.split(",")], [os.getloadavg()[0]]
    results = {}
    for rate in rates:
        taken = measured(selected, own, tok_s=rate, rounds=given.rounds)
        results[rate] = {name: figures(measurement) for name, measurement in taken.items()}
        load.append(os.getloadavg()[0])
    conditions = Conditions(
        command=" ".join(["python -m benchmarks.languages", *(arguments if arguments is not None else sys.argv[1:])]),
        rounds=given.rounds,
        load=load,
        passed_over={**selected.passed_over, **left_out},
    )
    words = {name: (program.language, program.runtime) for name, program in selected.programs.items()}
    given.page.write_text(page(results, words, conditions), encoding="utf-8")
    print(f"{given.page} written")


if __name__ == "__main__":
    main()
