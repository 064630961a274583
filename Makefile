# `make demo` and `make test` are all that most people need; `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test lint types check compat docs bench clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

install: $(STAMP)  ## make .venv with the pinned versions

demo: $(STAMP)  ## FASTA -> vocabulary -> pre-training -> fine-tuned model in vqdna-hrq/, in minutes on two cores
	$(BIN)/python examples/demo.py

test: $(STAMP)  ## all tests, without network
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types test  ## lint, types and tests

compat: $(STAMP)  ## Transformers' own common tests, on the lowest and the newest supported version
	$(BIN)/python tests/compat/run.py

bench: $(STAMP)  ## the readers' and tokenizers' speed on this machine
	$(BIN)/python benchmarks/bench_readers.py

clean:  ## remove what the targets made
	rm -rf $(VENV) runs vqdna-hrq build *.egg-info .pytest_cache .mypy_cache .ruff_cache
