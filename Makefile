# make demo | make test | make serve   set up everything they need first, in .venv
# make check (lint, types)   make bench (figures for docs/benchmarks.md)   make clean

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first of these that is Python 3.11 or newer.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STATE_DIR ?=
PORT =

.PHONY: help demo test serve check unit bench clean

help:
	@sed -n '1,2s/^# //p' Makefile

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "StillDB needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python3.11)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/python demo/main_job.py

serve: $(VENV)/.run
	$(BIN)/stilldb serve $(if $(STATE_DIR),--state-dir "$(STATE_DIR)") $(if $(PORT),--port $(PORT))

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/pytest tests/architecture tests/unit

test: check
	$(BIN)/pytest

bench: $(VENV)/.dev
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) .bench .mypy_cache .ruff_cache .pytest_cache
