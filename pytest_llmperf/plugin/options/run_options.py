"""Options: how rounds are run, what gates do, what is written."""

from __future__ import annotations

from pytest_llmperf.plugin.options import parsers
from pytest_llmperf.plugin.options.option import Option, is_toml

ROUND_OPTIONS = (
    Option("min_rounds", "rounds", "N", parsers.rounds, "minimum number of rounds per measurement", "5"),
    Option(
        "max_rounds",
        "max-rounds",
        "N",
        parsers.rounds,
        "maximum number of rounds; beyond the minimum, rounds are added while a gate is undecided",
        default="20",
    ),
    Option("warmups", "warmups", "N", parsers.count, "untimed requests per agent before the first round", "1"),
    Option(
        "duration_s",
        "duration",
        "TIME",
        parsers.duration,
        "how long tests marked soak run: 90s, 30m, 12h",
        unset="they are skipped",
    ),
    Option("timeout_s", "timeout", "SECONDS", parsers.seconds, "maximum time for a timed request", "300"),
    Option(
        "runtime",
        "runtime",
        "NAME",
        parsers.one_of("threads", "asyncio", "uvloop", "processes", "ray"),
        "how the agents' clients run concurrently: threads (least CPU time per token, see docs/stopwatch.md), asyncio, "
        "uvloop, processes (an interpreter per agent), ray (on several hosts, see docs/hosts.md)",
        default="threads",
    ),
    Option(
        "ray_address",
        "ray-address",
        "ADDRESS",
        parsers.ray_address,
        "Ray cluster for --llmperf-runtime=ray: HOST:PORT of its head, or auto, with which Ray looks for it",
        unset="a cluster on this machine, for the run",
    ),
    Option(
        "calibrate",
        "calibrate",
        "on|off",
        parsers.switch,
        "measure what the harness itself costs, once per session, against a paced server; takes half a second",
        default="on",
    ),
    Option(
        "telemetry_s",
        "telemetry",
        "SECONDS|off",
        parsers.seconds_or_off,
        "sampling interval, during rounds, of this machine's processors, memory, processes and GPUs, see "
        "docs/telemetry.md",
        default="1",
    ),
    Option(
        "diagnose",
        "diagnose",
        "",
        parsers.switch,
        "after the rounds, query the servers' state and print one line per question and where time is spent, even if "
        "every gate passes, see docs/diagnosis.md",
    ),
)

GATE_OPTIONS = (
    Option(
        "baseline",
        "baseline",
        "NAME",
        parsers.text,
        "baseline that supplies the limits of markers without a value: a name or a .toml file",
        unset="`embedded` for the embedded backend, else `decision_card`",
        is_path=is_toml,
    ),
    Option(
        "baselines_dir",
        "baselines-dir",
        "DIR",
        parsers.text,
        "folder of your baselines",
        unset="ROOTDIR/baselines",
        is_path=bool,
    ),
    Option("save", "save", "NAME", parsers.stem, "save the rounds of passing tests as a session of baseline NAME"),
    Option(
        "compare",
        "compare",
        "NAME",
        parsers.text,
        "gate every measured test against the stored baseline NAME, a name or a .toml file",
        is_path=is_toml,
    ),
    Option(
        "update",
        "update",
        "NAME",
        parsers.stem,
        "after an accepted change: replace the sessions of passing tests in baseline NAME by this run's rounds; "
        "regression gates are not judged",
    ),
    Option(
        "limits",
        "limit",
        "GATE=VALUE",
        parsers.limits,
        "limits for markers without a value, instead of the baseline's: efficiency=95,contention=0.01",
    ),
    Option(
        "robust",
        "robust",
        "",
        parsers.switch,
        "decide limits on efficiency, contention, TTFT and critical path by betting, which assumes no distribution of "
        "rounds and takes many more of them; other gates keep their rule, and a note lists them, see docs/verdicts.md",
    ),
    Option(
        "on_inconclusive",
        "on-inconclusive",
        "fail|warn",
        parsers.one_of("fail", "warn"),
        "what an inconclusive limit gate does to its test",
        default="fail",
    ),
    Option(
        "on_inconclusive_regression",
        "on-inconclusive-regression",
        "young|fail|warn",
        parsers.one_of("young", "fail", "warn"),
        "what an inconclusive regression gate does to its test; young: warn while its baseline has fewer sessions than "
        "--llmperf-min-sessions, else fail",
        default="young",
    ),
    Option(
        "min_sessions",
        "min-sessions",
        "N",
        parsers.rounds,
        "sessions that a baseline needs before an inconclusive regression gate fails its test",
        default="4",
    ),
    Option(
        "on_mismatch",
        "on-mismatch",
        "fail|warn|skip",
        parsers.one_of("fail", "warn", "skip"),
        "what a gate does to its test if its limit comes from another machine",
        default="fail",
    ),
    Option(
        "require_gates",
        "require-gates",
        "",
        parsers.switch,
        "fail tests that measure and have no gate: no marker, no baseline or incumbent to compare with",
    ),
)

RESULT_OPTIONS = (
    Option("json", "json", "FILE", parsers.text, "write every raw timing, metric and verdict to FILE", is_path=bool),
    Option("html", "html", "FILE", parsers.text, "write an HTML report to FILE, which opens offline", is_path=bool),
    Option(
        "csv", "csv", "FILE", parsers.text, "write a row per round to FILE, by the report's schema R.1", is_path=bool
    ),
    Option(
        "markdown", "markdown", "FILE", parsers.text, "write a Markdown report to FILE, for a comment", is_path=bool
    ),
    Option(
        "codequality", "codequality", "FILE", parsers.text, "write GitLab's Code Quality report to FILE", is_path=bool
    ),
    Option(
        "openmetrics", "openmetrics", "FILE", parsers.text, "write the figures to FILE as OpenMetrics", is_path=bool
    ),
    Option(
        "github",
        "github",
        "on|off",
        parsers.switch,
        "in a GitHub Actions job, annotate the tests whose gates failed and add to the summary page",
        default="on",
    ),
    Option(
        "results",
        "results",
        "DIR",
        parsers.text,
        "folder for the results of experiments, NAME.csv and NAME.findings.csv, see docs/experiments.md",
        unset="ROOTDIR/llmperf-results",
        is_path=bool,
    ),
    Option(
        "resume",
        "resume",
        "on|off",
        parsers.switch,
        "reuse the finished cells of an interrupted experiment",
        default="on",
    ),
    Option(
        "max_agents",
        "max-agents",
        "N",
        parsers.agents,
        "the largest number of agents that an experiment over numbers of agents (pytest perf_suites -m scale) measures",
        unset="no limit; 4 for the embedded engine",
    ),
)
