# Everything one does with this repository. `make` alone lists it; CI calls the same targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
PORTWAY := $(TARGET)/release/portway
export PORTWAY_PYTHON_ENV := $(abspath $(or $(PORTWAY_PYTHON_ENV),.venv))
TOOLS := $(PORTWAY_PYTHON_ENV)/bin
MINUTES ?= 120
RUN_DIR := $(abspath $(or $(RUN_DIR),examples/jwt-api/run))
SCRIPTS = $(shell git ls-files -z -- '*.sh' .ci/run scripts/setup scripts/hooks | tr '\0' ' ')

.PHONY: help run build test check bench soak example-jwt-api deny fmt openapi generated docs hooks clean \
	nextest doctest fmt-check clippy rustdoc arch tidy typos toml shell

help: ## List these targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
		while IFS=$$'\t' read -r target what; do printf '  make %-16s %s\n' "$$target" "$$what"; done

run: build ## Build Portway and start it with what it has built in (ARGS=… for `portway serve`)
	exec $(PORTWAY) serve $(ARGS)

build: ## Build the program as it is released
	@scripts/setup run
	cargo build --release --package portway-cli

test: ## Run all tests, with what they need installed
	@scripts/setup test
	@$(MAKE) --keep-going nextest doctest

check: ## Judge the repository: format, lints, docs, layers, tidiness, generated files, spelling
	@scripts/setup check
	@$(MAKE) --keep-going fmt-check tidy arch typos toml shell clippy rustdoc generated

bench: build ## Measure the figures of docs/benchmarks.md
	scripts/bench/run $(ARGS)

soak: ## Run everything that an open port meets for MINUTES=120, and judge what it costs
	PORTWAY_SOAK_MINUTES=$(MINUTES) scripts/bench/run soak

example-jwt-api: build ## Bring up the three sites of examples/jwt-api on the Portway that runs here
	RUN_DIR=$(RUN_DIR) examples/jwt-api/start.sh
	$(PORTWAY) apply -f examples/jwt-api/portway.yaml --set run_dir=$(RUN_DIR)

deny: ## Judge licences and sources of what is linked in (needs cargo-deny)
	@command -v cargo-deny >/dev/null || \
		{ echo 'deny: get it with: cargo install cargo-deny --locked' >&2; exit 1; }
	cargo deny check licenses bans sources

fmt: ## Format the code and the manifests
	@scripts/setup check
	cargo fmt
	$(TOOLS)/taplo fmt

openapi: ## Write openapi.json and everything else that is generated from the code
	@scripts/setup run
	cargo run --package portway-cli -- generate

docs: openapi ## Build the documentation of the code and of its interfaces
	cargo doc --workspace --no-deps --document-private-items
	@echo "open $(TARGET)/doc/portway/index.html"

hooks: ## Have git run the quick checks before each commit
	git config core.hooksPath scripts/hooks

clean: ## Remove what was built or installed inside this folder
	cargo clean
	rm -rf .venv tests/browser/node_modules ui/node_modules

# --- the parts of `make test` ---

nextest:
	scripts/testbed/start-postgres.sh with cargo nextest run --workspace

doctest:
	cargo test --doc --workspace

# --- the parts of `make check` ---

fmt-check:
	cargo fmt --check

clippy:
	cargo clippy --workspace --all-targets -- -D warnings

rustdoc:
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items

arch:
	cargo xtask arch

tidy:
	cargo xtask tidy

generated:
	cargo run --package portway-cli -- generate --check

typos:
	$(TOOLS)/typos

toml:
	RUST_LOG=warn $(TOOLS)/taplo fmt --check

shell:
	$(TOOLS)/shellcheck $(SCRIPTS)
