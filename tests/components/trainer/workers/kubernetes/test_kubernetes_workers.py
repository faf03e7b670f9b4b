# SPDX-License-Identifier: Apache-2.0
"""The launcher of training workers against an API server over HTTP."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_server import NAMESPACE, RUN_ID, STEP, ClusterServer, eventually, nothing_is_left, step_pod
from kubernetes import client

from beam_jobs.errors import UserError
from components.trainer.spec import TrainingSpec
from components.trainer.workers.kubernetes import launch as kubernetes_launch
from components.trainer.workers.kubernetes.launch import KubernetesLaunch, Timeouts
from components.trainer.workers.kubernetes.objects import StepPod, headless_service, job_name, training_job
from components.trainer.workers.launch import CODE, train_on_workers
from components.trainer.workers.protocol import MAX_RESTARTS, PEER_LOST_STATUS

SHORT = Timeouts(poll_s=0.02, start_s=0.4, server_s=0.5, gone_s=0.5)


@pytest.fixture
def launch(server: ClusterServer, tmp_path: Path) -> Callable[[], None]:
    """Launches two workers with little timeouts."""
    return lambda: start(server.url, tmp_path)


def start(url: str, folder: Path, timeouts: Timeouts = SHORT) -> None:
    api = client.ApiClient(client.Configuration(host=url))
    KubernetesLaunch(api, NAMESPACE, STEP, RUN_ID, timeouts)(folder / "training/run/job.json", 2)


def test_the_chiefs_log_is_followed_over_a_broken_connection_and_a_restart(server, launch, capfd):
    def play(job: dict) -> None:
        chief, other = server.pod(0), server.pod(1)
        server.hang_ups_after = 2
        server.write(chief, "epoch 1", "epoch 2", "epoch 3")
        # Its last line is read even where the Pod ends while nobody reads.
        eventually(lambda: server.asked["get pods/log"] >= 2)
        server.failed(1, other, 137, reason="OOMKilled")
        server.write(chief, "a peer is gone")
        server.failed(0, chief, PEER_LOST_STATUS)
        again, _ = server.pod(0), server.pod(1)
        server.write(again, "training goes on from epoch 3", "done")
        server.pod(0, again, "Succeeded")

    server.played = play
    launch()

    told = capfd.readouterr()
    assert told.out.splitlines() == [
        "epoch 1",
        "epoch 2",
        "epoch 3",
        "a peer is gone",
        "training goes on from epoch 3",
        "done",
    ]
    assert "training worker 1 of 2 was killed because it ran out of memory (OOMKilled, memory limit 8Gi); all start" in told.err
    assert "another worker was gone" not in told.err
    assert [one["kind"] for one in server.created] == ["Service", "Job"]
    assert nothing_is_left(server)


def test_as_long_as_the_step_lives_the_jobs_deadline_moves_on(server, launch, monkeypatch):
    monkeypatch.setattr(kubernetes_launch, "LEASE_S", 1)

    def play(job: dict) -> None:
        chief = server.pod(0)
        eventually(lambda: server.asked["patch jobs"] >= 3)
        server.pod(0, chief, "Succeeded")

    server.played = play
    launch()

    assert server.created[1]["spec"]["activeDeadlineSeconds"] == 2  # a second from the start, and a second's lease


def test_what_an_earlier_attempt_left_is_removed_first(server, launch, tmp_path, capfd):
    step, name = StepPod(step_pod(tmp_path / "training"), {}, 1000, 1000), job_name(RUN_ID)
    server.objects["services"][name] = headless_service(step, name)
    server.objects["jobs"][name] = training_job(step, name, 2, tmp_path / "training/job.json", MAX_RESTARTS, 2, 3)
    server.pod(0)
    server.played = lambda job: server.pod(0, phase="Succeeded")

    launch()

    assert server.removed == ["jobs", "services"] * 2
    assert "training workers of an earlier attempt are still there; waiting for them to end" in capfd.readouterr().err
    assert nothing_is_left(server)


@pytest.mark.parametrize(
    "permission", ["get pods", "list pods", "get pods/log", "create services", "create jobs", "get jobs", "list events"]
)
def test_a_permission_that_is_missing_is_named_with_the_role(server, launch, permission):
    verb, resource = permission.split()
    account = f"system:serviceaccount:{NAMESPACE}:pipeline-runner"
    server.refusals[permission] = (403, f'{resource} is forbidden: User "{account}" cannot {verb} resource "{resource}"')
    if permission != "list events":
        server.played = lambda job: server.pod(0)

    with pytest.raises(UserError) as error:
        launch()

    assert str(error.value).startswith(f"the step's service account may not {verb} {resource} in namespace {NAMESPACE}: ")
    assert str(error.value).endswith("bind it to the Role audio-gender-training (k8s/base)")
    assert not server.objects["jobs"]


def test_what_admission_says_is_passed_on(server, launch):
    server.refusals["create jobs"] = (403, 'jobs.batch "training" is forbidden: exceeded quota: team, requested: count/jobs=1')

    with pytest.raises(UserError, match=r"^Kubernetes refused to create jobs for the training workers: .*exceeded quota: team"):
        launch()

    assert nothing_is_left(server)


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(server, tmp_path):
    def play(job: dict) -> None:
        server.refusals["get jobs"] = (503, "etcdserver: leader changed")
        eventually(lambda: server.asked["get jobs"] >= 2)
        server.pod(0, phase="Succeeded")
        del server.refusals["get jobs"]

    server.played = play
    start(server.url, tmp_path, Timeouts(poll_s=0.02, server_s=30))

    assert nothing_is_left(server)


def test_an_api_server_that_stays_away_is_one_line(server, launch):
    server.refusals["list pods"] = (503, "etcdserver: no leader")

    with pytest.raises(UserError, match=r"^the Kubernetes API server has not answered for 0.5 s \(etcdserver: no leader\)"):
        launch()


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient cpu.",
}
NO_SECRET = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "audio-gender-object-store" not found'}}
NO_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
ON_ITS_WAY = {"waiting": {"reason": "ContainerCreating"}}


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (lambda server: server.pod(1, phase="Pending", conditions=[UNSCHEDULABLE]), "Unschedulable: 0/3 nodes are available"),
        (
            lambda server: server.pod(1, None, "Pending", NO_SECRET),
            'CreateContainerConfigError: secret "audio-gender-object-store"',
        ),
        (lambda server: server.pod(1, None, "Pending", NO_IMAGE), "ImagePullBackOff: Back-off pulling image"),
        (
            lambda server: server.event(server.pod(1, None, "Pending", ON_ITS_WAY), "FailedAttachVolume", "Multi-Attach error"),
            "FailedAttachVolume: Multi-Attach error",
        ),
        (
            lambda server: server.event(job_name(RUN_ID), "FailedCreate", "pods is forbidden: exceeded quota: cpu"),
            "FailedCreate: pods is forbidden: exceeded quota: cpu",
        ),
    ],
)
def test_a_worker_that_cannot_start_is_told_at_once_and_ends_the_run_later(server, launch, capfd, play, reason):
    def begin(job: dict) -> None:
        server.pod(0)
        play(server)

    server.played = begin
    with pytest.raises(UserError) as error:
        launch()

    assert str(error.value).startswith(f"training worker 1 of 2 did not start within 0.4 s: {reason}")
    assert str(error.value).endswith("lower train.num_workers, and start the run again")
    assert capfd.readouterr().err.count("training worker 1 of 2 cannot start yet: ") == 1
    assert nothing_is_left(server)


def test_a_worker_that_is_on_its_way_is_waited_for(server, launch):
    def play(job: dict) -> None:
        chief = server.pod(0, None, "Pending", ON_ITS_WAY)
        time.sleep(2 * SHORT.start_s)
        server.pod(0, chief, "Succeeded")

    server.played = play

    launch()


def test_a_worker_that_never_has_memory_enough_names_limit_and_setting(server, launch):
    def play(job: dict) -> None:
        for _ in range(1 + MAX_RESTARTS):
            server.failed(1, status=137, reason="OOMKilled")
            server.failed(0, status=PEER_LOST_STATUS)
        server.job_condition("Failed", "FailedIndexes", "Job has failed indexes")

    server.played = play

    with pytest.raises(
        UserError, match=r"^training worker 1 of 2 .*OOMKilled, memory limit 8Gi\), 4 times in all; raise .*batch_size$"
    ):
        launch()
    assert nothing_is_left(server)


def test_a_worker_that_fails_too_often_is_named_with_its_last_words(server, launch):
    def play(job: dict) -> None:
        for _ in range(1 + MAX_RESTARTS):
            server.failed(1, status=1, message="Traceback (most recent call last):\nOSError: [Errno 116] Stale file handle\n")
        server.job_condition("FailureTarget", "FailedIndexes")

    server.played = play

    with pytest.raises(
        UserError, match=r"^training worker 1 of 2 ended with exit status 1, 4 times in all: OSError: .* Stale file"
    ):
        launch()


def test_workers_that_lose_one_another_for_no_reason_point_to_the_network(server, launch):
    def play(job: dict) -> None:
        for _ in range(1 + MAX_RESTARTS):
            server.failed(0, status=PEER_LOST_STATUS)
        server.pod(0)

    server.played = play

    with pytest.raises(UserError, match=r"^training workers keep losing each other .*port 2222 \(NetworkPolicy\)$"):
        launch()


def test_disruptions_are_told_and_do_not_count(server, launch, capfd):
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}

    def play(job: dict) -> None:
        for _ in range(2 + MAX_RESTARTS):
            server.pod(1, phase="Failed", conditions=[condition])
            server.failed(0, status=PEER_LOST_STATUS)
        server.pod(0, phase="Succeeded")

    server.played = play
    launch()

    told = capfd.readouterr().err
    assert told.count("training worker 1 of 2 was removed by the cluster (PreemptionByScheduler: preempted)") == 2 + MAX_RESTARTS


def test_a_job_that_somebody_deletes_is_one_line(server, launch):
    def play(job: dict) -> None:
        server.pod(0)
        eventually(lambda: server.asked["list pods"])
        server.objects["jobs"].clear()

    server.played = play

    with pytest.raises(UserError, match=r"^the training Job was deleted;"):
        launch()


def test_a_step_that_is_told_to_end_takes_its_workers_along(server, tmp_path):
    server.played = lambda job: server.pod(0)
    code = f"import test_kubernetes_workers as t, pathlib; t.start({server.url!r}, pathlib.Path({str(tmp_path)!r}), t.Timeouts())"
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[3]), str(CODE)])
    step = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL)
    eventually(lambda: server.asked["list pods"] or step.poll() is not None)

    step.send_signal(signal.SIGTERM)

    assert step.wait(timeout=30) == kubernetes_launch.ENDED_BY_SIGTERM
    assert nothing_is_left(server)


def test_outside_of_a_cluster_the_key_is_refused(make_fn_args, tmp_path, monkeypatch):
    fn_args = make_fn_args(tmp_path, shared_folder=str(tmp_path))
    monkeypatch.delenv("PIPELINE_RUN_ID", raising=False)
    with pytest.raises(UserError, match="does not say which run this is; set PIPELINE_RUN_ID in the step's environment"):
        train_on_workers(fn_args, TrainingSpec.of(fn_args))

    monkeypatch.setenv("PIPELINE_RUN_ID", RUN_ID)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UserError, match="this process is not a step of Kubeflow Pipelines"):
        train_on_workers(fn_args, TrainingSpec.of(fn_args))
