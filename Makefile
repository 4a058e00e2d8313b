# The two commands: `make run` (a first result on your own text) and `make test`.
# PYTHON picks the interpreter of the environment, FOLDER the text, RECIPE the settings.

PYTHON ?= python3
FOLDER ?= python-reference
RECIPE ?= quick
VENV := .venv
BIN := $(VENV)/bin

# Data that lies beside the checkout is used where there is some; see `lmworks.text.registry`.
export LMWORKS_DATA ?= $(abspath $(wildcard ../shared/data))

.PHONY: run test test-slow install lint bench clean

run: $(VENV)/core.done
	$(BIN)/lmworks build "$(FOLDER)" --recipe "$(RECIPE)"

test: $(VENV)/dev.done
	$(BIN)/pytest

test-slow: $(VENV)/dev.done
	$(BIN)/pytest -m slow

install: $(VENV)/dev.done

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev.done
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lmworks needs Python 3.11 or newer; set PYTHON=python3.12, for example")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -e ".[fast]"
	touch $@

$(VENV)/dev.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/core.done

clean:
	rm -rf $(VENV) build *.egg-info
