# What a newcomer types: `make demo` needs Rust, a C compiler and make; `make test` also apt or what it names.

SHELL := bash
CARGO ?= cargo
FUZZ_SECONDS ?= 30
NEXTEST := $(shell command -v cargo-nextest)

.PHONY: help dist demo test rust-tests e2e lab check deny fuzz-smoke soak bench gen clean

help:
	@echo "make demo        build Tollkeep and try it: sandbox upstream, one token, a line to paste"
	@echo "make test        every test, with PostgreSQL, Redis, Chromium and the official SDKs"
	@echo "make check       format, lints, tidy, conformance, docs"
	@echo "make e2e         the official SDKs against the demo"
	@echo "make lab         stock x402 clients pay through the gateway, with every fault"
	@echo "make fuzz-smoke  each fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make soak        the long forms of tests and fuzzing"
	@echo "make bench       Tollkeep against nginx on this machine"
	@echo "make dist        the binary to ship, built by a profile of its work"
	@echo "make gen         write generated files anew"

demo:
	$(CARGO) run --locked -p tollkeep -- demo

test:
	tests/services.sh $(MAKE) --no-print-directory rust-tests e2e

# Where gateways under test note which audit actions they recorded.
rust-tests: export ACTIONS_SEEN_FOLDER := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/tmp/actions
rust-tests:
	rm -rf "$$ACTIONS_SEEN_FOLDER"
ifdef NEXTEST
	$(CARGO) nextest run --workspace --locked
	$(CARGO) nextest run --workspace --locked --run-ignored only -E 'package(tollkeep-store) & test(on_postgresql)'
	$(CARGO) test --workspace --locked --doc --quiet
else
	$(CARGO) test --workspace --locked
	$(CARGO) test --workspace --locked --test store -- --ignored on_postgresql
endif
	$(CARGO) xtask actions "$$ACTIONS_SEEN_FOLDER"

e2e:
	tests/e2e.sh

lab:
	$(CARGO) build --locked -p tollkeep
	tests/lab/run.py "$${CARGO_TARGET_DIR:-target}/debug/tollkeep" --table "$${CARGO_TARGET_DIR:-target}/lab/clients.md"

check:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path bench/Cargo.toml
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --manifest-path bench/Cargo.toml --all-targets --locked -- -D warnings
	$(CARGO) xtask tidy
	$(CARGO) xtask conformance --check
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	@if command -v cargo-deny >/dev/null; then $(MAKE) --no-print-directory deny; fi

deny:
	$(CARGO) deny --locked check licenses bans sources

fuzz-smoke:
	fuzz/run.sh $(FUZZ_SECONDS)

soak:
	PROPTEST_CASES=50000 CRASH_ROUNDS=500 tests/services.sh $(CARGO) test --workspace --locked --release -- --include-ignored
	RACES=100000 KILLS=1000 tests/services.sh $(CARGO) test --workspace --locked --release --test blackbox -- \
	  --ignored --nocapture --test-threads 1 many_races:: killed:: killed_files::
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-target}/loom" \
	  $(CARGO) test -p tollkeep-ledger --locked --test slice_under_loom
	tests/slow.sh
	tests/tls_scan.sh
	tests/api/run.sh "$${XDG_CACHE_HOME:-$$HOME/.cache}/tollkeep/sdk" "$${CARGO_TARGET_DIR:-target}/debug/tollkeep" 200
	fuzz/run.sh 600

bench:
	bench/run.sh

dist:
	deploy/dist.sh

gen:
	$(CARGO) xtask conformance

clean:
	$(CARGO) clean
	rm -rf bench/target fuzz/target
