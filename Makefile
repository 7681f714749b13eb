# `make demo` and `make test` need Python 3.11 and make, and set up the rest themselves.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^\(torch==.*\)$$/\1/p' constraints.txt)
OUT ?= out/demo
# two threads on purpose: the numbers in RESULTS.md are for small machines
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: demo test lint bench chaos clean
.DELETE_ON_ERROR:

$(VENV)/.run: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt $(TORCH)
	# sht: the demonstration's mass map takes three times as long without it
	$(PIP) install --quiet --constraint constraints.txt --editable '.[sht]'
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(VENV)/.run
	$(BIN)/equilens demo --out $(OUT)

test: $(VENV)/.test lint
	$(BIN)/python -m pytest -m 'not slow'

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --config setup.cfg
	tests/typecheck $(BIN)/python

bench: $(VENV)/.test
	$(BIN)/python -m pytest -m slow
	cd tests/benchmarks && for script in bench_*.py; do ../../$(BIN)/python $$script || exit 1; done

chaos: $(VENV)/.test
	$(BIN)/python tests/chaos/run.py --long

clean:
	rm -rf $(VENV) build out *.egg-info
