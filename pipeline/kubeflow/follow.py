# SPDX-License-Identifier: Apache-2.0
"""Follows a run on Kubeflow Pipelines, with one line a node."""

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.markup import escape
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_fixed

from beam_jobs.command_line import command
from beam_jobs.console import console, say, tell
from beam_jobs.errors import UserError
from components.verdict import BEGINNING, WAITS
from pipeline.kubeflow.client import Kubeflow, is_transient, user_errors
from pipeline.kubeflow.platform import NODE_LABEL
from pipeline.kubeflow.pods import read_log, read_workflow, why_pending
from pipeline.kubeflow.run_nodes import DRIVER_FAILED, FAILED, FINAL, SUCCEEDED, Json, Pod, nodes_of, pods_of

PATIENCE_S = 300.0
"""How long a server that fails is asked again: a restart, a rollout or a lost connection does not end the run."""
REQUEST_TIMEOUT_S = 30
PENDING_S = 30.0
"""A pod that does not start within this time is said to wait, and why."""
DECIDING = ("Decision", "Pusher")
"""Nodes whose log says what became of a model."""
LAST_LINES = 10
"""Of a failed node's log."""
NOISE = re.compile(r"[IW]\d{4} |time=\S+ level=\w+ .*\bargo=true\b|Error: exit status \d+$")
"""What Kubeflow's launcher, TensorFlow and Argo add to such a log."""


def follow(
    kubeflow: Kubeflow,
    run_id: str,
    poll_s: float = 5.0,
    patience_s: float = PATIENCE_S,
    pending_s: float = PENDING_S,
) -> bool:
    """Prints each node when it ends, what keeps one from starting, and the verdict. Returns whether the run succeeded.

    Raises:
        UserError: there is no such run, or Kubeflow has not answered for `patience_s`; the run goes on.
        KeyboardInterrupt: the user stopped to watch; the run goes on.
    """
    again = f"`{command('submit', '--run', run_id, '--host', kubeflow.host)}`"
    get = partial(_get_patiently, kubeflow, run_id, poll_s, patience_s)
    get()
    tell(f"run {run_id}: {kubeflow.host}/#/runs/details/{run_id}")
    try:
        run, workflow = _until_the_end(kubeflow, get, poll_s, pending_s)
    except KeyboardInterrupt:
        say(f"the run goes on; follow it again: {again}")
        raise
    except UserError as error:
        raise UserError(f"{error}; the run goes on, follow it again: {again}") from None
    return _verdict(kubeflow, run, workflow)


def _get(kubeflow: Kubeflow, run_id: str) -> tuple[Any, Json]:
    """A run as Kubeflow has it, and its workflow."""
    with user_errors(f"run {run_id}"):
        run = kubeflow.client.runs.run_service_get_run(run_id, _request_timeout=REQUEST_TIMEOUT_S)
    return run, read_workflow(kubeflow, run_id)


def _get_patiently(kubeflow: Kubeflow, run_id: str, poll_s: float, patience_s: float) -> tuple[Any, Json]:
    def say_once(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            say(f"{state.outcome.exception()}; retrying for {patience_s:.0f} s")

    patiently = Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_delay(patience_s),
        wait=wait_fixed(poll_s),
        before_sleep=say_once,
        reraise=True,
    )
    return patiently(_get, kubeflow, run_id)


def _until_the_end(kubeflow: Kubeflow, get: Callable[[], tuple[Any, Json]], poll_s: float, pending_s: float) -> tuple[Any, Json]:
    shown: set[str] = set()
    waiting = _Waiting(kubeflow, pending_s)
    ended = False
    start = time.monotonic()
    while True:
        run, workflow = get()
        nodes = [node for node in nodes_of(workflow) if node.state in FINAL and node.name not in shown]
        for node in sorted(nodes, key=lambda node: (node.ended is not None, node.ended)):
            console.print(f"[bold]{escape(f'{node.name:<22}')}[/] {node.seconds:6.1f} s  {escape(node.note)}".rstrip())
            shown.add(node.name)
        if ended:
            return run, workflow
        # Kubeflow notes the end of a run shortly before that of its last nodes.
        ended = run.state in FINAL
        waiting.look(pods_of(workflow))
        # A workflow may have 1 MB: those of long runs are read once a minute.
        time.sleep(max(poll_s, min((time.monotonic() - start) / 100, 60)))


class _Waiting:
    """Says of pods that do not start that they do not, and why, once for each reason."""

    def __init__(self, kubeflow: Kubeflow, after_s: float) -> None:
        self._kubeflow, self._after_s = kubeflow, after_s
        self._since: dict[str, float] = {}
        self._said: set[tuple[str, str]] = set()

    def look(self, pods: list[Pod]) -> None:
        now = time.monotonic()
        pending = [pod for pod in pods if pod.is_pending]
        self._since = {pod.name: self._since.get(pod.name, now) for pod in pending}
        for pod in pending:
            if now - self._since[pod.name] < self._after_s:
                continue
            reason = why_pending(self._kubeflow, pod)
            if (pod.name, reason) not in self._said:
                self._said.add((pod.name, reason))
                why = reason or f"why: `kubectl describe pod -n {self._kubeflow.namespace} {pod.name}`"
                say(f"{pod.node} is waiting for its pod to start: {why}")


def _verdict(kubeflow: Kubeflow, run: Any, workflow: Json) -> bool:
    ended = run.finished_at and run.created_at
    seconds = (run.finished_at - run.created_at).total_seconds() if ended else 0
    tell(f"{run.state.capitalize()}: run {run.run_id}, after {seconds:.0f} s")
    page = f"{kubeflow.host}/#/runs/details/{run.run_id}"
    if run.state == SUCCEEDED:
        verdict = _decided(kubeflow, run, workflow)
        if verdict:
            tell(verdict)
        if verdict.startswith(WAITS):
            decide = "--set", f"run_id={run.run_id}", "--set", "by=NAME", "--host", kubeflow.host
            say(f"next: look at the report, then `{command('submit', 'decision.yaml', '--set', 'action=approve', *decide)}`")
            package = command("compile", "--decision", "-o", "decision.yaml")
            say(f"  or set action=reject and note=TEXT; `{package} …` builds the package")
        say(f"{'' if verdict else 'next: '}see its results, including the review report: {page}")
        return True
    _failures(kubeflow, run, workflow)
    say(f"see {page}")
    return False


def _decided(kubeflow: Kubeflow, run: Any, workflow: Json) -> str:
    """What the run's own log says became of the model; empty where no log does."""
    for pod in pods_of(workflow):
        if pod.node in DECIDING and not pod.is_driver:
            verdicts = [line for line in read_log(kubeflow, run.run_id, pod.name) if BEGINNING in line]
            if verdicts:
                return verdicts[-1].partition(BEGINNING)[2]
    return ""


def _failures(kubeflow: Kubeflow, run: Any, workflow: Json) -> None:
    of_run = f"-n {kubeflow.namespace} -l pipeline/runid={run.run_id}"
    failed = [node for node in nodes_of(workflow) if node.state == FAILED]
    pod_names = {(pod.node, pod.is_driver): pod.name for pod in pods_of(workflow)}
    for node in failed:
        in_driver = DRIVER_FAILED in node.note
        pods = of_run if in_driver else f"{of_run},{NODE_LABEL}={node.name.lower()}"
        pod = pod_names.get((node.name, in_driver))
        lines = read_log(kubeflow, run.run_id, pod) if pod else []
        for line in [line for line in lines if not NOISE.match(line)][-LAST_LINES:]:
            say(f"  {node.name}: {line}")
        say(f"{node.name} {node.note}; its log: `kubectl logs {pods} -c main --tail=-1 --prefix`")
        say(f"  details of its pod: `kubectl describe pods {pods}`")
    if not failed:
        say(f"no node failed; details of the run's pods: `kubectl describe pods {of_run}`")
