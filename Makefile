# Each target does all of its own set-up: packages (apt, as root), .venv, the build. The second time costs well under a second.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV   := .venv
PY     := $(VENV)/bin/python
STAMPS := build/stamps
PYTEST_ARGS ?=

SOURCES := $(shell find src build_tools -type f -not -name '*.pyc' -not -name '*.o' -not -name '_libbpf.py' -not -name '_native.py' -not -name '*.so' 2>/dev/null)

.PHONY: help demo test bench lint build objects qemu clean

help: ## show this list
	@echo "ebpfmesh: build your own service mesh on eBPF"
	@echo
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo
	@echo "demo, the kernel half of test, and bench need root, cgroup v2 and BTF; each says what is missing here."

demo: $(STAMPS)/packages-demo $(STAMPS)/venv-run objects ## see a mesh work in this machine's kernel, in under 30 s
	@scripts/host demo
	$(PY) -m examples.demo $(ARGS)

test: $(STAMPS)/packages-test $(STAMPS)/venv-test objects ## run the tests; without root, those that need no kernel
	@scripts/test $(PYTEST_ARGS)

bench: $(STAMPS)/packages-bench $(STAMPS)/venv-bench objects ## measure against direct, HAProxy and Envoy, the parsers against others; writes bench/results
	@scripts/host bench
	$(PY) bench/run.py $(ARGS)

lint: $(STAMPS)/packages-lint $(STAMPS)/venv-lint objects ## check style, types, the direction of imports, C, shell, declarations
	@scripts/lint

build: dist/.built ## make the wheel (objects built in: it installs without a compiler) and the sdist

qemu: $(STAMPS)/packages-qemu $(STAMPS)/venv-qemu objects ## run the attach tests, the L7 tier and the demo on Debian's 6.1 kernel, under QEMU
	@tests/qemu/run $(ARGS)

clean: ## remove everything that was built, .venv included
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis src/ebpfmesh/lowlevel/_libbpf.py src/ebpfmesh/l7/_native.py src/ebpfmesh/bpf/native/*.so
	find . -name .git -prune -o \( -name '*.bpf.o' -o -name '__pycache__' \) -print0 | xargs -0 rm -rf

objects: $(STAMPS)/packages-build $(STAMPS)/venv-run
	@$(PY) build_tools/build_tree.py

dist/.built: $(STAMPS)/packages-build $(STAMPS)/venv-build $(SOURCES) pyproject.toml hatch_build.py
	rm -rf dist
	$(PY) -m build --outdir dist .
	@touch $@

# What is installed for a target is in the scripts; a stamp is older than the script that says it, and then made anew.
$(STAMPS)/packages-%: scripts/packages
	@mkdir -p $(STAMPS)
	@scripts/packages $*; status=$$?; if [ $$status -eq 0 ]; then touch $@; else [ $$status -eq 3 ]; fi

$(STAMPS)/venv-%: scripts/venv pyproject.toml | $(STAMPS)/packages-build
	@mkdir -p $(STAMPS)
	@scripts/venv $* && touch $@ $(STAMPS)/venv-run
