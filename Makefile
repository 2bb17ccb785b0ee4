# Every command of the project. A target's line after ## is what `make help` shows.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
CODE := appliance dns firewall webui hardware
UNIT := not netns and not browser and not image and not pi
# Most tests open a store, whose every change waits for the disk: in memory they don't, where there is a gigabyte of it.
MEMORY = $(shell df --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 > 1000000 {print "TMPDIR=/dev/shm"}')
# One more than there are cores: a test often waits for a program that it runs, or for a socket.
PROCESSES = $(shell echo $$(($$(nproc) + 1)))
IN_PARALLEL = $(MEMORY) $(BIN)/pytest -q -n $(PROCESSES) -o tmp_path_retention_policy=failed
# The image is to have it compiled: so the laboratory, the benchmark and the fuzzer run it.
COMPILED = PYTHONPATH=$$($(BIN)/python tools/compiled.py)
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-config \
	--no-emit-index-url --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade)

export PYTHON
# What is compiled of the tests is kept for the next run, whatever the shell says: each process would do it anew.
unexport PYTHONDONTWRITEBYTECODE
# CMD as typed, as one word of the shell: neither make nor the recipe's shell reads what is in it. Without it, a shell.
WORD = '$(subst ','\'',$(or $(value CMD),bash))'

.PHONY: help setup check static fix docs catalogues abi compiled test lab test-trixie demo pupil tablet staff guest box \
	bench-dns bench-firewall bench-policy bench-web fuzz-dns fuzz-firewall screenshots lock image image-test clean

help: ## show this list
	@awk -F ' *:.*## *' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv as the locks say (PYTHON=... for another interpreter)
	@tools/setup

check: setup static ## format, lint, types, layers, unit tests: no root, under two minutes
	$(IN_PARALLEL) -m "$(UNIT)"

static: setup ## format, lint, types, layers
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary $(CODE) tools
	$(BIN)/lint-imports --no-logo

fix: setup ## format, and mend what ruff mends safely
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

abi: setup ## write dns/gate_dns/libc_abi.py anew
	$(BIN)/python tools/libc_abi.py > dns/gate_dns/libc_abi.py

docs: setup ## write docs/configuration.md anew
	$(BIN)/python tools/configuration.py > docs/configuration.md

catalogues: setup ## bring the texts of the pages, in all languages, up to date; says how many want a translation
	$(BIN)/python tools/catalogues.py

compiled: setup ## the modules that every flow goes through, compiled; print their folder
	@tools/need setup-build
	@$(BIN)/python tools/compiled.py

test: compiled $(if $(T),,static) ## every check and test, in namespaces and a browser too (T=tests/dns for one folder)
	@tools/need run lab check test
	$(if $(T),,$(IN_PARALLEL) -m "$(UNIT)")
	$(if $(T),,$(COMPILED) $(IN_PARALLEL) -m "$(UNIT)" tests/firewall)
	$(COMPILED) $(BIN)/pytest -q -m "$(if $(T),,(netns or browser) and )not image and not pi" $(T)

lab: compiled ## the tests in network namespaces only
	@tools/need run lab check test
	$(COMPILED) $(BIN)/pytest -q -m netns

test-trixie: ## set-up, unit tests and resolver mode in a Debian 13 root (as root; builds it once into var/)
	@tools/trixie

demo: setup ## the appliance in a small school of network namespaces; Ctrl-C ends it
	@tools/need run lab
	@$(BIN)/python tests/lab/demo.py

pupil: ## run CMD='...' on the demo's pupil laptop
tablet: ## run CMD='...' on the demo's pupil tablet
staff: ## run CMD='...' on the demo's staff computer
guest: ## run CMD='...' on the demo's guest device
box: ## run CMD='...' on the demo's appliance, such as CMD='gate status'
pupil tablet staff guest box:
	@$(BIN)/python tests/lab/demo.py exec $(@:pupil=laptop) -- $(WORD)

bench-dns: setup ## CPU time of a DNS query, beside five other servers (as root, 20 minutes; BENCH=--help for less)
	@tools/need bench
	$(BIN)/python -m bench $(BENCH)

bench-firewall: compiled ## packets through the firewall, beside bridges, accept loops and Suricata (as root, 10 minutes; BENCH=--help for less)
	@tools/need run bench
	$(COMPILED) $(BIN)/python -m bench_firewall $(BENCH)

bench-policy: setup ## decisions, changes on the wire with 5,000 live flows, what-if (in network namespaces, about 20 minutes)
	@tools/need run lab
	$(BIN)/python tests/lab/bench_changes.py

bench-web: setup ## the pages over 10 million decisions, 50 people at once, and look-ups beside (as root, 10 minutes; BENCH=--help for less)
	@tools/need run bench test
	$(BIN)/python -m bench_web $(BENCH)

fuzz-dns: setup ## a million mutated messages to the readers of the sinkhole and of lists, and more (CAMPAIGN=... for a short one)
	PYTHONPATH=tests/vectors $(BIN)/python tests/fuzz/campaign.py dns $(CAMPAIGN)

fuzz-firewall: compiled ## a million mutated packets to the classifier, from its sources and compiled (CAMPAIGN=... for a short one)
	PYTHONPATH=tests/vectors $(BIN)/python tests/fuzz/campaign.py firewall $(CAMPAIGN)
	@# Atheris sees nothing of what is compiled.
	$(COMPILED):tests/vectors $(BIN)/python tests/fuzz/campaign.py firewall $(CAMPAIGN) --seconds 1

screenshots: setup ## take pictures of every page, of a made-up school, into var/screenshots
	@tools/need test
	$(BIN)/python webui/screenshots.py var/screenshots

lock: setup ## write locks/ anew from pyproject.toml (UPGRADE=1 for the newest versions)
	$(LOCK) pyproject.toml --group dev --output-file locks/dev.lock
	$(LOCK) pyproject.toml --constraint locks/dev.lock --output-file locks/run.lock
	$(LOCK) --group build --constraint locks/dev.lock --output-file locks/build.lock

image: ## build the SD image (not there yet)
image-test: ## boot the SD image (not there yet)
image image-test:
	@echo "The SD image is not built yet: see image-build/README.md." >&2; exit 2

clean: ## remove what the other commands made, .venv too
	rm -rf .venv var build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
