# `make help` lists the targets. Steps that were done leave a stamp in .make/ and are redone
# when the files that they depend on have changed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# rustup puts cargo here, and not every shell has that in its PATH. It is newer than that of a distribution.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VENV := $(CURDIR)/.venv
VENV_3006 := $(CURDIR)/.venv-3006
VENV_GSSAPI := $(CURDIR)/.venv-gssapi
SOURCES := $(wildcard Cargo.lock) Cargo.toml pyproject.toml README.md \
  $(shell find src compat python salt_ext -type f -not -name '*.pyc' -not -name '*.so')

COMMAND_SOURCES := $(wildcard Cargo.lock) Cargo.toml $(shell find src compat cli/src cli/*.* -type f)

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 23

.PHONY: setup
setup: .make/installed .make/command ## install what is missing, build, and make .venv with all distributions

.PHONY: demo
demo: .make/installed ## the main job through real salt-call, on a real ZooKeeper ensemble
	@$(VENV)/bin/python examples/demo.py

# Most of a test's time is a wait: for a session's end, for a server that starts. Each worker has an ensemble of its own.
WORKERS := --numprocesses 4 --dist loadfile --no-loadscope-reorder
.PHONY: test
test: .make/installed .make/installed-3006 .make/command ## every test; ARGS="-k fork" goes to pytest
	cargo test --no-default-features --workspace
	PATH="$(VENV)/bin:$$PATH" ZKCOORD_SALT_3006="$(VENV_3006)/bin" $(VENV)/bin/python -m pytest $(WORKERS) $(ARGS)

VERSION := 3.9
.PHONY: test-zookeeper
test-zookeeper: .make/installed .make/installed-3006 .make/command ## the same on another ZooKeeper, VERSION=3.6 or 3.9, of which 400 MB are fetched once
	class_path=$$(tools/zookeeper-jars $(VERSION)) && PATH="$(VENV)/bin:$$PATH" \
	  ZKCOORD_ZOOKEEPER_CLASSPATH=$$class_path ZKCOORD_SALT_3006="$(VENV_3006)/bin" $(VENV)/bin/python -m pytest $(WORKERS) $(ARGS)

# Its tests have a conftest.py of their own, and `make test` does not collect them: tests/conftest.py says so.
.PHONY: gssapi
gssapi: .make/installed-gssapi ## the build with Kerberos, on a realm of its own; one minute; ARGS="-k fork" goes to pytest
	cargo clippy --all-targets --no-default-features --features gssapi -- -D warnings
	cargo test --no-default-features --features gssapi --test pure security
	$(VENV_GSSAPI)/bin/python -m pytest --confcutdir tests/gssapi tests/gssapi $(ARGS)

.PHONY: bench
bench: .make/installed .make/command ## what locks and leases cost, beside kazoo, Salt's stock module and etcd; takes seven minutes
	@tools/prerequisites bench >/dev/null
	$(VENV)/bin/python -m bench $(ARGS)

.PHONY: fuzz
fuzz: ## the properties of the pure parts, many more times than in `make test`: about a minute
	PROPTEST_CASES=$${PROPTEST_CASES:-10000} ZKCOORD_HISTORIES=1000000 cargo test --no-default-features --test pure

.PHONY: faults
faults: .make/installed ## contenders under faults, beside the stock module, timed leases, and 20,000 jobs; 20 minutes; ARGS="--seed 7"
	PATH="$(VENV)/bin:$$PATH" $(VENV)/bin/python -m faults $(ARGS)

# By hand, and before a release.
.PHONY: newcomer
newcomer: ## `make demo` and `make test` on bare Debians, as root and with sudo; an hour; ARGS="bookworm:root" for one
	@tools/newcomer $(ARGS)

.PHONY: lint
lint: .make/installed ## format, lint and types, Rust and Python
	@for component in fmt clippy; do cargo $$component --version >/dev/null 2>&1 || \
	  { echo "error: cargo $$component is missing. Get it with: rustup component add rustfmt clippy" >&2; exit 1; }; done
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --no-default-features -- -D warnings
	PYO3_PYTHON=$(VENV)/bin/python cargo clippy --workspace --all-targets -- -D warnings
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m mypy.stubtest zkcoord._core

.PHONY: docs
docs: .make/installed ## the manual, in docs/_build; warnings are errors
	$(VENV)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build

.PHONY: dist
dist: .make/wheels .make/command ## the three wheels and the native source distribution, in dist/
	rm -rf dist && mkdir dist
	cp .make/dist/*.whl dist
	$(VENV)/bin/maturin build --release --manifest-path cli/Cargo.toml --out dist
	$(VENV)/bin/maturin sdist --out dist

.PHONY: clean
clean: ## remove all that was built here
	rm -rf .make .venv .venv-3006 .venv-gssapi dist target docs/_build .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -r {} +

.PHONY: prerequisites
prerequisites:
	@tools/prerequisites >/dev/null

.make/venv: requirements-dev.txt | prerequisites
	"$$(tools/prerequisites)" -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	mkdir -p .make && touch $@

.make/venv-3006: requirements-3006.txt | prerequisites
	"$$(tools/prerequisites)" -m venv --clear $(VENV_3006)
	$(VENV_3006)/bin/pip install --quiet --requirement $<
	mkdir -p .make && touch $@

# Both distributions as they ship. The native one is for every Python from 3.10 on (abi3). Zig would link it against an
# older glibc, and with an unwinder of its own: Python, which ends daemon threads by the system's, then crashes at exit.
.make/wheels: $(SOURCES) .make/venv
	rm -rf .make/dist
	$(VENV)/bin/maturin build --release --interpreter $(VENV)/bin/python --out .make/dist
	$(VENV)/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir .make/dist ./salt_ext
	touch $@

# The native command, with its manual pages and the completions of three shells, for its wheel.
SHARE := cli/data/data/share
.make/command: $(COMMAND_SOURCES) .make/venv
	cargo build --release --package zkcoord-cli
	install -m 755 target/release/zkcoord $(VENV)/bin/zkcoord
	rm -rf cli/data
	mkdir -p $(SHARE)/man/man1 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	$(VENV)/bin/zkcoord manual > $(SHARE)/man/man1/zkcoord.1
	for command in $$($(VENV)/bin/zkcoord manual --list); do \
	  $(VENV)/bin/zkcoord manual $$command > $(SHARE)/man/man1/zkcoord-$$command.1; \
	done
	$(VENV)/bin/zkcoord completions bash > $(SHARE)/bash-completion/completions/zkcoord
	$(VENV)/bin/zkcoord completions zsh > $(SHARE)/zsh/site-functions/_zkcoord
	$(VENV)/bin/zkcoord completions fish > $(SHARE)/fish/vendor_completions.d/zkcoord.fish
	mkdir -p .make && touch $@

.make/installed: .make/wheels
	$(VENV)/bin/pip install --quiet --no-deps --force-reinstall .make/dist/*.whl
	touch $@

.PHONY: prerequisites-gssapi
prerequisites-gssapi:
	@tools/prerequisites gssapi >/dev/null

.make/venv-gssapi: requirements-dev.txt | prerequisites-gssapi
	"$$(tools/prerequisites)" -m venv --clear $(VENV_GSSAPI)
	$(VENV_GSSAPI)/bin/pip install --quiet --constraint $< maturin pytest pytest-timeout
	mkdir -p .make && touch $@

# Without `--auditwheel skip` the wheel has a copy of the Kerberos libraries, which is not that of the host.
.make/installed-gssapi: $(SOURCES) .make/venv-gssapi
	rm -rf .make/dist-gssapi
	$(VENV_GSSAPI)/bin/maturin build --release --features gssapi --auditwheel skip \
	  --interpreter $(VENV_GSSAPI)/bin/python --out .make/dist-gssapi
	$(VENV_GSSAPI)/bin/pip install --quiet --no-deps --force-reinstall .make/dist-gssapi/*.whl
	touch $@

.make/installed-3006: .make/wheels .make/venv-3006
	$(VENV_3006)/bin/pip install --quiet --no-deps --force-reinstall .make/dist/*.whl
	touch $@
