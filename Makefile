# Everything a person or a CI machine does with this repository. `make` alone lists the targets.
# Needed: bash, make, git and Python 3.11 or newer; what else there is to have is fetched or built on first use.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# uv: the machine's own, else one in a virtual environment in the user's cache.
CACHE := $(or $(AMEIDE_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ameide-operators)
CACHED_UV := $(CACHE)/uv/bin/uv
UV_WHEEL := 'uv>=0.9,<1'
UV := $(shell command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1 && command -v uv || echo $(CACHED_UV))
export UV

PYTHON := .venv/bin/python
SOURCES := operators dev charts bench docs examples
# Further arguments for pytest, bench and the demo, for instance: make test ARGS='-k queue'
ARGS ?=
# Each test worker has a platform of its own: about 1 GB of memory and one core.
WORKERS ?= 2

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/.ready ## Install all dependencies, locked, into .venv (uv itself too, if it is missing)

.PHONY: demo
demo: setup ## Start a local platform, install the chart, and have all four kinds at work on it
	$(PYTHON) -m ameide_dev demo $(ARGS)

.PHONY: tutorial
tutorial: setup ## Start the platform that docs/tutorial.md begins with, and keep it up
	$(PYTHON) -m ameide_dev tutorial $(ARGS)

.PHONY: test
test: setup ## Run all tests; ARGS goes to pytest
	$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

.PHONY: rights
rights: setup ## After `make test`: compare the chart's roles with what operators asked of the API server
	$(PYTHON) -m ameide_dev.testing.rights

.PHONY: check
check: setup ## Look without changing: format, lint, types, import contracts, generated files, links
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/mypy operators/*/src dev/src bench docs $(patsubst %/pyproject.toml,%/src,$(wildcard examples/*/pyproject.toml))
	.venv/bin/lint-imports
	.venv/bin/zizmor --offline --quiet .github
	$(PYTHON) -m docs.generate --check
	$(PYTHON) -m docs.links

.PHONY: generate
generate: setup ## Write the generated files anew: CRDs, the chart's copy of them, reference pages
	$(PYTHON) -m docs.generate

.PHONY: docs
docs: | $(UV) ## Build the site of the documentation into out/site, strictly
	$(UV) run --locked --isolated --only-group docs python -m docs.website

.PHONY: fmt
fmt: setup ## Format, and mend what the linter can mend
	.venv/bin/ruff format $(SOURCES)
	.venv/bin/ruff check --fix $(SOURCES)

.PHONY: images
images: setup ## Build the operators' release images without Docker and tell their sizes (root; buildah, debootstrap)
	$(PYTHON) -m ameide_dev images $(ARGS)

.PHONY: acceptance-node
acceptance-node: setup ## Run images and chart on a real node: containerd, kubelet, Flyway in a Job (root)
	$(PYTHON) -m ameide_dev acceptance-node $(ARGS)

.PHONY: bench
bench: setup ## Measure the Domain operator on throw-away control planes; ARGS goes to it
	# As images have it: kopf imports the `kubernetes` package where it finds it, which is 11 MiB.
	UV_PROJECT_ENVIRONMENT=out/bench-venv $(UV) sync --quiet --frozen --no-dev --package domain-operator
	$(PYTHON) -m bench --program out/bench-venv/bin/domain-operator $(ARGS)

.PHONY: clean
clean: ## Remove what was made in this folder (the cache in ~/.cache/ameide-operators stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* out dist

.venv/.ready: pyproject.toml uv.lock $(wildcard operators/*/pyproject.toml dev/pyproject.toml) | $(UV)
	$(UV) sync --locked --all-packages
	@touch $@

# In a virtual environment; where Python came without that module, into the plain folder.
$(CACHED_UV):
	@echo "uv is not on this machine: installing it into $(CACHE)/uv" >&2
	( python3 -m venv $(CACHE)/uv && $(CACHE)/uv/bin/python -m pip install --quiet $(UV_WHEEL) ) \
	  || python3 -m pip install --quiet --upgrade --target $(CACHE)/uv $(UV_WHEEL)
