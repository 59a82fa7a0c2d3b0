"""The text of docs/languages.md, from the figures of `benchmarks.languages`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from benchmarks.language_claims import Figures, claim_rows
from pytest_llmperf.judge.regression.decision_rule import Look
from pytest_llmperf.judge.regression.paired_rounds import change_between_pairs
from pytest_llmperf.judge.stats.confidence_intervals import cv_interval, mean_interval
from pytest_llmperf.model import Bound

DELTA_PCT = 20.0
"""The smallest change of TTFT that counts: the default of regression gates."""

HEAD = """# Agents in several languages

One agent, written in several languages and for several runtimes ([SPEC.md]({agents}/SPEC.md)), measured by turns: in
each round two copies of each implementation run alone and together on two scripted servers, through the [tap](tap.md).
Before anything was timed, all programs had sent the same requests. `null` parses no answer and writes no report,
so it shows what the rest of the path costs. `own-NAME` are the plugin's own runtimes, without a tap. They
have no process of their own, so memory and start-up are empty.
"""

COLUMNS = """
| column | meaning |
|---|---|
| CPU per token | CPU time of both programs, with start-up, over all tokens; for `own-NAME` that of the client |
| TTFT | the worst of a round, agents together |
| decode rate | the slowest request of a round, agents together |
| balance, scaling | the [two efficiencies](efficiencies.md) |
| memory | peak resident memory of the program of one agent, the larger of the two |
| start-up | from the start of the process to its first bytes at the tap, alone |

Each cell is the mean over the rounds and its 95 % confidence interval (Student's t). Intervals are not corrected for
the number of cells. A cell is empty if a round leaves the figure undefined, for example because the tokens of an answer
arrived at once.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How the figures were taken.

    Attributes:
        command: the command.
        rounds: the number of rounds of each implementation.
        load: load averages over a minute, before and after each rate.
        passed_over: implementations that were not measured, by name, each with the reason.
    """

    command: str
    rounds: int
    load: Sequence[float]
    passed_over: Mapping[str, str]


def page(
    results: Mapping[float, Mapping[str, Figures]], words: Mapping[str, tuple[str, str]], conditions: Conditions
) -> str:
    """The whole page.

    Args:
        results: the figures by rate, tok/s of each server, and implementation.
        words: language and runtime of each implementation that is a program.
        conditions: how they were taken.
    """
    parts = [HEAD.format(agents="https://github.com/OWNER/pytest-llmperf/blob/main/perf_suites/agents")]
    parts += [_conditions(conditions), COLUMNS]
    for rate, figures in results.items():
        parts += [f"\n## 2 x {rate:g} tok/s\n", _table(figures, words), _ttft_changes(figures), _ranking(figures)]
        parts.append(_claims(figures))
    return "".join(parts)


def _conditions(conditions: Conditions) -> str:
    cores, load = os.cpu_count() or 1, conditions.load
    shared = (
        f"The machine was shared: its load average was {min(load):.1f} to {max(load):.1f} on {cores} cores, so "
        "absolute times are longer than on a quiet machine, and intervals wider."
        if max(load) > cores
        else f"The load average was {min(load):.1f} to {max(load):.1f} on {cores} cores."
    )
    text = (
        f"\nWritten by this command, {conditions.rounds} rounds of each implementation at each rate, on "
        f"{platform.system()} with Python {platform.python_version()}:\n\n"
        f"```console\n{conditions.command}\n```\n\n{shared}\n"
    )
    if conditions.passed_over:
        names: dict[str, list[str]] = {reason: [] for reason in conditions.passed_over.values()}
        for name, reason in conditions.passed_over.items():
            names[reason].append(f"`{name}`")
        lines = "".join(f"- {', '.join(own)}: {reason}\n" for reason, own in names.items())
        text += f"\nNot measured in this run:\n\n{lines}"
    return text


def _table(figures: Mapping[str, Figures], words: Mapping[str, tuple[str, str]]) -> str:
    head = ("implementation", "runtime", "CPU per token, us", "TTFT, ms", "decode rate, tok/s", "balance, %")
    lines = [[*head, "scaling, %", "memory, MiB", "start-up, ms"], ["---"] * 9]
    for name, own in figures.items():
        _, runtime = words.get(name, ("python", "the plugin's own"))
        values = (own.cpu_us, own.ttft_ms, own.decode_tok_s, own.efficiency_pct, own.scaling_pct)
        lines.append([f"`{name}`", runtime, *map(_cell, (*values, own.memory_mib, own.start_up_ms))])
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(values: Sequence[float]) -> str:
    """Mean and interval; empty if there are no values."""
    if len(values) < 2:
        return ""
    interval = mean_interval(values, 0.05)
    return f"{_number(fmean(values))} ({_number(interval.low)} to {_number(interval.high)})"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def _ttft_changes(figures: Mapping[str, Figures]) -> str:
    """How the TTFT of each implementation differs from the first one's, by the rule for paired rounds."""
    (reference, base), *others = figures.items()
    text = (
        f"\nTTFT beside `{reference}`, by the rule for [paired rounds](verdicts.md): positive is slower; a change "
        f"of {DELTA_PCT:g} % counts.\n\n| implementation | change, % | verdict |\n|---|---|---|\n"
    )
    for name, own in others:
        if len(own.ttft_ms) != len(base.ttft_ms):
            text += f"| `{name}` |  | undefined |\n"
            continue
        change = change_between_pairs(
            bound=Bound.MAX,
            in_points=False,
            delta=DELTA_PCT,
            incumbent=base.ttft_ms,
            candidate=own.ttft_ms,
            look=Look(looks=1, last=True, gates=len(others)),
        )
        if change is not None:
            shown = f"{change.estimate:.1f} ({change.low:.1f} to {change.high:.1f})"
            text += f"| `{name}` | {shown} | {change.outcome.value} |\n"
    return text


def _ranking(figures: Mapping[str, Figures]) -> str:
    """By consistency: the standard deviation of the balance efficiency, the smallest first."""
    text = (
        "\nBy consistency of the balance efficiency, smallest standard deviation first. If intervals overlap, the "
        "order is not established.\n\n| implementation | sd, points | min, % | median, % | max, % | CV, % |\n"
        "|---|---|---|---|---|---|\n"
    )
    for name, own in sorted(figures.items(), key=lambda item: stdev(item[1].efficiency_pct)):
        values = own.efficiency_pct
        cv = cv_interval(values, 0.05)
        spread = f"{100 * stdev(values) / fmean(values):.2f} ({cv.low:.2f} to {cv.high:.2f})"
        ends = f"{min(values):.1f} | {median(values):.1f} | {max(values):.1f}"
        text += f"| `{name}` | {stdev(values):.2f} | {ends} | {spread} |\n"
    return text


def _claims(figures: Mapping[str, Figures]) -> str:
    """The report's claims that such a run can test."""
    rows = "".join(f"| {' | '.join(row)} |\n" for row in claim_rows(figures))
    return (
        "\nThe report's claims about languages. The server is scripted (grade: simulated), so this tests what the "
        "programs add, not the report's hardware.\n\n| claim | status | figure or reason |\n|---|---|---|\n" + rows
    )
