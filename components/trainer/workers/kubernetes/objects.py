# SPDX-License-Identifier: Apache-2.0
"""The objects that training workers on Kubernetes are made of: a headless Service and an Indexed Job, as plain data.

The workers are made after the step's own Pod: the same image, the same resources, the same place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_jobs.dataset import INFO_FILE
from beam_jobs.errors import UserError

Object = dict[str, Any]
"""A Kubernetes object as the API's JSON has it. (The client's classes do not know `backoffLimitPerIndex` yet.)"""

PORT = 2222
STEP_CONTAINER = "main"
"""Where Kubeflow runs the user's code, in its Pod."""
WORKER_CONTAINER = "worker"
ERROR_FILE = "/dev/termination-log"
JOB_NAME_LABEL = "batch.kubernetes.io/job-name"

LEASE_S = 900
"""The workers end so long after the step's last sign of life: a run that is terminated leaves the step's Pod, their owner."""
KEPT_S = 300
GRACE_S = 5
SHARED_MEMORY = "1Gi"

INTERNAL = ("ARGO_", "KFP_", "KUBERNETES_", "METADATA_", "ML_PIPELINE_")
"""How names of variables begin that are Argo's and Kubeflow's own."""
PLACEMENT = ("affinity", "imagePullSecrets", "nodeSelector", "priorityClassName", "runtimeClassName", "tolerations")


@dataclass(frozen=True, slots=True)
class StepPod:
    """What the process that starts the workers knows of itself."""

    pod: Object
    environment: Mapping[str, str]
    uid: int
    gid: int

    @property
    def name(self) -> str:
        """Of its Pod."""
        return str(self.pod["metadata"]["name"])

    @property
    def container(self) -> Object:
        """The container in which this code runs.

        Raises:
            UserError: there is none of that name.
        """
        for container in self.pod["spec"]["containers"]:
            if container["name"] == STEP_CONTAINER:
                return dict(container)
        raise UserError(
            f"the Pod {self.name} has no container named {STEP_CONTAINER}; training workers can only be started from a step of "
            "Kubeflow Pipelines"
        )


def job_name(run_id: str) -> str:
    """One name for all attempts of a run: two of them never train at once."""
    return f"training-{run_id}"


def addresses(name: str, num_workers: int) -> list[str]:
    """`host:port` of each worker, by index; an Indexed Job's Pods have stable host names below its Service's."""
    return [f"{name}-{index}.{name}:{PORT}" for index in range(num_workers)]


def headless_service(step: StepPod, name: str) -> Object:
    """What gives every worker a name; that of one that is not ready too, because the workers wait for each other."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(step, name),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {JOB_NAME_LABEL: name},
            "ports": [{"name": "grpc", "port": PORT}],
        },
    }


def training_job(
    step: StepPod,
    name: str,
    num_workers: int,
    job: Path,
    restarts: int,
    user_error_status: int,
    peer_lost_status: int,
    dataset: Path | None = None,
) -> Object:
    """The Indexed Job of `num_workers` workers that read the job file.

    Args:
        step: whoever starts them.
        name: of the Job and of its Service.
        num_workers: the chief, index 0, among them.
        job: the job file, in a volume of the step.
        restarts: of one worker, before the Job fails.
        user_error_status: the exit status after which a restart is in vain.
        peer_lost_status: that of a worker which ended because another one had; it does not count.
        dataset: the dataset folder, where it is on a volume of the step and not in an object store.

    Raises:
        UserError: the step has no such container, or no volume for the job file or the dataset.
    """
    main = step.container
    shared = [_shared_volume(step, main, path) for path in (job, dataset and dataset / INFO_FILE) if path]
    volumes = {volume["name"]: volume for volume, _ in shared}
    mounts = {mount["mountPath"]: mount for _, mount in shared}
    container = {
        "name": WORKER_CONTAINER,
        "image": main["image"],
        "command": ["python", "-m", "components.trainer.worker"],
        "args": ["--addresses", ",".join(addresses(name, num_workers)), "--error-file", ERROR_FILE, str(job)],
        "env": _environment(main.get("env", ()), step.environment),
        "resources": {kind: main["resources"][kind] for kind in ("limits", "requests") if kind in main.get("resources", {})},
        "ports": [{"name": "grpc", "containerPort": PORT}],
        "volumeMounts": [*mounts.values(), {"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
        "terminationMessagePath": ERROR_FILE,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        **{key: main[key] for key in ("imagePullPolicy", "workingDir") if main.get(key)},
    }
    pod = {
        "restartPolicy": "Never",
        "subdomain": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": _security(step),
        "containers": [container],
        "volumes": [
            *volumes.values(),
            {"name": "tmp", "emptyDir": {}},
            # NCCL's, between the GPUs of a worker; a container's own 64 MiB are too few.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
        ],
        **{key: step.pod["spec"][key] for key in PLACEMENT if step.pod["spec"].get(key)},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(step, name),
        "spec": {
            "completionMode": "Indexed",
            "completions": num_workers,
            "parallelism": num_workers,
            "backoffLimitPerIndex": restarts,
            "maxFailedIndexes": 0,
            "podFailurePolicy": {
                "rules": [
                    _exit_rule("FailJob", user_error_status),
                    _exit_rule("Ignore", peer_lost_status),
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "activeDeadlineSeconds": LEASE_S,
            "ttlSecondsAfterFinished": KEPT_S,
            "template": {"metadata": {"labels": _labels()}, "spec": pod},
        },
    }


def _shared_volume(step: StepPod, main: Object, path: Path) -> tuple[Object, Object]:
    mounts = [mount for mount in main.get("volumeMounts", ()) if path.is_relative_to(mount["mountPath"])]
    if not mounts:
        raise UserError(
            f"{path.parent} is not on a volume of the step's Pod {step.name}, so the training workers could not read it; "
            "mount a ReadWriteMany claim there"
        )
    mount = max(mounts, key=lambda mount: len(mount["mountPath"]))
    (volume,) = (volume for volume in step.pod["spec"]["volumes"] if volume["name"] == mount["name"])
    return volume, mount


def _environment(variables: Sequence[Object], environment: Mapping[str, str]) -> list[Object]:
    """Secrets and config maps stay references; what the Pod says of itself would be another thing in a worker's Pod."""
    kept = []
    for variable in variables:
        if variable["name"].startswith(INTERNAL):
            continue
        if variable.get("valueFrom", {}).keys() & {"fieldRef", "resourceFieldRef"}:
            variable = {"name": variable["name"], "value": environment.get(variable["name"], "")}
        kept.append(variable)
    return kept


def _security(step: StepPod) -> Object:
    """The step's user and groups, whose files the workers share."""
    return {
        **step.pod["spec"].get("securityContext", {}),
        "runAsNonRoot": True,
        "runAsUser": step.uid,
        "runAsGroup": step.gid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _exit_rule(action: str, status: int) -> Object:
    return {"action": action, "onExitCodes": {"containerName": WORKER_CONTAINER, "operator": "In", "values": [status]}}


def _metadata(step: StepPod, name: str) -> Object:
    """With the step's Pod as owner, without which the cluster removes the object."""
    own = step.pod["metadata"]
    return {
        "name": name,
        "namespace": own["namespace"],
        "labels": _labels(),
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": own["name"], "uid": own["uid"]}],
    }


def _labels() -> dict[str, str]:
    return {
        "app.kubernetes.io/part-of": "audio-gender",
        "app.kubernetes.io/component": "training-worker",
        # A sidecar would neither end with the worker nor let it through to the others.
        "sidecar.istio.io/inject": "false",
    }
