# make demo · make test · make lint · make bench: each builds .venv first when it is missing.

PYTHON ?= python3
PY := .venv/bin/python
DEMO := runs/demo

# uv where it is installed, else venv and pip.
ifneq ($(shell command -v uv 2>/dev/null),)
VENV := uv venv --quiet --allow-existing --python $(PYTHON) .venv
INSTALL := uv pip install --quiet --python .venv/bin/python
else
VENV := $(PYTHON) -m venv .venv
INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check
endif

.PHONY: demo test lint bench

# What a user needs, and what a developer needs besides. A stamp is written when all of it is in.
.venv/.user: pyproject.toml
	$(VENV)
	$(INSTALL) -e ".[train,pretrained]"
	@touch $@

.venv/.dev: .venv/.user
	$(INSTALL) -e ".[dev]"
	@touch $@

# What it is measured against has an environment of its own.
BENCH := .venv-bench
$(BENCH)/.bench: pyproject.toml
	$(subst .venv,$(BENCH),$(VENV))
	$(subst .venv,$(BENCH),$(INSTALL)) -e ".[bench]"
	@touch $@

# The built-in dataset to a trained captioner and a page that shows it.
demo: .venv/.user
	$(PY) -m capjax demo --output $(DEMO)

test: .venv/.dev
	$(PY) -m pytest -q -n 2 $(ARGS)

lint: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

bench: $(BENCH)/.bench
	$(BENCH)/bin/python tests/benchmarks/report.py $(ARGS)
