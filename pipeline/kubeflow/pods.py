# SPDX-License-Identifier: Apache-2.0
"""What Kubeflow Pipelines can say of a run beside its state: its workflow, its pods' logs, and why one does not start."""

import json
from typing import Any

from beam_jobs.errors import UserError
from pipeline.kubeflow.client import Kubeflow, is_transient, user_errors
from pipeline.kubeflow.run_nodes import Json, Pod

RUN = "/apis/v1beta1/runs/{run_id}"
"""Version 1 of the API has the run's Argo workflow. The tasks of version 2 name no pods, and stand still once the workflow is
larger than 1 MiB, as the demo's is at its end (2.17.0, toApiPipelineTaskDetail and NodeStatuses)."""
LOG = "/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
"""Of a pod that is there, or Argo's copy of it (kubeflow/pipelines 2.17.0, backend/src/apiserver/main.go; no client has it)."""
LOG_FAILED = '{"error_message":'
"""So the answer ends where the log cannot be read: its status was sent before."""
LOG_OF_PAGES, EVENTS = "/k8s/pod/logs", "/k8s/pod/events"
"""Kubeflow's pages have these (frontend/server/app.ts) and not `LOG`, the API behind them the other way round."""


def read_workflow(kubeflow: Kubeflow, run_id: str) -> Json:
    """The Argo workflow of a run, as far as Kubeflow knows of it; empty where it does not say.

    Raises:
        UserError: there is no answer, or the server fails, for the moment.
    """
    try:
        answer = json.loads(_request(kubeflow, f"run {run_id}", RUN, {"run_id": run_id}, {}))
        return dict(json.loads(answer["pipeline_runtime"]["workflow_manifest"]))
    except UserError as error:
        if is_transient(error):
            raise
        return {}
    except (ValueError, KeyError, TypeError):
        return {}


def read_log(kubeflow: Kubeflow, run_id: str, pod: str) -> list[str]:
    """The lines of a pod's log; none where Kubeflow does not have it."""
    text = _get(kubeflow, LOG, {"run_id": run_id, "pod": pod}, {})
    if not text:
        query = {"podname": pod, "podnamespace": kubeflow.namespace, "runid": run_id}
        text = _get(kubeflow, LOG_OF_PAGES, {}, query)
    return [] if LOG_FAILED in text else [line for line in text.splitlines() if line.strip()]


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
        client.call_api(path, "GET", path_parameters, list(query.items()), auth_settings=["Bearer"])
    return str(client.last_response.data)
