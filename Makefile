# make run | make test | make bench      one .venv for all three; nothing outside this folder is touched
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

.PHONY: run test bench lint messages settings clean
.DELETE_ON_ERROR:

run: .venv/run-$(TORCH)
	@exec $(BIN)/plumbline run --end-with-parent $(if $(filter 0,$(DEMO)),,--demo)

test: .venv/test-$(TORCH) lint
	@export OMP_NUM_THREADS=1; failed=0; \
	$(BIN)/python -m pytest tests/app tests/training -n 2 --dist loadfile || failed=1; \
	$(BIN)/python -m pytest tests/browser tests/end_to_end -n 2 --dist loadfile || failed=1; exit $$failed

lint: .venv/test-$(TORCH)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

bench: .venv/test-$(TORCH) .venv/peers/trl/ready .venv/peers/trl_ppo/ready
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

clean:
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
