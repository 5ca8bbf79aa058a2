# amortgap: `make` or `make help` lists what there is to do.
PYTHON  ?= python3
PROFILE ?= quick
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
# Of the tests: two on any machine, since each may take 2 GB; a file is one worker's, so that its fixtures are made once.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help report test soak lint lab bench peers cluster gpu reference proofs clean

help: ## this list
	@echo "make TARGET:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

report: $(READY) ## run the notebooks of PROFILE (smoke, quick, paper; default quick) and render reports/PROFILE/index.html
	@$(BIN)/amortgap report --profile $(PROFILE)

test: $(READY) ## run the tests (slow and GPU tests: see README)
	@$(BIN)/python -m pytest $(WORKERS) --maxfail=25

soak: $(READY) ## over a hundred kills, full disks, damage, three times the odd inputs; writes reports/bench/faults.json, inputs.json
	@TABLES=reports/bench CASES=165 $(BIN)/python -m pytest $(WORKERS) -m 'soak or not (slow or gpu or peers)' tests/test_faults.py tests/test_inputs.py

lint: $(READY) ## ruff on library, tests and notebooks; mypy on the library
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lab: $(READY) ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab --notebook-dir=notebooks

bench: $(READY) ## time the solvers against other packages (installs those first)
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]' && $(BIN)/python -m tests.benchmarks.solvers

# dictionary-learning pins an old nnsight that only its training needs
peers: $(READY) ## read others' SAEs, and use improved ones, with SAELens, sparsify, dictionary_learning, TransformerLens, nnsight (installs those first)
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[peers]' && \
	 $(BIN)/pip install --quiet --no-deps dictionary-learning==0.1.0 && \
	 $(BIN)/python -m pytest -m peers tests/test_peers.py && $(BIN)/python -m pytest tests/test_activations_files.py

cluster: $(READY) ## sweeps on a local Ray cluster and a local Dask cluster, with killed workers (installs both first)
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[ray,dask]' && $(BIN)/python -m pytest -m cluster tests/test_sweep.py

gpu: $(READY) ## on a CUDA device, in 12 minutes: the GPU tests and timings, to reports/bench/gpu.md
	@$(BIN)/python -m tests.benchmarks.gpu

reference: $(READY) ## write the reference of functions and commands beside the report of PROFILE, and link it there
	@$(BIN)/python -m amortgap.cli.reference $(PROFILE)

proofs: ## compile and check the Coq proofs (installs Coq where it may)
	@$(MAKE) --no-print-directory -C proofs

clean: ## remove the environment, caches and made reports (reports/paper stays)
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .mypy_cache .hypothesis reports/smoke reports/quick reports/interactive
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: made once, again when a pin changes, whole or not at all (the stamp comes last).
$(READY): pyproject.toml constraints.txt lib/amortgap/llm/packages.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "amortgap needs Python 3.11 or newer; say which one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) (a few minutes, once) ..."
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Could not make $(VENV): install your system's venv package (python3-venv on Debian), then run again." >&2; exit 1; }
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,lab]' && \
	 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r lib/amortgap/llm/packages.txt || \
	  { echo "Installation failed: check the network and the lines above, then run the same command again." >&2; exit 1; }
	@touch $@
