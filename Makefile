# `make demo` and `make test` work from a fresh clone: Python 3.11 or later, gcc and make are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: build demo test lint types bench constraints clean

build: $(VENV)/.built

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Neve needs Python 3.11 or later; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

# All versions are pinned with their hashes. They are complete, so nothing is resolved and nothing else installed.
$(VENV)/.installed: constraints.txt | $(BIN)/python
	$(PIP) --no-deps --require-hashes --requirement constraints.txt
	touch $@

SOURCES := $(shell find lexer -name '*.[ch]' -o -name '*.re' -o -name '*.pyx' -o -name CMakeLists.txt)

# The generators (re2c, Cython, CMake) are in the environment already: no isolation, nothing fetched.
$(VENV)/.built: $(VENV)/.installed pyproject.toml $(SOURCES)
	. $(BIN)/activate && $(PIP) --no-deps --no-build-isolation --editable .
	touch $@

demo: build
	$(BIN)/python deploy/demo.py

test: build
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: build
	$(BIN)/mypy

bench: build
	$(BIN)/python -m bench.lexer --quick
	$(BIN)/python -m bench.ingest --quick

# Take newer versions: needs uv (`pip install uv`).
constraints:
	uv pip compile --universal --python-version 3.11 --upgrade --generate-hashes --all-extras --all-build-deps \
	    --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml --output-file constraints.txt

clean:
	rm -rf build data $(VENV)
