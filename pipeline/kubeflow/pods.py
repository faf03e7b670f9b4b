# SPDX-License-Identifier: Apache-2.0
"""What Kubeflow Pipelines can say of a step's pod: its log, and why it does not start."""

import json
from typing import Any

from beam_jobs.errors import UserError
from pipeline.kubeflow.client import Kubeflow, user_errors

LOG = "/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
"""Of a pod that is there, or Argo's copy of it (kubeflow/pipelines 2.17.0, backend/src/apiserver/main.go; no client has it)."""
LOG_FAILED = '{"error_message":'
"""So the answer ends where the log cannot be read: its status was sent before."""
LOG_OF_PAGES, EVENTS = "/k8s/pod/logs", "/k8s/pod/events"
"""Kubeflow's pages have these (frontend/server/app.ts) and not `LOG`, the API behind them the other way round."""


def read_log(kubeflow: Kubeflow, run_id: str, pod: str) -> list[str]:
    """The lines of a pod's log; none where Kubeflow does not have it."""
    text = _get(kubeflow, LOG, {"run_id": run_id, "pod": pod}, {})
    if not text:
        query = {"podname": pod, "podnamespace": kubeflow.namespace, "runid": run_id}
        text = _get(kubeflow, LOG_OF_PAGES, {}, query)
    return [] if LOG_FAILED in text else [line for line in text.splitlines() if line.strip()]


def why_pending(kubeflow: Kubeflow, pod: str) -> str:
    """The last warning about a pod: the scheduler's or the node's words; empty where nobody says one."""
    try:
        events = json.loads(_get(kubeflow, EVENTS, {}, {"podname": pod, "podnamespace": kubeflow.namespace}))["items"]
        warnings = [event for event in events if event["type"] == "Warning"]
        return str(max(warnings, key=_time)["message"]) if warnings else ""
    except (ValueError, KeyError, TypeError):  # the API's own address, or a page
        return ""


def _time(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _get(kubeflow: Kubeflow, path: str, path_parameters: dict[str, str], query: dict[str, str]) -> str:
    client = kubeflow.client.runs.api_client
    try:
        with user_errors(path):
            client.call_api(path, "GET", path_parameters, list(query.items()), auth_settings=["Bearer"])
    except UserError:  # what is said besides must not end what follows the run
        return ""
    return str(client.last_response.data)
