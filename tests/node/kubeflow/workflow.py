# SPDX-License-Identifier: Apache-2.0
"""The Argo workflow of a run: what Kubeflow's own compiler makes of a package, as far as Argo and a step can notice.

Each node is a driver's pod and, unless the cache has it, a step's pod whose specification the driver writes
(backend/src/v2/compiler/argocompiler/container.go of kubeflow/pipelines 2.17.0).
"""

from typing import Any

import yaml

Json = dict[str, Any]
CODE = "/opt/kubeflow/bin"
IMAGE = "audio-gender:local"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CODE_VOLUME = {"name": "code", "configMap": {"name": "kubeflow-code"}}
CODE_MOUNT = {"name": "code", "mountPath": CODE}
PATCH, CACHED = "pod-spec-patch", "cached-decision"


def workflow(package: str, run_id: str) -> Json:
    """The workflow; ConfigMap `run-RUN_ID` must hold the run."""
    spec, platform = yaml.safe_load_all(package)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    tasks = spec["root"]["dag"]["tasks"]
    labels = {
        name: executors[spec["components"][name]["executorLabel"]].get("podMetadata", {}).get("labels", {}) for name in tasks
    }
    dag = [part for name, task in tasks.items() for part in _node(name, task.get("dependentTasks", []))]
    templates: list[Json] = [{"name": "root", "dag": {"tasks": dag}}, _driver(run_id)]
    for name in tasks:
        templates += [_around(name), _step(name, labels[name])]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": f"run-{run_id}"},
        "spec": {
            "entrypoint": "root",
            "serviceAccountName": "pipeline-runner",
            "podMetadata": {"labels": {"pipeline/runid": run_id}},
            "templates": templates,
        },
    }


def _node(name: str, after: list[str]) -> list[Json]:
    driver = f"{name}-driver"
    given = [{"name": output, "value": f"{{{{tasks.{driver}.outputs.parameters.{output}}}}}"} for output in (PATCH, CACHED)]
    ready = " && ".join(f"{other}.Succeeded" for other in after)
    return [
        {
            "name": driver,
            "template": "driver",
            "arguments": {"parameters": [{"name": "task", "value": name}]},
            **({"depends": ready} if ready else {}),
        },
        {"name": name, "template": f"node-{name.lower()}", "depends": f"{driver}.Succeeded", "arguments": {"parameters": given}},
    ]


def _driver(run_id: str) -> Json:
    outputs = [{"name": name, "valueFrom": {"path": f"/tmp/outputs/{name}"}} for name in (PATCH, CACHED)]
    return {
        "name": "driver",
        "inputs": {"parameters": [{"name": "task"}]},
        "outputs": {"parameters": outputs},
        "container": {
            "image": IMAGE,
            "command": ["python", f"{CODE}/run_driver.py", "{{inputs.parameters.task}}"],
            "envFrom": [{"secretRef": {"name": "kubeflow-store"}}],
            "securityContext": RESTRICTED,
            "volumeMounts": [CODE_MOUNT, {"name": "run", "mountPath": "/run-of-kubeflow"}, {"name": "tmp", "mountPath": "/tmp"}],
        },
        "volumes": [CODE_VOLUME, {"name": "run", "configMap": {"name": f"run-{run_id}"}}, {"name": "tmp", "emptyDir": {}}],
    }


def _around(name: str) -> Json:
    """The node itself: its pod, called `executor`, which is left out where the cache has the node."""
    parameters = [{"name": PATCH, "value": f"{{{{inputs.parameters.{PATCH}}}}}"}]
    executor = {
        "name": "executor",
        "template": f"step-{name.lower()}",
        "when": f"{{{{inputs.parameters.{CACHED}}}}} != true",
        "arguments": {"parameters": parameters},
    }
    return {
        "name": f"node-{name.lower()}",
        "inputs": {"parameters": [{"name": PATCH}, {"name": CACHED}]},
        "dag": {"tasks": [executor]},
    }


def _step(name: str, labels: Json) -> Json:
    return {
        "name": f"step-{name.lower()}",
        "inputs": {"parameters": [{"name": PATCH}]},
        "metadata": {"labels": labels},
        "podSpecPatch": f"{{{{inputs.parameters.{PATCH}}}}}",
        "container": {
            "image": IMAGE,
            "command": ["should-be-overridden"],
            "securityContext": RESTRICTED,
            "volumeMounts": [CODE_MOUNT],
        },
        "volumes": [CODE_VOLUME],
    }
