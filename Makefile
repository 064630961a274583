# `make demo` and `make test` are all that most people need; `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test lint types check compat lowest docs int8 bench clean

help:  ## list the targets
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

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

lowest: $(STAMP)  ## the package's own tests on the lowest supported version of Transformers
	$(BIN)/python tests/compat/run.py --own

docs: $(STAMP)  ## the guides and the API, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# torchao stays out of .venv: where it is installed Transformers imports it each time, slowly and not silently.
INT8 := .compat/int8
int8: $(STAMP)  ## the tests of int8 quantization, with torchao
	test -d $(INT8)/torchao || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --no-deps --target $(INT8) torchao
	HF_HUB_OFFLINE=1 PYTHONPATH=$(INT8) $(BIN)/python -m pytest tests/model/test_int8.py

bench: $(STAMP)  ## speed and memory beside the peers, into benchmarks/RESULTS.md; then readers and data plane (an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/bench_speed.py
	$(BIN)/python benchmarks/bench_readers.py
	$(BIN)/python benchmarks/bench_data_plane.py

clean:  ## remove what the targets made
	rm -rf $(VENV) .compat site runs vqdna-hrq build *.egg-info .pytest_cache .mypy_cache .ruff_cache
