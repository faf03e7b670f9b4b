# SPDX-License-Identifier: Apache-2.0
"""The Pipelines API of `kubeflow_api.py` in a pod: runs are Argo workflows, and their states and logs those of real pods."""

import json
import os
import threading
import uuid
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
        self.report(run, self._cluster.get(f"{WORKFLOWS}/run-{run.run_id}"))


def _uploaded(form: str) -> str:
    """The one file of a multipart form."""
    boundary, _, rest = form.partition("\r\n")
    return rest.partition("\r\n\r\n")[2].rpartition(f"\r\n{boundary}")[0]


if __name__ == "__main__":
    api, ui = Server(8888, pages=False), Server(3000, pages=True)
    # One Kubeflow at two addresses.
    ui.pipelines, ui.versions, ui.experiments = api.pipelines, api.versions, api.experiments
    ui.runs, ui.workflows = api.runs, api.workflows
    threading.Thread(target=ui.serve, daemon=True).start()
    api.serve()
