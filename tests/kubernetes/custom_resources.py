# SPDX-License-Identifier: Apache-2.0
"""Definitions of the custom resources that the manifests use, from where their projects publish them."""

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from api import Manifest
from processes import CACHE

FLINK_OPERATOR = "org.apache.flink:flink-kubernetes-operator-api:1.10.0"
KSERVE = "github.com/kserve/kserve@v0.15.2"


def custom_resource_definitions() -> Iterator[Manifest]:
    """FlinkDeployment, and KServe's InferenceService and ServingRuntime."""
    with zipfile.ZipFile(_flink_jar()) as jar:
        yield yaml.load(jar.read("META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"), yaml.CSafeLoader)
    download = ["go", "mod", "download", "-json", KSERVE]
    module = json.loads(subprocess.run(download, stdout=subprocess.PIPE, check=True, timeout=600).stdout)
    for name in ("inferenceservices", "servingruntimes"):
        path = Path(module["Dir"]) / "config/crd/full" / f"serving.kserve.io_{name}.yaml"
        yield yaml.load(path.read_bytes(), yaml.CSafeLoader)


def _flink_jar() -> Path:
    _, name, version = FLINK_OPERATOR.split(":")
    jar = CACHE / "kubernetes-crds" / f"{name}-{version}.jar"
    if not jar.exists():
        print(f"fetching {FLINK_OPERATOR} into {jar.parent}")
        copy = ["dependency:copy", f"-Dartifact={FLINK_OPERATOR}", f"-DoutputDirectory={jar.parent}"]
        subprocess.run(["mvn", "--batch-mode", "--quiet", *copy], cwd=CACHE, check=True, timeout=600)
    return jar
