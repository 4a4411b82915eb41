# Only python3 (3.11 or newer, with venv) and make are needed; everything else is installed into .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run servers test bench chaos lint clean

PORT ?= 8000
STAMP := .venv/.installed
TOOLS := .venv/.tools

help: ## Show what there is
	@sed -n 's/^\([a-z]*\):.*## /make \1|/p' $(MAKEFILE_LIST) | column -t -s '|'

run: $(STAMP) ## Serve in demo mode on PORT (8000)
	@PORT=$(PORT) exec .venv/bin/smartoken serve --demo

servers: $(TOOLS) ## Install what some tests need: a MongoDB-wire server (built with Go) and Redis
	.venv/bin/python -m tests.servers install

test: $(TOOLS) ## Run all tests
	.venv/bin/pytest -n auto --dist loadfile $(PYTEST_ARGS)

bench: $(TOOLS) ## Measure speed on this machine
	.venv/bin/python -m tests.bench

chaos: $(TOOLS) ## Break things on purpose, for longer than the tests do
	.venv/bin/python -m tests.chaos

lint: $(TOOLS) ## Check style and likely mistakes
	.venv/bin/ruff check .

clean: ## Remove what was installed and built; data in var/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

# A change of dependencies or entry points is a change of setup.cfg.
$(STAMP): setup.cfg pyproject.toml
	@python=; \
	for name in python3.13 python3.12 python3.11 python3; do \
	  if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Smartoken needs Python 3.11 or newer with its venv module; install it (on Debian and Ubuntu:" \
	    "apt install python3 python3-venv) and run make again." >&2; exit 1; fi; \
	echo "Installing into .venv with $$($$python --version) ..."; \
	test -x .venv/bin/python || $$python -m venv .venv; \
	.venv/bin/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

# Running needs a third of what testing needs.
$(TOOLS): $(STAMP)
	.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@
