"""The gate kinds, one row each: validation, `--markers`, limits, verdict texts and the tables of the docs follow it.

To add a kind, add a row to GATE_KINDS; its metric must be in the catalogue (`judge.metrics.catalogue`).

pytest imports this module at every start, even in projects that never use the plugin: it imports only the standard
library.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from pytest_llmperf.judge.marker_keywords import (
    Keyword,
    choice,
    flag,
    metrics,
    number,
    of_each_request,
    percentile,
    whole_number,
)

ROBUST = flag("robust", default=False)
"""Decide the limit by betting (`--llmperf-robust` for one gate): metrics with bounds, and medians."""

PERCENTILES = (50, 90, 95, 99)
"""The percentiles over requests that a limit can be about."""

PERCENTILE = percentile("percentile", PERCENTILES)
"""Judge the percentile over all requests, instead of the worst request of each round."""

DETECTORS = ("ttft", "throughput")
"""The ways to tell that a round is contended."""

GATED_METRICS = (
    "efficiency_pct",
    "scaling_efficiency_pct",
    "speedup",
    "scaling_speedup",
    "system_tok_s",
    "decode_tok_s",
    "ttft_ms",
    "ttft_reasoning_ms",
    "e2e_ms",
    "ttft_ratio",
    "slowdown",
    "queue_ms",
    "makespan_s",
    "graph_efficiency_pct",
)
"""The metrics that `consistency` and `regression` accept: the continuous ones of the catalogue (a test compares)."""

COMPARED_METRICS = ("efficiency_pct", "scaling_efficiency_pct", "system_tok_s", "ttft_ms")
"""The metrics that are compared with a baseline or an incumbent by default ..."""

COMPARED_OF_GRAPHS = ("makespan_s", "graph_efficiency_pct", "system_tok_s", "ttft_ms")
"""... and of agents of which some wait for others."""


Judged = Literal["limit", "cost", "answers", "comparison"]
"""How the gates of a kind are resolved and judged.

limit: a metric of the rounds against the marker's limit, the option's or the baseline's; cost: the same for a limit in
USD, through the price of an hour; answers: answers together against answers alone, after the rounds; comparison: a
metric of the rounds against stored sessions or an incumbent.
"""


class GateKind(NamedTuple):
    """A row of the table.

    Attributes:
        name: the name of the marker.
        fails_if: when the gate fails, for `pytest --markers` and the README.
        keywords: the keywords of the marker; two limits make two gates.
        judged: how the gate is judged.
        names_metric: whether reports name the metric although it is the usual one.
        checks_placement: whether a failure may mean that requests did not reach the intended instance.
        page: the page of the docs, for the README.
        common_word: whether other projects use the name to select tests: without keywords, it is a gate only on tests
            that use the plugin's fixtures.
        lacks: keywords that one might expect and that it does not have, with the reason.
    """

    name: str
    fails_if: str
    keywords: tuple[Keyword, ...]
    judged: Judged = "limit"
    names_metric: bool = False
    checks_placement: bool = False
    page: str = ""
    common_word: bool = False
    lacks: Mapping[str, str] = MappingProxyType({})

    @property
    def limits(self) -> tuple[Keyword, ...]:
        """The keywords that are limits; `--llmperf-limit NAME=VALUE` sets the first keyword."""
        return tuple(keyword for keyword in self.keywords if keyword.is_limit)

    @property
    def marker_line(self) -> str:
        """The kind for `pytest --markers`."""
        shown = (
            f"{keyword.name}={'...' if isinstance(keyword.default, tuple) else repr(keyword.default)}"
            for keyword in self.keywords
        )
        limit = (
            "; without a limit, that of --llmperf-limit or the baseline"
            if self.limits and self.judged != "comparison"
            else ""
        )
        robust = (
            "; robust=True: assumes no distribution of rounds, needs more of them" if ROBUST in self.keywords else ""
        )
        return f"{self.name}({', '.join(shown)}): fails if {self.fails_if} [pytest-llmperf gate{limit}{robust}]"

    def usage(self, but: str = "") -> str:
        """The keywords and their valid values, for messages; without the keyword that the message is about."""
        texts = [f"{keyword.name}: {keyword.valid}" for keyword in self.keywords if keyword.name != but]
        return f"{self.name} {'also ' if but else ''}takes {'; '.join(texts)}" if texts else ""

    def checked(self, keyword: Keyword, value: object) -> object:
        """The value to keep for a keyword.

        Raises:
            TypeError, ValueError: it is not valid; the text names kind, keyword, value and what is valid.
        """
        try:
            return keyword.check(value)
        except (TypeError, ValueError) as error:
            usage = self.usage(but=keyword.name)
            text = f"{self.name}: {keyword.name} is {value!r}, wanted {keyword.valid}{error}"
            raise type(error)(f"{text}; {usage}" if usage else text) from None


_KINDS = (
    GateKind(
        "efficiency",
        "the balance efficiency is below the limit, percent",
        (number("min_pct", metric="efficiency_pct", most=100), ROBUST),
        checks_placement=True,
    ),
    GateKind(
        "scaling",
        "the scaling efficiency is below the limit, percent",
        (number("min_pct", metric="scaling_efficiency_pct", most=100),),
        checks_placement=True,
    ),
    GateKind(
        "contention",
        "the share of contended rounds is above the limit; contended: a TTFT is more than 3 times the agent's own "
        "alone ('throughput': an agent decodes more than 5 % slower than alone)",
        (
            number(
                "max_rate",
                metric="contention_rate_{detector}",
                most=1,
                zero=True,
                also={f"contention_rate_{detector}": "contention_rate" for detector in DETECTORS},
            ),
            choice("detector", DETECTORS, "ttft"),
            ROBUST,
        ),
        checks_placement=True,
    ),
    GateKind(
        "throughput",
        "the slowest agent decodes fewer tokens per second than the limit ('system': all tokens over the wall time)",
        (
            number("min_tok_s", metric="{of}"),
            choice("of", ("agent", "system"), "agent", means={"agent": "decode_tok_s", "system": "system_tok_s"}),
        ),
    ),
    GateKind(
        "ttft",
        "the worst time to first token of a round is above the limit, in ms or as a multiple of that alone; with "
        "percentile: that percentile of all requests",
        (
            number("max_ms", metric="ttft{percentile}_ms", also={"ttft_ms": "ttft_ratio"}),
            number("max_ratio", metric="ttft_ratio"),
            PERCENTILE,
            ROBUST,
        ),
        checks_placement=True,
    ),
    GateKind(
        "itl",
        "the median gap between chunks in the worst answer of a round is above the limit, ms; with percentile: that "
        "percentile of all gaps",
        (number("max_ms", metric="itl{percentile}_ms"), PERCENTILE, ROBUST),
        page="docs/percentiles.md",
    ),
    GateKind(
        "tpot",
        "the mean time per token in the worst answer of a round is above the limit, ms; with percentile: that "
        "percentile of all requests",
        (number("max_ms", metric="tpot{percentile}_ms"), PERCENTILE, ROBUST),
        page="docs/percentiles.md",
    ),
    GateKind(
        "e2e",
        "the time to the end of the slowest answer of a round is above the limit, s; with percentile: that "
        "percentile of all requests",
        (number("max_s", metric="e2e{percentile}_s"), PERCENTILE, ROBUST),
        page="docs/percentiles.md",
        common_word=True,
    ),
    GateKind(
        "goodput",
        "the share of requests that keep every stated limit is below the minimum",
        (
            number("min_share", metric="goodput_share", most=1),
            *map(of_each_request, ("ttft_ms", "tpot_ms", "e2e_s")),
            ROBUST,
        ),
        page="docs/percentiles.md",
        lacks=MappingProxyType(
            {
                "min_score": "timed answers are not kept, and scores are of answers to extra requests; use "
                "the gate quality"
            }
        ),
    ),
    GateKind(
        "speedup",
        "the sum of the agents' times over the wall time is below the limit",
        (number("min_x", metric="speedup"),),
    ),
    GateKind(
        "makespan",
        "the time from the barrier to the last answer is above the limit, s, or the graph efficiency is below the "
        "limit, percent",
        (
            number("max_s", metric="makespan_s"),
            number("min_efficiency_pct", metric="graph_efficiency_pct", most=100),
        ),
        page="docs/graphs.md",
    ),
    GateKind(
        "critical_path",
        "a phase has a larger share of the critical path than the limit",
        (
            number("max_share", metric="critical_{of}_share", most=1, zero=True),
            choice("of", ("queue", "load", "prefill", "decode", "rest", "client", "think", "tool"), "queue"),
        ),
        page="docs/graphs.md",
    ),
    GateKind(
        "consistency",
        "the coefficient of variation of the metric over rounds is above the limit, percent",
        (
            number(
                "max_cv_pct",
                metric="{metric}_cv_pct",
                most=100,
                # A.4 states its limit for token rates only.
                also={"decode_tok_s_cv_pct": "cv_pct", "system_tok_s_cv_pct": "cv_pct"},
            ),
            choice("metric", GATED_METRICS, "decode_tok_s"),
        ),
        names_metric=True,
    ),
    GateKind(
        "cost",
        "a million tokens cost more USD than the limit, at the price of an hour in llmperf.toml",
        (number("max_usd_per_1m"),),
        judged="cost",
        page="docs/economics.md",
    ),
    GateKind(
        "quality",
        "an agent's answer changes when agents run together although it repeats itself alone, or answers together "
        "score lower by more than the limit, points",
        (number("max_drop_pp", most=100), flag("same", default=True), whole_number("samples", 3, 100, 5)),
        judged="answers",
        page="docs/quality.md",
    ),
    GateKind(
        "memory",
        "in some round more GiB than the limit are in use on the fullest GPU, or resident in the largest instance",
        (number("max_vram_gib", metric="vram_gib"), number("max_rss_gib", metric="server_rss_gib")),
        page="docs/telemetry.md",
    ),
    GateKind(
        "thermal",
        "in some round the hottest GPU, or the processor, is hotter than the limit, C",
        (
            number("max_gpu_c", metric="gpu_temperature_c", most=150),
            number("max_cpu_c", metric="cpu_temperature_c", most=150),
        ),
        page="docs/telemetry.md",
    ),
    GateKind(
        "regression",
        "a metric is significantly worse than in the baseline of --llmperf-compare or on the incumbent of "
        "--llmperf-against; it passes if a loss of delta or more (points or percent) is excluded",
        (metrics("metrics", GATED_METRICS, COMPARED_METRICS), number("delta")),
        judged="comparison",
        page="docs/verdicts.md",
    ),
)

GATE_KINDS = {kind.name: kind for kind in _KINDS}
"""Every gate kind by the name of its marker."""
