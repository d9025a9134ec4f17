# Each target first makes .venv hold what it needs (scripts/install.sh); the second time that takes no network.
BIN := .venv/bin
# Two OpenMP teams on two cores are many times slower than one thread each.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
TYPED := src $(patsubst %/,%,$(sort $(dir $(wildcard benchmarks/*.py docs/*.py examples/*.py))))
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow faults test-cluster lint format types docs bench clean run-env dev-env

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: run-env ## Run sweeps/quickstart.yaml and write its report (minutes on two cores)
	@$(ONE_THREAD) $(BIN)/bellmark sweep run sweeps/quickstart.yaml --report reports/quickstart

test: dev-env ## Run the tests; ARGS="-k config" hands arguments to pytest
	@$(ONE_THREAD) $(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-slow: dev-env ## Run the learning checks that take minutes
	@$(ONE_THREAD) $(BIN)/python -m pytest -m slow --timeout 3600 $(ARGS)

faults: dev-env ## Train the doctor's planted faults and healthy runs (an hour; resumable) and write docs/health_evidence.md
	@$(ONE_THREAD) $(BIN)/python tests/health/faults/suite.py --workers 2 $(ARGS)

test-cluster: dev-env ## Run the launchers on a real Slurm and Ray on this machine (installs slurm-wlm by apt)
	@$(ONE_THREAD) scripts/cluster.sh $(ARGS)

lint: dev-env ## Check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: dev-env ## Fix style and format where that is safe
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: dev-env ## Check types
	@$(BIN)/mypy $(TYPED)

docs: dev-env ## Generate docs/knobs.md, docs/cli.md and docs/health.md
	@$(BIN)/python docs/generate.py

bench: dev-env ## Run every benchmark; results go to benchmarks/results
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean: ## Remove caches and build products; .venv, runs and reports stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

run-env:
	@scripts/install.sh run

dev-env:
	@scripts/install.sh dev
