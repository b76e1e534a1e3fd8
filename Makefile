# `make help` lists the targets. Two of them are all a newcomer needs: run and test.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.venv/.installed: constraints.txt requirements-dev.txt $(wildcard */pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -r requirements-dev.txt
	@touch $@

.PHONY: install
install: .venv/.installed ## make .venv with all rooms and tools

.PHONY: run
run: install ## train the main job here: ten sites, one process each, with a report at the end
	$(BIN)/fljob run examples/synthetic-ten-sites/fljob.yaml --compare-pooled

WORKERS ?= 2
.PHONY: test
test: install ## run the tests, WORKERS at a time; those on a real cluster too with FLJOB_TEST_CLUSTER=1 or KUBECONFIG
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

.PHONY: test-cluster
test-cluster: install ## run only the tests on a real cluster (as root on Linux, or KUBECONFIG)
	FLJOB_TEST_CLUSTER=1 $(BIN)/python -m pytest -m cluster $(ARGS)

.PHONY: chaos
chaos: install ## kill and pause processes of local jobs at random: ARGS="--runs 200 --mode Sync --seed 1"
	$(BIN)/python tools/chaos.py $(ARGS)

.PHONY: chaos-cluster
chaos-cluster: install ## delete pods of a job in the tests' cluster at random, as root on Linux: ARGS="--runs 10 --seed 1"
	$(BIN)/python tools/chaos_cluster.py $(ARGS)

.PHONY: fuzz
fuzz: install ## inputs led by coverage for all that decodes what others wrote: ARGS="--inputs 1000000 --seed 1"
	$(BIN)/python tools/fuzz.py $(ARGS)

.PHONY: coverage
coverage: install ## run the unit and contract tests and hold branch coverage to its floors
	$(BIN)/python -m pytest tests/unit tests/contract --cov --cov-report= $(ARGS)
	$(BIN)/python tools/check_coverage.py

.PHONY: fmt
fmt: install ## format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

.PHONY: lint
lint: install ## style, walls between the rooms, sizes
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python tools/check_budgets.py

.PHONY: types
types: install ## static types
	$(BIN)/mypy

.PHONY: generate
generate: install ## make protos, CRD, catalog, reference pages and the chart's copies anew
	$(BIN)/python tools/generate.py

.PHONY: check-generated
check-generated: install ## tell which generated files are stale
	$(BIN)/python tools/generate.py --check

.PHONY: check-docs
check-docs: install ## run the commands of the documentation, follow its links
	$(BIN)/python tools/check_docs.py

.PHONY: verify
verify: lint types check-generated check-docs ## everything that is checked without running tests

ENGINE ?= docker
VERSION ?= 0.1.0
.PHONY: images
images: ## build the images (ENGINE=docker, podman or buildah; PIP_EXTRA_INDEX_URL for a CPU build of torch)
	$(ENGINE) build --build-arg PIP_EXTRA_INDEX_URL -f images/operator/Dockerfile -t fljob-operator:$(VERSION) .
	$(ENGINE) build --build-arg PIP_EXTRA_INDEX_URL -f images/runtime/Dockerfile -t fljob-runtime:$(VERSION) .
	$(ENGINE) build -f images/scorer/Dockerfile -t fljob-scorer:$(VERSION) .

.PHONY: bench
bench: install ## measure local training beside plain PyTorch, and the server beside a bare stream
	$(BIN)/python bench/local.py $(ARGS)
	$(BIN)/python bench/server_stream.py

.PHONY: bench-tables
bench-tables: install ## pull and push of rows beside torch's primitives in process, and p50 and p99 over gRPC (a few minutes, 6 GB)
	$(BIN)/python bench/tables.py $(ARGS)

.PHONY: profile
profile: install ## the functions that cost most CPU on each hot path: ARGS="--paths commit --top 5"
	$(BIN)/python bench/hot_paths.py $(ARGS)

.PHONY: bench-sessions
bench-sessions: install ## GRU4Rec's training beside a plain PyTorch loop and beside batches with a step after every event (minutes)
	$(BIN)/python bench/sessions.py $(ARGS)

.PHONY: bench-models
bench-models: install ## every built-in model's training beside a plain PyTorch loop on the same batches: ARGS="--only mf softmax --repeats 5"
	$(BIN)/python bench/models.py $(ARGS)

.PHONY: bench-import
bench-import: install ## import of generated Criteo and MovieLens files beside pyarrow alone: ARGS="--criteo-rows 500000"
	$(BIN)/python bench/imports.py $(ARGS)

.PHONY: bench-flower
bench-flower: install ## a warm round beside Flower's simulation, in turn: ARGS="--flower-venv DIR --install"
	$(BIN)/python bench/flower.py $(ARGS)

.PHONY: bench-load
bench-load: install ## a hundred trainers that only pull and push, against two shards, for ten minutes: ARGS="--seconds 60"
	$(BIN)/python bench/load.py $(ARGS)

.PHONY: bench-compression
bench-compression: install ## every codec of updates: bytes and AUC beside none, synthetic and MovieLens: ARGS="--data DIR --passes 3 --seeds 0"
	$(BIN)/python bench/compression.py $(ARGS)

.PHONY: bench-modes
bench-modes: install ## every mode beside pooled training on the same data: ARGS="--data-root DIR" (half an hour on MovieLens-1M)
	$(BIN)/python bench/modes.py $(ARGS)
