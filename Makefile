# The two commands of a newcomer are `make run` and `make test`; both set up what is missing.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
UV := uv==0.13.9
INSTALLED := .venv/.installed
# Begun first, so that no worker is left with one of them when the others are done.
LONGEST := tests/test_on_postgresql.py tests/test_moves.py

# DVC's stages call `python`: it must be the one of .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Without byte-compiled packages every import takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint stop setup bench clean help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/'

run: $(INSTALLED)  ## train, promote if nothing is in production, and serve at http://127.0.0.1:8000
	python src/start_mlflow.py
	dvc repro
	python src/promote.py --if-unset
	python src/api.py

test: $(INSTALLED)  ## run the tests
	OMP_WAIT_POLICY=passive python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(LONGEST) tests

lint: $(INSTALLED)  ## check style and types
	ruff check .
	ruff format --check .
	mypy

stop:  ## stop the MLflow server that this checkout started
	@test ! -x .venv/bin/python || python src/stop_mlflow.py

bench: $(INSTALLED)  ## measure the pipeline, big tables, rollback, serving and scoring, each beside what it is compared with
	python benchmarks/bench_pipeline.py
	python benchmarks/bench_tables.py
	python benchmarks/bench_rollback.py
	python benchmarks/bench_serving.py

setup: $(INSTALLED)  ## make .venv with all packages

clean: stop  ## remove .venv and caches; data, models and the MLflow server's storage stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

$(INSTALLED): requirements.txt requirements-api.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed and not found; install it or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "installing the packages of requirements.txt into .venv (a minute or two)"
	@"$(PYTHON)" -m venv .venv
	@python -m pip install --quiet --disable-pip-version-check $(UV)
	@uv pip install --quiet --python .venv/bin/python --compile-bytecode -r requirements.txt
	@touch $@
