# PYTHON makes the virtual environment VENV; everything else runs inside it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Empty files that date the last installation.
RUNTIME := $(VENV)/.installed-runtime
TESTS := $(VENV)/.installed-tests

.PHONY: help install demo test lint

help:
	@echo 'make install   create $(VENV) and install the pinned requirements'
	@echo 'make demo      train a small teacher, then LAKD, on digits; print a table'
	@echo 'make test      lint and run all tests'
	@echo 'make lint      ruff only'

install: $(RUNTIME)

demo: $(RUNTIME)
	$(BIN)/python tools/demo.py

test: lint
	$(BIN)/python -m pytest -rs

lint: $(TESTS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements/runtime.txt setup.py pyproject.toml | $(BIN)/python
	$(PIP) install -r requirements/runtime.txt
	$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(TESTS): requirements/tests.txt $(RUNTIME)
	$(PIP) install -r requirements/tests.txt
	@touch $@
