# SPDX-License-Identifier: Apache-2.0
"""Follows a run on Kubeflow Pipelines, with one line a node."""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rich.markup import escape
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_fixed

from beam_jobs.command_line import command
from beam_jobs.console import console, say, tell
from beam_jobs.errors import UserError
from pipeline.kubeflow.client import Kubeflow, is_transient, user_errors
from pipeline.kubeflow.platform import NODE_LABEL

SUCCEEDED, FAILED = "SUCCEEDED", "FAILED"
FINAL = (SUCCEEDED, FAILED, "SKIPPED", "CANCELED")
ROOT, EXECUTOR = "root", "executor"
"""Kubeflow's own names for the DAG of all nodes, and for the pod of each."""
DRIVER = "-driver"
"""Kubeflow runs a task of this suffix before each node: it resolves the inputs and looks into the cache."""
DRIVER_FAILED = "failed before it began, in its driver"
PATIENCE_S = 300.0
"""How long a server that fails is asked again: a restart, a rollout or a lost connection does not end the run."""
REQUEST_TIMEOUT_S = 30
NO_POD_S = 3
"""No pod starts and ends within this time."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the pipeline, as far as Kubeflow knows of it."""

    name: str
    state: str
    note: str
    ended: datetime.datetime
    seconds: float


def follow(kubeflow: Kubeflow, run_id: str, poll_s: float = 5.0, patience_s: float = PATIENCE_S) -> bool:
    """Prints each node when it ends, and the verdict. Returns whether the run succeeded.

    Raises:
        UserError: there is no such run, or Kubeflow has not answered for `patience_s`; the run goes on.
        KeyboardInterrupt: the user stopped to watch; the run goes on.
    """
    again = f"`{command('submit', '--run', run_id, '--host', kubeflow.host)}`"
    get = partial(_get_patiently, kubeflow, run_id, poll_s, patience_s)
    get()
    tell(f"run {run_id}: {kubeflow.host}/#/runs/details/{run_id}")
    try:
        run = _until_the_end(get, poll_s)
    except KeyboardInterrupt:
        say(f"the run goes on; follow it again: {again}")
        raise
    except UserError as error:
        raise UserError(f"{error}; the run goes on, follow it again: {again}") from None
    return _verdict(kubeflow, run)


def _get(kubeflow: Kubeflow, run_id: str) -> Any:
    with user_errors(f"run {run_id}"):
        return kubeflow.client.runs.run_service_get_run(run_id, _request_timeout=REQUEST_TIMEOUT_S)


def _get_patiently(kubeflow: Kubeflow, run_id: str, poll_s: float, patience_s: float) -> Any:
    def say_once(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            say(f"{state.outcome.exception()}; asking again for {patience_s:.0f} s")

    patiently = Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_delay(patience_s),
        wait=wait_fixed(poll_s),
        before_sleep=say_once,
        reraise=True,
    )
    return patiently(_get, kubeflow, run_id)


def _until_the_end(get: Callable[[], Any], poll_s: float) -> Any:
    shown: set[str] = set()
    ended = False
    while True:
        run = get()
        nodes = [node for node in _nodes(run) if node.state in FINAL and node.name not in shown]
        for node in sorted(nodes, key=lambda node: node.ended):
            console.print(f"[bold]{node.name:<22}[/] {node.seconds:6.1f} s  {escape(node.note)}".rstrip())
            shown.add(node.name)
        if ended:
            return run
        # Kubeflow notes the end of a run shortly before that of its last nodes.
        ended = run.state in FINAL
        time.sleep(poll_s)


def _nodes(run: Any) -> list[Node]:
    """The nodes that have begun, from Kubeflow's list of Argo's tasks: drivers, pods, and the DAGs around them."""
    tasks = (run.run_details and run.run_details.task_details) or []
    by_name = {task.display_name: task for task in tasks}
    skipped = [task.start_time for task in tasks if task.display_name == EXECUTOR and task.state == "SKIPPED"]
    nodes = []
    for name, task in by_name.items():
        driver = by_name.get(f"{name}{DRIVER}")
        if driver is None or name == ROOT:
            continue
        if driver.state == FAILED:
            nodes.append(_node(name, driver, DRIVER_FAILED))
        elif task.state != SUCCEEDED:
            nodes.append(_node(name, task, str(task.state).lower()))
        else:
            node = _node(name, task, "")
            # The API has no word for it: the pod of a node that comes from the cache is skipped.
            cached = task.start_time in skipped and node.seconds <= NO_POD_S
            nodes.append(replace(node, note="cached") if cached else node)
    return nodes


def _node(name: str, task: Any, note: str) -> Node:
    return Node(name, task.state, note, task.end_time, (task.end_time - task.start_time).total_seconds())


def _verdict(kubeflow: Kubeflow, run: Any) -> bool:
    seconds = (run.finished_at - run.created_at).total_seconds()
    tell(f"{run.state.capitalize()}: run {run.run_id}, after {seconds:.0f} s")
    if run.state == SUCCEEDED:
        say(f"next: see what it made, the review report among it: {kubeflow.host}/#/runs/details/{run.run_id}")
        return True
    of_run = f"-n {kubeflow.namespace} -l pipeline/runid={run.run_id}"
    failed = [node for node in _nodes(run) if node.state == FAILED]
    for node in failed:
        pods = of_run if DRIVER_FAILED in node.note else f"{of_run},{NODE_LABEL}={node.name.lower()}"
        say(f"{node.name} {node.note}; its log: `kubectl logs {pods} -c main --tail=-1 --prefix`")
        say(f"  what became of its pod: `kubectl describe pods {pods}`")
    if not failed:
        say(f"no node failed; what became of the run's pods: `kubectl describe pods {of_run}`")
    say(f"see {kubeflow.host}/#/runs/details/{run.run_id}")
    return False
