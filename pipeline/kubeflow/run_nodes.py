# SPDX-License-Identifier: Apache-2.0
"""The nodes of a run, out of Kubeflow's list of Argo's tasks: drivers, pods, and the DAGs around them."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

SUCCEEDED, FAILED, PENDING, SKIPPED = "SUCCEEDED", "FAILED", "PENDING", "SKIPPED"
FINAL = (SUCCEEDED, FAILED, SKIPPED, "CANCELED")
ROOT, EXECUTOR = "root", "executor"
"""Kubeflow's own names for the DAG of all nodes, and for the pod of each."""
DRIVER = "-driver"
"""Kubeflow runs a task of this suffix before each node: it resolves the inputs and looks into the cache."""
DRIVER_FAILED = "failed in its driver, before it started"
NO_POD_S = 3
"""No pod starts and ends within this time."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the pipeline, as far as Kubeflow knows of it; `pod` is that of its driver or its step, whichever was the last."""

    name: str
    state: str
    note: str
    ended: datetime.datetime | None
    seconds: float
    pod: str


def nodes_of(run: Any) -> list[Node]:
    """The nodes that have begun; `root`, which is around them, where its driver failed."""
    tasks = (run.run_details and run.run_details.task_details) or []
    by_name = {task.display_name: task for task in tasks}
    skipped = [task.start_time for task in tasks if task.display_name == EXECUTOR and task.state == SKIPPED]
    nodes = []
    for name, task in by_name.items():
        driver = by_name.get(f"{name}{DRIVER}")
        if driver is None:
            continue
        if driver.state == FAILED:
            nodes.append(_node(name, driver, DRIVER_FAILED, driver.pod_name or ""))
        elif name == ROOT:
            continue
        elif task.state != SUCCEEDED:
            nodes.append(_node(name, task, str(task.state).lower(), _pod(task, tasks)))
        else:
            node = _node(name, task, "", _pod(task, tasks))
            # The API has no word for it: the pod of a node that comes from the cache is skipped.
            cached = task.start_time in skipped and node.seconds <= NO_POD_S
            nodes.append(replace(node, note="cached") if cached else node)
    return nodes


def pending_pods(run: Any) -> Iterator[tuple[str, str]]:
    """Node and pod of each driver and step whose pod does not run yet."""
    tasks = (run.run_details and run.run_details.task_details) or []
    steps = {_pod(task, tasks): task.display_name for task in tasks if task.display_name != EXECUTOR}
    for task in tasks:
        name = str(task.display_name)
        if task.state == PENDING and task.pod_name and (name == EXECUTOR or name.endswith(DRIVER)):
            yield name.removesuffix(DRIVER) if name != EXECUTOR else steps.get(task.pod_name, "a step"), task.pod_name


def _pod(task: Any, tasks: list[Any]) -> str:
    """The pod of a node's step, by Argo's number of it: Kubeflow lists a task's children by Argo's ids, and pods by names."""
    numbers = [_number(child.pod_name) for child in task.child_tasks or [] if child.pod_name]
    pods = [other.pod_name for other in tasks if other.display_name == EXECUTOR and other.pod_name]
    return next((str(pod) for pod in pods if _number(pod) in numbers), "")


def _number(name: str) -> str:
    return name.rpartition("-")[2]


def _node(name: str, task: Any, note: str, pod: str) -> Node:
    took = task.end_time - task.start_time if task.end_time and task.start_time else datetime.timedelta()
    return Node(name, task.state, note, task.end_time, took.total_seconds(), pod)
