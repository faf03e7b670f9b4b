# SPDX-License-Identifier: Apache-2.0
"""A step of a pipeline run on the control plane, and the training workers that it starts."""

import uuid
from collections.abc import Mapping
from pathlib import Path

from api import Manifest
from control_plane import ControlPlane
from kubernetes import client

from components.trainer.workers.kubernetes.launch import KubernetesLaunch, Timeouts

NAMESPACE, ROLE, CLAIM = "audio-gender", "audio-gender-training", "audio-gender-training"
CORE, BATCH, RBAC = (
    f"/{root}/namespaces/{NAMESPACE}" for root in ("api/v1", "apis/batch/v1", "apis/rbac.authorization.k8s.io/v1")
)
QUICK = Timeouts(poll_s=0.2, start_s=3, server_s=5, gone_s=20)
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def step_pod(folder: Path, variables: Mapping[str, str]) -> Manifest:
    """A step's Pod as Kubeflow makes it, as far as the launcher reads it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"step-{uuid.uuid4().hex[:8]}", "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "default-editor",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": "audio-gender",
                    "command": ["sleep", "infinity"],
                    "env": [{"name": name, "value": value} for name, value in variables.items()],
                    "resources": {"limits": {"memory": "8Gi"}},
                    "volumeMounts": [{"name": "training", "mountPath": str(folder)}],
                    "securityContext": RESTRICTED,
                }
            ],
            "volumes": [{"name": "training", "persistentVolumeClaim": {"claimName": CLAIM}}],
        },
    }


class Run:
    """A step, and the training that it starts."""

    def __init__(self, control_plane: ControlPlane, folder: Path, variables: Mapping[str, str]) -> None:
        self.admin, self.step = control_plane.admin, control_plane.admin.create(step_pod(folder, variables))
        self.run_id = uuid.uuid4().hex[:8]
        self.job_path, self.service_path = f"{BATCH}/jobs/training-{self.run_id}", f"{CORE}/services/training-{self.run_id}"
        self.job_file = folder / "attempt" / "job.json"
        self.account = "default-editor"
        self.timeouts = QUICK
        self.error: BaseException | None = None
        self._control_plane = control_plane

    def launch(self, job: Path | None = None) -> None:
        """Trains with two workers, as the step does."""
        configuration = client.Configuration()
        account = self._control_plane.service_account(NAMESPACE, self.account)
        configuration.host, configuration.ssl_ca_cert = account.url, str(account.ca_file)
        configuration.api_key = {"authorization": f"Bearer {account.token}"}
        api = client.ApiClient(configuration)
        KubernetesLaunch(api, NAMESPACE, self.step["metadata"]["name"], self.run_id, self.timeouts)(job or self.job_file, 2)

    def pods(self) -> list[Manifest]:
        return self.admin.items(f"{CORE}/pods", labelSelector=f"batch.kubernetes.io/job-name=training-{self.run_id}")

    def pod(self, index: int, phase: str) -> Manifest | None:
        """The worker's pod in that phase."""
        label = "batch.kubernetes.io/job-completion-index"
        found = [pod for pod in self.pods() if pod["metadata"]["labels"][label] == str(index)]
        return next((pod for pod in found if pod["status"]["phase"] == phase), None)

    def is_gone(self) -> bool:
        return not (self.pods() or self.admin.exists(self.job_path) or self.admin.exists(self.service_path))
