"""Options: which servers are measured."""

from __future__ import annotations

from pytest_llmperf.plugin.options import parsers
from pytest_llmperf.plugin.options.option import Option, is_in_a_folder

_KINDS = ("dual", "single", "single_parallel")

SERVER_OPTIONS = (
    Option(
        "backend",
        "backend",
        "NAME",
        parsers.one_of("auto", "attach", "ollama", "openai", "embedded", "simulated"),
        "where instances come from: attach (running servers), ollama (starts `ollama serve`), openai (running "
        "OpenAI-compatible servers), embedded (llama.cpp with a small real model), simulated (a scripted server; "
        "results are marked as simulated), auto (attach, ollama or embedded, the first that is available)",
        default="auto",
    ),
    Option(
        "urls",
        "urls",
        "URL,URL",
        parsers.urls,
        "running servers for the backends attach and openai, one per agent",
        error_shows="nothing",
    ),
    Option(
        "auth",
        "auth",
        "KIND:NAME,...",
        parsers.auth,
        "how to log in to the servers: bearer:NAME or basic:NAME; NAME is the environment variable that holds the "
        "token, or user:password; one for each server, or one for all",
        error_shows="mask",
    ),
    Option(
        "ca_file",
        "ca",
        "FILE",
        parsers.text,
        "certificates to check https servers with (PEM)",
        unset="the system's",
        is_path=bool,
    ),
    Option(
        "proxy",
        "proxy",
        "URL",
        parsers.proxy,
        "proxy for all requests, timed ones too",
        unset="none",
        error_shows="nothing",
    ),
    Option(
        "proxy_auth",
        "proxy-auth",
        "KIND:NAME",
        parsers.one_auth,
        "how to log in to the proxy: basic:NAME; NAME is the environment variable that holds user:password",
        error_shows="mask",
    ),
    Option("model", "model", "NAME", parsers.text, "model name on the servers", unset="the backend's choice"),
    Option("gguf", "gguf", "FILE", parsers.text, "GGUF file to serve", unset="the packaged model", is_path=bool),
    Option("ports", "ports", "PORT,PORT", parsers.ports, "ports of the instances that are started", unset="free ports"),
    Option(
        "threads",
        "threads",
        "N",
        parsers.count,
        "CPU threads per instance; 0: cores divided by instances, or what Ollama and attached servers choose",
        default="0",
    ),
    Option(
        "ollama_bin",
        "ollama-bin",
        "FILE",
        parsers.text,
        "the ollama binary",
        unset="found on PATH",
        is_path=is_in_a_folder,
    ),
    Option(
        "gpus",
        "gpus",
        "GPU,GPU",
        parsers.gpus,
        "the GPU that each `ollama serve` sees, by number or UUID (-1: none); one for each, or one for all",
        unset="every GPU",
    ),
    Option("pull", "pull", "on|off", parsers.switch, "let an Ollama that is started download a missing model", "off"),
    Option(
        "force_topology",
        "topology",
        "KIND",
        parsers.one_of(*_KINDS),
        f"run every test on this topology instead of its fixture's: {', '.join(_KINDS)}",
    ),
    Option(
        "script",
        "script",
        "KEY=VALUE,...",
        parsers.script,
        "the simulated server's behaviour: ttft_ms, prefill_tok_s, decode_tok_s, jitter_pct, seed, load_ms, "
        "imbalance_pct, tool_calls",
    ),
    Option(
        "faults",
        "faults",
        "FILE",
        parsers.text,
        "fault plan of the simulated server, a TOML file, see docs/faults.md",
        unset="no faults",
        is_path=bool,
    ),
    Option(
        "config_file",
        "config",
        "FILE",
        parsers.text,
        "settings that do not fit an option, such as named deployments",
        unset="ROOTDIR/llmperf.toml, if it exists",
        is_path=bool,
    ),
    Option(
        "deployment",
        "deployment",
        "NAME",
        parsers.text,
        "measure this deployment of llmperf.toml; what it states overrides the ini file",
    ),
    Option(
        "against",
        "against",
        "URL,URL|NAME",
        parsers.against,
        "compare with an incumbent, given by its servers' addresses or as a deployment of llmperf.toml: rounds "
        "alternate between the two, and every test is judged by the paired differences, see docs/verdicts.md",
        error_shows="nothing",
    ),
    Option(
        "against_itself",
        "against-itself",
        "on|off",
        parsers.switch,
        "allow candidate and incumbent to be the same servers (an A/A test, which shows the noise)",
        default="off",
    ),
    Option(
        "start_timeout_s",
        "start-timeout",
        "SECONDS",
        parsers.seconds,
        "maximum time for a server to start and load the model",
        default="120",
    ),
    Option(
        "lock_timeout_s",
        "lock-timeout",
        "SECONDS",
        parsers.seconds,
        "maximum time to wait for another measurement on this machine to end",
        default="3600",
    ),
)
