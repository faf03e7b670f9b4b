# SPDX-License-Identifier: Apache-2.0
"""The driver's pod: `run_driver.py TASK`. Finds a step's inputs, asks the cache, and writes what its pod shall be.

`/run-of-kubeflow` holds the run: its package and parameters.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from driver import Kubeflow, Run, Task, _fingerprint, _outputs, _pipeline_parameters
from launcher import Json
from store import S3Store

OUTPUTS = Path("/tmp/outputs")
SCRATCH = ("minio", "s3", "gcs")
"""Folders of a step's container that Kubeflow makes volumes."""


def main(name: str) -> None:
    """Writes two files for Argo: `pod-spec-patch` and `cached-decision`."""
    folder, store = Path("/run-of-kubeflow"), S3Store()
    started = json.loads((folder / "run.json").read_text())
    spec, platform = yaml.load_all((folder / "package.yaml").read_text(), yaml.CSafeLoader)
    values = _pipeline_parameters(spec["root"], started["parameters"])
    task = _task(spec, platform, name)
    run = Run(started["id"])
    for producer in task.spec.get("dependentTasks", []):
        step = store.read_step(f"runs/{run.id}/{producer}")
        assert step, f"{producer} recorded nothing"
        run.steps[producer] = step
    root = f"{started['root']}/{spec['pipelineInfo']['name']}/{run.id}"
    inputs = Kubeflow(Path("/tmp/unused"), root, {}, {})._inputs(task, run, values)
    executor_input = {"inputs": inputs, "outputs": _outputs(root, task)}
    key = _fingerprint(task, executor_input) if task.spec.get("cachingOptions", {}).get("enableCache") else ""
    cached = store.read_step(f"cache/{key}") if key else None
    if cached:
        store.write_step(f"runs/{run.id}/{name}", cached)
    OUTPUTS.mkdir(exist_ok=True)
    (OUTPUTS / "cached-decision").write_text(str(bool(cached)).lower())
    (OUTPUTS / "pod-spec-patch").write_text(json.dumps(_pod(task, run.id, key, executor_input)))


def _task(spec: Json, platform: Json, name: str) -> Task:
    task = spec["root"]["dag"]["tasks"][name]
    component = spec["components"][task["componentRef"]["name"]]
    label = component["executorLabel"]
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return Task(name, task, component, spec["deploymentSpec"]["executors"][label]["container"], executors[label])


def _pod(task: Task, run_id: str, key: str, executor_input: Json) -> Json:
    """What Kubeflow's driver puts into the pod of a step, out of both documents of a package (driver.go, k8s.go)."""
    container, platform = task.container, task.platform
    own = {"KFP_POD_NAME": "metadata.name", "KFP_POD_UID": "metadata.uid", "NAMESPACE": "metadata.namespace"}
    environment: list[Json] = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in own.items()]
    environment += container.get("env", [])
    for secret in platform.get("secretAsEnv", []):
        for entry in secret["keyToEnv"]:
            source = {"secretKeyRef": {"name": secret["secretName"], "key": entry["secretKey"]}}
            environment.append({"name": entry["envVar"], "valueFrom": source})
    for field in platform.get("fieldPathAsEnv", []):
        environment.append({"name": field["name"], "valueFrom": {"fieldRef": {"fieldPath": field["fieldPath"]}}})
    claims = {mount["constant"]: mount["mountPath"] for mount in platform.get("pvcMount", [])}
    volumes: list[Json] = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    volumes += [{"name": f"{name}-scratch", "emptyDir": {}} for name in SCRATCH]
    mounts = [{"name": claim, "mountPath": path} for claim, path in claims.items()]
    mounts += [{"name": f"{name}-scratch", "mountPath": f"/{name}"} for name in SCRATCH]
    launch = ["python", "/opt/kubeflow/bin/run_launcher.py", f"runs/{run_id}/{task.name}", key, json.dumps(executor_input)]
    main: Json = {
        "name": "main",
        "image": container["image"],
        "command": [*launch, *container.get("command", []), *container.get("args", [])],
        "env": environment,
        "volumeMounts": mounts,
        "resources": _resources(container.get("resources", {})),
    }
    return {"containers": [main], "volumes": volumes}


def _resources(given: dict[str, Any]) -> Json:
    names = {"Cpu": "cpu", "Memory": "memory"}
    return {
        f"{kind.lower()}s": {
            name: given[f"resource{key}{kind}"] for key, name in names.items() if f"resource{key}{kind}" in given
        }
        for kind in ("Request", "Limit")
    }


if __name__ == "__main__":
    main(sys.argv[1])
