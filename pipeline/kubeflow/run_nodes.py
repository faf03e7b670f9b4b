# SPDX-License-Identifier: Apache-2.0
"""The nodes of a run and their pods, out of its Argo workflow.

Argo's name of a thing is a path, such as `WORKFLOW(0).root(0).Trainer(0).executor(0)`. The numbers are those of attempts: as
Kubeflow sets Argo up, each thing is there twice, itself and its attempt.
"""

import base64
import datetime
import gzip
import json
import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
SUCCEEDED, FAILED, SKIPPED = "SUCCEEDED", "FAILED", "SKIPPED"
FINAL = (SUCCEEDED, FAILED, SKIPPED, "CANCELED")
ROOT, EXECUTOR = "root", "executor"
"""Kubeflow's own names for the DAG of all nodes, and for the pod of each."""
DRIVER = "-driver"
"""Kubeflow runs a task of this suffix before each node: it resolves the inputs and looks into the cache."""
DRIVER_FAILED = "failed in its driver, before it started"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the pipeline, as far as Kubeflow knows of it."""

    name: str
    state: str
    note: str
    ended: datetime.datetime | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod of a node's step, or of its driver. `message` is Argo's, such as the scheduler's reason; it may be empty."""

    name: str
    node: str
    is_driver: bool
    is_pending: bool
    message: str


def nodes_of(workflow: Json) -> list[Node]:
    """The nodes that have begun; `root`, which is around them, where its driver failed."""
    tasks = {_path(node): node for node in _argo_nodes(workflow) if not node["name"].endswith(")")}
    nodes = []
    for path, task in tasks.items():
        *parents, name = path
        driver = tasks.get((*parents, f"{name}{DRIVER}"))
        if driver is None:
            continue
        if _state(driver) == FAILED:
            nodes.append(_node(name, driver, DRIVER_FAILED))
        elif name == ROOT:
            continue
        elif (state := _state(task)) != SUCCEEDED:
            nodes.append(_node(name, task, state.lower()))
        else:
            executor = tasks.get((*path, EXECUTOR))
            nodes.append(_node(name, task, "cached" if executor and _state(executor) == SKIPPED else ""))
    return nodes


def pods_of(workflow: Json) -> list[Pod]:
    """All pods so far, the oldest first."""
    nodes = [node for node in _argo_nodes(workflow) if node["type"] == "Pod"]
    return [_pod(workflow["metadata"]["name"], node) for node in sorted(nodes, key=lambda node: str(node["startedAt"]))]


def _argo_nodes(workflow: Json) -> list[Json]:
    """None before Argo has seen the workflow; packed where there is no room for them (workflow/packer of Argo)."""
    status = workflow.get("status", {})
    if packed := status.get("compressedNodes"):
        return list(json.loads(gzip.decompress(base64.b64decode(packed))).values())
    return list((status.get("nodes") or {}).values())


def _path(node: Json) -> tuple[str, ...]:
    return tuple(re.sub(r"\(\d+\)", "", node["name"]).split("."))


def _state(node: Json) -> str:
    """In Kubeflow's words."""
    phase = str(node.get("phase", ""))
    return FAILED if phase == "Error" else phase.upper()


def _node(name: str, task: Json, note: str) -> Node:
    began, ended = (task.get(key) and datetime.datetime.fromisoformat(task[key]) for key in ("startedAt", "finishedAt"))
    return Node(name, _state(task), note, ended, (ended - began).total_seconds() if began and ended else 0.0)


def _pod(workflow: str, node: Json) -> Pod:
    *_, parent, name = _path(node)
    # As Argo names pods (workflow/util/pod_name.go).
    pod = f"{workflow}-{node['templateName']}-{node['id'].rpartition('-')[2]}"
    is_driver = name != EXECUTOR
    of_node = name.removesuffix(DRIVER) if is_driver else parent
    return Pod(pod, of_node, is_driver, node.get("phase") == "Pending", node.get("message", ""))
