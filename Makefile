# Every target makes what it needs, from a fresh clone on. `make help` lists them.
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
PYTHON ?= python3
TESTS ?= tests
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SuperEdge needs Python 3.11 or later: make PYTHON=python3.12")'
TRIAL := $(BIN)/python -W default -m twisted.trial --temp-directory $(VENV)/trial
# The tests start many processes: modules are compiled once, not in each of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo picture test test-lowest test-cluster lint bench controlplane docs ipam clean
help:
	@sed -n 's/^## //p' Makefile

$(VENV)/ready: pyproject.toml
	@$(CHECK_PYTHON)
	@echo "setting up $(VENV) (a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,lint,docs]'
	@touch $@ $(VENV)/demo

# What the demo runs on, without test tools and linters.
$(VENV)/demo: pyproject.toml
	@$(CHECK_PYTHON)
	@echo "setting up $(VENV) for the demo (half a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[testing]'
	@touch $@

## make demo          run the product's main job on embedded defaults: no cluster needed
demo: $(VENV)/demo
	@$(BIN)/python -m superedge.testing.demo $(ARGS)

## make picture       draw the demo's output for the README
picture: $(VENV)/demo
	@$(BIN)/python -m superedge.testing.demo --picture docs/demo.svg

## make test          unit tests and end-to-end tests that need Python alone
test: $(VENV)/ready
	@$(TRIAL) --jobs 4 $(TESTS)

## make test-lowest   the unit tests with the lowest versions of dependencies that pyproject.toml admits
test-lowest: $(LOWEST)/ready
	@$(LOWEST)/bin/python -W default -m twisted.trial --temp-directory $(LOWEST)/trial --jobs 4 $(TESTS)

$(LOWEST)/ready: pyproject.toml
	@echo "setting up $(LOWEST) (a minute, once)"
	@$(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/pip install --quiet --disable-pip-version-check uv
	@$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[test]'
	@touch $@

## make test-cluster  tests against a real control plane, and of faults: needs Go, root and Debian packages
test-cluster: $(VENV)/ready controlplane
	@SUPEREDGE_CLUSTER_TESTS=1 $(TRIAL) tests.cluster tests.interop tests.faults

## make lint          formatting, style, types, layers
lint: $(VENV)/ready
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy superedge tests
	@$(BIN)/lint-imports

## make bench         measurements, each side by side with a peer
bench: $(VENV)/ready
	@$(BIN)/python -m bench.tunnel $(ARGS)
	@$(BIN)/python -m bench.liteapiserver $(ARGS)
	@$(BIN)/python -m bench.http2 $(ARGS)
	@$(BIN)/python -m bench.registry
	@$(BIN)/python -m bench.health $(ARGS)
	@$(BIN)/python -m bench.dns
	@$(BIN)/python -m bench.netsnapshot
	@$(BIN)/python -m bench.ipam
	@$(BIN)/python -m bench.grid

## make docs          write the configuration reference and the CRDs from their types
docs: $(VENV)/ready
	@$(BIN)/python -m superedge.config.reference > docs/reference/configuration.md
	@$(BIN)/python -m superedge.grid.cloud.crds > deploy/kubernetes/grid-crds.yaml

## make ipam          the CNI plugin as one file, dist/superedge-ipam, to be run by IPAM_PYTHON
IPAM_PYTHON ?= /usr/bin/python3
ipam:
	@$(CHECK_PYTHON)
	@$(PYTHON) -m superedge.netsnapshot.ipam.singlefile dist/superedge-ipam $(IPAM_PYTHON)

## make controlplane  build the real control plane that test-cluster uses (minutes, once)
controlplane: $(VENV)/ready
	@$(BIN)/python -m tests.controlplane build

## make clean         remove what the other targets made here
clean:
	rm -rf $(VENV) $(LOWEST) dist build
