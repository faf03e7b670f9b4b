# SPDX-License-Identifier: Apache-2.0
"""What Kubeflow Pipelines can say of a run's pods: their names, their logs, and why one does not start."""

import json
import re
from dataclasses import dataclass
from typing import Any

from beam_jobs.errors import UserError
from pipeline.kubeflow.client import Kubeflow, user_errors
from pipeline.kubeflow.run_nodes import DRIVER, EXECUTOR

RUN = "/apis/v1beta1/runs/{run_id}"
"""Version 1 of the API hands out the run's Argo workflow. Version 2 knows no pods (2.17.0, toApiPipelineTaskDetail)."""
LOG = "/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
"""Of a pod that is there, or Argo's copy of it (kubeflow/pipelines 2.17.0, backend/src/apiserver/main.go; no client has it)."""
LOG_FAILED = '{"error_message":'
"""So the answer ends where the log cannot be read: its status was sent before."""
LOG_OF_PAGES, EVENTS = "/k8s/pod/logs", "/k8s/pod/events"
"""Kubeflow's pages have these (frontend/server/app.ts) and not `LOG`, the API behind them the other way round."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod of a node's step, or of its driver."""

    name: str
    node: str
    is_driver: bool
    is_pending: bool
    message: str
    """Argo's, such as the scheduler's reason; may be empty."""


def pods_of(kubeflow: Kubeflow, run_id: str) -> list[Pod]:
    """The pods of a run, the oldest first; none where Kubeflow does not say."""
    try:
        workflow = json.loads(json.loads(_get(kubeflow, RUN, {"run_id": run_id}, {}))["pipeline_runtime"]["workflow_manifest"])
        nodes = [node for node in workflow["status"]["nodes"].values() if node["type"] == "Pod"]
        return [_pod(workflow["metadata"]["name"], node) for node in sorted(nodes, key=lambda node: str(node["startedAt"]))]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _pod(workflow: str, node: dict[str, Any]) -> Pod:
    """Argo's name of a node is a path: `WORKFLOW(0).root(0).Trainer(0).executor(0)`; a number is that of an attempt."""
    *_, parent, name = re.sub(r"\(\d+\)", "", node["name"]).split(".")
    # As Argo names pods (workflow/util/pod_name.go).
    pod = f"{workflow}-{node['templateName']}-{node['id'].rpartition('-')[2]}"
    is_driver = name != EXECUTOR
    of_node = name.removesuffix(DRIVER) if is_driver else parent
    return Pod(pod, of_node, is_driver, node["phase"] == "Pending", node.get("message", ""))


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
    client = kubeflow.client.runs.api_client
    try:
        with user_errors(path):
            client.call_api(path, "GET", path_parameters, list(query.items()), auth_settings=["Bearer"])
    except UserError:  # what is said besides must not end what follows the run
        return ""
    return str(client.last_response.data)
