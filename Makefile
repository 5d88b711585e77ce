# PYTHON makes the virtual environment VENV; everything else runs inside it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Empty files that date the last installation.
RUNTIME := $(VENV)/.installed-runtime
TESTS := $(VENV)/.installed-tests
DOCS := $(VENV)/.installed-docs
RELEASE := $(VENV)/.installed-release
# Detection and segmentation: the full mmcv and mmcv-lite exclude each other.
DENSE_VENV ?= .venv-dense
DENSE_BIN := $(DENSE_VENV)/bin
DENSE := $(DENSE_VENV)/.installed

# Tests run in as many processes, each on one thread.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help install install-dense demo test test-fast test-dense lint docs wheel

help:
	@echo 'make install   create $(VENV) and install the pinned requirements'
	@echo 'make demo      train a small teacher, then LAKD, on digits; print a table'
	@echo 'make test      lint and run all tests'
	@echo 'make test-fast   lint and run the tests of single units, in minutes'
	@echo 'make lint      ruff only'
	@echo 'make docs      build the site in docs/_build/html; a warning is an error'
	@echo 'make wheel     build dist/ and check it'
	@echo 'make install-dense, make test-dense   the same for detection and segmentation in'
	@echo '               $(DENSE_VENV); builds mmcv (MAX_JOBS=N CFLAGS=-O0 hasten it)'

install: $(RUNTIME)

install-dense: $(DENSE)

demo: $(RUNTIME)
	$(BIN)/python tools/demo.py

test: lint
	$(PYTEST) -rs

test-fast: lint
	$(PYTEST) -m 'not slow and not dense and not gpu'

test-dense: $(DENSE)
	$(DENSE_BIN)/python -m pytest -rs tests/test_dense

lint: $(TESTS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

docs: $(DOCS)
	$(BIN)/python -m sphinx -E -a -W --keep-going -q -b html docs docs/_build/html

wheel: $(RELEASE)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements/runtime.txt setup.py pyproject.toml | $(BIN)/python
	$(PIP) install -r requirements/runtime.txt
	$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(TESTS): requirements/tests.txt $(RUNTIME)
	$(PIP) install -r requirements/tests.txt
	@touch $@

$(DOCS): requirements/docs.txt $(RUNTIME)
	$(PIP) install -r requirements/docs.txt
	@touch $@

$(RELEASE): requirements/release.txt | $(BIN)/python
	$(PIP) install -r requirements/release.txt
	@touch $@

# mmcv's build reads torch, setuptools and ninja from the environment that it is built in.
$(DENSE): requirements/runtime.txt requirements/tests.txt requirements/dense.txt setup.py
	$(PYTHON) -m venv $(DENSE_VENV)
	sed -e '/^-r/d' -e '/^mmcv-lite/d' requirements/runtime.txt requirements/tests.txt \
		> $(DENSE_VENV)/requirements.txt
	$(DENSE_BIN)/python -m pip install -r $(DENSE_VENV)/requirements.txt ninja psutil wheel
	PATH="$(abspath $(DENSE_BIN)):$$PATH" MMCV_WITH_OPS=1 $(DENSE_BIN)/python -m pip install \
		--no-build-isolation -r requirements/dense.txt
	$(DENSE_BIN)/python -m pip install --no-build-isolation --no-deps -e .
	@touch $@
