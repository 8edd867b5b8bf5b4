# Two commands do everything: `make demo` and `make test`. Both install what they need.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# What we install for ourselves, cargo's subcommands among them.
export PATH := $(CURDIR)/target/tools/bin:$(PATH)
# Passphrases of the demo's and the tests' throw-away keys; yours are asked for at the terminal.
DEMO_DIR ?= /tmp/safeconduct-demo
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

.PHONY: help
help: ## What there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: demo
demo: postgresql ## Run the main job, end to end, on a PostgreSQL that it starts itself
	$(CARGO) build --quiet -p safeconduct
	target/debug/safeconduct demo --dir $(DEMO_DIR)

.PHONY: build
build: ## Build the program (target/debug/safeconduct)
	$(CARGO) build -p safeconduct

.PHONY: test
test: postgresql patroni openssl softhsm python systemd lint deny ## Everything that must pass before a change lands
	$(CARGO) test --workspace
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet

# How often each of the two tests kills. They take one to five seconds a kill.
KILLS ?= 500

.PHONY: soak
soak: postgresql ## Cut every message, and kill service and PostgreSQL a thousand times (KILLS=500 with each kind of server)
	SIM_SEEDS=5000 $(CARGO) test -p tests --test suite -- simulation --nocapture
	FAULT_POINTS=all $(CARGO) test -p tests --test suite -- faults::connection --nocapture
	CRASH_KILLS=$(KILLS) $(CARGO) test -p tests --test suite -- crash::nothing_is_lost --nocapture --test-threads=1

.PHONY: bench
bench: postgresql ## Measure it under load; BENCH="--quick" takes a minute
	$(CARGO) bench --quiet -p tests --bench load -- $(BENCH)

.PHONY: lint
lint: ## Formatting, clippy and the fuzzers' lock
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --quiet -- -D warnings
	@# The lock of the fuzzers' own workspace fits our manifests.
	$(CARGO) metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null

.PHONY: fmt
fmt: ## Format the sources
	$(CARGO) fmt --all

.PHONY: fuzz
fuzz: target/tools/bin/cargo-fuzz cxx ## Let libFuzzer loose on each parser for FUZZ_SECONDS, or on FUZZ_TARGETS alone
	@for target in $(FUZZ_TARGETS); do \
	    echo "== $$target"; mkdir -p fuzz/corpus/$$target; \
	    seeds=fuzz/seeds/$$target; [ -d $$seeds ] || seeds=tests/vectors/logs; \
	    $(CARGO) fuzz run -s none $$target fuzz/corpus/$$target $$seeds -- \
	        -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 2>&1 | tail -n 12; \
	done

.PHONY: deny
deny: target/tools/bin/cargo-deny ## Licences, banned crates and sources of what we depend on
	$(CARGO) deny check --hide-inclusion-graph licenses bans sources

# --- what the above need -------------------------------------------------------------------------------------------

SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

.PHONY: postgresql
postgresql: # The server's binaries; no server has to run.
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || { \
	    $(SUDO) apt-get update -q && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql; }

.PHONY: patroni
patroni: # A test has it lead two servers, over etcd; neither has to run.
	@{ command -v patroni && command -v etcd && /usr/bin/python3 -c 'import etcd, idna'; } >/dev/null 2>&1 || { \
	    $(SUDO) apt-get update -q && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
	        patroni etcd-server python3-etcd python3-idna; }

.PHONY: openssl
openssl: # A test opens our keys with it.
	@command -v openssl >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q openssl; }

.PHONY: softhsm
softhsm: # Tests keep keys in its tokens.
	@command -v softhsm2-util >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q softhsm2; }

.PHONY: systemd
systemd: # A test has it judge our unit; it need not run.
	@command -v systemd-analyze >/dev/null || { \
	    $(SUDO) apt-get update -q && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends systemd; }

.PHONY: python
python: target/python/.installed # Foreign implementations that the tests talk to.

target/python/.installed: tests/requirements.txt Makefile
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { \
	    $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3 python3-venv; }
	python3 -m venv target/python
	target/python/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@# It asks for Python 3.12 and runs on Debian 12's 3.11 as well. All that it needs is in the requirements.
	target/python/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python aics-tlog==0.2.1
	touch $@

.PHONY: cxx
cxx: # libFuzzer is C++.
	@command -v c++ >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q g++; }

target/tools/bin/cargo-deny: # Built once; it takes two to three minutes.
	$(CARGO) install --locked --quiet --root target/tools --target-dir target/tools/build cargo-deny@0.20.2
	rm -rf target/tools/build

target/tools/bin/cargo-fuzz: # Built once, in half a minute.
	$(CARGO) install --locked --quiet --root target/tools --target-dir target/tools/build cargo-fuzz@0.13.2
	rm -rf target/tools/build
