# run: set up and do the main job.  gaussians: the 25 Gaussians.  test: everything CI checks.  fast: the inner loop.
# docs: the documentation site.  bench: our speed beside the reference arrangement's, half an hour.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# tests run in as many processes
JOBS ?= 2
test fast: export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: run gaussians test fast lint format docs bench clean

run: $(VENV)/.ready
	$(BIN)/vaebm run --generator nvae --energy resnet --sampler latent-ld

# the 25 Gaussians: figures and a picture with the learned density, within ten minutes
gaussians: $(VENV)/.ready
	$(BIN)/vaebm run --dataset gaussians25 --seed 0 --out runs/gaussians25

test: $(VENV)/.ready-dev lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

fast: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist worksteal

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the pages under docs/reference are made by: python docs/generate
docs: $(VENV)/.ready-dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html -c docs -d docs/_build/cache . docs/_build/html
	@echo docs/_build/html/index.html

bench: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/speed --json speed.json

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis

PROJECTS := pyproject.toml requirements.txt $(wildcard plugins/*/pyproject.toml)

$(VENV)/.ready: $(PROJECTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; give one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
