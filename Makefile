# One word per action, the same on a laptop and in CI.
# A fresh machine needs Python 3.11 or 3.12, make and git; everything else is installed into .venv.
.DEFAULT_GOAL := help
.PHONY: help run promote quick test acceptance robosuite attack attack-short mutants simulate-releases check fix lock bench learn serve image signature

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Compiled files are kept, whatever the shell says: rewriting the asserts of 300 files takes each worker seconds.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
# All that these hold has the markers of their names, which `make quick` and `make test` leave out.
OTHERS := --ignore tests/acceptance --ignore tests/attack
# Temporary folders in memory where 4 GiB of it are free for files: each of thousands of syncs to a disk takes 4 ms.
# Not for all tests, as one is of a file that an own module opens, and files below /dev are no such files.
MEMORY := $(shell test "$$(df --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 4194304 2>/dev/null && echo PYTEST_DEBUG_TEMPROOT=/dev/shm)
PEERS := .peers
PEERS_READY := $(PEERS)/.ready
ROBOT := .robot
ROBOT_READY := $(ROBOT)/.ready
CLIENTS := .clients
CLIENTS_READY := $(CLIENTS)/.ready
ROBOSUITE := .robosuite
ROBOSUITE_READY := $(ROBOSUITE)/.ready
LOCKED_EXTRAS := serve train pipeline postgresql robotics box2d dev
COMPILERS := .compilers
COMPILERS_READY := $(COMPILERS)/.ready
MUTANTS := .mutants
MUTANTS_READY := $(MUTANTS)/.ready

help:            ## this list
	@grep -E '^[a-z-]+: .*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/'

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m sacpipe.kernels.build || echo "Everything but the native engine is installed."
	touch $@

# The programs that sacpipe is compared with, apart from everything else.
$(PEERS_READY): benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# What a robot installs: the base install with the extra `serve`, built from the source as it is now.
$(ROBOT_READY): requirements.lock pyproject.toml $(shell find sacpipe -type f -not -name '*.pyc')
	$(PYTHON) -m venv --clear $(ROBOT)
	rm -rf build
	$(ROBOT)/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock '.[serve]'
	touch $@

# Clients of the server's protocol, whose own pins do not fit beside ours.
$(CLIENTS_READY): tests/acceptance/clients/requirements.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The compiler of the extra `compiler`, for tests of what compilers make of the kernels.
$(COMPILERS_READY): tests/acceptance/compilers/requirements.txt
	$(PYTHON) -m venv $(COMPILERS)
	$(COMPILERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# robosuite, whose own pins exclude NumPy 2, on top of the product's environment, which it finds by a path file.
$(ROBOSUITE_READY): tests/robosuite_environment/requirements.txt $(READY)
	$(PYTHON) -m venv --clear $(ROBOSUITE)
	$(ROBOSUITE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"), "$(CURDIR)", sep="\n")' \
	  > "$$($(ROBOSUITE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/product.pth"
	touch $@

# The mutation tester, whose pins do not fit beside ours. It finds the product's packages by a path file.
$(MUTANTS_READY): tests/mutants/requirements.txt $(READY)
	$(PYTHON) -m venv --clear $(MUTANTS)
	$(MUTANTS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > "$$($(MUTANTS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/product.pth"
	touch $@

run: $(READY)    ## train, export and evaluate the task of params.yaml, register a candidate and judge it
	$(BIN)/sacpipe run --doctor

promote: $(READY)  ## make the last run's candidate the champion: make promote REASON="WHY"
	$(BIN)/sacpipe promote --reason "$(REASON)"

quick: $(READY)  ## the tests that take less than a fifth of a second each; one minute
	$(MEMORY) $(PYTEST) $(OTHERS) -m "not slow and not acceptance and not attack" --durations 10 --durations-min 1

test: $(READY)   ## all tests but those of `make acceptance`; 10 minutes
	$(PYTEST) $(OTHERS) -m "not acceptance and not attack"

# Its tests of the kernels need Debian's g++, binutils, qemu-user and g++-aarch64-linux-gnu beside .compilers.
acceptance: $(READY) $(ROBOT_READY) $(CLIENTS_READY) $(COMPILERS_READY)  ## fresh environments, real servers, kills, long runs; up to 40 minutes
	$(PYTEST) -m acceptance --durations 15 --durations-min 20

robosuite: $(ROBOSUITE_READY)  ## an environment with robosuite, and the tests of its tasks; up to 15 minutes
	$(ROBOSUITE)/bin/python -m pytest tests/robosuite_environment

attack: $(READY)  ## hostile clients, damaged bundles, broken surroundings; up to 40 minutes
	ATTACK_SECONDS=5 ATTACK_PEERS=8 $(BIN)/python -m pytest -m attack tests/attack

attack-short: $(READY)  ## some of every part of it, each for a moment; 4 minutes
	ATTACK_SHORT=1 ATTACK_SECONDS=0.5 ATTACK_PEERS=4 $(PYTEST) -m "attack and not slow" tests/attack

mutants: $(MUTANTS_READY)  ## change gate, graph rules, signature, store and guards; every change must fail a test; 20 minutes
	$(MUTANTS)/bin/python tests/mutants/run.py $(MODULES)

simulate-releases: $(READY)  ## lives of 100 release commands in a simulated world, 10,000 seeds; 16 minutes
	PYTHONPATH=.:tests/release $(BIN)/python -m simulated 0 10000

signature: $(READY)  ## one digest of what the native engine computes; it changes where a number does; 10 s
	@$(BIN)/python tests/signature.py --parts

check: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

fix: $(READY)    ## format, and repair what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Without the extra `compiler`: 438 MB, for machines that have no compiler of their own.
lock: $(READY)   ## resolve pyproject.toml into requirements.lock
	$(BIN)/pip-compile --quiet --strip-extras --allow-unsafe $(LOCKED_EXTRAS:%=--extra %) --no-header --no-annotate \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml
	sed -i -e 's/^\(torch==[0-9.]*\)+cpu$$/\1/' -e '/^pip==/d' requirements.lock

bench: $(READY) $(PEERS_READY)  ## speed beside the peers, replay, robot, orchestration; writes docs/results.md
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/replay.py
	$(BIN)/python benchmarks/runtime.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/soak.py
	$(BIN)/python benchmarks/attack.py
	$(BIN)/python benchmarks/orchestration.py

learn: $(READY) $(PEERS_READY)  ## learning curves beside the peers, most of a day; writes docs/results.md
	$(BIN)/python benchmarks/learning.py run
	$(BIN)/python benchmarks/learning.py draw

image: $(READY)  ## the robot's container image, built, run and asked; needs a container engine
	$(BIN)/python -m pytest --capture=no tests/acceptance/container_image.py

serve: $(READY)  ## serve the champion over HTTP on loopback
	$(BIN)/sacpipe serve
