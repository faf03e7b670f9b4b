# SPDX-License-Identifier: Apache-2.0
"""Kubeflow's API server, as Go code without a cluster, takes every package that `compile` makes."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import CONFIGS, load_config
from pipeline.kubeflow.compile import compile_decision, compile_pipeline

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_KUBEFLOW") != "1", reason="needs Go, the Go module proxy and some minutes: make test-kubeflow"
)

IMAGE = f"example.com/audio-gender@sha256:{'0' * 64}"
PROGRAM = Path(__file__).parent / "argo"
KUBEFLOW = "github.com/kubeflow/pipelines"
CACHE = Path(__file__).parents[2] / ".cache" / "kubeflow"
OVERLAYS = Path(__file__).parents[2] / "k8s/overlays"
PROFILES = {
    **{path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))},
    **{f"overlay {path.parent.name}": path for path in sorted(OVERLAYS.glob("*/config.yaml"))},
}
VARIANTS = {
    "as it is": [],
    "review": ["push.mode=review"],
    "tuner": ["tune.space={model.n_fft: [512, 1024]}"],
    "all of kubernetes": [
        "kubernetes.env={AWS_REGION: us-east-1}",
        "kubernetes.secret_env={AWS_ACCESS_KEY_ID: {secret: audio-gender-object-store, key: access_key_id}}",
        "kubernetes.image_pull_secrets=[registry]",
        "kubernetes.steps={Trainer: {cpu: '4', memory: 16Gi, accelerator: {type: nvidia.com/gpu, count: 1}, "
        "node_selector: {accelerator: l4}, tolerations: [{key: nvidia.com/gpu, effect: NoSchedule}]}}",
    ],
}


@cache
def package(profile: str, variant: str) -> str:
    """What `audio-gender compile` writes."""
    return compile_pipeline(load_config(PROFILES[profile], VARIANTS[variant]), IMAGE)


@pytest.fixture(scope="session")
def server() -> Path:
    """The program in `argo/`, built into the cache if it is not there."""
    if not shutil.which("go"):
        pytest.skip("needs Go: no `go` on the PATH")
    sources = b"".join((PROGRAM / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
    program = CACHE / hashlib.sha256(sources).hexdigest()[:12] / "argo"
    if not program.exists():
        download = subprocess.run(
            ["go", "mod", "download", KUBEFLOW], cwd=PROGRAM, capture_output=True, text=True, timeout=600, check=False
        )
        if re.search(r"reading https?:|dial tcp|requires go >", download.stderr):
            pytest.skip(f"needs Kubeflow's Go modules: {' '.join(download.stderr.split())}")
        assert download.returncode == 0, download.stderr
        print(f"building Kubeflow's compiler into {program} (some minutes)")
        subprocess.run(["go", "build", "-o", program, "."], cwd=PROGRAM, timeout=1800, check=True)
    return program


Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start(server: Path, tmp_path: Path) -> Start:
    """Starts a run of a package, with parameters."""

    def start(text: str, **parameters: Any) -> "subprocess.CompletedProcess[str]":
        path = tmp_path / "pipeline.yaml"
        path.write_text(text)
        command: list[str | Path] = [server, "-parameters", json.dumps(parameters), path]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return start


def edited(text: str, edit: Callable[[dict[str, Any]], None]) -> str:
    """The package with a changed pipeline spec."""
    spec, platform = yaml.safe_load_all(text)
    edit(spec)
    return yaml.safe_dump_all([spec, platform])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_package_becomes_a_workflow_with_all_its_nodes(start: Start, profile: str, variant: str) -> None:
    text = package(profile, variant)

    result = start(text)

    assert result.returncode == 0, result.stderr
    workflow = yaml.safe_load(result.stdout)
    nodes = set(next(yaml.safe_load_all(text))["root"]["dag"]["tasks"])
    (dag,) = (template["dag"] for template in workflow["spec"]["templates"] if template["name"] == "root")
    assert {task["name"] for task in dag["tasks"]} == nodes | {f"{node}-driver" for node in nodes}
    assert {"Trainer", "Gate", "Pusher"} < nodes
    assert ("Tuner" in nodes) == (variant == "tuner")
    of_pods = {parameter["name"] for parameter in workflow["spec"]["arguments"]["parameters"]}
    assert {f"kubernetes-{node}" for node in nodes} <= of_pods
    assert workflow["spec"]["podMetadata"]["labels"]["pipeline/runid"]


def test_a_run_takes_the_parameters_that_the_package_names(start: Start) -> None:
    changed = {
        "corpus_uri": "s3://corpora/LibriSpeech",
        "dataset_uri": "s3://clips/other",
        "num_train_clips": 16,
        "num_eval_clips": 4,
        "num_test_clips": 4,
        "epochs": 2,
        "push_mode": "review",
        "alarm": '{"version":5,"reasons":["drift of level"],"values":{"level_dbfs":0.4}}',
    }
    text = package("demo", "as it is")
    assert set(changed) == set(next(yaml.safe_load_all(text))["root"]["inputDefinitions"]["parameters"])

    result = start(text, **changed)

    assert result.returncode == 0, result.stderr
    assert "s3://clips/other" in result.stdout


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"epoch": 2}, "not required by pipeline: epoch"),
        ({"epochs": "2"}, "epochs requires type double or integer"),
        ({"dataset_uri": 2}, "dataset_uri requires type string"),
        ({"push_mode": "never"}, "push_mode"),
    ],
)
def test_a_run_with_other_parameters_is_refused(start: Start, parameters: dict[str, Any], words: str) -> None:
    result = start(package("demo", "as it is"), **parameters)

    assert result.returncode == 1
    assert words in result.stderr


def test_a_decision_becomes_a_workflow_of_one_node(start: Start) -> None:
    text = compile_decision(load_config(CONFIGS / "demo.yaml"), IMAGE)

    result = start(text, action="approve", by="Alice", run_id="run-1", override=1)

    assert result.returncode == 0, result.stderr
    workflow = yaml.safe_load(result.stdout)
    (dag,) = (template["dag"] for template in workflow["spec"]["templates"] if template["name"] == "root")
    assert [task["name"] for task in dag["tasks"]] == ["Decision-driver", "Decision"]
    assert "parameter by is not optional" in start(text, action="approve").stderr
    assert start(text, action="delete", by="Alice").returncode == 1


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda spec: spec.update(schemaVersion="2.0.0"), "only supports schema version 2.1.0"),
        (lambda spec: spec["pipelineInfo"].update(name="Audio Gender"), "must contain only lowercase"),
        (lambda spec: spec["deploymentSpec"]["executors"].pop("Trainer_executor"), "not found in deployment config"),
        (lambda spec: spec["components"].pop("Gate"), 'cannot find component ref name="Gate"'),
        (lambda spec: spec["root"]["dag"]["tasks"]["Gate"]["dependentTasks"].append("Nobody"), "Nobody"),
    ],
)
def test_a_broken_package_is_refused(start: Start, edit: Callable[[dict[str, Any]], None], words: str) -> None:
    result = start(edited(package("demo", "as it is"), edit))

    assert result.returncode == 1
    assert words in result.stderr
