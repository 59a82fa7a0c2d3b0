"""What a session was asked to do: options, ini values and defaults, resolved once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmperf.model.settings.configuration import Configuration, NamedDeployment
from pytest_llmperf.model.workload.script import Script

RUNTIMES = ("threads", "asyncio", "uvloop", "processes")
"""How clients run at once; the first is the default."""

SERIAL = "serial"
"""One client after the other, where all should run at once: a bad runtime, for experiments that must find it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a session. Each has an option `--llmperf-...` and an ini twin `llmperf_...`.

    Attributes:
        backend: one of BACKENDS.
        urls: base addresses for `attach`.
        auth: of each of them, or one for all; see Access.
        ca_file, proxy, proxy_auth: of all of them; see Access.
        model: name on the servers; empty = the backend's choice.
        gguf: a GGUF file for `embedded` (or to import into `ollama`); empty = the packaged model.
        ports: ports for the instances that we start; empty = the system chooses.
        threads: CPU threads an instance; 0 = cores divided by instances, or what servers that are not ours decide.
        ollama_bin: path of the binary; empty = PATH.
        gpus: GPU of each Ollama that we start, by number or UUID (-1 = none); one for all, empty = all of them.
        pull: whether an Ollama that we start may fetch a model that it lacks.
        runtime: one of RUNTIMES.
        calibrate: whether the harness measures its own cost before the first round.
        telemetry_s: time between two samples of the machine in a round, s; 0: it is not looked at.
        duration_s: how long a test marked `soak` runs; 0: it is skipped.
        min_rounds, max_rounds: bounds of the number of rounds.
        warmups: discarded requests an instance.
        timeout_s: most seconds for one request.
        start_timeout_s: most seconds for an instance to answer and load.
        lock_timeout_s: most seconds to wait for another measurement on this machine.
        baseline: name or path; empty = by backend.
        baselines_dir: folder of the user's baselines.
        save: name to save under; empty = do not.
        compare: name to gate against; empty = do not.
        update: name whose sessions of the tests that ran are replaced; empty = do not.
        limits: limits by marker name, from the command line or ini.
        on_inconclusive: what an undecided limit gate does: `fail` or `warn`.
        on_inconclusive_regression: what an undecided regression gate does: `fail`, `warn`, or `young`: warn while
            its baseline has fewer than `min_sessions`, fail after.
        min_sessions: how many stored sessions make a baseline old enough.
        on_mismatch: `fail`, `warn` or `skip`.
        require_gates: whether a test that measured fails if no gate judged it.
        json, html, csv, markdown, codequality, openmetrics: files to write; empty = none.
        github: whether a GitHub Actions job gets annotations and a summary page.
        results: folder of the experiments' results.
        resume: whether what an interrupted experiment has finished counts.
        force_topology: run every test on this topology kind; empty = as its fixture says.
        script: of the simulated backend.
        config_file: path of `llmperf.toml`; empty = the one in pytest's root folder, if it is there.
        configuration: what that file says.
        deployment: name of the deployment there that is measured; its values are in the fields above already.
        faults: its fault plan, a TOML file; empty = nothing goes wrong.
        against: name or addresses of the deployment that takes turns with the one that is measured; empty: none.
        incumbent: what is known of it; None: none.
        diagnose: whether the servers are asked, after the rounds, how they are.
        against_itself: whether that may be the very servers that are measured.
    """

    backend: str = "auto"
    urls: tuple[str, ...] = ()
    auth: tuple[str, ...] = ()
    ca_file: str = ""
    proxy: str = ""
    proxy_auth: str = ""
    model: str = ""
    gguf: str = ""
    ports: tuple[int, ...] = ()
    threads: int = 0
    ollama_bin: str = ""
    gpus: tuple[str, ...] = ()
    pull: bool = False
    runtime: str = RUNTIMES[0]
    calibrate: bool = True
    min_rounds: int = 5
    telemetry_s: float = 1.0
    duration_s: float = 0
    max_rounds: int = 20
    warmups: int = 1
    timeout_s: float = 300.0
    start_timeout_s: float = 120.0
    lock_timeout_s: float = 3600.0
    baseline: str = ""
    baselines_dir: str = "baselines"
    save: str = ""
    compare: str = ""
    update: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    on_inconclusive: str = "fail"
    on_inconclusive_regression: str = "young"
    min_sessions: int = 4
    on_mismatch: str = "fail"
    require_gates: bool = False
    json: str = ""
    html: str = ""
    csv: str = ""
    markdown: str = ""
    codequality: str = ""
    openmetrics: str = ""
    github: bool = True
    results: str = "llmperf-results"
    resume: bool = True
    force_topology: str = ""
    script: Script = field(default_factory=Script)
    config_file: str = ""
    configuration: Configuration = field(default_factory=Configuration)
    deployment: str = ""
    faults: str = ""
    against: str = ""
    incumbent: NamedDeployment | None = None
    diagnose: bool = False
    against_itself: bool = False
