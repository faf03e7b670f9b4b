# SPDX-License-Identifier: Apache-2.0
"""What Kubeflow Pipelines can say of a run beside its state: its workflow, its pods' logs, and why one does not start."""

import json
from typing import Any

from beam_jobs.errors import UserError
from pipeline.kubeflow.client import REQUEST_TIMEOUT_S, Kubeflow, user_errors
from pipeline.kubeflow.run_nodes import Pod, Workflow, parse

RUN = "/apis/v1beta1/runs/{run_id}"
"""Version 1 of the API has the run's Argo workflow. The tasks of version 2 name no pods, and stand still once the workflow is
larger than 1 MiB, as the demo's is at its end (2.17.0, toApiPipelineTaskDetail and NodeStatuses)."""
LOG = "/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
"""Of a pod that is there, or Argo's copy of it (kubeflow/pipelines 2.17.0, backend/src/apiserver/main.go; no client has it)."""
LOG_FAILED = '{"error_message":'
"""So the last line of the answer begins where the log cannot be read: its status was sent before."""
LOG_OF_PAGES, EVENTS = "/k8s/pod/logs", "/k8s/pod/events"
"""Kubeflow's pages have these (frontend/server/app.ts) and not `LOG`, the API behind them the other way round."""
PAGE = ("<!doctype", "<html")
"""So a page begins, such as one to log in."""


def read_workflow(kubeflow: Kubeflow, run_id: str) -> Workflow:
    """The Argo workflow of a run, as far as it has come.

    Raises:
        UserError: there is no answer, or none that can be read.
    """
    text = _request(kubeflow, f"run {run_id}", RUN, {"run_id": run_id}, {})
    try:
        manifest = json.loads(text)["pipeline_runtime"]["workflow_manifest"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"run {run_id}: the answer of version 1 of the API has no workflow") from None
    return parse(manifest)


def read_log(kubeflow: Kubeflow, run_id: str, pod: str) -> list[str]:
    """The lines of a pod's log; none where Kubeflow does not have it."""
    query = {"podname": pod, "podnamespace": kubeflow.namespace, "runid": run_id}
    return _lines(_get(kubeflow, LOG, {"run_id": run_id, "pod": pod}, {})) or _lines(_get(kubeflow, LOG_OF_PAGES, {}, query))


def _lines(log: str) -> list[str]:
    lines = [line for line in log.splitlines() if line.strip()]
    if lines and lines[0].lstrip().lower().startswith(PAGE):
        return []
    return lines[:-1] if lines and lines[-1].startswith(LOG_FAILED) else lines


def why_pending(kubeflow: Kubeflow, pod: Pod) -> str:
    """The last warning about a pod: the scheduler's or the node's words, or Argo's; empty where nobody says one."""
    try:
        events = json.loads(_get(kubeflow, EVENTS, {}, {"podname": pod.name, "podnamespace": kubeflow.namespace}))["items"]
        warnings = [event for event in events if event["type"] == "Warning"]
        return str(max(warnings, key=_time)["message"]) if warnings else pod.message
    except (ValueError, KeyError, TypeError):  # the API's own address, or a page
        return pod.message


def _time(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _get(kubeflow: Kubeflow, path: str, path_parameters: dict[str, str], query: dict[str, str]) -> str:
    try:
        return _request(kubeflow, path, path, path_parameters, query)
    except UserError:  # what is said besides must not end what follows the run
        return ""


def _request(kubeflow: Kubeflow, where: str, path: str, path_parameters: dict[str, str], query: dict[str, str]) -> str:
    client = kubeflow.client.runs.api_client
    with user_errors(where):
        timeout = {"_request_timeout": REQUEST_TIMEOUT_S}
        client.call_api(path, "GET", path_parameters, list(query.items()), auth_settings=["Bearer"], **timeout)
    return str(client.last_response.data)
