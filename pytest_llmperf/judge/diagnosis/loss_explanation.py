"""The cause of a loss as a sentence, and what to do about it."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING

from pytest_llmperf.judge.diagnosis.client_saturation import clocks_too_uncertain
from pytest_llmperf.judge.metrics.graphs.critical_path import path_of
from pytest_llmperf.judge.metrics.graphs.graph_loss import slower_parts
from pytest_llmperf.judge.metrics.series import series
from pytest_llmperf.model.results.server_observations import Observed

if TYPE_CHECKING:
    from pytest_llmperf.judge.metrics.time_breakdown import EfficiencyLoss
    from pytest_llmperf.model import Measurement

SHARE_PP = 2.0
"""A smaller share explains nothing: balance varies by as much between equal runs."""

OWN_CORE = "leave the client a core of its own (what else runs here?)"
CORE = f"{OWN_CORE}, or try --llmperf-runtime=processes"
TAP_CORE = "leave the tap, through which the agents talk, a core of its own (what else runs here, the agents included?)"

_SLOWER = {
    "client": "is delayed by its client",
    "queue": "waits for a slot",
    "load": "waits for the model to load",
    "prefill": "processes prompts more slowly",
    "decode": "decodes more slowly",
    "tokens": "has more tokens to read or to write",
    "rest": "takes longer for a reason that is not visible in client or server timings",
}
"""What an agent does that takes longer."""

_TOGETHER = {
    "client": "their clients delay them",
    "load": "they wait for the model to load",
    "prefill": "they share a device, or its cores (prompts are processed more slowly)",
    "decode": "they share a device, or its cores",
    "tokens": "they generate more tokens than alone",
    "rest": "the cause is not visible in client or server timings",
}
"""Why all are slower together."""

_UNTIMED = "first tokens come later: they share a device, or prompts wait (this server reports no durations)"

_NEXT = {
    "tokens alone": "give the agents equal work (prompts, num_predict), or gate scaling in place of balance",
    "tokens together": "make the answers equally long: num_predict with a seed and temperature 0",
    "load alone": "keep the model loaded: see /api/ps",
    "load together": "keep the model loaded: see /api/ps",
    "queue alone": "is another client using this instance? see /api/ps",
}
"""What to do about a share; for the others it depends on where the servers run."""

_LONGER = "let each agent do more work in a round, or use hosts with a shorter way to each other"

_PRIVATE_QUEUE = "have each agent send its requests one after the other, or end what else runs on this machine"
"""What to do about a queue at a server that only this run uses."""


def client_advice(measurement: Measurement) -> str:
    """What to do about a client that could not keep up: the plugin's runtimes do not drive external agents."""
    if clocks_too_uncertain(measurement):
        return _LONGER
    return TAP_CORE if measurement.scenario.external else CORE


def reports_durations(measurement: Measurement) -> bool:
    """Whether the server reports durations."""
    return all(request.total_duration_ns for run in measurement.rounds[0].together for request in run.requests)


def sentence_of(measurement: Measurement, loss: EfficiencyLoss, cause: str) -> str:
    """The cause in one clause, with its figures; the slowdown is that of the slowest agent."""
    part, where = cause.split()
    if loss.of == "graph":
        return _of_path(measurement, part)
    slowdown = fmean(series(measurement, "slowdown"))
    if where == "together" and part == "queue":
        wall_ms = median(max(run.duration_ns for run in round_.together) / 1e6 for round_ in measurement.rounds)
        waited_ms = median(
            max(request.queue_ns / 1e6 for run in round_.together for request in run.requests)
            for round_ in measurement.rounds
        )
        figures = f"(queue time {waited_ms:.0f} ms of a round's {wall_ms:.0f} ms)"
        if measurement.topology.kind.shared and loss.shares_pp[cause] < SHARE_PP:
            return (
                f"the agents are slower together than alone (up to {slowdown:.2f} x): they share instance "
                f"{loss.instance}, which serves one request at a time (the server reports no queue time)"
            )
        if measurement.topology.kind.shared:
            return f"requests wait for a slot {figures}: agents that share a slot are served one after the other"
        return (
            f"requests wait at the server {figures}, though each agent has an instance of its own: "
            f"{_who(measurement)}, or an agent sends more requests at once than it has slots"
        )
    if where == "together" and loss.of == "scaling":
        why = _TOGETHER[part] if reports_durations(measurement) or part != "prefill" else _UNTIMED
        if part == "rest" and measurement.topology.kind.shared and len(measurement.scenario.agents) > 1:
            why = f"they share instance {loss.instance}"
        return f"the agents are slower together than alone (up to {slowdown:.2f} x): {why}"
    balance = fmean(series(measurement, "efficiency_pct"))
    return (
        f"one agent takes longer than the other: balance {balance:.1f} %, slowdown up to {slowdown:.2f} x; "
        f"{loss.slowest} on instance {loss.instance} {_SLOWER[part]}, "
        f"{'even alone' if where == 'alone' else 'together with the other agents'}"
    )


def _of_path(measurement: Measurement, part: str) -> str:
    """The phase that makes the critical path long, of which agents, beside what it takes alone."""
    path = path_of(measurement)
    assert path is not None  # for there is a loss
    slower = slower_parts(path, part)
    agents = " and ".join(each.agent for each in slower)
    ms, alone_ms = sum(each.ms for each in slower), sum(each.alone_ms for each in slower)
    return (
        f"the critical path {' > '.join(path.agents)} is longer than alone: {part} of {agents} takes "
        f"{ms:.0f} ms of the makespan of {path.makespan_ms:.0f} ms, alone {alone_ms:.0f} ms"
    )


def _who(measurement: Measurement) -> str:
    """Who else keeps a server busy."""
    return "other work on this machine keeps it busy" if measurement.topology.private else Observed.ANOTHER_CLIENT


def agents_beside(measurement: Measurement, instance: str) -> list[str]:
    """The agents on the server of an instance, which other instances may have, too."""
    urls = {each.name: each.url for each in measurement.topology.instances}
    runs = measurement.rounds[0].together
    return [run.agent for run in runs if urls.get(run.instance) == urls.get(instance)]


def advice_on(measurement: Measurement, loss: EfficiencyLoss, cause: str) -> str:
    """What to do about a share."""
    topology = measurement.topology
    if loss.of == "graph" and cause == "queue together" and len(agents_beside(measurement, loss.instance)) > 1:
        return (
            f"give instance {loss.instance} a slot for each request at once (OLLAMA_NUM_PARALLEL, llama-server: -np), "
            "or its agents more instances"
        )
    if cause == "queue together" and not topology.kind.shared:
        cause = "queue alone"
    if cause == "queue alone" and topology.private:
        return _PRIVATE_QUEUE
    if cause.startswith("client"):
        return client_advice(measurement)
    if cause in _NEXT:
        return _NEXT[cause]
    if cause.endswith("alone") and topology.backend == "attach":  # servers that the plugin started have ended by then
        urls = [instance.url for instance in topology.instances if instance.name == loss.instance]
        return "".join(f"check instance {loss.instance}: curl {url}/api/ps" for url in urls)
    return ""
