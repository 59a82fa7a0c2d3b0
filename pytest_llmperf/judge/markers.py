"""The gate markers' vocabulary: a marker's keywords are the fields of its class.

Imported when tests are collected, also in projects that never use us: standard library only, at any depth.

Every limit left out (None) is taken from the command line or ini, else from the baseline in force (see `resolve`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

DETECTORS = ("ttft", "throughput")
"""What may decide that a round is contended."""

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
"""What `consistency` and `regression` may name: the continuous metrics of the catalogue (a test compares the two)."""


class Marker:
    """What all gate markers share.

    Attributes:
        NAME: of the marker.
        LIMIT: the keyword that a bare limit (command line, ini) stands for.
    """

    __slots__ = ()
    NAME: ClassVar[str]
    LIMIT: ClassVar[str]
    RANGES: ClassVar[Mapping[str, str]]

    @classmethod
    def usage(cls, but: str = "") -> str:
        """The valid keywords and their ranges, for messages; without that of a keyword that was said already."""
        ranges = [f"{keyword}: {text}" for keyword, text in cls.RANGES.items() if keyword != but]
        return f"{cls.NAME} {'also ' if but else ''}takes {'; '.join(ranges)}" if ranges else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency(Marker):
    """At least this parallel efficiency (balance), percent."""

    NAME: ClassVar[str] = "efficiency"
    LIMIT: ClassVar[str] = "min_pct"
    RANGES: ClassVar[Mapping[str, str]] = {"min_pct": "a number in (0, 100]"}
    min_pct: float | None = None

    def __post_init__(self) -> None:
        _check_number(self, "min_pct", most=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling(Marker):
    """At least this scaling efficiency, percent."""

    NAME: ClassVar[str] = "scaling"
    LIMIT: ClassVar[str] = "min_pct"
    RANGES: ClassVar[Mapping[str, str]] = {"min_pct": "a number in (0, 100]"}
    min_pct: float | None = None

    def __post_init__(self) -> None:
        _check_number(self, "min_pct", most=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention(Marker):
    """At most this share of contended rounds, by this detector."""

    NAME: ClassVar[str] = "contention"
    LIMIT: ClassVar[str] = "max_rate"
    RANGES: ClassVar[Mapping[str, str]] = {
        "max_rate": "a number in [0, 1]",
        "detector": " or ".join(map(repr, DETECTORS)),
    }
    max_rate: float | None = None
    detector: str = "ttft"

    def __post_init__(self) -> None:
        _check_number(self, "max_rate", most=1, zero=True)
        _check_choice(self, "detector", DETECTORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput(Marker):
    """At least this rate, tok/s: decoding of the slowest agent, or of the system over the wall clock."""

    NAME: ClassVar[str] = "throughput"
    LIMIT: ClassVar[str] = "min_tok_s"
    RANGES: ClassVar[Mapping[str, str]] = {"min_tok_s": "a number above 0", "of": "'agent' or 'system'"}
    min_tok_s: float | None = None
    of: str = "agent"

    def __post_init__(self) -> None:
        _check_number(self, "min_tok_s")
        _check_choice(self, "of", ("agent", "system"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ttft(Marker):
    """At most this TTFT of the worst request, ms, or this many times the solo baseline's; both make two gates."""

    NAME: ClassVar[str] = "ttft"
    LIMIT: ClassVar[str] = "max_ms"
    METRICS: ClassVar[Mapping[str, str]] = {"max_ms": "ttft_ms", "max_ratio": "ttft_ratio"}
    RANGES: ClassVar[Mapping[str, str]] = {"max_ms": "a number above 0", "max_ratio": "a number above 0"}
    max_ms: float | None = None
    max_ratio: float | None = None

    def __post_init__(self) -> None:
        _check_number(self, "max_ms")
        _check_number(self, "max_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup(Marker):
    """At least this speedup, x."""

    NAME: ClassVar[str] = "speedup"
    LIMIT: ClassVar[str] = "min_x"
    RANGES: ClassVar[Mapping[str, str]] = {"min_x": "a number above 0"}
    min_x: float | None = None

    def __post_init__(self) -> None:
        _check_number(self, "min_x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency(Marker):
    """At most this coefficient of variation of a metric over rounds, percent."""

    NAME: ClassVar[str] = "consistency"
    LIMIT: ClassVar[str] = "max_cv_pct"
    RANGES: ClassVar[Mapping[str, str]] = {
        "max_cv_pct": "a number in (0, 100]",
        "metric": f"one of {', '.join(GATED_METRICS)}",
    }
    max_cv_pct: float | None = None
    metric: str = "decode_tok_s"

    def __post_init__(self) -> None:
        _check_number(self, "max_cv_pct", most=100)
        _check_choice(self, "metric", GATED_METRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost(Marker):
    """At most this cost of a million tokens, USD, at the price of an hour that `llmperf.toml` states."""

    NAME: ClassVar[str] = "cost"
    LIMIT: ClassVar[str] = "max_usd_per_1m"
    RANGES: ClassVar[Mapping[str, str]] = {"max_usd_per_1m": "a number above 0"}
    max_usd_per_1m: float | None = None

    def __post_init__(self) -> None:
        _check_number(self, "max_usd_per_1m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality(Marker):
    """Answers together are those alone, where the engine repeats itself, and score no worse by so many points."""

    NAME: ClassVar[str] = "quality"
    LIMIT: ClassVar[str] = "max_drop_pp"
    RANGES: ClassVar[Mapping[str, str]] = {
        "max_drop_pp": "a number in (0, 100]",
        "same": "True or False",
        "samples": "a whole number from 3 to 100",
    }
    max_drop_pp: float | None = None
    same: bool = True
    samples: int = 5

    def __post_init__(self) -> None:
        _check_number(self, "max_drop_pp", most=100)
        if not isinstance(self.same, bool):
            raise _fault(TypeError, self, "same", self.same)
        if isinstance(self.samples, bool) or not isinstance(self.samples, int):
            raise _fault(TypeError, self, "samples", self.samples)
        if not 3 <= self.samples <= 100:
            raise _fault(ValueError, self, "samples", self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory(Marker):
    """At most this much in use on the fullest GPU, GiB, or resident memory of the largest instance; both: two gates."""

    NAME: ClassVar[str] = "memory"
    LIMIT: ClassVar[str] = "max_vram_gib"
    METRICS: ClassVar[Mapping[str, str]] = {"max_vram_gib": "vram_gib", "max_rss_gib": "server_rss_gib"}
    RANGES: ClassVar[Mapping[str, str]] = {"max_vram_gib": "a number above 0", "max_rss_gib": "a number above 0"}
    max_vram_gib: float | None = None
    max_rss_gib: float | None = None

    def __post_init__(self) -> None:
        _check_number(self, "max_vram_gib")
        _check_number(self, "max_rss_gib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thermal(Marker):
    """The hottest GPU, or the processor, gets at most this hot, C; both make two gates."""

    NAME: ClassVar[str] = "thermal"
    LIMIT: ClassVar[str] = "max_gpu_c"
    METRICS: ClassVar[Mapping[str, str]] = {"max_gpu_c": "gpu_temperature_c", "max_cpu_c": "cpu_temperature_c"}
    RANGES: ClassVar[Mapping[str, str]] = {
        "max_gpu_c": "a number in (0, 150]",
        "max_cpu_c": "a number in (0, 150]",
    }
    max_gpu_c: float | None = None
    max_cpu_c: float | None = None

    def __post_init__(self) -> None:
        _check_number(self, "max_gpu_c", most=150)
        _check_number(self, "max_cpu_c", most=150)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression(Marker):
    """No change for the worse of `delta` or more against stored baseline or incumbent, in each of the metrics.

    `delta` is in percentage points for percentages, else in percent of what is compared with.
    """

    NAME: ClassVar[str] = "regression"
    LIMIT: ClassVar[str] = "delta"
    RANGES: ClassVar[Mapping[str, str]] = {
        "metrics": f"a list of one or more of {', '.join(GATED_METRICS)}",
        "delta": "a number above 0",
    }
    metrics: tuple[str, ...] = ("efficiency_pct", "scaling_efficiency_pct", "system_tok_s", "ttft_ms")
    delta: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.metrics, str) or not isinstance(self.metrics, Sequence):
            raise _fault(TypeError, self, "metrics", self.metrics)
        if not all(isinstance(metric, str) for metric in self.metrics):
            raise _fault(TypeError, self, "metrics", self.metrics)
        unknown = [metric for metric in self.metrics if metric not in GATED_METRICS]
        if not self.metrics or unknown or len(set(self.metrics)) != len(self.metrics):
            near = _near(unknown[0], GATED_METRICS) if unknown else ""
            raise _fault(ValueError, self, "metrics", self.metrics, near)
        # A list is natural to write in a marker; the value stays frozen.
        object.__setattr__(self, "metrics", tuple(self.metrics))
        _check_number(self, "delta")


MARKERS: Mapping[str, type[Marker]] = {
    kind.NAME: kind
    for kind in (
        Efficiency,
        Scaling,
        Contention,
        Throughput,
        Ttft,
        Speedup,
        Consistency,
        Cost,
        Quality,
        Memory,
        Thermal,
        Regression,
    )
}
"""Every gate marker by name."""


TWO_LIMITS = (Ttft, Memory, Thermal)
"""Markers whose keywords are limits of two metrics, each a gate of its own."""


def build(name: str, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None) -> Marker:
    """A marker as it was written on a test, validated.

    Args:
        name: of the marker; a key of MARKERS.
        args: positional arguments as written; none is allowed.
        kwargs: keywords as written.

    Raises:
        ValueError: no such marker, or a value out of range.
        TypeError: positional arguments, an unknown keyword, or a value of the wrong type.
            Each text lists the valid keywords and their ranges.
    """
    if name not in MARKERS:
        raise ValueError(f"unknown gate marker {name!r}, wanted one of {', '.join(MARKERS)}")
    kind, kwargs = MARKERS[name], dict(kwargs or {})
    if args:
        raise TypeError(f"{name} takes keywords only, got {', '.join(map(repr, args))}; {kind.usage()}")
    for keyword in kwargs:
        if keyword not in kind.RANGES:
            raise TypeError(f"{name} has no keyword {keyword!r}; {kind.usage()}")
    return kind(**kwargs)


def is_regression(marker: Marker) -> bool:
    """Whether it asks for comparisons, with stored sessions or an incumbent."""
    return isinstance(marker, Regression)


def count_gates(specs: Sequence[Marker], *, compare: bool, against: bool = False) -> int:
    """How many gates the markers of one test make, for one measurement.

    Args:
        specs: the markers.
        compare: whether `--llmperf-compare` adds its own where no `regression` marker stands.
        against: whether `--llmperf-against` does, and has those of the marker to itself without the former.
    """
    regressions = [spec for spec in specs if isinstance(spec, Regression)]
    if (compare or against) and not regressions:
        regressions = [Regression()]
    both = [spec for spec in specs if isinstance(spec, TWO_LIMITS) and all(getattr(spec, key) for key in spec.RANGES)]
    others = sum(not isinstance(spec, Regression) for spec in specs)
    twice = 2 if compare and against else 1
    return others + len(both) + twice * sum(len(spec.metrics) for spec in regressions)


def written(marker: Marker) -> str:
    """The marker as one would write it, with what differs from the defaults, e.g. `efficiency(min_pct=95)`."""
    default = type(marker)()
    names = [field.name for field in fields(marker)]  # type: ignore[arg-type]
    given = [f"{name}={value!r}" for name in names if (value := getattr(marker, name)) != getattr(default, name)]
    return f"{marker.NAME}({', '.join(given)})"


def _check_number(marker: Marker, keyword: str, *, most: float = math.inf, zero: bool = False) -> None:
    """None, or a finite number above 0 (or at least 0) and at most `most`."""
    value = getattr(marker, keyword)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _fault(TypeError, marker, keyword, value)
    if not abs(value) <= sys.float_info.max or value > most or value < 0 or (value == 0 and not zero):
        raise _fault(ValueError, marker, keyword, value)


def _check_choice(marker: Marker, keyword: str, choices: Sequence[str]) -> None:
    """One of the choices."""
    value = getattr(marker, keyword)
    if not isinstance(value, str):
        raise _fault(TypeError, marker, keyword, value)
    if value not in choices:
        raise _fault(ValueError, marker, keyword, value, _near(value, choices))


def _near(word: str, known: Sequence[str]) -> str:
    """What a word was meant to be."""
    from pytest_llmperf.errors import did_you_mean  # noqa: PLC0415 - collection imports this module alone

    return did_you_mean(word, known)


def _fault(kind: type[Exception], marker: Marker, keyword: str, value: object, near: str = "") -> Exception:
    """The error for a bad value: marker, keyword, what was given and what is valid."""
    more = marker.usage(but=keyword)
    text = f"{marker.NAME}: {keyword} is {value!r}, wanted {marker.RANGES[keyword]}{near}"
    return kind(f"{text}; {more}" if more else text)
