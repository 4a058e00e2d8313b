# The two commands: `make run` (a first result on your own text) and `make test`.
# PYTHON picks the interpreter of the environment, FOLDER the text, RECIPE the settings.

PYTHON ?= python3
FOLDER ?= python-reference
RECIPE ?= quick
VENV := .venv
BIN := $(VENV)/bin

# Data that lies beside the checkout is used where there is some; see `lmworks.text.registry`.
export LMWORKS_DATA ?= $(abspath $(wildcard ../shared/data))

.PHONY: run test test-offline test-slow install lint handbook dist bench clean

run: $(VENV)/core.done
	$(BIN)/lmworks build "$(FOLDER)" --recipe "$(RECIPE)"
	@echo; echo "lmworks lies in $(BIN); to run it by its name in this shell: . $(BIN)/activate"

# OPTIONS are pytest's.
test: $(VENV)/dev.done
	$(BIN)/pytest $(OPTIONS)

# The tests that the last run saw reading data, once more as on a machine that has none: each passes or is skipped.
TOUCHED := .pytest_cache/touched-data.txt
REFUSES := http://127.0.0.1:9
NOTHING = TESTS_OFFLINE=1 LMWORKS_DATA= HOME=$$empty LMWORKS_CACHE=$$empty/cache NO_PROXY=127.0.0.1,localhost \
	HTTP_PROXY=$(REFUSES) HTTPS_PROXY=$(REFUSES) ALL_PROXY=$(REFUSES) \
	http_proxy=$(REFUSES) https_proxy=$(REFUSES) all_proxy=$(REFUSES) \
	PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= PIP_NO_INDEX=1

test-offline: $(VENV)/dev.done
	@test -s $(TOUCHED) || { echo "no run has noted which tests read data; make test does"; exit 1; }
	empty=$$(mktemp -d) && trap 'rm -rf "$$empty"' EXIT && env $(NOTHING) $(BIN)/pytest @$(TOUCHED)

test-slow: $(VENV)/dev.done
	$(BIN)/pytest -m slow

install: $(VENV)/dev.done

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The handbook as pages, where `lmworks docs` opens them; a warning of Sphinx ends it.
handbook: $(VENV)/dev.done
	$(BIN)/lmworks docs --print

# A wheel and the sources, with the handbook's pages inside.
dist: handbook
	rm -rf dist lmworks/handbook && cp -r docs/_build/html lmworks/handbook && cp docs/glossary.md lmworks/handbook
	$(BIN)/python -m build --quiet --outdir dist . ; made=$$? ; rm -rf lmworks/handbook ; exit $$made

bench: $(VENV)/dev.done
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lmworks needs Python 3.11 or newer; set PYTHON=python3.12, for example")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.done: pyproject.toml | $(VENV)/bin/python
	@echo "installing lmworks and PyTorch into $(VENV); the first time this takes minutes"
	$(BIN)/pip install --quiet -e ".[fast,ground]"
	touch $@

$(VENV)/dev.done: pyproject.toml | $(VENV)/bin/python
	@echo "installing lmworks, PyTorch and what the tests need into $(VENV); the first time this takes minutes"
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/core.done

clean:
	rm -rf $(VENV) build dist docs/_build docs/reference *.egg-info
