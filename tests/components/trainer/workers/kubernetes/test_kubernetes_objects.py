# SPDX-License-Identifier: Apache-2.0
"""What training workers on Kubernetes are made of, held against the API's own schemas."""

import json
from pathlib import Path

import kubernetes_validate
import pytest
from cluster_server import RUN_ID, SECRET, step_pod

from beam_jobs.errors import UserError
from components.trainer.workers.kubernetes.objects import StepPod, addresses, headless_service, job_name, training_job
from components.trainer.workers.protocol import MAX_RESTARTS, PEER_LOST_STATUS, USER_ERROR_STATUS, tf_config


def objects(num_workers: int = 2) -> tuple[dict, dict]:
    step = StepPod(step_pod(Path("/training")), {"PIPELINE_RUN_ID": RUN_ID}, 1000, 1000)
    name, job = job_name(RUN_ID), Path("/training/run/attempt/job.json")
    return headless_service(step, name), training_job(
        step, name, num_workers, job, MAX_RESTARTS, USER_ERROR_STATUS, PEER_LOST_STATUS
    )


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_service_and_job_are_what_the_api_schemas_ask_for(version):
    for created in (*objects(), step_pod(Path("/training"))):
        kubernetes_validate.validate(created, version, strict=True)


def test_a_worker_is_made_after_the_step_in_everything_but_kubeflows_own():
    service, job = objects()
    pod = job["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    main = step_pod(Path("/training"))["spec"]["containers"][1]

    assert (worker["image"], worker["resources"]) == (main["image"], main["resources"])
    assert worker["env"] == [
        {"name": "PIPELINE_RUN_ID", "value": RUN_ID},
        {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": SECRET},
        {"name": "WANDB_MODE", "value": "offline"},
    ]
    assert "envFrom" not in worker and "nodeName" not in pod and "serviceAccountName" not in pod
    assert pod["nodeSelector"] == {"pool": "training"} and pod["imagePullSecrets"] == [{"name": "pull"}] and pod["tolerations"]
    assert [volume["name"] for volume in pod["volumes"]] == ["training", "tmp", "shm"]
    assert [mount["mountPath"] for mount in worker["volumeMounts"]] == ["/training", "/tmp", "/dev/shm"]
    for one in (service, job):
        assert one["metadata"]["ownerReferences"][0]["uid"] == step_pod(Path("/"))["metadata"]["uid"]
        assert one["metadata"]["labels"]["app.kubernetes.io/component"] == "training-worker"


def test_a_worker_has_no_rights():
    pod = objects()[1]["spec"]["template"]["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "fsGroup": 1000,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_host_names_are_those_that_an_indexed_job_gives_its_pods():
    service, job = objects(3)
    (worker,) = job["spec"]["template"]["spec"]["containers"]
    name = job["metadata"]["name"]

    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"] == name
    assert len(f"{name}-63") <= 63
    assert worker["args"][1].split(",") == addresses(name, 3) == [f"{name}-{index}.{name}:2222" for index in range(3)]
    assert json.loads(tf_config(addresses(name, 3), 2)) == {
        "cluster": {"worker": addresses(name, 3)},
        "task": {"type": "worker", "index": 2},
    }


def test_a_job_file_in_no_volume_of_the_step_is_refused():
    step = StepPod(step_pod(Path("/elsewhere")), {}, 1000, 1000)

    with pytest.raises(UserError, match=r"^/training/run is not on a volume of the step's Pod .*ReadWriteMany"):
        training_job(step, "training-1", 2, Path("/training/run/job.json"), 3, 2, 3)


def test_a_dataset_on_another_volume_of_the_step_is_mounted_too():
    pod = step_pod(Path("/training"))
    main = pod["spec"]["containers"][1]
    main["volumeMounts"].append({"name": "clips", "mountPath": "/data", "readOnly": True})
    pod["spec"]["volumes"].append({"name": "clips", "persistentVolumeClaim": {"claimName": "clips"}})
    step, job_file = StepPod(pod, {}, 1000, 1000), Path("/training/run/job.json")

    job = training_job(step, "training-1", 2, job_file, 3, 2, 3, Path("/data/clips"))

    spec = job["spec"]["template"]["spec"]
    mounted = spec["containers"][0]["volumeMounts"]
    assert [mount["mountPath"] for mount in mounted] == ["/training", "/data", "/tmp", "/dev/shm"]
    assert {"claimName": "clips"} in [volume.get("persistentVolumeClaim") for volume in spec["volumes"]]
    with pytest.raises(UserError, match=r"^/elsewhere/clips is not on a volume of the step's Pod .*ReadWriteMany"):
        training_job(step, "training-1", 2, job_file, 3, 2, 3, Path("/elsewhere/clips"))
