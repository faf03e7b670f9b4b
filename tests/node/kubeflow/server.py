# SPDX-License-Identifier: Apache-2.0
"""The Pipelines API of `kubeflow_api.py` in a pod: runs are Argo workflows, and their states and logs those of real pods."""

import json
import os
import threading
import uuid
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kfp_server_api as models
from api import Api
from kubeflow_api import KubeflowApi
from workflow import workflow

NAMESPACE = "kubeflow"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WORKFLOWS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows"
STATES = {"Succeeded": "SUCCEEDED", "Failed": "FAILED", "Error": "FAILED", "Running": "RUNNING", "Pending": "PENDING"}
PODS = f"/api/v1/namespaces/{NAMESPACE}"


class Server(KubeflowApi):
    """Answers at a port of every address."""

    def __init__(self, port: int, pages: bool) -> None:
        super().__init__(pages=pages)
        self._http.server_close()
        self._http: ThreadingHTTPServer = ThreadingHTTPServer(("0.0.0.0", port), self._handler())
        # By its address: the certificate names no other.
        address = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}"
        self._cluster = Api(address, ACCOUNT / "ca.crt", (ACCOUNT / "token").read_text())

    def serve(self) -> None:
        """Until the pod ends."""
        self._http.serve_forever()

    def log_of(self, pod: str) -> str | None:
        answer = self._cluster._session.get(f"{self._cluster.url}{PODS}/pods/{pod}/log?container=main", timeout=30)
        return answer.text if answer.ok else None

    def events_of(self, pod: str) -> list[dict[str, Any]]:
        return self._cluster.items(f"{PODS}/events", fieldSelector=f"involvedObject.name={pod}")

    def _create(self, path: str, body: dict[str, Any]) -> Any:
        created = super()._create(path, body)
        if path == "/runs":
            created.run_id = str(uuid.uuid4())
            self._start(created)
        return created

    def _start(self, run: models.V2beta1Run) -> None:
        reference = run.pipeline_version_reference
        wanted = reference["pipeline_version_id"] if isinstance(reference, dict) else reference.pipeline_version_id
        (version,) = (one for one in self.versions if one.pipeline_version_id == wanted)
        package = _uploaded(version.description)
        settings = run.runtime_config
        started = {"id": run.run_id, "root": settings["pipeline_root"], "parameters": settings.get("parameters") or {}}
        data = {"package.yaml": package, "run.json": json.dumps(started)}
        metadata = {"name": f"run-{run.run_id}", "namespace": NAMESPACE}
        self._cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        self._cluster.call("POST", WORKFLOWS, workflow(package, run.run_id))

    def _get(self, path: str, query: dict[str, str]) -> Any:
        for run in self.runs:
            if path == f"/runs/{run.run_id}":
                self._look(run)
        return super()._get(path, query)

    def _look(self, run: models.V2beta1Run) -> None:
        status = self._cluster.get(f"{WORKFLOWS}/run-{run.run_id}").get("status", {})
        run.state = STATES.get(status.get("phase", ""), "PENDING")
        if status.get("finishedAt"):
            run.finished_at = _time(status["finishedAt"])
        details = [_task(run.run_id, node) for node in (status.get("nodes") or {}).values()]
        run.run_details = models.V2beta1RunDetails(task_details=details)


def _task(run_id: str, node: dict[str, Any]) -> models.V2beta1PipelineTaskDetail:
    """A node of a workflow as Kubeflow lists it: pods by their names, children by Argo's ids."""
    children = [models.PipelineTaskDetailChildTask(pod_name=child) for child in node.get("children", [])]
    return models.V2beta1PipelineTaskDetail(
        run_id=run_id,
        task_id=node["id"],
        display_name=node["displayName"],
        state=STATES.get(node.get("phase", ""), "SKIPPED"),
        pod_name=_pod_name(node) if node["type"] == "Pod" else None,
        start_time=_time(node["startedAt"]) if node.get("startedAt") else None,
        end_time=_time(node["finishedAt"]) if node.get("finishedAt") else None,
        child_tasks=children or None,
    )


def _pod_name(node: dict[str, Any]) -> str:
    """WORKFLOW-TEMPLATE-NUMBER (workflow/util/pod_name.go of Argo); a node's id is WORKFLOW-NUMBER."""
    workflow_name, _, number = node["id"].rpartition("-")
    return f"{workflow_name}-{node['templateName']}-{number}"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _uploaded(form: str) -> str:
    """The one file of a multipart form."""
    boundary, _, rest = form.partition("\r\n")
    return rest.partition("\r\n\r\n")[2].rpartition(f"\r\n{boundary}")[0]


if __name__ == "__main__":
    api, ui = Server(8888, pages=False), Server(3000, pages=True)
    # One Kubeflow at two addresses.
    ui.pipelines, ui.versions, ui.experiments, ui.runs = api.pipelines, api.versions, api.experiments, api.runs
    threading.Thread(target=ui.serve, daemon=True).start()
    api.serve()
