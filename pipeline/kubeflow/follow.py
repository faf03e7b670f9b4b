# SPDX-License-Identifier: Apache-2.0
"""Follows a run on Kubeflow Pipelines, with one line a node."""

import re
import time
from functools import partial
from typing import Any

from rich.markup import escape
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_fixed

from beam_jobs.command_line import command
from beam_jobs.console import console, say, tell
from beam_jobs.errors import UserError
from components.verdict import BEGINNING, WAITS
from pipeline.kubeflow.client import REQUEST_TIMEOUT_S, Kubeflow, OtherAnswer, is_gone, is_transient, user_errors
from pipeline.kubeflow.platform import NODE_LABEL
from pipeline.kubeflow.pods import read_log, read_workflow, why_pending
from pipeline.kubeflow.run_nodes import CANCELED, DRIVER_FAILED, FAILED, FINAL, SUCCEEDED, Node, Pod, Workflow

PATIENCE_S = 300.0
"""How long a server that fails is asked again: a restart, a rollout or a lost connection does not end the run."""
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
    again = f"`{command('submit', '--run', run_id, *kubeflow.options)}`"
    looks = _Looks(kubeflow, run_id, poll_s, patience_s)
    looks.run()
    tell(f"run {run_id}: {kubeflow.host}/#/runs/details/{run_id}")
    try:
        run, workflow = _until_the_end(kubeflow, looks, poll_s, pending_s)
    except KeyboardInterrupt:
        say(f"the run goes on; follow it again: {again}")
        raise
    except UserError as error:
        if is_gone(error):
            raise UserError(f"{error}; was it deleted?") from None
        raise UserError(f"{error}; the run goes on, follow it again: {again}") from None
    if workflow is None:
        say(f"Kubeflow does not say which nodes ran: {looks.why_no_nodes}")
    return _verdict(kubeflow, run, workflow)


class _Looks:
    """Looks at a run, again and again while the server fails."""

    def __init__(self, kubeflow: Kubeflow, run_id: str, poll_s: float, patience_s: float) -> None:
        def say_once(state: RetryCallState) -> None:
            if state.attempt_number == 1 and state.outcome is not None:
                say(f"{state.outcome.exception()}; retrying for {patience_s:.0f} s")

        self._kubeflow, self._run_id = kubeflow, run_id
        self._patiently = Retrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_delay(patience_s),
            wait=wait_fixed(poll_s),
            before_sleep=say_once,
            reraise=True,
        )
        self.why_no_nodes = ""

    def run(self) -> Any:
        """The run as Kubeflow has it."""
        return self._patiently(self._get)

    def workflow(self) -> Workflow | None:
        """None where Kubeflow does not say: the run's state can be followed without, so the next time is one without patience."""
        read = self._read if self.why_no_nodes else partial(self._patiently, self._read)
        try:
            workflow = read()
        except UserError as error:
            self.why_no_nodes = str(error)
            return None
        self.why_no_nodes = ""
        return workflow

    def _get(self) -> Any:
        with user_errors(f"run {self._run_id}"):
            run = self._kubeflow.client.runs.run_service_get_run(self._run_id, _request_timeout=REQUEST_TIMEOUT_S)
            if run.run_id != self._run_id:
                raise OtherAnswer
        return run

    def _read(self) -> Workflow:
        return read_workflow(self._kubeflow, self._run_id)


def _until_the_end(kubeflow: Kubeflow, looks: _Looks, poll_s: float, pending_s: float) -> tuple[Any, Workflow | None]:
    shown: set[Node] = set()
    waiting = _Waiting(kubeflow, pending_s)
    ended = False
    start = time.monotonic()
    while True:
        run, workflow = looks.run(), looks.workflow()
        if workflow:
            # A node may come to an end twice: it was tried again.
            nodes = [node for node in workflow.nodes if node.state in FINAL and node not in shown]
            for node in sorted(nodes, key=lambda node: (node.ended is not None, node.ended)):
                console.print(f"[bold]{escape(f'{node.name:<22}')}[/] {node.seconds:6.1f} s  {escape(node.note)}".rstrip())
            shown.update(nodes)
            waiting.look(workflow.pods)
        # Kubeflow notes the end of a run shortly before that of its last nodes; a run that failed may have been started again.
        if ended and run.state in FINAL:
            return run, workflow
        ended = run.state in FINAL
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


def _verdict(kubeflow: Kubeflow, run: Any, workflow: Workflow | None) -> bool:
    ended = run.finished_at and run.created_at and run.finished_at > run.created_at  # 1970 where Kubeflow does not know
    after = f", after {(run.finished_at - run.created_at).total_seconds():.0f} s" if ended else ""
    tell(f"{run.state.capitalize()}: run {run.run_id}{after}")
    page = f"{kubeflow.host}/#/runs/details/{run.run_id}"
    if run.state == SUCCEEDED:
        verdict = _decided(kubeflow, run, workflow.pods) if workflow else ""
        if verdict:
            tell(verdict)
        if verdict.startswith(WAITS):
            decide = "--set", f"run_id={run.run_id}", "--set", "by=NAME", *kubeflow.options
            say(f"next: look at the report, then `{command('submit', 'decision.yaml', '--set', 'action=approve', *decide)}`")
            package = command("compile", "--decision", "-o", "decision.yaml")
            say(f"  or set action=reject and note=TEXT; `{package} …` builds the package")
        say(f"{'' if verdict else 'next: '}see its results, including the review report: {page}")
        return True
    if run.state == CANCELED or (workflow and workflow.was_stopped):
        say("somebody stopped the run")
    else:
        _failures(kubeflow, run, workflow)
    say(f"see {page}")
    return False


def _decided(kubeflow: Kubeflow, run: Any, pods: list[Pod]) -> str:
    """What the run's own log says became of the model; empty where no log does."""
    for pod in pods:
        if pod.node in DECIDING and not pod.is_driver:
            verdicts = [line for line in read_log(kubeflow, run.run_id, pod.name) if BEGINNING in line]
            if verdicts:
                return verdicts[-1].partition(BEGINNING)[2]
    return ""


def _failures(kubeflow: Kubeflow, run: Any, workflow: Workflow | None) -> None:
    of_run = f"-n {kubeflow.namespace} -l pipeline/runid={run.run_id}"
    failed = [node for node in workflow.nodes if node.state == FAILED] if workflow else []
    pod_of = {(pod.node, pod.is_driver): pod for pod in workflow.pods} if workflow else {}
    for node in failed:
        in_driver = DRIVER_FAILED in node.note
        pods = of_run if in_driver else f"{of_run},{NODE_LABEL}={node.name.lower()}"
        pod = pod_of.get((node.name, in_driver))
        lines = read_log(kubeflow, run.run_id, pod.name) if pod else []
        for line in [line for line in lines if not NOISE.match(line)][-LAST_LINES:]:
            say(f"  {node.name}: {line}")
        reason = f" ({pod.message})" if pod and pod.message else ""
        say(f"{node.name} {node.note}{reason}; its log: `kubectl logs {pods} -c main --tail=-1 --prefix`")
        say(f"  details of its pod: `kubectl describe pods {pods}`")
    if not failed:
        say(f"{'no node failed; ' if workflow else ''}details of the run's pods: `kubectl describe pods {of_run}`")
