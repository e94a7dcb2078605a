# The front door: `make launch` runs a node, `make test` runs everything that `.ci/run` demands.
VENV := .venv
PY := $(VENV)/bin/python
STATE := $(CURDIR)/.state
IPRANGE := 10.32.0.0/12
FUZZ_SECONDS := 600

.DEFAULT_GOAL := help
.PHONY: help env launch test lint coverage bench campaign mutants explore fuzz soak report clean

help:            ## what there is
	@grep -E '^[a-z]+: .*##|^[a-z]+:  .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

# the package is installed from here, but for the CNI program, which is compiled when that is done
$(VENV)/.stamp: pyproject.toml hatch_build.py $(wildcard ringipam/integrations/cni/program/*.c)
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --editable '.[dev]'
	@touch $@

env: $(VENV)/.stamp   ## the virtual environment, with the package installed into it

launch: env      ## one node on the embedded store, state in .state/
	@mkdir -p $(STATE)
	@echo "in another shell:  export RINGIPAM_SOCKET=$(STATE)/ringipam.sock  &&  $(VENV)/bin/ringipam allocate c1"
	$(VENV)/bin/ringipam launch --iprange $(IPRANGE) --data-dir $(STATE)/data --socket $(STATE)/ringipam.sock

# one more than there are cores, as some workers wait: for engines to start, for grace to pass, for the dead to be noticed
test: lint       ## style, types, storeys and every test
	$(PY) -m pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder

lint: env        ## ruff, mypy and the import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

coverage: env    ## the tests again, with branch coverage
	$(VENV)/bin/coverage run -m pytest -q
	$(VENV)/bin/coverage report

bench: env       ## ringipam, its rivals and what the machine allows, in one run (docs/performance.md); then gossip and simulator
	@mkdir -p $(STATE)
	$(PY) -m benchmarks --json $(STATE)/bench.json --plots $(STATE)
	$(PY) -m benchmarks.gossip
	$(PY) -m benchmarks.simulator

campaign: env    ## 20,000 standard seeds and 20 long ones; goes on where it was broken off
	@mkdir -p $(STATE)
	$(PY) -m sim campaign --seeds 0..19999 --log $(STATE)/campaign.log
	$(PY) -m sim campaign --seeds 0..19 --nodes 20 --seconds 600

mutants: env     ## broken variants of the core: which checker catches each, within how many seeds
	$(PY) -m sim mutants

explore: env     ## every interleaving of small worlds
	$(PY) -m sim explore

fuzz: env        ## every fuzzing target for FUZZ_SECONDS, led by coverage; what breaks is kept for `make test`
	$(PY) -m pip install --quiet --editable '.[dev,fuzz]'
	$(PY) tests/fuzz/campaign.py $(FUZZ_SECONDS)

soak: env        ## three hosts at work for an hour, killed and cut off at random; as root, for the cables
	$(PY) -m benchmarks.soak --minutes 60 --plot docs/img/soak.svg

report: env      ## predictions at 3 to 1,000 hosts, with plots
	$(PY) -m sim report

clean:           ## environment, caches and the state of `make launch`
	rm -rf $(VENV) $(STATE) .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
