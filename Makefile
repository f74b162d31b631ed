# The README names what each of these is for. On a fresh machine `make demo` and `make test` are all it takes.
CARGO ?= cargo
BIN := target/release/tunmesh
NAME ?= tunmesh

.PHONY: help demo test bench soak rotation sim fuzz lint setup docs clean cluster cluster-down cluster-test e2e e2e-install e2e-test

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN): FORCE
	$(CARGO) build --release --locked -p tunmesh-agent

.PHONY: FORCE
FORCE:

demo: $(BIN) ## Start three nodes on this machine, send traffic through the mesh, print a table
	$(BIN) demo

test: setup ## Install what the tests need, then run all of them
	scripts/test.sh

bench: setup $(BIN) ## Measure every path against plain veth and other tunnels, interleaved; tables and JSON
	scripts/bench.py --bin $(BIN)

soak: setup $(BIN) ## Ten minutes of traffic, rotation and restarts; memory must not grow
	scripts/soak.py --bin $(BIN)

rotation: setup $(BIN) ## Ten session rotations under iperf3
	scripts/rotation.py --bin $(BIN)

sim: ## The simulations of a thousand nodes that make test skips for their length
	$(CARGO) test --locked -p tunmesh-membership --test sim -- --ignored --nocapture --test-threads 1
	$(CARGO) test --locked -p tunmesh-core --test sim -- --ignored --nocapture --test-threads 1

fuzz: ## Fuzz every parser, FUZZ_SECONDS each (default 60)
	scripts/fuzz.sh

lint: ## rustfmt, clippy, documentation, cargo-deny, forbidden dependencies
	scripts/lint.sh

docs: ## Write docs/configuration.md, docs/api.md, docs/examples and crds/yaml anew from their sources
	UPDATE_DOCS=1 $(CARGO) test -q -p tunmesh-protocol --test config_cases
	UPDATE_DOCS=1 $(CARGO) test -q -p tunmesh-crds --test generated

cluster: ## A real Kubernetes cluster on this machine, NAME=tunmesh; prints how to use it
	e2e/cluster/up.py --name $(NAME)

cluster-down: ## Remove that cluster and all that came with it
	e2e/cluster/down.py --name $(NAME)

cluster-test: ## Two clusters side by side; the machine must be as it was before
	e2e/cluster/selftest.py

e2e: ## Everything on a real cluster: make one, install this tree's Tun Mesh, run the tests, remove it
	$(MAKE) cluster e2e-install NAME=$(NAME)
	$(MAKE) e2e-test NAME=$(NAME); status=$$?; $(MAKE) cluster-down NAME=$(NAME); exit $$status

e2e-install: ## Build this tree's Tun Mesh and put it onto the cluster
	e2e/cluster/install.py --name $(NAME)

e2e-test: ## The tests of make e2e, on a cluster that has it; TEST=name for some of them
	TUNMESH_E2E_CLUSTER=$(NAME) $(CARGO) test --locked -p tunmesh-e2e --test cluster -- --ignored --nocapture --test-threads 1 $(TEST)

setup:
	scripts/setup.sh

clean: ## Remove what was built
	$(CARGO) clean
