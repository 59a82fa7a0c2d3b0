"""Figures of a server that the client's arrival times contradict: these figures are not used.

| a server's figure | contradicted when |
|---|---|
| total, decode duration | it is longer than the client's time for the request |
| load + prefill | it is longer than the client's time to the first chunk |
| total | it is shorter than its parts |
| total, decode duration | tokens kept arriving for more than AT_MOST times as long |
| tokens | they would be faster than FASTEST_TOK_S over the whole request |
| tokens | they are too many for the received text, and for the time at the pace of that text |

Thoughts that a server counts but does not send take time, too: such counts are accepted if the pace of the visible text
leaves room for them. The typical gap between arrivals shows whether tokens kept arriving; the total time does not,
because one long gap may be caused by the network. Chunks that arrive together, through a buffering proxy, say nothing
about the pace and contradict no rate. Clocks may be coarse, and a server's may start slightly earlier than the
client's: SLACK_MS and SLACK_SHARE are allowed.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_llmperf.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_llmperf.model import AgentRun, RequestTiming, Round

SLACK_MS, SLACK_SHARE = 50.0, 0.1
"""The tolerance of durations: clocks may be coarse, and the two moments are not exactly the same."""

AT_MOST = 3.0
"""A slow network delays some chunks; it does not make every gap this many times as long."""

FASTEST_TOK_S = 1e7
"""No engine writes one answer faster; scripted servers reach a tenth of it."""

FEWEST_MOMENTS = 4
"""Fewer different arrivals show no pace."""

BYTES_A_TOKEN, SILENT_TOKENS = 0.5, 64
"""Most tokens are several bytes of text; a few have none (ends of turns, marks of a template)."""

DECODE = frozenset({"eval_count", "eval_duration"})
COUNT = frozenset({"eval_count"})
DURATIONS = frozenset({"total_duration", "load_duration", "prompt_eval_duration", "eval_duration"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A contradiction between a server's figure and the client's clock.

    Attributes:
        figures: the server's figures that cannot be true.
        theirs: the server's statement, in words.
        ours: the client's observation, in words.
    """

    figures: frozenset[str]
    theirs: str
    ours: str

    def __str__(self) -> str:
        return f"the server says {self.theirs}; seen here: {self.ours}"


@lru_cache(maxsize=4096)
def contradictions(request: RequestTiming) -> tuple[Contradiction, ...]:
    """The server's figures of a request that cannot be true."""
    rules = (_too_long, _below_its_parts, _too_short, _too_many)
    return tuple(contradiction for rule in rules for contradiction in rule(request))


def in_words(rounds: Iterable[Round]) -> str:
    """The contradicted figures of the servers and the number of requests, in words; empty if there are none."""
    runs = [run for round_ in rounds for run in (*round_.together, *round_.solo)]
    requests = [request for run in runs for request in run.requests]
    contradicted = [request for request in requests if not believable(request)]
    if not contradicted:
        return ""
    first = contradictions(contradicted[0])[0]
    return f"in {len(contradicted)} of {len(requests)} requests {first}: figures computed from it are not shown"


def believable(request: RequestTiming) -> bool:
    """Whether the client's clock agrees with all figures that the server reports of a request."""
    return not contradictions(request)


def check_figures(runs: Iterable[AgentRun], figures: frozenset[str]) -> None:
    """Whether these figures of the server's may be so, in each request of some runs.

    Raises:
        MeasurementError: the client's clock contradicts a figure; the message names the agent and both figures.
    """
    for run in runs:
        for number, request in enumerate(run.requests, 1):
            for contradiction in contradictions(request):
                if contradiction.figures & figures:
                    raise MeasurementError(
                        f"agent {run.agent!r}, request {number} on instance {run.instance}: {contradiction}",
                        next_step="report the wrong figure to the server's maintainers: the server must give durations "
                        "in nanoseconds and count the tokens of this answer only; or gate what the plugin's own clock "
                        "measures (ttft, efficiency)",
                    )


def _too_long(request: RequestTiming) -> Iterator[Contradiction]:
    """Durations that do not fit into the time that the request took."""
    wall_ns = request.done_ns - request.sent_ns
    first_ns = request.tokens_ns[0] - request.sent_ns if request.tokens_ns else wall_ns
    before_ns = request.load_duration_ns + request.prompt_eval_duration_ns
    for figures, theirs_ns, ours_ns, ours in (
        ({"total_duration"}, request.total_duration_ns, wall_ns, "the whole request took"),
        ({"eval_duration"}, request.eval_duration_ns, wall_ns, "the whole request took"),
        ({"load_duration", "prompt_eval_duration"}, before_ns, first_ns, "the first chunk took"),
    ):
        if theirs_ns > _with_slack(ours_ns):
            name = " + ".join(sorted(figures))
            yield Contradiction(
                figures=frozenset(figures), theirs=f"{name} {_ms(theirs_ns)}", ours=f"{ours} {_ms(ours_ns)}"
            )


def _below_its_parts(request: RequestTiming) -> Iterator[Contradiction]:
    """A total that is shorter than its parts; one of 1 ns only says that the server times its requests."""
    total_ns = request.total_duration_ns
    parts_ns = request.load_duration_ns + request.prompt_eval_duration_ns + request.eval_duration_ns
    if total_ns > 1 and parts_ns > _with_slack(total_ns):
        yield Contradiction(
            figures=DURATIONS,
            theirs=f"total_duration {_ms(total_ns)}, and {_ms(parts_ns)} for its parts",
            ours=f"the whole request took {_ms(request.done_ns - request.sent_ns)}",
        )


def _too_short(request: RequestTiming) -> Iterator[Contradiction]:
    """Durations that are too short for the tokens that arrived."""
    writing_ns = _writing_ns(request)
    for name in ("eval_duration", "total_duration"):
        theirs_ns, least_ns = getattr(request, f"{name}_ns"), 0 if name == "eval_duration" else 1
        if theirs_ns > least_ns and AT_MOST * theirs_ns < writing_ns - SLACK_MS * 1e6:
            rates = f" ({_rate(request.eval_count, theirs_ns)})", f" ({_rate(request.eval_count - 1, writing_ns)})"
            said, seen = rates if name == "eval_duration" else ("", "")
            yield Contradiction(
                figures=frozenset({name}),
                theirs=f"{name} {_ms(theirs_ns)}{said}",
                ours=f"{request.eval_count} tokens kept arriving for {_ms(writing_ns)}{seen}",
            )


def _too_many(request: RequestTiming) -> Iterator[Contradiction]:
    """Counts that neither the time nor the text can hold, and rates that no engine reaches."""
    count, wall_ns = request.eval_count, max(request.done_ns - request.sent_ns, 1)
    theirs = f"eval_count {count}"
    if count > FASTEST_TOK_S * wall_ns / 1e9 + 1:
        yield Contradiction(
            figures=COUNT, theirs=theirs, ours=f"the whole request took {_ms(wall_ns)} ({_rate(count, wall_ns)})"
        )
    elif 0 < (held := _held_bytes(request)) < BYTES_A_TOKEN * (count - SILENT_TOKENS) and not _may_be_hidden(request):
        yield Contradiction(figures=COUNT, theirs=theirs, ours=f"the answer has {held} bytes of text")
    elif request.eval_duration_ns > 0 and count > FASTEST_TOK_S * request.eval_duration_ns / 1e9 + 1:
        yield Contradiction(
            figures=DECODE,
            theirs=f"{theirs} in eval_duration {_ms(request.eval_duration_ns)} "
            f"({_rate(count, request.eval_duration_ns)})",
            ours=f"the whole request took {_ms(wall_ns)} ({_rate(count, wall_ns)})",
        )


def _held_bytes(request: RequestTiming) -> int:
    """Bytes of what the model wrote, as far as the answer holds it."""
    return len((request.text + request.reasoning).encode("utf-8", "replace")) + request.wordless_bytes


def _may_be_hidden(request: RequestTiming) -> bool:
    """Whether tokens that show no text can have been written, at the pace of those that do, in the time there was."""
    decoding_ns = request.eval_duration_ns or request.done_ns - request.sent_ns
    return 0 < request.eval_count * _gap_ns(request) <= AT_MOST * decoding_ns


def _writing_ns(request: RequestTiming) -> float:
    """How long tokens kept arriving, by the median gap between different arrivals; 0 if the gaps show no pace."""
    return _gap_ns(request) * (len(set(request.tokens_ns)) - 1)


def _gap_ns(request: RequestTiming) -> float:
    """The median gap between different arrivals; 0 if they show no pace."""
    moments = sorted(set(request.tokens_ns))
    if len(moments) < FEWEST_MOMENTS:
        return 0.0
    return statistics.median(after - before for before, after in pairwise(moments))


def _with_slack(ours_ns: float) -> float:
    return ours_ns * (1 + SLACK_SHARE) + SLACK_MS * 1e6


def _ms(duration_ns: float) -> str:
    """A duration in ms, a tiny one in ns."""
    if duration_ns < 1e4:
        return f"{duration_ns:.0f} ns"
    ms = duration_ns / 1e6
    return f"{ms:,.0f} ms" if ms >= 1000 else f"{ms:.4g} ms"


def _rate(tokens: int, duration_ns: float) -> str:
    return f"{tokens * 1e9 / duration_ns:,.0f} tok/s"
