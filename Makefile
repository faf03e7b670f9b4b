# SPDX-License-Identifier: Apache-2.0
# make run: the demo, from nothing to a pushed or refused model. make test: before each commit; make test-all: the slow tests too.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test test-all test-fresh test-package test-flink test-kubeflow test-kubernetes test-node test-image test-serving test-tasks check format lock dist docs image

# Byte code makes every start of TensorFlow three times as fast.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv/bin
# Each process imports TensorFlow once, into a gigabyte; a file's tests stay together, for what they share.
PYTEST := $(VENV)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv ready, as every target does by itself; EXTRAS="s3 wandb" adds these
	@bash tools/setup.sh synth $(EXTRAS)

setup-dev:
	@bash tools/setup.sh synth s3 wandb export sign lineage croissant dev

run: setup ## demo corpus -> clips -> training -> evaluation -> pushed or refused model, in ./work
	@$(VENV)/audio-gender run --config demo --workdir work || [ $$? -eq 3 ] # 3: refused, which is a result too

test: setup-dev ## before each commit: all but the slow tests (15 to 40 minutes); real speech with LIBRISPEECH_ROOT=…
	@echo "test: 15 to 40 minutes on two cores; make test-all adds the slow tests"
	@$(PYTEST) -m "not slow"

test-all: setup-dev ## all tests that this machine can run (35 to 90 minutes), and what is skipped and why
	@echo "test-all: 35 to 90 minutes on two cores"
	@$(PYTEST)

test-fresh: setup ## the two commands above on bare Debian 12 and 13 (root, mmdebstrap; two hours)
	@bash tests/fresh/fresh.sh

test-package: setup-dev ## installs the package elsewhere with pip and with uv, and runs the demo (15 minutes)
	@RUN_PACKAGE=1 $(VENV)/python -m pytest tests/package -v

test-flink: setup-dev ## the Beam jobs and steps on a real Flink cluster and a real S3 server (Java 17, Maven, Go)
	@RUN_FLINK=1 $(VENV)/python -m pytest tests/flink -v

test-kubeflow: setup-dev ## Kubeflow's own compiler on compiled pipelines, and every step as Kubeflow runs it (Go; 10 minutes)
	@RUN_KUBEFLOW=1 $(VENV)/python -m pytest tests/kubeflow -v

test-kubernetes: setup-dev ## manifests and training workers on a real Kubernetes control plane, without containers (Go, Maven)
	@RUN_KUBERNETES=1 $(VENV)/python -m pytest tests/kubernetes tests/components/trainer/workers/kubernetes -v

test-node: setup-dev ## the runbook of docs/kubernetes.md on a real Kubernetes of one node (root; containerd, buildah, runc, Go; an hour)
	@RUN_NODE=1 $(VENV)/python -m pytest tests/node -v -x

test-image: setup-dev ## the image, built without its registry and run as Kubernetes runs it (root; buildah, runc, mmdebstrap)
	@RUN_IMAGE=1 $(VENV)/python -m pytest tests/image -v

test-serving: setup-dev ## the exported model in a real Triton and in `serve`, 10,000 requests, versions and kills (10 minutes)
	@RUN_SERVING=1 $(VENV)/python -m pytest tests/serving -v

test-tasks: setup-dev ## other labels than female and male: ages, accents and sounds, from a corpus to a push; the tutorial (10 minutes)
	@RUN_TASKS=1 $(VENV)/python -m pytest tests/tasks tests/docs/test_tutorial.py -v

dist: setup ## the wheel, the locks that belong to it, an SBOM and checksums, in dist/, for machines without this checkout
	@bash tools/dist.sh
	@bash tools/sbom.sh

docs: setup-dev ## the documentation site, in build/docs, with the pages and pictures that are made from the code (1 minute)
	@bash tools/docs.sh

image: ## the image of every pipeline step, as audio-gender:local (docker or podman)
	@bash tools/image.sh

check: setup-dev ## ruff (lint and format) and mypy
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy

format: setup-dev ## let ruff fix what it can
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

lock: setup ## resolve the dependencies anew into requirements.lock, locks/ and tools/bootstrap.lock
	@bash tools/lock.sh --upgrade
