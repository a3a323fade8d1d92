# Everything a person does with this project. The target folder lies outside the checkout: the engine takes long to
# compile, and so a fresh clone need not do it again. Always the whole workspace: with one package alone cargo chooses
# other features, and compiles a second engine.
COMMONWATT_CACHE ?= $(HOME)/.cache/commonwatt
CARGO_TARGET_DIR ?= $(COMMONWATT_CACHE)/target
export COMMONWATT_CACHE CARGO_TARGET_DIR

BIN := $(CARGO_TARGET_DIR)/release
PUBLISHED := $(CARGO_TARGET_DIR)/published
CARGO := cargo
BUILD := $(CARGO) build --release --locked --workspace

# Programs in Python that run ours. Status 3: this machine lacks what it takes, which was said.
OPERATIONS := BIN=$(BIN) COMMONWATT_TEST_MODEL=$$(cat $(COMMONWATT_CACHE)/model-folder 2> /dev/null) python3 -B tests/operations
MANIFESTS := $(COMMONWATT_CACHE)/kubernetes-validate-1.37.0
RECEIPTS := $(COMMONWATT_CACHE)/pyjwt-2.15.1

# libFuzzer's instruments, as cargo-fuzz gives them to the compiler, in programs that stop at a failed assertion of their own.
FUZZ := $(COMMONWATT_CACHE)/fuzz
FUZZ_FLAGS := --cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
	-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
	-C llvm-args=-sanitizer-coverage-trace-compares -C llvm-args=-simplifycfg-branch-fold-threshold=0
FUZZ_CARGO := RUSTFLAGS="$(FUZZ_FLAGS)" CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true $(CARGO)
FUZZ_PACKAGE := --release --locked --package fuzz --features libfuzzer --target $$(rustc --print host-tuple) --target-dir $(FUZZ)/target
SECONDS ?= 600

.PHONY: up build test faults fuzz energy simulate demo-federation bench growth peers lint audit openapi openapi-check sqlx sqlx-check help \
	docs docs-check verifier verifier-check dashboards restore upgrade million books manifests images

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

up: build ## Start a private Postgres, the gateway and one node with a real model
	@exec $(BIN)/commonwatt up

build: ## Compile the gateway and the node
	@echo "building (the first time takes 10 to 40 minutes: the inference engine is large)"
	$(BUILD) --bins

test: ## Run every test: units, SQL, stories with real processes and the real model, SDKs
	$(BUILD) --all-targets
	@COMMONWATT_DATA=$(COMMONWATT_CACHE)/node $(BIN)/commonwatt-node pull > $(COMMONWATT_CACHE)/model-folder
	COMMONWATT_TEST_MODEL=$$(cat $(COMMONWATT_CACHE)/model-folder) $(BIN)/commonwatt with-postgres -- \
		$(CARGO) test --release --locked --workspace

faults: ## Run the fault suite at full size: everything dies, fills up and goes away under load (half an hour)
	$(BUILD) --all-targets
	COMMONWATT_FAULTS=full $(BIN)/commonwatt with-postgres -- \
		$(CARGO) test --release --locked --workspace --test faults -- --nocapture --test-threads=1

fuzz: ## Look for bytes that break a reader: TARGET=sse, a folder of tests/fuzz/corpus; SECONDS=600 (needs a C++ compiler)
	@test -d "tests/fuzz/corpus/$(TARGET)" -a -n "$(TARGET)" || { echo "TARGET is one of:" $$(ls tests/fuzz/corpus | grep -vx ticket); exit 2; }
	$(FUZZ_CARGO) build $(FUZZ_PACKAGE)
	@mkdir -p $(FUZZ)/$(TARGET)/corpus $(FUZZ)/$(TARGET)/found
	COMMONWATT_FUZZ=$(TARGET) $(FUZZ)/target/$$(rustc --print host-tuple)/release/fuzz -max_total_time=$(SECONDS) -timeout=10 \
		-max_len=16384 -artifact_prefix=$(FUZZ)/$(TARGET)/found/ $(FUZZ)/$(TARGET)/corpus tests/fuzz/corpus/$(TARGET)

energy: ## Print what the energy figures are worth: attribution, intervals, liars, routing; all cases (a minute)
	$(BUILD) --all-targets
	COMMONWATT_ENERGY=full $(CARGO) test --release --locked --workspace --test energy -- --nocapture --test-threads=1

simulate: ## Simulate routing over ten thousand nodes and print what it is worth (some minutes)
	$(BUILD) --all-targets
	COMMONWATT_SIMULATION=full $(CARGO) test --release --locked --workspace --lib nodes::simulation -- --nocapture --test-threads=1

demo-federation: build ## Let three real nodes join over bad links and a NAT, then break them in mid-stream (Linux, root, iproute2, nftables)
	@COMMONWATT_DATA=$(COMMONWATT_CACHE)/node $(BIN)/commonwatt-node pull > $(COMMONWATT_CACHE)/model-folder
	COMMONWATT_TEST_MODEL=$$(cat $(COMMONWATT_CACHE)/model-folder) $(BIN)/commonwatt with-postgres -- $(BIN)/commonwatt-federation join
	COMMONWATT_TEST_MODEL=$$(cat $(COMMONWATT_CACHE)/model-folder) $(BIN)/commonwatt with-postgres -- $(BIN)/commonwatt-federation breaks

bench: ## Measure what a request costs, beside proxies and other gateways where they are installed, and what streams take (half an hour, Linux)
	$(BUILD) --bins
	$(CARGO) build --profile published --locked --workspace --bin commonwatt
	@COMMONWATT_DATA=$(COMMONWATT_CACHE)/node $(BIN)/commonwatt-node pull > $(COMMONWATT_CACHE)/model-folder
	@ln -f $(BIN)/commonwatt-bench $(BIN)/commonwatt-node $(PUBLISHED)/
	COMMONWATT_TEST_MODEL=$$(cat $(COMMONWATT_CACHE)/model-folder) $(BIN)/commonwatt with-postgres -- $(PUBLISHED)/commonwatt-bench all \
		--peers $$(tests/bench/peers/install --where) --json $(COMMONWATT_CACHE)/bench.json
	@echo "all figures: $(COMMONWATT_CACHE)/bench.json"

growth: build ## Measure what a request costs where a million were answered before (Linux, psql, 3 GB; COUNT says how many)
	$(BIN)/commonwatt with-postgres -- $(BIN)/commonwatt-bench growth $(if $(COUNT),--requests $(COUNT))

peers: ## Install other gateways, to be compared with this one (Python 3.10, Node, a gigabyte)
	@tests/bench/peers/install || [ $$? -eq 3 ]

lint: ## Format, clippy and rustdoc, all without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --release --locked --workspace --no-deps --document-private-items

audit: ## Licences, bans, sources and, where their database can be reached, advisories of every dependency
	$(CARGO) deny --workspace check licenses bans sources
	@if git ls-remote --quiet https://github.com/rustsec/advisory-db HEAD > /dev/null 2>&1; then \
		$(CARGO) deny --workspace check advisories; \
	else echo "SKIPPED: advisories, since their database on github.com can't be reached from here"; fi

openapi: build ## Write the API descriptions anew
	$(BIN)/commonwatt openapi > openapi/gateway.json
	$(BIN)/commonwatt-node openapi > openapi/node.json

openapi-check: build ## Fail when the descriptions do not match the code
	@$(BIN)/commonwatt openapi | diff -u openapi/gateway.json - && $(BIN)/commonwatt-node openapi | diff -u openapi/node.json - \
		|| { echo "run 'make openapi' and commit the result"; exit 1; }

sqlx: ## Check every query against the migrations and write .sqlx anew; uses the commonwatt built last
	@test -x $(BIN)/commonwatt || $(BUILD)
	@rm -rf .sqlx && mkdir .sqlx
	$(BIN)/commonwatt with-postgres -- sh -ec 'for file in migrations/*.sql; do \
			psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --file $$file "$$DATABASE_URL"; done; \
		touch gateway/src/lib.rs; SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$(CURDIR)/.sqlx $(CARGO) check --release --locked --workspace --all-targets'

sqlx-check: ## Fail when .sqlx does not match the queries
	@cp -r .sqlx $(CARGO_TARGET_DIR)/sqlx-committed && $(MAKE) --no-print-directory sqlx; \
		diff -r $(CARGO_TARGET_DIR)/sqlx-committed .sqlx; same=$$?; rm -rf $(CARGO_TARGET_DIR)/sqlx-committed; \
		[ $$same -eq 0 ] || { echo "run 'make sqlx' and commit the result"; exit 1; }

docs: build ## Write docs/configuration.md anew
	@$(OPERATIONS)/configuration.py

docs-check: build ## Fail when docs/configuration.md is not what the programs say, or a link leads nowhere
	@$(OPERATIONS)/configuration.py --check && $(OPERATIONS)/links.py

verifier: ## Compile the verifier for browsers anew (rustup target add wasm32-unknown-unknown)
	@CARGO=$(CARGO) $(OPERATIONS)/verifier.py

# Python with PyJWT, for the programs that verify without any code of ours.
$(RECEIPTS):
	@python3 -m venv $(RECEIPTS).new && \
		$(RECEIPTS).new/bin/python -m pip install --quiet --disable-pip-version-check 'pyjwt[crypto]==2.15.1' && \
		mv $(RECEIPTS).new $(RECEIPTS)

verifier-check: build $(RECEIPTS) ## Fail when the verifier for browsers is older than its sources, or says other things than the program
	@cd tests/receipts && $(RECEIPTS)/bin/python -B ../operations/receipt.py paid.json keys.json policy.txt
	@$(RECEIPTS)/bin/python -B tests/operations/epoch.py tests/epochs/log
	@CARGO=$(CARGO) $(OPERATIONS)/verifier.py --check || [ $$? -eq 3 ]

dashboards: build ## Show that every panel of the dashboards has data, and that every alert can fire
	@$(OPERATIONS)/dashboards.py || [ $$? -eq 3 ]

restore: build ## Back a running system up, lose its machine, restore it, and audit the books
	@$(OPERATIONS)/restore.py || [ $$? -eq 3 ]

upgrade: build ## Replace gateways and nodes of an older commit by today's, under load: make upgrade FROM=<commit>
	@$(OPERATIONS)/upgrade.py $(FROM) || [ $$? -eq 3 ]

million: build ## Show that the console stays quick over a million requests (a quarter of an hour; COUNT says how many)
	@$(OPERATIONS)/million.py || [ $$? -eq 3 ]

books: build $(RECEIPTS) ## Show that strangers can recompute an epoch from what is public alone; COUNT says of how many receipts
	@PYTHON=$(RECEIPTS)/bin/python $(OPERATIONS)/books.py || [ $$? -eq 3 ]

manifests: build ## Check the systemd units and the Kubernetes manifests
	@test -d $(MANIFESTS) || { python3 -m venv $(MANIFESTS).new && \
		$(MANIFESTS).new/bin/python -m pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0 && \
		mv $(MANIFESTS).new $(MANIFESTS); }
	@BIN=$(BIN) $(MANIFESTS)/bin/python -B tests/operations/manifests.py || [ $$? -eq 3 ]

images: ## Build the container images, run docker/compose.yaml with them, and check both (where Docker runs)
	@$(OPERATIONS)/images.py || [ $$? -eq 3 ]
