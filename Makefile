# The two commands of a newcomer are `make run` and `make test`; both set up what is missing.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
INSTALLED := .venv/.installed
# The packages of the audit's tools stay apart from ours.
SECURITY := .venv/security
# A lock holds for each Python from 3.11 on and for each system. UPGRADE=1 moves what no
# requirements*.txt pins to its newest version; without it a lock keeps what it can.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
INSTALL := uv pip install --quiet --require-hashes
# Begun first, so that no worker is left with one of them when the others are done.
LONGEST := tests/test_on_postgresql.py tests/test_moves.py

# DVC's stages call `python`: it must be the one of .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Without byte-compiled packages every import takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint lock audit sbom stop setup bench soak clean help

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

lock: .venv/bin/uv  ## write requirements*.lock after a change of requirements*.txt; UPGRADE=1 for the newest of the rest
	$(LOCK) -o requirements.lock requirements.txt
	$(LOCK) -o requirements-api.lock --constraints requirements.lock requirements-api.txt
	$(LOCK) -o requirements-setup.lock requirements-setup.txt
	$(LOCK) -o requirements-security.lock requirements-security.txt

audit: $(SECURITY)/.installed  ## look for known holes: in the code, the workflows, the locked packages
	$(SECURITY)/bin/bandit --quiet --recursive --configfile pyproject.toml src
	$(SECURITY)/bin/zizmor --quiet .github
	$(SECURITY)/bin/pip-audit --strict --disable-pip --require-hashes \
		-r requirements.lock -r requirements-setup.lock -r requirements-security.lock

sbom: $(SECURITY)/.installed  ## write sbom.json, the packages in the API's image, as CycloneDX
	uv venv --quiet --clear --python .venv/bin/python .venv/image
	$(INSTALL) --python .venv/image -r requirements-api.lock
	$(SECURITY)/bin/cyclonedx-py environment --output-file sbom.json .venv/image

stop:  ## stop the MLflow server that this checkout started
	@test ! -x .venv/bin/python || python src/stop_mlflow.py

bench: $(INSTALLED)  ## measure the pipeline, big tables, rollback, serving and scoring, each beside what it is compared with
	python benchmarks/bench_pipeline.py
	python benchmarks/bench_tables.py
	python benchmarks/bench_rollback.py
	python benchmarks/bench_serving.py

soak: $(INSTALLED)  ## ten minutes of calls while all goes wrong, then 100,000 hostile requests; SOAK_SECONDS=60 for less
	python benchmarks/soak.py
	python benchmarks/fuzz.py

setup: $(INSTALLED)  ## make .venv with all packages

clean: stop  ## remove .venv and caches; data, models and the MLflow server's storage stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

$(INSTALLED): requirements.lock .venv/bin/uv
	@echo "installing the packages of requirements.lock into .venv (a minute or two)"
	@$(INSTALL) --python .venv/bin/python --compile-bytecode -r requirements.lock \
		--build-constraints requirements-setup.lock \
		--require-build-hashes --preview-features build-dependency-hashes
	@touch $@

$(SECURITY)/.installed: requirements-security.lock .venv/bin/uv
	@uv venv --quiet --clear --python .venv/bin/python $(SECURITY)
	@$(INSTALL) --python $(SECURITY) -r requirements-security.lock
	@touch $@

.venv/bin/uv: requirements-setup.lock
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed and not found; install it or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv
	@python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-setup.lock
	@touch $@
