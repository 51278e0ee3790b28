# `make install` sets everything up in .venv, `make serve` starts a server, `make test` and `make check` are what CI runs.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
RUNTIME := .venv/.runtime
STAMP := .venv/.installed
PROMISES := .venv/.promises
CHECK_PYTHON := $(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Filestead needs Python 3.11 or newer; name one with make PYTHON=...")' && \
	{ $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) makes no virtual environments: apt-get install python3-venv" >&2; exit 1; }; }
.DEFAULT_GOAL := help
.PHONY: help install serve test check format docs bench bench-full torture lock clean needs-test needs-bench needs-torture

help:           ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## all set-up from a fresh clone

# What a server needs, and what builds the package.
$(RUNTIME): requirements/runtime.txt requirements/build.txt pyproject.toml
	@$(CHECK_PYTHON)
	@echo "Installing Filestead's packages into .venv (once) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMP): $(RUNTIME) requirements/dev.txt
	@echo "Installing the tools of checks and tests into .venv (once, 1.2 GB) ..."
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

# Before anything is installed; by the Python of .venv if there is one, which may be newer than the system's.
needs-test needs-bench needs-torture:
	@[ -x $(BIN)/python ] || { $(CHECK_PYTHON); }
	@python=$(BIN)/python; [ -x $$python ] || python=$(PYTHON); $$python tests/support/preflight.py $(@:needs-%=%)

serve: $(RUNTIME)  ## install what a server needs, then serve on 127.0.0.1:8080 with ./data
	$(BIN)/filestead serve

test: needs-test install  ## install, then every test; those of the server once more on PostgreSQL and S3
	@if command -v npm >/dev/null; then cd tests/e2e/node && npm ci --silent --no-audit --no-fund; fi
	@rm -f $(PROMISES)
	PROMISES_RECORD=$(PROMISES) $(BIN)/pytest -n 3
	PROMISES_RECORD=$(PROMISES) $(BIN)/pytest -n 3 --profile shared tests/api tests/e2e tests/client tests/console

check: install  ## format, lint, types, import contracts, generated documents and modules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m filestead.settings | diff docs/configuration.md -
	$(BIN)/python -m filestead.cli.docs | diff docs/cli.md -
	$(BIN)/python -m filestead.cli.man | diff docs/filestead.1 -
	$(BIN)/python -m filestead.metrics | diff docs/metrics.md -
	$(BIN)/python scripts/generate_sync_client.py --check

format: install ## write the format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install   ## write the generated documents, and the synchronous client
	$(BIN)/python -m filestead.settings > docs/configuration.md
	$(BIN)/python -m filestead.cli.docs > docs/cli.md
	$(BIN)/python -m filestead.cli.man > docs/filestead.1
	$(BIN)/python -m filestead.metrics > docs/metrics.md
	$(BIN)/python scripts/generate_sync_client.py

bench: needs-bench install  ## measure beside other programs, and plot it: 15 minutes at most
	$(BIN)/python -m bench --plot

bench-full: needs-bench install  ## the long measures, too: up to an hour
	$(BIN)/python -m bench --full --plot

torture: needs-torture install  ## long runs of kills and repetitions, and foreign client programs: up to 80 minutes
	$(BIN)/python -m tests.support.torture

lock: install   ## renew requirements/*.txt from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra server --extra postgres --extra s3 --extra otel pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra server --extra postgres --extra s3 --extra search --extra otel --extra dev pyproject.toml -o requirements/dev.txt
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
		$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements/dev.txt - -o requirements/build.txt

clean:          ## remove what `make install` made
	rm -rf .venv tests/e2e/node/node_modules
