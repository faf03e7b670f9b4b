# SPDX-License-Identifier: Apache-2.0
"""The nodes of a run and their pods, out of its Argo workflow.

Argo's name of a thing is a path, such as `WORKFLOW(0).root(0).Trainer(0).executor(0)`. The numbers are those of attempts: as
Kubeflow sets Argo up, each thing is there itself and once for each attempt, with all that is in it. The latest attempt counts.
"""

import base64
import datetime
import gzip
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

from beam_jobs.errors import UserError

Json = dict[str, Any]
SUCCEEDED, FAILED, SKIPPED = "SUCCEEDED", "FAILED", "SKIPPED"
CANCELED = "CANCELED"
FINAL = (SUCCEEDED, FAILED, SKIPPED, CANCELED)
ROOT, EXECUTOR = "root", "executor"
"""Kubeflow's own names for the DAG of all nodes, and for the pod of each."""
DRIVER = "-driver"
"""Kubeflow runs a task of this suffix before each node: it resolves the inputs and looks into the cache."""
POD_NAME_FORMAT = "workflows.argoproj.io/pod-name-format"
"""An annotation: v1 with the Argo of Kubeflow 2.0."""
ATTEMPT = re.compile(r"\((\d+)\)(?=\.|$)")
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


@dataclass(frozen=True, slots=True)
class Workflow:
    """What Argo has of a run.

    Attributes:
        nodes: those that have begun; `root`, which is around them, where its driver failed.
        pods: all so far, the oldest first.
        was_stopped: whether somebody ended it; Kubeflow's state of such a run is FAILED.
    """

    nodes: list[Node]
    pods: list[Pod]
    was_stopped: bool


def parse(manifest: str) -> Workflow:
    """A workflow out of Argo's own form of it; empty before Argo has seen it.

    Raises:
        UserError: it is not one, or its nodes are kept elsewhere.
    """
    try:
        workflow = json.loads(manifest)
        argo_nodes = _latest(_argo_nodes(workflow.get("status") or {}))
        spec = workflow.get("spec") or {}
        # Kubeflow stops a run by a deadline of 0 (TerminateWorkflow), Argo by a word of its own.
        was_stopped = spec.get("activeDeadlineSeconds") == 0 or bool(spec.get("shutdown"))
        return Workflow(_nodes(argo_nodes), _pods(workflow["metadata"], argo_nodes), was_stopped)
    # What is packed fails in a way of its own for each layer.
    except (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"the run's workflow cannot be read ({type(error).__name__}: {error})") from None


def _argo_nodes(status: Json) -> list[Json]:
    """Packed, or in a database of Argo's, where there is no room for them (workflow/packer, persist/sqldb)."""
    if packed := status.get("compressedNodes"):
        return list(json.loads(gzip.decompress(base64.b64decode(packed))).values())
    if status.get("offloadNodeStatusVersion"):
        raise ValueError("its nodes are in Argo's own database")
    return list((status.get("nodes") or {}).values())


def _latest(nodes: list[Json]) -> list[Json]:
    """Without what belongs to an attempt that was followed by another one."""
    attempts = [[(name[: found.start()], int(found[1])) for found in ATTEMPT.finditer(name)] for name in map(_name, nodes)]
    last: dict[str, int] = {}
    for thing, number in (attempt for of_node in attempts for attempt in of_node):
        last[thing] = max(number, last.get(thing, 0))
    return [
        node for node, of_node in zip(nodes, attempts, strict=True) if all(last[thing] == number for thing, number in of_node)
    ]


def _name(node: Json) -> str:
    return str(node["name"])


def _nodes(argo_nodes: list[Json]) -> list[Node]:
    tasks = {_path(node): node for node in argo_nodes if not _name(node).endswith(")")}
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


def _pods(metadata: Json, argo_nodes: list[Json]) -> list[Pod]:
    pods = sorted((node for node in argo_nodes if node["type"] == "Pod"), key=lambda node: str(node["startedAt"]))
    by_id = (metadata.get("annotations") or {}).get(POD_NAME_FORMAT) == "v1"
    return [_pod(metadata["name"], by_id, node) for node in pods]


def _path(node: Json) -> tuple[str, ...]:
    return tuple(ATTEMPT.sub("", _name(node)).split("."))


def _state(node: Json) -> str:
    """In Kubeflow's words."""
    phase = str(node.get("phase", ""))
    return FAILED if phase == "Error" else phase.upper()


def _node(name: str, task: Json, note: str) -> Node:
    began, ended = (task.get(key) and datetime.datetime.fromisoformat(task[key]) for key in ("startedAt", "finishedAt"))
    return Node(name, _state(task), note, ended, (ended - began).total_seconds() if began and ended else 0.0)


def _pod(workflow: str, by_id: bool, node: Json) -> Pod:
    *_, parent, name = _path(node)
    # As Argo names pods (workflow/util/pod_name.go).
    pod = node["id"] if by_id else f"{workflow}-{node['templateName']}-{node['id'].rpartition('-')[2]}"
    is_driver = name != EXECUTOR
    of_node = name.removesuffix(DRIVER) if is_driver else parent
    return Pod(pod, of_node, is_driver, node.get("phase") == "Pending", node.get("message") or "")
