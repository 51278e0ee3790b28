# `make install` sets everything up in .venv, `make serve` starts a server, `make test` and `make check` are what CI runs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
.DEFAULT_GOAL := help
.PHONY: help install serve test check format docs bench lock clean

help:           ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## all set-up from a fresh clone

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Filestead needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

serve: install  ## install, then serve on 127.0.0.1:8080 with ./data
	$(BIN)/filestead serve

test: install   ## install, then every test; those of the server once more on PostgreSQL and S3
	@[ "$$CI" != true ] || for program in curl openssl zsh fish pgbouncer; do command -v $$program >/dev/null || missing="$$missing $$program"; \
		done; [ -z "$$missing" ] || (apt-get update -qq && apt-get install -y -qq $$missing)
	@if command -v npm >/dev/null; then cd tests/e2e/node && npm ci --silent --no-audit --no-fund; fi
	$(BIN)/pytest -n 2
	$(BIN)/pytest -n 2 --profile shared tests/api tests/e2e tests/client

check: install  ## format, lint, types, import contracts, generated documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m filestead.settings | diff docs/configuration.md -
	$(BIN)/python -m filestead.cli.docs | diff docs/cli.md -

format: install ## write the format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install   ## write the generated documents
	$(BIN)/python -m filestead.settings > docs/configuration.md
	$(BIN)/python -m filestead.cli.docs > docs/cli.md

bench: install  ## measure against nginx, side by side
	$(BIN)/python -m bench

lock: install   ## renew requirements/*.txt from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra server --extra postgres --extra s3 pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra server --extra postgres --extra s3 --extra dev pyproject.toml -o requirements/dev.txt

clean:          ## remove what `make install` made
	rm -rf .venv tests/e2e/node/node_modules
