# Two commands for newcomers: `make demo` and `make test`.

CARGO ?= cargo

.PHONY: demo test build check lint deny deps-build deps-test bench-peers

demo: deps-build ## build, then watch a failover and the way back on this machine
	$(CARGO) build --release --locked --bin tidegate
	./target/release/tidegate demo

test: deps-test ## every test: units, the core in virtual time, and the real daemon on loopback
	$(CARGO) test --workspace --locked

build: deps-build
	$(CARGO) build --release --locked --bin tidegate

check: lint deny ## what CI checks beside the tests

lint: deps-build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

deny:
	deploy/deps.sh deny
	PATH="$(CURDIR)/.tools/bin:$$PATH" cargo deny --locked check bans licenses sources

deps-build:
	@deploy/deps.sh build

deps-test:
	@deploy/deps.sh test
