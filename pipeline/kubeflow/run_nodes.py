# SPDX-License-Identifier: Apache-2.0
"""The nodes of a run, out of Kubeflow's list of Argo's tasks: drivers, pods, and the DAGs around them.

Argo's controller, as Kubeflow sets it up, has each of them twice: `Trainer`, and its only attempt `Trainer(0)`.
"""

import datetime
from dataclasses import dataclass
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
    """A node of the pipeline, as far as Kubeflow knows of it."""

    name: str
    state: str
    note: str
    ended: datetime.datetime | None
    seconds: float


def nodes_of(run: Any) -> list[Node]:
    """The nodes that have begun; `root`, which is around them, where its driver failed."""
    tasks = _tasks(run)
    by_name = {task.display_name: task for task in tasks}
    skipped = [task.start_time for task in tasks if task.display_name == EXECUTOR and task.state == SKIPPED]
    nodes = []
    for name, task in by_name.items():
        driver = by_name.get(f"{name}{DRIVER}")
        if driver is None:
            continue
        if driver.state == FAILED:
            nodes.append(_node(name, driver, DRIVER_FAILED))
        elif name == ROOT:
            continue
        elif task.state != SUCCEEDED:
            nodes.append(_node(name, task, str(task.state).lower()))
        else:
            # The API has no word for it: the pod of a node that comes from the cache is skipped.
            cached = task.start_time in skipped and _seconds(task) <= NO_POD_S
            nodes.append(_node(name, task, "cached" if cached else ""))
    return nodes


def is_pending(run: Any) -> bool:
    """Whether the pod of a driver or step does not run yet."""
    names = [str(task.display_name).partition("(")[0] for task in _tasks(run) if task.state == PENDING]
    return any(name == EXECUTOR or name.endswith(DRIVER) for name in names)


def _tasks(run: Any) -> list[Any]:
    return (run.run_details and run.run_details.task_details) or []


def _node(name: str, task: Any, note: str) -> Node:
    return Node(name, task.state, note, task.end_time, _seconds(task))


def _seconds(task: Any) -> float:
    took = task.end_time - task.start_time if task.end_time and task.start_time else datetime.timedelta()
    return float(took.total_seconds())
