# Python 3.11 and make are all that is needed; everything else comes from the locks.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
DATA ?= synthetic://
TRIALS ?= 20
# Paths reach the commands by the environment, so that neither make nor the shell replaces anything in them.
override DATA := $(value DATA)
override EXTERNAL := $(value EXTERNAL)
override MODEL := $(value MODEL)
export DATA EXTERNAL MODEL
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(VENV)/.tools
LINT := .venv-lint
LINTERS := $(LINT)/.ready
DOCS := .venv-docs
SPHINX := $(DOCS)/.ready
PEERS := mlserver bentoml litserve
PEER_VENV := .venv-peers
BEFORE ?=
EXTRAS := train serving dicomweb ui
IMAGE_FOLDERS := components serving serving/dicomweb ui
IMAGES := $(notdir $(IMAGE_FOLDERS))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REGISTRY ?=
BASE ?= python:3.11-slim
DOCKER_BUILD = docker build --build-arg BASE=$(BASE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD)
DEPLOY = @test -n "$(NAMESPACE)" || { echo "give the namespace: make $@ NAMESPACE=clinic"; exit 2; }; $(BIN)/python -m components.deploy
TAKE_OVER = $(if $(FORCE),--force)
PIP_COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

.PHONY: run pipeline tune cv serve page pacs monitor verify test test-fast test-faults test-long test-cluster test-auth test-pacs coverage tools fuzz bench bench-peers bench-data lint lint-code lint-deployment docs compile deploy promote rollback lock images version-set clean model-image sbom sbom-images help

run: $(READY) ## the whole pipeline on DATA, then the champion and the web page (8501) until Ctrl-C
	$(BIN)/python -m pipelines.local.run --source="$$DATA"
	$(BIN)/python -m pipelines.local.serve --examples 3 --page

pipeline: $(READY) ## the whole pipeline on DATA, a folder, an archive or a URI (default synthetic://)
	$(BIN)/python -m pipelines.local.run --source="$$DATA"

tune: $(READY) ## TRIALS cross-validations (default 20) on DATA in search of better hyper-parameters
	$(BIN)/python -m pipelines.tuning.tune --source="$$DATA" --trials $(TRIALS)

cv: $(READY) ## cross-validate the model on DATA beside baselines, and test it on the EXTERNAL sets, separated by commas
	$(BIN)/python -m pipelines.cross_validation --source="$$DATA" --external="$$EXTERNAL"

serve: $(READY) ## the champion over REST (8080) and gRPC (8081) until Ctrl-C
	$(BIN)/python -m pipelines.local.serve

page: $(READY) ## the web page alone (8501), for the service at API_URL (default http://localhost:8080)
	$(BIN)/python -m ui

pacs: $(READY) ## a PACS (8042) with a phantom series, the champion, and the gateway that brings its results there, until Ctrl-C
	$(BIN)/python -m tests.serving.dicomweb.orthanc
	$(BIN)/python -m pipelines.local.serve --pacs

monitor: $(TOOLS) ## Prometheus for service, web page and gateway, with the alerts, at http://localhost:9090 until Ctrl-C
	$(BIN)/python -m pipelines.local.monitor

verify: $(READY) ## check that the model folder MODEL satisfies the model contract
	@test -n "$$MODEL" || { echo "give the folder of one version: make verify MODEL=runs/models/brain-tumor/1"; exit 2; }
	@$(BIN)/python -m components.verify -- "$$MODEL"

test: $(TOOLS) ## every test that needs no cluster, GPU or network
	$(BIN)/python -m pytest --numprocesses 3 --no-loadscope-reorder

test-fast: $(TOOLS) ## the tests that start no TensorFlow, browser or service, in 90 s
	$(BIN)/python -m pytest --numprocesses 3 --no-loadscope-reorder -m "not slow"

test-long: $(TOOLS) ## more tests of the page behind proxies that limit, strip and cut, and others that take long
	$(BIN)/python -m pytest -m long

test-faults: $(READY) ## runs that are killed, whose disk fills or whose registry is locked, in every step; as root
	$(BIN)/python -m pytest -m faults tests/pipelines/local

test-cluster: $(TOOLS) ## the tests on a real API server, which is built once with Go; or on the cluster of KUBECONFIG
	@test -n "$(KUBECONFIG)" || $(BIN)/python -m tests.cluster.build
	$(BIN)/python -m pytest -m cluster

test-auth: $(TOOLS) ## the login in front of page and API, with the real oauth2-proxy, which is built once with Go
	$(BIN)/python -m tests.auth.build
	$(BIN)/python -m pytest tests/auth

test-pacs: $(TOOLS) ## the PACS gateway between a real Orthanc and the real service, with kills, faults and 5,000 damaged files
	$(BIN)/python -m tests.serving.dicomweb.orthanc
	$(BIN)/python -m pytest -m pacs

coverage: $(TOOLS) ## the tests with the coverage of the product's code, child processes included; fails below the floor
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 3 --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

tools: $(TOOLS) ## Helm, kubectl, Chromium, Prometheus, nginx, DCMTK, dicom3tools, KServe's downloader, schemas and images for the tests

fuzz: $(READY) ## 5,000 invalid requests and 5,000 damaged DICOM files to the service
	FUZZ_REQUESTS=5000 $(BIN)/python -m pytest -s tests/serving/test_fuzz.py

bench: $(TOOLS) ## the service against a naive FastAPI baseline and the model in process, a series against its slices, and explain against predict
	$(BIN)/python -m tests.benchmarks.service
	$(BIN)/python -m tests.benchmarks.series
	$(BIN)/python -m tests.benchmarks.explain

bench-peers: $(TOOLS) $(PEERS:%=$(PEER_VENV)/%/.ready) ## the service beside MLServer, BentoML, LitServe and others, and at the commit BEFORE: writes docs/benchmarks.md in half an hour
	$(BIN)/python -m tests.benchmarks.peers $(if $(BEFORE),--before "$(BEFORE)")

bench-data: $(READY) ## ingest, preprocess and the batches of a training at 20,000 images, and 200,000 hashes
	$(BIN)/python -m tests.benchmarks.data

lint: lint-code lint-deployment ## ruff, mypy and import-linter; hadolint, shellcheck, yamllint and checkov

lint-code: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-deployment: $(TOOLS) $(LINTERS)
	$(LINT)/bin/hadolint $(IMAGE_FOLDERS:%=%/Dockerfile)
	$(LINT)/bin/shellcheck .ci/run
	$(LINT)/bin/yamllint --strict .
	$(LINT)/bin/checkov --config-file .checkov.yaml --file $(IMAGE_FOLDERS:%=%/Dockerfile)
	$(BIN)/python -m tests.manifests.render $(LINT)/pods
	$(LINT)/bin/checkov --config-file .checkov.yaml --directory $(LINT)/pods

docs: $(SPHINX) ## build the documentation site, docs/_build/index.html
	$(DOCS)/bin/sphinx-build --quiet --fail-on-warning --keep-going --builder html docs docs/_build

compile: $(READY) ## write pipelines/brain_tumor.yaml and manifests/pipelines/ for Kubeflow
	$(BIN)/python -m pipelines.compile
	$(BIN)/python -m pipelines.compile --manifest

deploy: $(READY) ## the champion, or MODEL_URI, to KServe in NAMESPACE, at CANARY percent (default 10)
	$(DEPLOY) deploy --namespace "$(NAMESPACE)" $(if $(CANARY),--canary-percent $(CANARY)) $(if $(MODEL_URI),--model-uri "$(MODEL_URI)") \
		$(if $(SERVING_STORE),--serving-store "$(SERVING_STORE)") $(if $(ALLOW_UNSIGNED),--allow-unsigned) $(TAKE_OVER)

promote: $(READY) ## the canary in NAMESPACE receives 100 % of the traffic
	$(DEPLOY) promote --namespace "$(NAMESPACE)" $(TAKE_OVER)

rollback: $(READY) ## remove the canary in NAMESPACE, or return to the previous version
	$(DEPLOY) rollback --namespace "$(NAMESPACE)" $(TAKE_OVER)

model-image: $(READY) ## the registered version VERSION as an OCI archive in runs/, made without a container engine
	@test "$(origin VERSION)" = "command line" || { echo "give the number of a version: make model-image VERSION=1"; exit 2; }
	@$(BIN)/python -m components.registry image $(VERSION) --output "runs/model-images/$(VERSION).tar"

sbom: sbom-images ## a CycloneDX bill of materials of each container image and of the champion, in sbom/
	@$(BIN)/python -m components.registry sbom --output sbom/model.cdx.json

sbom-images: $(READY)
	@$(BIN)/python sbom.py sbom --base $(BASE)

lock: $(READY) ## resolve all locks: the environment's first, then each container image's within it
	$(PIP_COMPILE) $(EXTRAS:%=--extra %) --extra dev pyproject.toml -o requirements-dev.txt
	$(PIP_COMPILE) --extra train -c requirements-dev.txt pyproject.toml -o components/requirements.txt
	$(PIP_COMPILE) --extra train --extra gpu -c components/requirements.txt pyproject.toml -o components/requirements-gpu.txt
	$(PIP_COMPILE) --extra serving -c requirements-dev.txt pyproject.toml -o serving/requirements.txt
	$(PIP_COMPILE) --extra dicomweb -c requirements-dev.txt pyproject.toml -o serving/dicomweb/requirements.txt
	$(PIP_COMPILE) --extra ui -c requirements-dev.txt pyproject.toml -o ui/requirements.txt
	$(PIP_COMPILE) --extra lint pyproject.toml -o requirements-lint.txt
	$(PIP_COMPILE) --extra docs pyproject.toml -o requirements-docs.txt
	for peer in $(PEERS); do $(PIP_COMPILE) --extra $$peer pyproject.toml -o tests/benchmarks/peers/$$peer/requirements.txt || exit; done
	$(PIP_COMPILE) --extra uv -c requirements-dev.txt pyproject.toml -o requirements-uv.txt

images: $(IMAGES:%=image-%) ## build the four container images, by REGISTRY=registry.example/team and BASE=python:3.11-slim

image-%: # in addition to the four there is image-components-gpu
	$(DOCKER_BUILD) --file $(filter %$*,$(IMAGE_FOLDERS))/Dockerfile --tag $(REGISTRY:%=%/)brain-tumor-$*:$(VERSION) .

image-components-gpu:
	$(DOCKER_BUILD) --build-arg LOCK=components/requirements-gpu.txt \
		--file components/Dockerfile --tag $(REGISTRY:%=%/)brain-tumor-components:$(VERSION)-gpu .

version-set: $(READY) ## set the version in every file that names it: make version-set VERSION=1.2.3
	$(BIN)/python version.py $(VERSION)
	$(MAKE) compile

clean: ## remove the environment and all runs, models and registry included
	rm -rf $(VENV) $(LINT) $(DOCS) $(PEER_VENV) docs/_build runs .pytest_cache .mypy_cache .ruff_cache

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): requirements-uv.txt requirements-dev.txt
	@echo "setting up $(VENV): 3 GB, one minute"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

$(LINTERS): requirements-lint.txt | $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LINT)
	$(BIN)/uv pip sync --quiet --python $(LINT)/bin/python --require-hashes requirements-lint.txt
	touch $@

$(SPHINX): requirements-docs.txt | $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(DOCS)
	$(BIN)/uv pip sync --quiet --python $(DOCS)/bin/python --require-hashes requirements-docs.txt
	touch $@

$(PEER_VENV)/%/.ready: tests/benchmarks/peers/%/requirements.txt | $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEER_VENV)/$*
	$(BIN)/uv pip sync --quiet --python $(PEER_VENV)/$*/bin/python --require-hashes $<
	touch $@

$(TOOLS): $(READY) requirements-tools.txt tests/tools.py
	$(BIN)/python -m tests.tools
	touch $@
