# SPDX-License-Identifier: Apache-2.0
"""Training workers under a real API server and a real Job controller, started by a step that has the Role of k8s/base alone."""

import os
import re
from collections.abc import Callable

import pytest
from api import Api, Manifest, wait_until
from kubelet import own_command
from pod_network import PodNetwork
from training_run import NAMESPACE, RBAC, ROLE

from beam_jobs.errors import UserError
from components.trainer.spec import TrainingSpec
from components.trainer.workers.kubernetes import launch as kubernetes_launch
from components.trainer.workers.kubernetes import objects as kubernetes_objects
from components.trainer.workers.launch import train_on_workers

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_KUBERNETES") != "1", reason="needs Go, Maven and some minutes: make test-kubernetes"
)

# What the launcher says that it needs (its module's docstring).
PERMISSIONS = [
    *("get pods", "list pods", "create services", "create jobs", "get jobs", "get pods/log"),
    *("list events", "patch jobs", "delete jobs", "delete services"),
]


def shell(text: str) -> Callable[[Manifest], list[str]]:
    """Plays a program for the workers; the step runs its own."""
    return lambda pod: ["sh", "-c", text] if pod["metadata"]["name"].startswith("training-") else own_command(pod)


def said(capfd: pytest.CaptureFixture[str]) -> str:
    """What this program told the user, without its line breaks."""
    return " ".join(capfd.readouterr().err.split())


def test_a_job_trains_and_nothing_is_left(run, kubelet, meanwhile, capfd):
    kubelet.command = shell("for i in 1 2 3 4 5; do echo worker $JOB_COMPLETION_INDEX epoch $i; sleep 0.4; done")
    seen = []

    def look() -> None:
        wait_until(lambda: run.pod(0, "Running") is not None and run.pod(1, "Running") is not None, "workers")
        seen.extend([run.admin.get(run.job_path), run.admin.get(run.service_path), *run.pods()])

    meanwhile(look)
    run.launch()

    assert run.is_gone()
    job, service, *pods = seen
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 2)
    assert job["spec"]["backoffLimitPerIndex"] == 3
    assert service["spec"]["clusterIP"] == "None"
    assert {pod["spec"]["hostname"] for pod in pods} == {f"training-{run.run_id}-{index}" for index in range(2)}
    assert {pod["spec"]["subdomain"] for pod in pods} == {service["metadata"]["name"]}
    assert service["spec"]["selector"].items() <= pods[0]["metadata"]["labels"].items()
    printed = capfd.readouterr().out
    assert [f"worker 0 epoch {epoch}\n" in printed for epoch in range(1, 6)] == [True] * 5
    assert "worker 1" not in printed


def test_a_worker_that_ran_out_of_memory_is_started_again(run, kubelet, tmp_path, meanwhile, capfd):
    kubelet.command = shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done")

    def kill() -> None:
        wait_until(lambda: run.pod(1, "Running") is not None, "worker")
        kubelet.kill(run.pod(1, "Running")["metadata"]["name"], reason="OOMKilled")
        wait_until(lambda: run.pod(1, "Failed") is not None and run.pod(1, "Running") is not None, "another worker")
        (tmp_path / "go").touch()

    meanwhile(kill)
    run.launch()

    assert run.is_gone()
    assert "training worker 1 of 2 was killed because it ran out of memory (OOMKilled, memory limit 8Gi)" in said(capfd)


def test_what_a_worker_says_ends_the_job_at_once(run, kubelet):
    kubelet.command = shell("echo clips are too short > /dev/termination-log; exit 2")

    with pytest.raises(UserError, match=r"^clips are too short$"):
        run.launch()

    assert run.is_gone()


def test_workers_start_again_that_ended_because_another_one_had(run, kubelet, tmp_path):
    kubelet.command = shell(f"[ -e {tmp_path}/$JOB_COMPLETION_INDEX ] && exit 0; touch {tmp_path}/$JOB_COMPLETION_INDEX; exit 3")

    run.launch()

    assert run.is_gone()


def test_objects_of_an_earlier_attempt_go_first(run, kubelet, capfd):
    kubelet.command = shell("sleep 0.5")
    step = kubernetes_objects.StepPod(run.step, {}, 1000, 1000)
    name = f"training-{run.run_id}"
    run.admin.create(kubernetes_objects.headless_service(step, name))
    run.admin.create(kubernetes_objects.training_job(step, name, 2, run.job_file, 3, 2, 3))

    run.launch()

    assert run.is_gone()
    assert "training workers of an earlier attempt are still there; waiting for them to end" in said(capfd)


def test_workers_go_with_the_step_that_owns_them(run, kubelet, meanwhile):
    kubelet.command = shell("sleep infinity")

    def delete_step() -> None:
        wait_until(lambda: run.pod(1, "Running") is not None, "worker")
        run.admin.delete(run.step)

    meanwhile(delete_step)
    with pytest.raises(UserError, match="the training Job was deleted;"):
        run.launch()

    wait_until(run.is_gone, "garbage collection")


def test_a_living_step_moves_the_deadline_on(run, kubelet, monkeypatch):
    monkeypatch.setattr(kubernetes_objects, "LEASE_S", 4)
    monkeypatch.setattr(kubernetes_launch, "LEASE_S", 4)
    kubelet.command = shell("sleep 10")

    run.launch()

    assert run.is_gone()


def test_workers_end_by_themselves_when_the_step_lives_no_more(run, kubelet):
    kubelet.command = shell("sleep infinity")
    step = kubernetes_objects.StepPod(run.step, {}, 1000, 1000)
    job = kubernetes_objects.training_job(step, f"training-{run.run_id}", 2, run.job_file, 3, 2, 3)
    job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"] = 2, 1
    run.admin.create(job)

    wait_until(run.is_gone, "deadline")


def test_a_full_quota_is_named(run, kubelet):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full", "namespace": NAMESPACE},
        "spec": {"hard": {"pods": "0"}},
    }
    run.admin.apply(quota)
    path = run.admin.path_of(quota)
    wait_until(lambda: "used" in run.admin.get(path).get("status", {}), "quota in force")
    try:
        with pytest.raises(UserError, match=r"worker 0 of 2 did not start within 3 s: FailedCreate: .*exceeded quota: full"):
            run.launch()
    finally:
        run.admin.delete(quota)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, for the pods' network")
def test_two_pods_train_and_go_on_after_one_ran_out_of_memory(
    run, kubelet, make_fn_args, tmp_path, meanwhile, monkeypatch, capfd
):
    monkeypatch.setenv("PIPELINE_RUN_ID", run.run_id)
    (tmp_path / "training").mkdir()
    checkpoints = tmp_path / "training" / run.run_id / "checkpoints"
    train = {"epochs": 8, "batch_size": 4, "crop_s": 1.0, "learning_rate": 1e-2, "strategy": "multi_worker", "num_workers": 2}
    fn_args = make_fn_args(tmp_path, train=train, shared_folder=str(tmp_path / "training"), checkpoints=str(checkpoints))

    def kill() -> None:
        wait_until(lambda: any(checkpoints.glob("chief/ckpt-*.index")), "an epoch", timeout_s=600)
        kubelet.kill(run.pod(1, "Running")["metadata"]["name"], reason="OOMKilled")

    meanwhile(kill)
    with PodNetwork(tmp_path) as kubelet.network:
        train_on_workers(fn_args, TrainingSpec.of(fn_args), lambda job, num_workers: run.launch(job))

    told = capfd.readouterr()
    assert "training worker 1 of 2 was killed because it ran out of memory" in " ".join(told.err.split())
    assert re.search(r"training goes on from epoch [2-8] of 8", told.out)  # the chief's log
    assert (tmp_path / "serving" / "saved_model.pb").exists()
    assert list((tmp_path / "training").iterdir()) == []
    assert run.is_gone()


def account_without(admin: Api, permission: str) -> str:
    """A service account that has the Role but for one verb."""
    verb, resource = permission.split()
    rules = []
    for rule in admin.get(f"{RBAC}/roles/{ROLE}")["rules"]:
        others = [other for other in rule["resources"] if other != resource]
        rules.append({**rule, "resources": others})
        rules.append({**rule, "resources": [resource], "verbs": [other for other in rule["verbs"] if other != verb]})
        if resource not in rule["resources"]:
            rules.pop()
    name = f"without-{verb}-{resource.replace('/', '-')}"
    metadata, group = {"name": name, "namespace": NAMESPACE}, "rbac.authorization.k8s.io"
    admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    rules = [rule for rule in rules if rule["resources"] and rule["verbs"]]
    admin.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    role = {"apiGroup": group, "kind": "Role", "name": name}
    admin.apply(
        {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]}
    )
    return name


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_a_missing_permission_is_named_in_one_line(run, kubelet, permission, monkeypatch, capfd):
    monkeypatch.setattr(kubernetes_launch, "LEASE_S", 2)
    kubelet.command = shell("sleep 2")
    run.account = account_without(run.admin, permission)
    verb, resource = permission.split()
    words = f"the step's service account may not {verb} {resource} in namespace {NAMESPACE}"

    if verb == "delete":  # training is done by then
        run.launch()
        assert words in said(capfd)
        run.admin.delete(run.step)
        return
    with pytest.raises(UserError) as refusal:
        run.launch()
    assert str(refusal.value).startswith(words)
    assert "\n" not in str(refusal.value)
    assert f"bind it to the Role {ROLE}" in str(refusal.value)


def test_the_role_has_nothing_that_the_launcher_does_not_need(admin):
    rules = admin.get(f"{RBAC}/roles/{ROLE}")["rules"]
    granted = {f"{verb} {resource}" for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}

    assert granted == set(PERMISSIONS)
