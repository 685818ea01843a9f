# One command per wish; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
VENV := .venv
PY := $(VENV)/bin/python
RUN := PYTHONPATH=operator:deploy/local $(PY)
BENCH := PYTHONPATH=operator:deploy/local:tests $(PY) -m benchmarks
STAMP := $(VENV)/.installed
NAME ?= dev
SECONDS_EACH ?= 60
ONLY ?=
REAL ?= $(shell [ "$$(id -u)" = 0 ] && [ "$$(uname)" = Linux ] && echo 1 || echo 0)
SIMULATED ?= 1
TARGET ?= payload
SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help install lock check verify generate test test-fast test-kind fuzz cluster-build cluster-up cluster-down cluster-status demo demo-down bench model clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(STAMP): requirements/dev.lock pyproject.toml
	@test -x $(VENV)/bin/uv || { echo 'making a virtual environment in $(VENV)'; python3 -m venv $(VENV); $(VENV)/bin/pip install -q 'uv==0.13.8'; }
	@echo 'installing pinned dependencies'
	@$(VENV)/bin/uv pip install -q --python $(PY) --require-hashes -r requirements/dev.lock
	@printf '%s\n' "$(CURDIR)/operator" "$(CURDIR)/deploy/local" > "$$($(PY) -c 'import site; print(site.getsitepackages()[0])')/remediator.pth"
	@printf '#!/bin/sh\nexec "%s" -m remediator.cli.main "$$@"\n' "$(CURDIR)/$(PY)" > $(VENV)/bin/kubectl-remediate; chmod +x $(VENV)/bin/kubectl-remediate
	@touch $@

install: $(STAMP) ## Make the virtual environment with pinned dependencies

lock: $(STAMP) ## Resolve the dependencies again into requirements/*.lock
	$(VENV)/bin/uv pip compile -q pyproject.toml --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/runtime.lock
	$(VENV)/bin/uv pip compile -q pyproject.toml --group kind --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/kind.lock
	$(VENV)/bin/uv pip compile -q pyproject.toml --group fuzz --constraints requirements/runtime.lock --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/fuzz.lock
	$(VENV)/bin/uv pip compile -q pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/dev.lock

check: $(STAMP) ## Lint, types and import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy operator/remediator deploy/local/localcluster deploy/local/localdemo deploy/local/demo.py
	PYTHONPATH=operator $(VENV)/bin/lint-imports --no-cache

generate: $(STAMP) ## Write the CRDs, the RBAC and the reference from the code
	$(RUN) -m remediator.generate

verify: generate ## Fail where a generated file is not what the code says
	@git diff --exit-code --stat -- crds deploy operator/reference || { echo 'generated files differ: run `make generate` and commit what it writes' >&2; exit 1; }

test-fast: $(STAMP) ## Unit, contract and scenario tests, and the short search: no server
	$(PY) -m pytest -q -n auto --dist worksteal -m 'not cluster' tests/unit tests/contract tests/scenario tests/model

test: test-fast cluster-build ## All tests, those on a real API server too
	$(PY) -m pytest -q tests/cluster

test-kind: ## The image on a kind cluster; needs Docker, and a virtual environment of its own
	python3 -m venv .venv-kind && .venv-kind/bin/pip install -q 'uv==0.13.8'
	.venv-kind/bin/uv pip install -q --python .venv-kind/bin/python --require-hashes -r requirements/kind.lock
	.venv-kind/bin/python -m pytest -q -m kind --override-ini addopts=--import-mode=importlib tests/kind

fuzz: ## Feed a parser with anything (TARGET=payload SECONDS=60); see tests/fuzzing
	test -x .venv-fuzz/bin/uv || { python3 -m venv .venv-fuzz && .venv-fuzz/bin/pip install -q 'uv==0.13.8'; }
	.venv-fuzz/bin/uv pip install -q --python .venv-fuzz/bin/python --require-hashes -r requirements/fuzz.lock
	mkdir -p .fuzz && PYTHONPATH=operator:tests nice -n 10 .venv-fuzz/bin/python -m fuzzing $(TARGET) --seconds $(SECONDS) --corpus .fuzz

cluster-build: $(STAMP) ## Build the local cluster's binaries, once
	$(RUN) -m localcluster build

cluster-up: $(STAMP) ## Start a cluster on this machine (NAME=dev REAL=0|1 SIMULATED=n)
	$(RUN) -m localcluster up --name $(NAME) --real $(REAL) --simulated $(SIMULATED)

cluster-down: $(STAMP) ## Stop it and leave nothing behind
	$(RUN) -m localcluster down --name $(NAME)

cluster-status: $(STAMP) ## What runs, where, and how to reach it
	$(RUN) -m localcluster status

SEEDS ?= 1..20
REPLICAS ?= 2
RESULTS ?= .chaos/results.jsonl
.PHONY: chaos
chaos: $(STAMP) cluster-build ## Seeds of faults on a real API server (SEEDS=1..20 REPLICAS=2 RESULTS=file ARGS=--help)
	@PYTHONPATH=operator:deploy/local:tests $(PY) -m chaos --seeds $(SEEDS) --replicas $(REPLICAS) --results $(RESULTS) $(ARGS)

demo: $(STAMP) ## From a firing alert to a verified remedy, live (KEEP=1 leaves it running)
	@$(RUN) deploy/local/demo.py $(if $(filter-out 0,$(KEEP)),--keep)

demo-down: $(STAMP) ## Stop what `make demo KEEP=1` left running
	@$(RUN) -m localcluster down --name demo

bench: $(STAMP) ## What it costs beside the raw API calls (CASE="single …" REPEATS=n OUTPUT=table|json HELP=1)
	@$(BENCH) $(if $(filter-out 0,$(HELP)),--help) $(if $(OUTPUT),-o $(OUTPUT)) $(if $(REPEATS),--repeats $(REPEATS)) $(CASE)

model: $(STAMP) ## Search every order of faults and events for a broken promise (SECONDS_EACH=n ONLY=text)
	@PYTHONPATH=operator:tests $(PY) -m model --seconds $(SECONDS_EACH) --only '$(ONLY)' --json .model.json

clean: ## Remove what the targets made, except the cache of binaries
	-test ! -x $(PY) || $(RUN) -m localcluster down --all
	rm -rf $(VENV) .bench .model.json .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
