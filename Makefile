# Two commands for newcomers: `make demo` and `make test`.

CARGO ?= cargo
# Where programs that CI builds for itself go.
export TIDEGATE_TOOLS ?= $(HOME)/.cache/tidegate/tools
# What `make package` builds with. `dev` takes what the tests have built: quick, big, and only for tests of the package.
PACKAGE_PROFILE ?= release

.PHONY: demo test build check lint deny bench package test-package bench-peers bench-peers-smoke deps-build deps-test deps-bench

demo: deps-build ## build, then watch a failover and the way back on this machine
	$(CARGO) build --locked --bin tidegate
	./target/debug/tidegate demo

test: deps-test ## every test: units, the core in virtual time, and the real daemon on loopback
	$(CARGO) test --workspace --locked

build: deps-build
	$(CARGO) build --release --locked --bin tidegate

package: ## the Debian package, into target/debian
	deploy/deps.sh package
	deploy/debian/package.sh $(PACKAGE_PROFILE)

test-package: ## the package of target/debian in a fresh minimal Debian, and its unit; needs root
	deploy/deps.sh package-test
	lintian --fail-on error,warning --allow-root target/debian/*.deb
	deploy/systemd/test-unit.sh
	deploy/container/test-container.sh
	deploy/debian/test-package.sh

check: lint deny ## what CI checks beside the tests

lint: deps-build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

deny:
	deploy/deps.sh deny
	PATH="$(TIDEGATE_TOOLS)/bin:$$PATH" cargo deny --locked check bans licenses sources

bench: deps-build ## what runs per request, question, result and publication
	$(CARGO) bench --locked --bench hot_paths

bench-peers: build deps-bench ## twelve minutes beside gdnsd, NSD, Knot, HAProxy and nginx; writes benches/RESULTS.md
	python3 benches/peers

bench-peers-smoke: deps-build deps-bench ## whether that would work, in less than a minute
	$(CARGO) build --locked --bin tidegate
	python3 benches/peers --smoke

deps-build:
	@deploy/deps.sh build

deps-test:
	@deploy/deps.sh test

deps-bench:
	@deploy/deps.sh bench
