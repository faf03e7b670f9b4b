# make run: the demo, from nothing to a pushed or refused model. make test: all tests that this machine can run.
.DEFAULT_GOAL := help
.PHONY: help setup run test test-flink test-kubeflow test-kubernetes check format lock image

# Byte code makes every start of TensorFlow three times as fast.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv/bin

help: ## show this
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## make .venv ready (run, test and check do this by themselves)
	@bash tools/setup.sh

run: setup ## demo corpus -> clips -> training -> evaluation -> pushed or refused model, in ./work
	@$(VENV)/audio-gender run --config demo --workdir work || [ $$? -eq 3 ] # 3: refused, which is a result too

test: setup ## all tests that this machine can run; real speech with LIBRISPEECH_ROOT=…
	@$(VENV)/python -m pytest

test-flink: setup ## the clip generator on a real Flink cluster and a real S3 server (Java 17, Maven, Go)
	@RUN_FLINK=1 $(VENV)/python -m pytest tests/flink -v

test-kubeflow: setup ## Kubeflow's own compiler on compiled pipelines, and every step as Kubeflow runs it (Go; 10 minutes)
	@RUN_KUBEFLOW=1 $(VENV)/python -m pytest tests/kubeflow -v

test-kubernetes: setup ## manifests and training workers on a real Kubernetes control plane, without containers (Go, Maven)
	@RUN_KUBERNETES=1 $(VENV)/python -m pytest tests/kubernetes tests/components/trainer/workers/kubernetes -v

image: ## the image of every pipeline step, as audio-gender:local (docker or podman)
	@bash tools/image.sh

check: setup ## ruff (lint and format) and mypy
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy

format: setup ## let ruff mend what it can
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

lock: setup ## resolve the dependencies anew into requirements.lock and tools/bootstrap.lock
	@$(VENV)/../bootstrap/bin/uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --upgrade --quiet \
		--no-header --python-platform x86_64-manylinux_2_39 --python-version 3.11 --output-file requirements.lock
	@$(VENV)/../bootstrap/bin/uv pip compile tools/bootstrap.in --generate-hashes --upgrade --quiet \
		--no-header --python-platform x86_64-manylinux_2_39 --python-version 3.11 --output-file tools/bootstrap.lock
