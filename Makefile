# make demo · test · test-all · fuzz · lint · types · docs · wheel · bench: each builds .venv first when it is missing.

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

.PHONY: demo test test-all fuzz lint types docs wheel bench

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

# Slow tests, notebooks and tutorials as well: hours on two cores.
test-all: .venv/.dev
	$(PY) -m pytest -q -n 2 --slow $(ARGS)

# Many damaged and hostile inputs to every reader: hours on two cores. The number is the largest of a test.
fuzz: .venv/.dev
	CAPJAX_FUZZ_CASES=10000 $(PY) -m pytest -q -n 2 tests/fuzz $(ARGS)

# The wheel and its commands in fresh environments.
wheel: .venv/.dev
	$(PY) -m pytest -q --slow tests/integration/test_wheel.py

types: .venv/.dev
	$(PY) -m mypy

# Into build/site. The variables silence a notice of a plug-in about the future of MkDocs.
docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(PY) -m mkdocs build --quiet --strict

lint: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

bench: $(BENCH)/.bench
	$(BENCH)/bin/python tests/benchmarks/report.py $(ARGS)
