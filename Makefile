# `make help` lists the targets. Two of them are all a newcomer needs: run and test.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.venv/.installed: constraints.txt requirements-dev.txt $(wildcard */pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt
	@touch $@

.PHONY: install
install: .venv/.installed ## make .venv with all rooms and tools

.PHONY: fmt
fmt: install ## format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
