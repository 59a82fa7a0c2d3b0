"""The gate kinds, one row each: validation, `--markers`, limits, verdict texts and the tables of the docs follow it.

To add a kind, add a row to GATE_KINDS; its metric must be in the catalogue (`judge.metrics.catalogue`).

pytest imports this module at every start, also in projects that never use us: it needs only the standard library.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

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
    "ttft_ratio",
    "slowdown",
    "queue_ms",
)
"""The metrics that `consistency` and `regression` accept: the continuous ones of the catalogue (a test compares)."""

COMPARED_METRICS = ("efficiency_pct", "scaling_efficiency_pct", "system_tok_s", "ttft_ms")
"""The metrics that are compared with a baseline or an incumbent by default."""

_NONE: Mapping[str, str] = MappingProxyType({})


class Judged(StrEnum):
    """How the gates of a kind are resolved and judged."""

    LIMIT = "limit"  # a metric of the rounds against the marker's limit, the option's or the baseline's
    COST = "cost"  # the same for a limit in USD, through the price of an hour
    ANSWERS = "answers"  # answers together against answers alone, after the rounds
    COMPARISON = "comparison"  # a metric of the rounds against stored sessions or an incumbent


class Keyword(NamedTuple):
    """A keyword of a gate marker.

    Attributes:
        name: as written on a test.
        valid: the valid values, in words.
        check: returns the value to keep; raises TypeError, or ValueError with a hint for the end of the message.
        default: the value if the keyword is left out. None: the keyword is a limit, which comes from elsewhere then.
        metric: the metric that it limits; `{name}` stands for the value of another keyword.
        means: the parts of metric names that values stand for, where they are not the values themselves.
        also: by metric, a further threshold of a baseline that is used if the metric has none of its own.
    """

    name: str
    valid: str
    check: Callable[[object], object]
    default: object = None
    metric: str = ""
    means: Mapping[str, str] = _NONE
    also: Mapping[str, str] = _NONE


class GateKind(NamedTuple):
    """A row of the table.

    Attributes:
        name: of the marker.
        fails_if: for `pytest --markers` and the README.
        keywords: of the marker; two limits make two gates.
        judged: how.
        names_metric: whether reports name the metric although it is the usual one.
        checks_placement: whether a failure may mean that requests did not reach the instance that they should.
        page: of the docs, for the README.
    """

    name: str
    fails_if: str
    keywords: tuple[Keyword, ...]
    judged: Judged = Judged.LIMIT
    names_metric: bool = False
    checks_placement: bool = False
    page: str = ""

    @property
    def limits(self) -> tuple[Keyword, ...]:
        """The keywords that are limits; the first is the one that `--llmperf-limit NAME=VALUE` sets."""
        return tuple(keyword for keyword in self.keywords if keyword.default is None)

    @property
    def marker_line(self) -> str:
        """The kind for `pytest --markers`."""
        shown = (
            f"{keyword.name}={'...' if isinstance(keyword.default, tuple) else repr(keyword.default)}"
            for keyword in self.keywords
        )
        return (
            f"{self.name}({', '.join(shown)}): fails if {self.fails_if} "
            "[llmperf gate; without a value: the baseline's limit]"
        )

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


def _number(
    name: str, *, metric: str = "", most: float = math.inf, zero: bool = False, also: Mapping[str, str] = _NONE
) -> Keyword:
    """A limit: a finite number above 0 (or from 0) and up to `most`."""

    def check(value: object) -> object:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        if not abs(value) <= sys.float_info.max or not 0 <= value <= most or (value == 0 and not zero):
            raise ValueError
        return value

    valid = f"a number in {'[' if zero else '('}0, {most:g}]" if most < math.inf else "a number above 0"
    return Keyword(name, valid, check, metric=metric, also=also)


def _choice(name: str, choices: Sequence[str], default: str, *, means: Mapping[str, str] = _NONE) -> Keyword:
    """One of several words."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            raise TypeError
        if value not in choices:
            raise ValueError(_near(value, choices))
        return value

    few = len(choices) <= 2
    valid = " or ".join(map(repr, choices)) if few else f"one of {', '.join(choices)}"
    return Keyword(name, valid, check, default, means=means)


def _metrics(name: str) -> Keyword:
    """Several metrics."""

    def check(value: object) -> object:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError
        if not all(isinstance(metric, str) for metric in value):
            raise TypeError
        unknown = [metric for metric in value if metric not in GATED_METRICS]
        if not value or unknown or len(set(value)) != len(value):
            raise ValueError(_near(unknown[0], GATED_METRICS) if unknown else "")
        return tuple(value)

    return Keyword(name, f"a list of one or more of {', '.join(GATED_METRICS)}", check, COMPARED_METRICS)


def _flag(name: str, *, default: bool) -> Keyword:
    """True or False."""

    def check(value: object) -> object:
        if not isinstance(value, bool):
            raise TypeError
        return value

    return Keyword(name, "True or False", check, default)


def _count(name: str, least: int, most: int, default: int) -> Keyword:
    """A whole number."""

    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError
        if not least <= value <= most:
            raise ValueError
        return value

    return Keyword(name, f"a whole number from {least} to {most}", check, default)


def _near(word: str, known: Sequence[str]) -> str:
    from pytest_llmperf.errors import did_you_mean  # noqa: PLC0415 - the table alone is imported at every start

    return did_you_mean(word, known)


_KINDS = (
    GateKind(
        "efficiency",
        "the balance efficiency is below the limit, percent",
        (_number("min_pct", metric="efficiency_pct", most=100),),
        checks_placement=True,
    ),
    GateKind(
        "scaling",
        "the scaling efficiency is below the limit, percent",
        (_number("min_pct", metric="scaling_efficiency_pct", most=100),),
        checks_placement=True,
    ),
    GateKind(
        "contention",
        "the share of contended rounds is above the limit; contended: some TTFT is above 3 times that alone "
        "('throughput': an agent decodes more than 5 % slower than alone)",
        (
            _number(
                "max_rate",
                metric="contention_rate_{detector}",
                most=1,
                zero=True,
                also={f"contention_rate_{detector}": "contention_rate" for detector in DETECTORS},
            ),
            _choice("detector", DETECTORS, "ttft"),
        ),
        checks_placement=True,
    ),
    GateKind(
        "throughput",
        "the slowest agent decodes fewer tokens per second than the limit ('system': all tokens over the wall time)",
        (
            _number("min_tok_s", metric="{of}"),
            _choice("of", ("agent", "system"), "agent", means={"agent": "decode_tok_s", "system": "system_tok_s"}),
        ),
    ),
    GateKind(
        "ttft",
        "the worst time to first token of a round is above the limit, in ms or as a multiple of that alone",
        (
            _number("max_ms", metric="ttft_ms", also={"ttft_ms": "ttft_ratio"}),
            _number("max_ratio", metric="ttft_ratio"),
        ),
        checks_placement=True,
    ),
    GateKind(
        "speedup",
        "the sum of the agents' times over the wall time is below the limit",
        (_number("min_x", metric="speedup"),),
    ),
    GateKind(
        "consistency",
        "the coefficient of variation of the metric over rounds is above the limit, percent",
        (
            _number(
                "max_cv_pct",
                metric="{metric}_cv_pct",
                most=100,
                # A.4 states its limit for token rates only.
                also={"decode_tok_s_cv_pct": "cv_pct", "system_tok_s_cv_pct": "cv_pct"},
            ),
            _choice("metric", GATED_METRICS, "decode_tok_s"),
        ),
        names_metric=True,
    ),
    GateKind(
        "cost",
        "a million tokens cost more USD than the limit, at the price of an hour in llmperf.toml",
        (_number("max_usd_per_1m"),),
        judged=Judged.COST,
        page="docs/economics.md",
    ),
    GateKind(
        "quality",
        "an answer together differs from the answer alone although the engine repeats itself, or answers together "
        "score lower by more than the limit, points",
        (_number("max_drop_pp", most=100), _flag("same", default=True), _count("samples", 3, 100, 5)),
        judged=Judged.ANSWERS,
        page="docs/quality.md",
    ),
    GateKind(
        "memory",
        "in some round more GiB than the limit are in use on the fullest GPU, or resident in the largest instance",
        (_number("max_vram_gib", metric="vram_gib"), _number("max_rss_gib", metric="server_rss_gib")),
        page="docs/telemetry.md",
    ),
    GateKind(
        "thermal",
        "in some round the hottest GPU, or the processor, is hotter than the limit, C",
        (
            _number("max_gpu_c", metric="gpu_temperature_c", most=150),
            _number("max_cpu_c", metric="cpu_temperature_c", most=150),
        ),
        page="docs/telemetry.md",
    ),
    GateKind(
        "regression",
        "a metric is significantly worse than in the baseline of --llmperf-compare or on the incumbent of "
        "--llmperf-against; it passes if a change of delta (points or percent) is excluded",
        (_metrics("metrics"), _number("delta")),
        judged=Judged.COMPARISON,
        page="docs/verdicts.md",
    ),
)

GATE_KINDS = {kind.name: kind for kind in _KINDS}
"""Every gate kind by the name of its marker."""
