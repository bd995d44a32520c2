# The front door: each target sets up what it needs and can be called first on a fresh machine that has Rust, Java 17 and
# Maven. Everything it makes lies under target/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export CARGO_TARGET_DIR := $(CURDIR)/target

PACKAGES := target/setup/packages
LIBS := target/kafka/libs
KAFKA := $(LIBS)/.complete
OPENFEATURE := target/openfeature/.complete
DENY_VERSION := 0.20.2
DENY_ROOT := target/tools/cargo-deny-$(DENY_VERSION)
DENY := $(DENY_ROOT)/bin/cargo-deny
COMPOSE := target/tools/compose
# Half of the tests' time is waiting.
TEST_THREADS := $(shell expr $$(nproc) \* 3 / 2)

.PHONY: help setup kafka openfeature demo test check bench soak

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(PACKAGES) $(KAFKA) $(OPENFEATURE) ## System packages (as root; otherwise says which), Kafka's jars, an OpenFeature SDK

kafka: $(KAFKA) ## Kafka's own jars, into target/kafka/libs

openfeature: $(OPENFEATURE) ## An OpenFeature SDK for Python with its OFREP provider, into target/openfeature

demo: $(PACKAGES) $(KAFKA) ## Redis, Kafka, a load and the mirror on this machine, killed in the middle and compared at the end
	cargo build --release
	target/release/lockgate demo --kafka-libs $(LIBS)

test: $(PACKAGES) $(KAFKA) $(OPENFEATURE) $(COMPOSE)/.complete ## Alert rules, Prometheus' configuration, compose file, unit tests, and every test against real Redis and Kafka
	promtool check rules --lint=all --lint-fatal config/prometheus/alerts.yml config/prometheus/alerts.exporters.yml
	promtool check config config/prometheus/prometheus.yml
	promtool test rules tests/alerts/*.yml
	amtool check-config config/prometheus/alertmanager.yml
	.ci/compose $(COMPOSE)/bin
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --features failpoints

check: $(PACKAGES) $(DENY) ## Format, lints, unit tests, documentation, dependencies and licences
	cargo fmt --all --check
	cargo clippy --all-targets --all-features -- -D warnings
	cargo test --lib --all-features --quiet
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --all-features --quiet
	.ci/deny $(DENY)

bench: $(PACKAGES) $(KAFKA) ## Mirror and parity against what producing and reading alone reach, how long a takeover takes, and how fast a tripwire is
	cargo bench --bench mirror --bench parity --bench takeover --bench tripwire

soak: $(PACKAGES) $(KAFKA) $(OPENFEATURE) ## The long tests: crashes and faults by the hundred, the driver in 100 000 sequences
	LOCKGATE_SOAK=1 cargo test --features failpoints --lib --test it -- --include-ignored

$(PACKAGES): .ci/packages
	@mkdir -p $(@D)
	@.ci/packages
	@touch $@

# Copied beside and moved into place, so that an interrupted download leaves nothing that looks whole.
$(KAFKA): tests/kafka/pom.xml | $(PACKAGES)
	@mkdir -p target/kafka
	@rm -rf $(LIBS).part
	mvn -B -q -f tests/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(LIBS).part
	@touch $(LIBS).part/.complete
	@rm -rf $(LIBS)
	@mv $(LIBS).part $(LIBS)

$(OPENFEATURE): tests/openfeature/requirements.txt | $(PACKAGES)
	@rm -rf target/openfeature
	python3 -m venv target/openfeature
	target/openfeature/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

$(COMPOSE)/.complete: tests/compose/requirements.txt | $(PACKAGES)
	@rm -rf $(COMPOSE)
	python3 -m venv $(COMPOSE)
	$(COMPOSE)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Unoptimised it is built in less than half the time, and two seconds a run are fast enough.
$(DENY): | $(PACKAGES)
	@echo "building cargo-deny $(DENY_VERSION) into target/tools: some minutes, once"
	@CARGO_TARGET_DIR=target/tools/build CARGO_PROFILE_DEV_DEBUG=false cargo install cargo-deny \
		--version $(DENY_VERSION) --locked --debug --quiet --root $(CURDIR)/$(DENY_ROOT)
	@rm -rf target/tools/build
