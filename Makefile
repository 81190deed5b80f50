# Every target makes what it needs inside .venv, from the pinned requirements; nothing else on the machine changes.
# `make PYTHON=/path/to/python3.11 …` chooses an interpreter by hand.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
# Imports are most of what a start costs: compiled once here, not in every process.
COMPILED := --compile-bytecode
RUNTIME := $(VENV)/.stamp-runtime
DEV := $(VENV)/.stamp-dev

export PYTHONPATH := $(CURDIR)/include
# Someone's active environment or Airflow must not leak in.
unexport VIRTUAL_ENV AIRFLOW_HOME AIRFLOW_CONFIG PYTHONHOME

.PHONY: help demo up test test-unit test-dags test-integration test-long lint format bench validate lock install clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(RUNTIME) ## Run the whole loop on real flights, print the story, exit
	@$(BIN)/keel demo

up: $(RUNTIME) ## Start Airflow, MLflow and the scoring service here with live replayed traffic, until Ctrl-C
	@$(BIN)/keel up

test: test-unit test-dags test-integration ## Run the tests: unit, DAGs, real servers

test-unit: $(DEV) ## Run the unit tests and doctests only (no servers)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow' --ignore include/keel/store/database/migrations include/keel tests/unit

# Apart from the unit tests: servers are not to be started by a process that Airflow, MLflow and their threads have grown
# large, which a system short of memory refuses to fork. Each of the two processes makes an Airflow database of its own.
test-dags: $(DEV) ## Run the DAG tests: policy, structure and every branch, without a scheduler
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow' tests/dags

test-integration: $(DEV) ## Run the tests against real servers: Airflow, MLflow, PostgreSQL, the scoring service
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow' tests/integration

# In this order: what starts servers before a process has grown large, and small files last, when one process has ended.
test-long: LONG := -n 2 --dist loadfile --no-loadscope-reorder
test-long: $(DEV) ## Run the long suites: what is marked slow; chaos and simulations at the size that CI has time for
	$(BIN)/python -m pytest $(LONG) -m slow tests/integration tests/dags tests/unit
	$(BIN)/python -m pytest $(LONG) tests/chaos tests/simulations

lint: $(DEV) ## Check style, formatting, types and the floors (what pre-commit and CI run)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## Rewrite what ruff can put right by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(RUNTIME) ## Measure the drift check, report and overview beside scipy, Evidently and NannyML, live monitors beside river's, the service beside MLflow's
	@$(BIN)/python -m benchmarks.bench_drift
	@PYTHONPATH=include:. $(BIN)/python -m benchmarks.bench_live
	@PYTHONPATH=include:. $(BIN)/python -m benchmarks.bench_report
	@PYTHONPATH=include:plugins:. $(BIN)/python -m benchmarks.bench_overview
	@$(BIN)/python -m benchmarks.bench_serving

validate: $(DEV) ## Run the long suites at full size, measure the stated error rates and write docs/statistics.md's tables
	@KEEL_FULL_SIZE=1 $(BIN)/python -m pytest tests/chaos tests/simulations tests/integration/web/test_fuzzing.py --timeout 7200
	@PYTHONPATH=include:. $(BIN)/python -m benchmarks.validate

lock: $(VENV)/.stamp-uv ## Compile requirements*.in into the pinned requirements*.txt
	$(BIN)/uv pip compile --quiet --python $(BIN)/python requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --python $(BIN)/python requirements-dev.in -o requirements-dev.txt

install: $(DEV) ## Make .venv with everything, for an editor

clean: ## Remove .venv and the tools' caches; .keel, which holds data, stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-python:
	@for candidate in $(PYTHON) $$(type -aP python3.11 python3 python || true); do \
	  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$candidate"; \
	    "$$candidate" -m venv --clear $(VENV) && touch $@; exit; \
	  fi; \
	done; \
	echo "Keel needs Python 3.11 with its venv module, and found none of that kind on PATH" >&2; \
	for found in $$(type -aP python3.11 python3 python || true); do \
	  echo "  $$found: $$("$$found" -c 'import sys, ensurepip; print("Python", sys.version.split()[0])' 2>&1 | tail -n 1)" >&2; \
	done; \
	echo "Install Python 3.11, or name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1

$(VENV)/.stamp-uv: $(VENV)/.stamp-python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(RUNTIME): requirements.txt pyproject.toml $(VENV)/.stamp-uv
	@echo "Installing what Keel needs into $(VENV) (a few minutes the first time)"
	@$(INSTALL) $(COMPILED) -r requirements.txt
	@$(INSTALL) --no-deps --editable .
	@touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	@echo "Installing what tests and linting need"
	@$(INSTALL) $(COMPILED) -r requirements-dev.txt
	@touch $@
