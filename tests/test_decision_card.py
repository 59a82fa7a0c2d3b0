"""The decision card against a second copy of the report's figures, typed from the report and not from the card.

A figure here must be found in exactly one row of `baselines/decision_card.toml`. Where the two disagree, neither is
right until the section named beside the figure has been read again. Figures that the report computes wrongly are
`computed` here as in the card; the words then hold what the report prints.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass

import pytest

from pytest_llmperf.judge.baselines.baseline_files import builtin_dir, load_named
from pytest_llmperf.judge.metrics.catalogue import CATALOGUE
from pytest_llmperf.model import KEYS, Baseline, Bound, Reference, Threshold

STANDS_FOR = {"contention_rate": "contention_rate_ttft", "cv_pct": "decode_tok_s_cv_pct"}
"""Names of the report for metrics that the catalogue splits by detector or by base metric."""

OPERATIONAL = ("validation", "warning", "critical", "alert", "response", "rollback", "detector")
"""Levels that gates, monitoring and detectors act on: the card must hold nothing of them that is not listed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure as the report states it.

    Attributes:
        kind: what the card keys it by besides value and unit: metric, level and bound of a limit (and its topology);
            report, metric and statistic of a result.
        value: in `unit`.
        unit: as in the card.
        words: section first, which the row must have as its source; the others must occur in any of its texts.
    """

    kind: tuple[str, ...]
    value: float
    unit: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' '.join(self.kind)} {self.value:g} {self.unit} ({', '.join(self.words)})"


def _figures(table: str, report: str = "") -> tuple[Figure, ...]:
    """Figures from lines of `kind kind ... value unit | section, word, ...`; a unit of `-` is none."""
    figures = []
    for line in table.strip().splitlines():
        left, right = line.split("|")
        *kind, value, unit = left.split()
        figures.append(
            Figure(
                kind=(report, *kind) if report else tuple(kind),
                value=float(value),
                unit="" if unit == "-" else unit,
                words=tuple(word.strip() for word in right.split(",")),
            )
        )
    return tuple(figures)


LIMITS = _figures(
    """
    num_gpu defaults min 60 layers | Decision card, agent workflow
    num_gpu defaults max 80 layers | Decision card, agent workflow
    num_ctx defaults min 256 tokens | Decision card, agent workflow
    num_ctx defaults max 512 tokens | Decision card, agent workflow
    temperature defaults min 0.6 - | Decision card, agent workflow
    temperature defaults max 1.0 - | Decision card, agent workflow
    instances_per_agent protocol min 1 instances | Decision card, 8.2
    warmup_requests protocol min 1 requests | Decision card, 3.6
    rounds_directional protocol min 3 rounds | Decision card
    rounds_publishable protocol min 5 rounds | Decision card
    ttft_ratio detector max 3 x | Decision card, 3.2
    cooling_s protocol min 5 s | 3.6
    decode_drop_pct detector max 5 % | A.3
    cv_pct validation max 5 % | A.4, S.2
    cv_pct investigation max 10 % | A.4
    cv_pct decision_grade max 10 % | D
    rounds_decision_grade protocol min 3 rounds | P.1
    instances_answering validation min dual 2 instances | E.1 #1
    vram_headroom_gib validation min 1 GiB | E.1 #3
    warmup_requests_predeploy protocol min 3 requests | E.1 #5, H.1
    rounds_predeploy protocol min 5 rounds | E.1 #6, H.1
    efficiency_pct validation min 95 % | E.1 #6, H.1, S.2
    contention_rate validation max 0.01 ratio | E.1 #7, H.1
    vram_gib validation max 11 GiB | E.1 #9, E.1 #3
    efficiency_pct alert min 90 % | E.1 #8
    ttft_ms alert max 2000 ms | E.1 #8
    decode_tok_s alert min 80 tok/s | E.1 #8
    contention_rate alert max 0.05 ratio | E.1 #8
    ttft_ms validation max 2000 ms | E.1 #8, E.3 #2
    decode_tok_s validation min 80 tok/s | E.1 #8, E.3 #3
    efficiency_pct response min 90 % | E.3 #1
    ttft_ms response max 2000 ms | E.3 #2
    decode_tok_s response min 80 tok/s | E.3 #3
    contention_rate response max 0.05 ratio | E.3 #4
    vram_gib response max 11 GiB | E.3 #5
    efficiency_pct rollback min 90 % | H.1
    contention_rate rollback max 0.05 ratio | H.1
    decode_tok_s warning min 90 tok/s | H.2
    decode_tok_s critical min 80 tok/s | H.2
    ttft_ms warning max 1500 ms | H.2
    ttft_ms critical max 2000 ms | H.2
    efficiency_pct warning min 93 % | H.2
    efficiency_pct critical min 90 % | H.2
    contention_rate warning max 0.02 ratio | H.2
    contention_rate critical max 0.05 ratio | H.2
    vram_gib warning max 10 GiB | H.2
    vram_gib critical max 11 GiB | H.2
    gpu_temperature_c warning max 85 C | H.2
    gpu_temperature_c critical max 90 C | H.2
    num_gpu configuration min 40 layers | 8.5, single inference
    num_gpu configuration max 999 layers | 8.5, single inference
    num_ctx configuration min 1024 tokens | 8.5, single inference
    num_ctx configuration max 4096 tokens | 8.5, single inference
    num_gpu configuration min dual 80 layers | 8.5, multi-agent, E.1 #3
    num_ctx configuration min dual 512 tokens | 8.5, multi-agent, E.1 #4
    num_ctx configuration max dual 2048 tokens | 8.5, multi-agent, E.1 #4
    temperature configuration min dual 0.8 - | 8.5, multi-agent
    temperature configuration max dual 1.0 - | 8.5, multi-agent
    """
)

RESULTS = (
    # 5.1: evidence snapshot, model table, findings; C.1, A.5
    *_figures(
        """
        decode_tok_s best 102.85 tok/s | 5.1, gemma3:latest, GPU=999, ctx=4096
        decode_tok_s best 303.9 tok/s | 5.1, Gemma3:270m, C.1
        decode_tok_s best 187.2 tok/s | 5.1, 1b-qat
        decode_tok_s best 78.42 tok/s | 5.1, q4_0, GPU=40, ctx=1024
        decode_tok_s best 65.18 tok/s | 5.1, q5_K_M
        decode_tok_s best 47.8 tok/s | 5.1, q8_0
        decode_tok_s worst 46.57 tok/s | C.1, q8_0, A.5
        decode_tok_s value 76.59 tok/s | Executive Summary, Llama 3.1
        decode_tok_s delta 64 % | 5.1, Q8_0
        decode_tok_s delta 17 % | 5.1, Q5_K_M
        decode_tok_s delta 34 % | 5.1, O.1
        decode_tok_s spread 1 % | 5.1, ctx, <1 %
        num_gpu best 999 layers | 5.1, gemma3:latest
        num_gpu best 40 layers | 5.1, Llama3.1:8b
        configurations count 158 configurations | 5.1, 158+
        cv_pct cv 5 % | C.1, <5 %
        """,
        "TR108",
    ),
    # 5.2: evidence snapshot, transfer table; C.1. The report does not say of what kind the +/- 75 ms is.
    *_figures(
        """
        decode_tok_s mean 99.34 tok/s | 5.2, Ollama defaults
        ttft_ms mean 1437 ms | 5.2, workflow baseline
        ttft_ms spread 75 ms | 5.2, workflow baseline
        ttft_ms mean 6090 ms | 5.2, GPU=999, CTX=4096
        decode_tok_s mean 98.5 tok/s | 5.2, GPU=999, CTX=4096
        decode_tok_s delta -0.8 % | 5.2, workflow baseline
        ttft_ms delta 323.7 % | 5.2, workflow baseline, C.1
        decode_tok_s delta 2.2 % | 5.2, single run, GPU=60, CTX=512, TEMP=0.8
        ttft_ms delta -68 % | 5.2, GPU=60, CTX=512, TEMP=0.8, C.1
        decode_tok_s delta -0.2 % | 5.2, n=3
        quality_score delta -6.9 % | 5.2
        configurations count 18 configurations | 5.2, phase 2
        num_gpu low 60 layers | 5.2, agent-optimal
        num_gpu high 80 layers | 5.2, agent-optimal
        num_ctx low 256 tokens | 5.2, agent-optimal
        num_ctx high 512 tokens | 5.2, agent-optimal
        runs count 20 runs | C.1, 20+
        """,
        "TR109",
    ),
    # 5.3: evidence snapshot, scenario table, findings; C.1, 7.2
    *_figures(
        """
        efficiency_pct best 99.25 % | 5.3, homogeneous, Test 108, C.1
        speedup best 1.985 x | 5.3, homogeneous, CTX=2048
        efficiency_pct mean 98.8 % | 5.3, homogeneous, GPU>=80
        efficiency_pct best 97.93 % | 5.3, baseline vs Chimera, Test 202
        efficiency_pct mean 95 % | 5.3, baseline vs Chimera, ~95 %
        efficiency_pct best 90 % | 5.3, heterogeneous
        efficiency_pct low 89 % | 5.3, heterogeneous
        efficiency_pct high 90 % | 5.3, heterogeneous
        num_gpu min 80 layers | 5.3, contention threshold
        contention_rate rate 0 ratio | 5.3, homogeneous, GPU>=80
        contention_rate rate 0.6 ratio | 5.3, baseline vs Chimera, GPU=60
        efficiency_pct mean 96.7 % | 5.3, CTX=512
        efficiency_pct mean 98.9 % | 5.3, CTX=1024
        efficiency_pct mean 99.2 % | 5.3, CTX=2048
        efficiency_pct mean 98.93 % | 5.3, TEMP=0.6
        efficiency_variance ratio 3.6 x | 5.3, TEMP=1.0 over TEMP=0.6
        overhead_pct value 0.75 % | 5.3, irreducible
        runs count 150 runs | 5.3, 30 configurations, C.1
        efficiency_pct worst 72.7 % | C.1, GPU=60, 8.5
        efficiency_pct spread 7.4 pp | C.1
        efficiency_pct mean 95.8 % | 7.2, Python, 6.6
        """,
        "TR110",
    ),
    # 5.4: evidence snapshot, baseline table, findings; C.1
    *_figures(
        """
        decode_tok_s mean 114.54 tok/s | 5.4, Ollama defaults
        decode_tok_s sd 2.97 tok/s | 5.4, Ollama defaults
        cv_pct cv 2.6 % | 5.4, within the baseline configuration, C.1
        cv_pct cv 0.24 % | 5.4, across 19 configurations, C.1
        ttft_ms mean 603.53 ms | 5.4, Ollama defaults
        cv_pct low 10 % | 5.4, TTFT
        cv_pct high 180 % | 5.4, TTFT
        decode_tok_s best 114.97 tok/s | 5.4, GPU=60, CTX=256, TEMP=0.6
        decode_tok_s worst 113.99 tok/s | 5.4, worst configuration, C.1
        decode_tok_s delta 0.4 % | 5.4, ceiling
        decode_tok_s spread 0.86 % | 5.4, best to worst
        decode_tok_s spread 0.14 % | 5.4, GPU layers
        decode_tok_s spread 0.07 % | 5.4, context
        decode_tok_s spread 0.06 % | 5.4, temperature
        variability ratio 150 x | 5.4, TTFT
        runs count 57 runs | 5.4, 19 configurations, C.1
        process_memory_mb low 65 MB | 5.4, Rust
        process_memory_mb high 90 MB | 5.4, Rust
        startup_s value 0.2 s | 5.4, Rust
        binary_size_mb value 15 MB | 5.4, Rust
        files_per_run count 101 files | 5.4
        decode_tok_s best 114.98 tok/s | C.1
        """,
        "TR111_v2",
    ),
    # 5.5: evidence snapshot, tables; C.1, A.4. 12.7 months is no result of its own inputs.
    *_figures(
        """
        decode_tok_s delta 15.2 % | 5.5, Rust over Python, C.1
        decode_tok_s effect_size 6.82 d | 5.5, Cohen's d
        decode_tok_s p_value 0.001 probability | 5.5, p < 0.001
        ttft_ms delta -58 % | 5.5, Rust over Python
        ttft_ms p_value 0.001 probability | 5.5, p < 0.001
        process_memory_mb delta -67 % | 5.5, Rust against Python
        process_memory_mb low 300 MB | 5.5, Python
        process_memory_mb high 350 MB | 5.5, Python
        startup_s delta -83 % | 5.5, Rust against Python
        startup_s value 1.5 s | 5.5, Python
        cv_pct cv 1.8 % | 5.5, Python, across configurations
        cv_pct cv 4.8 % | C.1, Python, within the baseline configuration, A.4
        cv_pct ratio 7.5 x | 5.5, across configurations
        decode_tok_s best 101.08 tok/s | 5.5, Python, GPU=80, CTX=512, TEMP=0.8
        decode_tok_s delta 14.9 % | 5.5, Rust worst
        optimization_success_rate rate 0.722 ratio | 5.5, Rust
        optimization_success_rate rate 0.389 ratio | 5.5, Python
        tco_usd value 42600 USD | 5.5, Rust
        tco_usd value 57500 USD | 5.5, Python
        tco_usd delta -14900 USD | 5.5, Rust against Python
        tco_usd delta -26 % | 5.5, Rust against Python
        break_even_months computed 25 months | 5.5, 12.7 months
        runs count 111 runs | 5.5, 57 Rust, C.1
        host_count count 2 hosts | 5.5, Rust, 4 GB
        host_count count 4 hosts | 5.5, Python, 8 GB
        """,
        "TR112_v2",
    ),
    # 5.6: evidence snapshot; C.1, A.2. The contention rate is 14 of 19.
    *_figures(
        f"""
        configurations count 19 configurations | 5.6, C.1
        duration_min value 45 min | 5.6, ~45 min
        efficiency_pct best 82.2 % | 5.6, homogeneous, GPU=80, CTX=1024, TEMP=0.6, C.1
        efficiency_pct mean 72.4 % | 5.6, all 19 configurations
        efficiency_pct sd 5.5 pp | 5.6, C.1
        contention_rate rate {14 / 19} ratio | 5.6, 14 of 19
        contention_rate rate 0.63 ratio | Executive Summary, A.3, C.1
        efficiency_pct mean 71.2 % | 5.6, baseline vs Chimera
        contention_rate rate 0.92 ratio | 5.6, baseline vs Chimera
        efficiency_pct delta -17 pp | 5.6, topology
        efficiency_pct low -20 pp | 5.6, serialization
        efficiency_pct high -15 pp | 5.6, serialization
        efficiency_pct low 8 pp | 5.6, TEMP=0.6 over TEMP=0.8
        efficiency_pct high 14 pp | 5.6, TEMP=0.6 over TEMP=0.8
        speedup low 18 % | 5.6, confounded by topology
        speedup high 25 % | 5.6, confounded by topology
        efficiency_pct worst 62.6 % | C.1, mixed baseline
        speedup best 1.64 x | A.2
        """,
        "TR113",
    ),
    # 5.7: evidence snapshot, findings; C.1
    *_figures(
        """
        configurations count 27 configurations | 5.7, 5 runs each
        runs count 135 runs | 5.7, C.1
        duration_h value 8 h | 5.7, 8+ h
        efficiency_pct best 99.992 % | 5.7, test108, run 1, C.1
        efficiency_pct best 99.396 % | 5.7, test011, heterogeneous
        efficiency_pct mean 98.281 % | 5.7, all 135 runs
        speedup mean 1.969 x | 5.7
        speedup best 2 x | 5.7
        contention_rate rate 0.0074 ratio | 5.7, 1 of 135, A.3
        efficiency_pct mean 97.37 % | 5.7, baseline vs Chimera, lowest
        efficiency_pct mean 98.79 % | 5.7, heterogeneous, highest
        efficiency_pct mean 98.4 % | 5.7, homogeneous
        efficiency_pct delta 0.15 pp | 5.7, Python's, 99.25
        efficiency_pct delta 2.48 pp | 5.7, Python's, 95.8
        cv_pct delta -2.5 pp | 5.7, Python's
        efficiency_pct worst 91.6 % | 5.7, GPU=120, baseline vs Chimera, C.1
        efficiency_pct delta -6.7 pp | 5.7, GPU=120
        efficiency_pct delta 17.2 pp | 5.7, peak
        efficiency_pct delta 25.9 pp | 5.7, mean
        efficiency_pct spread 1.42 pp | 5.7, scenario's
        efficiency_pct spread 5 pp | C.1
        """,
        "TR114_v2",
    ),
    # 8.2, 10: the first version, superseded
    *_figures(
        """
        contention_rate rate 0.06 ratio | 8.2, superseded
        efficiency_pct value 95.7 % | 8.2, superseded
        efficiency_pct mean 89.3 % | 10, superseded
        """,
        "TR114",
    ),
    # 5.8: evidence snapshot, runtime table, findings; C.1. +4 pp of smol-1kb is 0.89 in the table.
    *_figures(
        """
        runs count 150 runs | 5.8, 6 configurations x 5 runtimes x 5 runs, C.1
        duration_h value 12 h | 5.8, 12+ h
        efficiency_pct best 99.89 % | 5.8, tokio-default
        efficiency_pct mean 98.72 % | 5.8, tokio-default
        efficiency_pct sd 1.21 pp | 5.8, tokio-default
        efficiency_pct worst 94.8 % | 5.8, tokio-default
        efficiency_pct best 99.94 % | 5.8, smol-1kb
        efficiency_pct mean 98.61 % | 5.8, smol-1kb
        efficiency_pct sd 1.32 pp | 5.8, smol-1kb
        efficiency_pct worst 94.98 % | 5.8, smol-1kb
        efficiency_pct best 99.99 % | 5.8, tokio-localset, C.1
        efficiency_pct mean 97.95 % | 5.8, tokio-localset
        efficiency_pct sd 4.03 pp | 5.8, tokio-localset
        efficiency_pct worst 81.03 % | 5.8, tokio-localset
        efficiency_pct best 99.87 % | 5.8, smol
        efficiency_pct mean 97.72 % | 5.8, smol
        efficiency_pct sd 4.87 pp | 5.8, smol
        efficiency_pct worst 72.8 % | 5.8, smol, single run
        efficiency_pct best 50 % | 5.8, async-std, C.1
        efficiency_pct mean 50 % | 5.8, async-std
        efficiency_pct sd 0 pp | 5.8, async-std
        efficiency_pct worst 49.99 % | 5.8, async-std
        efficiency_pct spread 0.12 pp | 5.8, 99.87 to 99.99
        efficiency_pct delta 12.86 pp | 5.8, tokio-default over tokio-localset, ctx=2048
        efficiency_pct mean 99.29 % | 5.8, tokio-default, ctx=2048
        efficiency_pct mean 86.43 % | 5.8, tokio-localset, ctx=2048
        efficiency_pct delta -27 pp | 5.8, smol
        efficiency_pct computed 0.89 pp | 5.8, smol-1kb over smol, +4 pp
        """,
        "TR115_v2",
    ),
    # 5.9: evidence snapshot, model tables, findings; C.1. Leads are differences of the two tables.
    *_figures(
        """
        runs count 60 runs | 5.9, 3 models x 2 runtimes x 2 scenarios x 5 runs, C.1
        duration_h value 12 h | 5.9, 12+ h
        efficiency_pct mean 97.3 % | 5.9, Rust, Gemma 3, baseline vs Chimera
        efficiency_pct mean 99.2 % | 5.9, Rust, Gemma 3, homogeneous, best observed, C.1
        efficiency_pct mean 96.5 % | 5.9, Rust, Llama 3.1, baseline vs Chimera
        efficiency_pct mean 98.5 % | 5.9, Rust, Llama 3.1, homogeneous, best observed
        efficiency_pct mean 90 % | 5.9, Rust, Qwen 2.5, baseline vs Chimera, best observed
        efficiency_pct mean 89.4 % | 5.9, Rust, Qwen 2.5, homogeneous
        efficiency_pct mean 83.8 % | 5.9, Python, Llama 3.1, baseline vs Chimera
        efficiency_pct mean 85.8 % | 5.9, Python, Llama 3.1, homogeneous, best observed
        efficiency_pct mean 80.2 % | 5.9, Python, Gemma 3, baseline vs Chimera
        efficiency_pct mean 84.9 % | 5.9, Python, Gemma 3, homogeneous, best observed
        efficiency_pct mean 77.6 % | 5.9, Python, Qwen 2.5, baseline vs Chimera, C.1
        efficiency_pct mean 84.1 % | 5.9, Python, Qwen 2.5, homogeneous, best observed
        efficiency_pct computed 17.1 pp | 5.9, Gemma 3, baseline vs Chimera
        efficiency_pct computed 14.3 pp | 5.9, Gemma 3, homogeneous
        efficiency_pct computed 12.7 pp | 5.9, Llama 3.1, baseline vs Chimera
        efficiency_pct computed 12.7 pp | 5.9, Llama 3.1, homogeneous
        efficiency_pct computed 12.4 pp | 5.9, Qwen 2.5, baseline vs Chimera, +5.9 pp
        efficiency_pct computed 5.3 pp | 5.9, Qwen 2.5, homogeneous
        efficiency_pct low 12 pp | 5.9, Rust over Python
        efficiency_pct high 17 pp | 5.9, Rust over Python
        efficiency_pct ceiling 86 % | 5.9, Python, ~86 %
        cv_pct cv 2 % | 5.9, Rust, <2 %, C.1
        cv_pct low 3 % | 5.9, Python
        cv_pct high 5 % | 5.9, Python
        decode_tok_s delta 30 tok/s | 5.9, Qwen 2.5, ~30 tok/s
        tco_usd value 58000 USD | 5.9, Rust, Gemma 3
        tco_usd value 67000 USD | 5.9, Python, Gemma 3
        """,
        "TR116",
    ),
    # C.2, A.7, A.8, G.1 to G.4. G.1 prints 724.4 for what its formula gives as 724.6.
    *_figures(
        """
        runs count 903 runs | C.2, 903+
        configurations count 200 configurations | C.2, 200+
        models count 6 models | C.2
        languages count 2 languages | C.2
        runtimes count 5 runtimes | C.2
        architectures count 4 architectures | C.2
        cost_per_1m_usd value 1.21 USD | A.7, Rust
        cost_per_1m_usd value 1.40 USD | A.7, Python
        memory_efficiency value 31.2 tok/s/GiB | A.8, gemma3:latest
        memory_efficiency value 12.4 tok/s/GiB | A.8, Llama 3.1 8B
        requests_per_hour computed 724.6 requests/h | G.1, Rust, 724.4
        requests_per_hour value 556.4 requests/h | G.1, Python
        effective_tok_s value 225.1 tok/s | G.2, Rust
        effective_tok_s value 190.3 tok/s | G.2, Python
        effective_tok_s value 188.3 tok/s | G.4, Rust, single Ollama
        effective_tok_s delta -36.8 tok/s | G.4, single against dual Ollama
        """,
        "TR108-TR116",
    ),
)


@pytest.fixture(scope="module")
def card() -> Baseline:
    """The decision card as gates read it."""
    return load_named("decision_card", (builtin_dir(),))


def _says(text: str, word: str) -> bool:
    """Whether a text holds a word or phrase whole: `smol` is not in `smol-1kb`; a section holds its subsections."""
    return re.search(rf"(?<![\w.+-]){re.escape(word)}(?!\w|-\w)", text, re.IGNORECASE) is not None


def _matches(figure: Figure, row: Threshold | Reference) -> bool:
    """Whether a row of the card states this figure."""
    if isinstance(row, Threshold):
        kind: tuple[str, ...] = (row.metric, row.level, str(row.bound), *((row.topology,) if row.topology else ()))
        texts: tuple[str, ...] = (row.source, row.note)
    else:
        kind = (row.report, row.metric, row.statistic)
        texts = (row.source, row.context, row.text)
    # The card may write a fraction such as 14/19 with six digits; what the report prints has at most five.
    same = math.isclose(figure.value, row.value, rel_tol=1e-6, abs_tol=1e-12)
    if not (kind == figure.kind and row.unit == figure.unit and same):
        return False
    section, *words = figure.words
    return _says(row.source, section) and all(any(_says(text, word) for text in texts) for word in words)


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_every_limit_of_the_report_is_one_threshold(card: Baseline, limit: Figure) -> None:
    """A limit that the report states is exactly one threshold: value, unit, side, level, topology and section."""
    assert len([row for row in card.threshold if _matches(limit, row)]) == 1


@pytest.mark.parametrize("result", RESULTS, ids=str)
def test_every_result_of_the_report_is_one_reference(card: Baseline, result: Figure) -> None:
    """A result that the report states is exactly one reference: report, statistic, value, unit, section, context."""
    assert len([row for row in card.reference if _matches(result, row)]) == 1


def test_no_limit_is_in_force_that_the_report_does_not_state(card: Baseline) -> None:
    """The other way round: each threshold that gates, monitoring or detectors use is a limit of the second copy."""
    in_force = [row for row in card.threshold if row.level in OPERATIONAL]
    assert {row.level for row in in_force} == set(OPERATIONAL)
    assert [row for row in in_force if sum(_matches(limit, row) for limit in LIMITS) != 1] == []


def test_every_row_has_its_source(card: Baseline) -> None:
    """Each threshold, reference and boundary names the section it is from, and each reference its report."""
    tables = {
        "threshold": [row.source for row in card.threshold],
        "reference": [row.source for row in card.reference],
        "valid_under": [row.source for row in card.valid_under],
        "invalidated_by": [row.source for row in card.invalidated_by],
    }
    assert [name for name, sources in tables.items() if not sources or not all(map(str.strip, sources))] == []
    assert [row for row in card.reference if not re.fullmatch(r"TR1\d\d(_v2)?|TR108-TR116", row.report)] == []


def test_every_value_is_a_number(card: Baseline) -> None:
    """No threshold or reference is infinite or undefined."""
    assert [row for row in card.threshold if not math.isfinite(row.value)] == []
    assert [row for row in card.reference if not math.isfinite(row.value)] == []


def test_no_two_validation_thresholds_apply_alike(card: Baseline) -> None:
    """A gate finds at most one limit for a metric, topology and scenario."""
    keys = Counter((row.metric, row.topology, row.scenario) for row in card.threshold if row.level == "validation")
    assert [key for key, count in keys.items() if count > 1] == []


def test_validation_thresholds_agree_with_the_catalogue(card: Baseline) -> None:
    """The limits of gates have the unit of their metric in the catalogue, and bound its bad side."""
    known = {
        row.metric: (row, CATALOGUE[STANDS_FOR.get(row.metric, row.metric)])
        for row in card.threshold
        if row.level == "validation" and STANDS_FOR.get(row.metric, row.metric) in CATALOGUE
    }
    assert set(known) == {"efficiency_pct", "contention_rate", "ttft_ms", "decode_tok_s", "cv_pct", "vram_gib"}
    for row, metric in known.values():
        assert (row.unit, row.bound) == (metric.unit, metric.good), row


@pytest.mark.parametrize("metric", ["efficiency_pct", "contention_rate", "ttft_ms", "decode_tok_s", "vram_gib"])
def test_levels_of_one_metric_grow_more_severe(card: Baseline, metric: str) -> None:
    """What is critical is never better than what warns, nor a warning than what validation asks for."""
    limits = {row.level: row for row in card.threshold if row.metric == metric and not row.topology}
    sign = 1 if limits["critical"].bound is Bound.MIN else -1
    assert sign * limits["critical"].value < sign * limits["warning"].value
    if metric in ("efficiency_pct", "contention_rate"):
        assert sign * limits["warning"].value < sign * limits["validation"].value


def test_boundaries_name_keys_of_the_manifest(card: Baseline) -> None:
    """A condition of validity can be checked: its keys, and the keys of the card's machine, are in the manifest."""
    keys = {key for row in (*card.valid_under, *card.invalidated_by) for key in row.keys}
    assert keys | set(card.manifest) <= set(KEYS)
    assert (card.manifest["gpu"], card.manifest["cpu"]) == (
        "NVIDIA GeForce RTX 4080 Laptop GPU",
        "Intel Core i9-13980HX",
    )
