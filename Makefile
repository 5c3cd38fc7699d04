# `make help` lists the targets. One .venv serves all; nothing outside this folder is touched.
#
#   PYTHON=python3.13   another interpreter (3.11 or newer)       DEMO=0      without the demo
#   TORCH=cuda          the CUDA build of torch                   UV=1        install with uv where it is at hand

PYTHON ?= python3
TORCH  ?= cpu
DEMO   ?= 1
UV     ?= 0

BIN  := .venv/bin
PINS := pyproject.toml constraints/base.txt constraints/torch-$(TORCH).txt

ifeq ($(UV),1)
# uv does not read pip's configuration; what the environment says of packages is passed on.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
INSTALL := uv pip install --python $(BIN)/python
else
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check
endif
# The index of torch's CPU builds is asked for torch alone and briefly: where it cannot be reached, pip would try it
# again for each of a hundred packages.
INSTALL_TORCH := $(BIN)/python -m pip install --disable-pip-version-check --retries 1 --timeout 15

# Rules, formulas and house rules on SQLite: no browser, no training, no service but what the tests start themselves.
FAST := tests/app/kit tests/app/test_names.py tests/app/test_templates.py tests/app/test_import_contracts.py \
        tests/app/test_architecture.py tests/app/rounds/test_rules.py tests/app/prompts/test_rules.py \
        tests/app/comparisons/test_comparisons.py tests/app/guidelines/test_rules.py tests/app/plans/test_rules.py \
        tests/training/contract tests/training/ppo/test_math.py tests/training/reward/test_model.py
T    :=

.PHONY: help run test test-fast coverage bench lint messages settings clean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help:
	@grep -E '^[a-z-]+:.*  # ' $(MAKEFILE_LIST) | sed -E 's/:.*  # /\t/' | expand -t 12

run: .venv/run-$(TORCH)  # the product with its demo, at http://127.0.0.1:8000; Ctrl-C ends it
	@exec $(BIN)/plumbline run --end-with-parent $(if $(filter 0,$(DEMO)),,--demo)

test: .venv/test-$(TORCH) lint  # everything, as CI does; of one file or folder: make test T=tests/app/rounds
	@export OMP_NUM_THREADS=1; failed=0; \
	if [ -n "$(T)" ]; then exec $(BIN)/python -m pytest $(T); fi; \
	$(BIN)/python -m pytest tests/app tests/training -n 2 --dist loadfile || failed=1; \
	$(BIN)/python -m pytest tests/browser tests/end_to_end -n 2 --dist loadfile || failed=1; exit $$failed

test-fast: .venv/test-$(TORCH)  # rules, formulas and house rules in about two minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -k "not postgresql" $(FAST)

coverage: .venv/test-$(TORCH)  # the lines and branches that tests of app/ and training/ reach; no threshold
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/app tests/training -n 2 --dist loadfile --cov --cov-report=term:skip-covered

lint: .venv/test-$(TORCH)  # ruff, imports between rooms, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

bench: .venv/test-$(TORCH) .venv/peers/trl/ready .venv/peers/trl_ppo/ready  # side by side with TRL and transformers
	@$(BIN)/python -m tests.benchmarks $(ONLY)

# A peer has an environment of its own, which sees ours: its packages never mix with the product's or the tests', and
# two versions of one peer can stand side by side.
.venv/peers/trl/ready: EXTRA := bench
.venv/peers/trl_ppo/ready: EXTRA := bench-ppo
.venv/peers/%/ready: $(PINS) | .venv/test-$(TORCH)
	@echo "Installing a peer to compare with ($*) ..."
	@$(BIN)/python -m venv .venv/peers/$*
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > \
	  $$(.venv/peers/$*/bin/python -c 'import site; print(site.getsitepackages()[0])')/ours.pth
	@.venv/peers/$*/bin/python -m pip install --disable-pip-version-check -q \
	  -c constraints/base.txt -e '.[$(EXTRA)]'
	@touch $@

messages:  # the catalogues of translations/ anew from what code and templates say; what is new in them is empty
	@$(BIN)/pybabel -q extract -F pyproject.toml -k N_ --no-location --sort-output -o .venv/messages.pot .
	@$(BIN)/pybabel -q update -i .venv/messages.pot -d translations --no-fuzzy-matching --ignore-obsolete --width 120

settings:  # docs/settings.md, from app/config.py
	@$(BIN)/python -m app.launch.settings_guide

clean:  # the environment
	rm -rf .venv plumbline.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Plumbline needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | grep Python || echo missing); name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Making .venv ..."
	@$(PYTHON) -m venv .venv

.venv/torch-$(TORCH): constraints/torch-$(TORCH).txt | .venv/bin/python
	@echo "Installing torch ($(TORCH) build; about 200 MB for cpu) ..."
	@$(INSTALL_TORCH) --no-deps $(if $(wildcard .venv/torch-*),--force-reinstall) -c constraints/torch-$(TORCH).txt torch || { \
	  echo "torch could not be installed for this Python and system; the lines above say why (wheels exist for 64-bit Linux and Apple silicon)" >&2; exit 1; }
	@rm -f .venv/torch-* && touch $@

.venv/run-$(TORCH): .venv/torch-$(TORCH) $(PINS)
	@echo "Installing Plumbline's other packages ..."
	@$(INSTALL) -c constraints/base.txt -e '.[train]' || { \
	  echo "the packages could not be installed; the lines above say which (one without a wheel for this system needs a C compiler)" >&2; exit 1; }
	@touch $@

.venv/test-$(TORCH): .venv/run-$(TORCH)
	@echo "Installing what the tests need ..."
	@$(INSTALL) -c constraints/base.txt -e '.[train,test]' || { \
	  echo "the packages could not be installed; the lines above say which" >&2; exit 1; }
	@touch $@
