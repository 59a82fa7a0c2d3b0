"""A long run, watched as section H.2 of the report says: windows against warning and critical levels.

Times are measured from the first barrier and include only the rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.judge.baselines.comparability import other_machine
from pytest_llmperf.judge.baselines.toml_format import CRITICAL, LEVEL, WARNING
from pytest_llmperf.judge.metrics.catalogue import CATALOGUE, OBSERVED, MetricClass, metric_of
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.judge.stats.summary import aggregate_values
from pytest_llmperf.model import Baseline, Bound, Gate, Measurement, Round, Threshold

WINDOW_S = {
    "efficiency_pct": 300.0,
    "contention_rate_ttft": 900.0,
    "decode_tok_s": 300.0,
    "ttft_ms": 300.0,
    "vram_gib": 30.0,
    "gpu_temperature_c": 30.0,
}
"""Over how long each metric is looked at (H.2); what it has per request is taken over the shorter window."""

_NAMES = {"contention_rate": "contention_rate_ttft"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A limit for the windows of a soak.

    Attributes:
        metric: name in the catalogue, a key of WINDOW_S.
        level: `warning` or `critical`.
        bound: which side is good.
        limit: the limit in the metric's unit.
        source: the source of the limit, in words.
    """

    metric: str
    level: str
    bound: Bound
    limit: float
    source: str

    def broken(self, value: float) -> bool:
        """Whether a value is on the bad side."""
        return value < self.limit if self.bound is Bound.MIN else value > self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """The first window that exceeded a level.

    Attributes:
        level: the level that was exceeded.
        at_s: end of the window, from the start of the run.
        value: the metric's value in the window.
        window_s: length of the window.
        rounds: number of rounds in the window.
    """

    level: Level
    at_s: float
    value: float
    window_s: float
    rounds: int


MEMORY = "memory of "
"""The prefix of a memory drift's name, before the name of the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A series that changed its level for the worse during the run.

    Attributes:
        name: name of the metric, or `memory of ...` in MiB.
        before, after: the best level, and the level at the end.
        lost: how much worse it became, in points, percent, or (memory) MiB.
        matters: the smallest loss that counts.
    """

    name: str
    before: float
    after: float
    lost: float
    matters: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """The result of a long run.

    Attributes:
        asked_s, lasted_s: the requested and the actual duration.
        alarms: the first alarm of each metric and level.
        drifts: drifts of metrics over the whole run.
        leaks: growth of memory over the whole run.
        notes: what could not be watched, and why.
    """

    asked_s: float
    lasted_s: float
    alarms: tuple[Alarm, ...] = ()
    drifts: tuple[Drift, ...] = ()
    leaks: tuple[Drift, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a level is critical, something drifted or leaked."""
        return bool(self.drifts or self.leaks or any(alarm.level.level == CRITICAL for alarm in self.alarms))


def levels_for(
    baseline: Baseline, card: Baseline, here: Mapping[str, str]
) -> tuple[tuple[Level, ...], tuple[str, ...]]:
    """The levels to watch, and what is left out.

    A metric has the levels of the baseline in force; if that only has a limit for gates, this is the critical level; if
    it has neither, the levels of the decision card apply.

    Args:
        baseline: the baseline in force.
        card: the decision card.
        here: facts of the manifest.
    """
    watched: list[Level] = []
    left: dict[str, list[str]] = {}
    for metric in WINDOW_S:
        for source in (baseline, card):
            own = list(_own(source, metric))
            if not own:
                continue
            if metric_of(metric).kind is MetricClass.MACHINE and other_machine(source.manifest, here):
                left.setdefault(source.name, []).append(metric)
            else:
                watched += own
            break
    notes = (
        f"not watched: {', '.join(metrics)}: the levels of baseline {name} are for another machine; state your own"
        for name, metrics in left.items()
    )
    return tuple(watched), tuple(notes)


def exceeded_levels(measurement: Measurement, watched: Sequence[Level], gates: Sequence[Gate]) -> tuple[str, ...]:
    """Levels of the machine that some round crossed, in words: of each metric without a gate the worst one.

    Args:
        measurement: the measurement with its rounds.
        watched: the levels.
        gates: the gates of the measurement, which report their metrics themselves.
    """
    said: dict[str, str] = {}
    gated = {gate.metric for gate in gates}
    for level in sorted(watched, key=lambda level: level.level == CRITICAL):
        value = _centre(measurement, level.metric) if level.metric in OBSERVED else None
        if value is not None and level.metric not in gated and level.broken(value):
            unit = metric_of(level.metric).unit
            said[level.metric] = (
                f"{level.metric} reached {value:.3g} {unit}, the {level.level} level is {level.limit:g} {unit} "
                f"({level.source})"
            )
    return tuple(said.values())


class Watch:
    """Holds the windows of a run to their levels, round by round.

    Args:
        watched: the levels.
        asked_s: how long the run will last: no window is longer.
    """

    def __init__(self, watched: Sequence[Level], asked_s: float) -> None:
        self._watched = watched
        self._asked_s = asked_s
        self._start_ns: int | None = None
        self._recent: list[Round] = []
        self._seen: set[Level] = set()

    def recent(self, measurement: Measurement) -> Measurement:
        """The measurement with the rounds of the longest window only."""
        return replace(measurement, rounds=tuple(self._recent))

    def elapsed_s(self, round_: Round) -> float:
        """From the first barrier to the end of a round; the first round that is asked about is the first."""
        if self._start_ns is None:
            self._start_ns = round_.together[0].start_ns
        return (_end_ns(round_) - self._start_ns) / 1e9

    def add(self, measurement: Measurement, round_: Round) -> tuple[Alarm, ...]:
        """Add a round that counts; returns the alarms that its windows are the first to raise.

        Args:
            measurement: the measurement of the round.
            round_: the newest one.
        """
        at_s = self.elapsed_s(round_)
        longest_ns = max(WINDOW_S.values()) * 1e9
        self._recent = [*(r for r in self._recent if _end_ns(r) > _end_ns(round_) - longest_ns), round_]
        alarms = []
        for level in self._watched:
            window_s = min(WINDOW_S[level.metric], self._asked_s)
            if level in self._seen or at_s < window_s:
                continue
            rounds = tuple(r for r in self._recent if _end_ns(r) > _end_ns(round_) - window_s * 1e9)
            value = _centre(replace(measurement, rounds=rounds), level.metric)
            if value is not None and level.broken(value):
                self._seen.add(level)
                alarms.append(Alarm(level=level, at_s=at_s, value=value, window_s=window_s, rounds=len(rounds)))
        return tuple(alarms)


def _own(source: Baseline, metric: str) -> Iterator[Level]:
    """A baseline's levels of a metric: warning and critical ones, or else the limit of its gates as a critical one."""
    everywhere = [
        threshold
        for threshold in source.threshold
        if _NAMES.get(threshold.metric, threshold.metric) == metric and not (threshold.topology or threshold.scenario)
    ]
    for names in ((WARNING, CRITICAL), (LEVEL,)):
        chosen = [
            threshold
            for threshold in everywhere
            if threshold.level in names and threshold.bound is CATALOGUE[metric].good
        ]
        if chosen:
            yield from (_level(metric, threshold, source.name) for threshold in chosen)
            return


def _level(metric: str, threshold: Threshold, baseline: str) -> Level:
    return Level(
        metric=metric,
        level=threshold.level if threshold.level == WARNING else CRITICAL,
        bound=threshold.bound,
        limit=threshold.value,
        source=f"baseline {baseline}, {threshold.source}",
    )


def _centre(measurement: Measurement, metric: str) -> float | None:
    try:
        values = series(measurement, metric)
    except MeasurementError:
        return None
    return aggregate_values(metric_of(metric).aggregate, values)


def _end_ns(round_: Round) -> int:
    return max(run.start_ns + run.duration_ns for run in round_.together)
