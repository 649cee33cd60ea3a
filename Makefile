# Python 3.11 and make are all that is needed; everything else comes from the locks.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
DATA ?= synthetic://
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(VENV)/.tools
EXTRAS := train serving ui
DEPLOY = @test -n "$(NAMESPACE)" || { echo "give the namespace: make $@ NAMESPACE=clinic"; exit 2; }; $(BIN)/python -m components.deploy
PIP_COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

.PHONY: run pipeline serve verify test tools fuzz bench lint compile deploy promote rollback lock clean help

run: $(READY) ## the whole pipeline on DATA, then the champion served until Ctrl-C
	$(BIN)/python -m pipelines.run --source "$(DATA)"
	$(BIN)/python -m pipelines.serve --examples 3

pipeline: $(READY) ## the whole pipeline on DATA, a folder, an archive or an address (default synthetic://)
	$(BIN)/python -m pipelines.run --source "$(DATA)"

serve: $(READY) ## the champion over REST (8080) and gRPC (8081) until Ctrl-C
	$(BIN)/python -m pipelines.serve

verify: $(READY) ## check that the model folder MODEL keeps the contract
	@test -n "$(MODEL)" || { echo "give the folder of one version: make verify MODEL=runs/models/brain-tumor/1"; exit 2; }
	@$(BIN)/python -m components.train.verify "$(MODEL)"

test: $(TOOLS) ## every test that needs no cluster, GPU or network
	$(BIN)/python -m pytest

tools: $(TOOLS) ## Helm, kubectl, Chromium and Prometheus for the tests

fuzz: $(READY) ## 5,000 bad requests to the service
	FUZZ_REQUESTS=5000 $(BIN)/python -m pytest -s tests/serving/test_fuzz.py

bench: $(READY) ## the service beside the plain way and the model in process, and explaining beside predicting
	$(BIN)/python -m tests.benchmarks.service
	$(BIN)/python -m tests.benchmarks.explain

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

compile: $(READY) ## write pipelines/brain_tumor.yaml for Kubeflow
	$(BIN)/python -m pipelines.compile

deploy: $(READY) ## the champion, or MODEL_URI, to KServe in NAMESPACE, at CANARY percent (default 10)
	$(DEPLOY) deploy --namespace "$(NAMESPACE)" $(if $(CANARY),--canary-percent $(CANARY)) $(if $(MODEL_URI),--model-uri "$(MODEL_URI)")

promote: $(READY) ## the canary in NAMESPACE gets everything
	$(DEPLOY) promote --namespace "$(NAMESPACE)"

rollback: $(READY) ## without the canary in NAMESPACE, or back to the version before
	$(DEPLOY) rollback --namespace "$(NAMESPACE)"

lock: $(READY) ## resolve the locks anew: the environment's first, then each image's within it
	$(PIP_COMPILE) $(EXTRAS:%=--extra %) --extra dev pyproject.toml -o requirements-dev.txt
	$(PIP_COMPILE) --extra train -c requirements-dev.txt pyproject.toml -o components/requirements.txt
	$(PIP_COMPILE) --extra serving -c requirements-dev.txt pyproject.toml -o serving/requirements.txt
	$(PIP_COMPILE) --extra ui -c requirements-dev.txt pyproject.toml -o ui/requirements.txt

clean: ## remove the environment and all runs, models and registry included
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): requirements-dev.txt
	@echo "setting up $(VENV): 3 GB, a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

$(TOOLS): $(READY) requirements-tools.txt tests/tools.py
	$(BIN)/python -m tests.tools
	touch $@
