# SPDX-License-Identifier: Apache-2.0
"""Kubeflow's cache key of every step, as `driver.py` plays it: the same for the same inputs, and another for any other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from driver import Kubeflow, Run, Task, _fingerprint, _outputs, _pipeline_parameters
from launcher import Step, StoredArtifact

from components.code_digest import PACKAGES, ROOT
from pipeline.config import CONFIGS, load_config
from pipeline.kubeflow.compile import compile_pipeline

IMAGE = f"example/audio-gender@sha256:{'0' * 64}"
TUNE = "tune.space={train.learning_rate: [0.001]}"
COMPILE = f"""
from pipeline.config import CONFIGS, load_config
from pipeline.kubeflow.compile import compile_pipeline
print(compile_pipeline(load_config(CONFIGS / "demo.yaml", [{TUNE!r}]), {IMAGE!r}), end="")
"""


@pytest.fixture(scope="module")
def package() -> str:
    return compile_pipeline(load_config(CONFIGS / "demo.yaml", [TUNE]), IMAGE)


class Keys:
    """The keys of all steps of a package."""

    def __init__(self, package: str, folder: Path) -> None:
        self._spec, platform = yaml.safe_load_all(package)
        self._executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self._driver = Kubeflow(folder, "minio://mlpipeline/run", {}, {})
        self._values = _pipeline_parameters(self._spec["root"], {})
        self.tasks: dict[str, dict[str, Any]] = self._spec["root"]["dag"]["tasks"]

    def of(self, name: str, parameters: dict[str, Any] | None = None, changed: str = "") -> str:
        """The key of one step; `parameters` go before the constants it was compiled with, and the input `changed` is another."""
        given = self.tasks[name].get("inputs", {})
        constants = {key: {"runtimeValue": {"constant": value}} for key, value in (parameters or {}).items()}
        spec = {**self.tasks[name], "inputs": {**given, "parameters": {**given.get("parameters", {}), **constants}}}
        component = self._spec["components"][spec["componentRef"]["name"]]
        label = component["executorLabel"]
        container = self._spec["deploymentSpec"]["executors"][label]["container"]
        task = Task(name, spec, component, container, self._executors[label])
        run = Run("run")
        for key, producer in given.get("artifacts", {}).items():
            artifact = producer["taskOutputArtifact"]
            step = run.steps.setdefault(artifact["producerTask"], Step("succeeded"))
            number = 1000 * (key == changed) + sorted(given["artifacts"]).index(key)
            step.outputs[artifact["outputArtifactKey"]] = StoredArtifact(number, f"minio://mlpipeline/{key}", {})
        for producer in given.get("parameters", {}).values():
            if "taskOutputParameter" in producer:
                parameter = producer["taskOutputParameter"]
                step = run.steps.setdefault(parameter["producerTask"], Step("succeeded"))
                step.parameters[parameter["outputParameterKey"]] = "fingerprint"
        inputs = self._driver._inputs(task, run, self._values)
        return _fingerprint(task, {"inputs": inputs, "outputs": _outputs("minio://mlpipeline/run", task)})


@pytest.fixture(scope="module")
def keys(package: str, tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(package, tmp_path_factory.mktemp("kubeflow"))


@pytest.mark.slow
def test_another_process_in_another_checkout_compiles_the_same_keys(keys: Keys, package: str, tmp_path: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "checkout"), "PYTHONHASHSEED": "7"}

    there = subprocess.run(
        [sys.executable, "-c", COMPILE], cwd=tmp_path / "checkout", env=environment, capture_output=True, text=True, timeout=300
    )

    assert there.returncode == 0, there.stderr
    assert there.stdout == package
    other = Keys(there.stdout, tmp_path / "kubeflow")
    assert {name: other.of(name) for name in keys.tasks} == {name: keys.of(name) for name in keys.tasks}
    assert len({keys.of(name) for name in keys.tasks}) == len(keys.tasks) == 15


def test_another_input_artifact_makes_another_key(keys: Keys) -> None:
    inputs = [(name, key) for name, task in keys.tasks.items() for key in task.get("inputs", {}).get("artifacts", {})]

    assert len(inputs) > 20
    assert [(name, key) for name, key in inputs if keys.of(name, changed=key) == keys.of(name)] == []


def test_another_property_makes_another_key(keys: Keys) -> None:
    constants = [
        (name, key, value["runtimeValue"]["constant"])
        for name, task in keys.tasks.items()
        for key, value in task.get("inputs", {}).get("parameters", {}).items()
        if "runtimeValue" in value
    ]

    assert {name for name, key, _ in constants if key == "code"} == set(keys.tasks)
    for name, key, value in constants:
        other = f"{value} " if isinstance(value, str) else value + 1
        assert keys.of(name, {key: other}) != keys.of(name), (name, key)
