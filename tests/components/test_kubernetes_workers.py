"""Training workers as Pods: the objects, the launcher against an API server over HTTP, and real workers that a Job describes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kubernetes_validate
import pytest
from cluster_server import NAMESPACE, ClusterServer
from kubernetes import client

from beam_jobs.errors import UserError
from components.trainer import kubernetes_workers, workers
from components.trainer.kubernetes_objects import Step, addresses, headless_service, job_name, training_job
from components.trainer.kubernetes_workers import KubernetesLaunch, Patience
from components.trainer.shared_folder import through_shared_folder
from components.trainer.workers import MAX_RESTARTS, PEER_LOST_STATUS, USER_ERROR_STATUS, tf_config, train_on_workers

RUN_ID = "6c1f8a52-5b0e-4a5c-9f5a-0f2d1c3b4a5e"
STEP = "audio-gender-x7k2p-system-container-impl-1234567890"
SHORT = Patience(look_s=0.02, start_s=0.4, server_s=0.5, gone_s=0.5)
SECRET = {"secretKeyRef": {"name": "audio-gender-object-store", "key": "secret_access_key"}}


def step_pod(shared_folder: Path) -> dict:
    """The Pod of a step as Kubeflow and Argo make it."""
    own = {"fieldRef": {"fieldPath": "metadata.labels['pipeline/runid']"}}
    main = {
        "name": "main",
        "image": "registry.example/audio-gender@sha256:" + "0" * 64,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/var/run/argo/argoexec", "emissary", "--", "/kfp-launcher/launch"],
        "env": [
            {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "ARGO_TEMPLATE", "value": "{}"},
            {"name": "PIPELINE_RUN_ID", "valueFrom": own},
            {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": SECRET},
            {"name": "WANDB_MODE", "value": "offline"},
        ],
        "envFrom": [{"configMapRef": {"name": "metadata-grpc-configmap", "optional": True}}],
        "resources": {"limits": {"cpu": "4", "memory": "8Gi"}, "requests": {"cpu": "4", "memory": "8Gi"}},
        "volumeMounts": [
            {"name": "kfp-launcher", "mountPath": "/kfp-launcher"},
            {"name": "training", "mountPath": str(shared_folder)},
            {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": STEP, "namespace": NAMESPACE, "uid": "0b9d7b9e-1111-4222-8333-444455556666"},
        "spec": {
            "containers": [{"name": "wait", "image": "argoexec"}, main],
            "serviceAccountName": "pipeline-runner",
            "nodeName": "node-3",
            "nodeSelector": {"pool": "training"},
            "tolerations": [{"key": "training", "operator": "Exists", "effect": "NoSchedule"}],
            "imagePullSecrets": [{"name": "pull"}],
            "securityContext": {"fsGroup": 1000},
            "volumes": [
                {"name": "kfp-launcher", "emptyDir": {}},
                {"name": "training", "persistentVolumeClaim": {"claimName": "audio-gender-training"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
        },
    }


def objects(num_workers: int = 2) -> tuple[dict, dict]:
    step = Step(step_pod(Path("/training")), {"PIPELINE_RUN_ID": RUN_ID}, 1000, 1000)
    name, job = job_name(RUN_ID), Path("/training/run/attempt/job.json")
    return headless_service(step, name), training_job(
        step, name, num_workers, job, MAX_RESTARTS, USER_ERROR_STATUS, PEER_LOST_STATUS
    )


# The objects


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
    step = Step(step_pod(Path("/elsewhere")), {}, 1000, 1000)

    with pytest.raises(UserError, match=r"^/training/run is in no volume of the step's Pod .*ReadWriteMany"):
        training_job(step, "training-1", 2, Path("/training/run/job.json"), 3, 2, 3)


# The shared folder


def test_inputs_go_to_the_shared_folder_and_outputs_come_back(make_fn_args, tmp_path):
    fn_args, run = make_fn_args(tmp_path, shared_folder=str(tmp_path / "training")), tmp_path / "training" / RUN_ID
    fn_args.schema_path = str(tmp_path / "schema.pbtxt")
    (tmp_path / "schema.pbtxt").write_text("feature {}")
    (run / "attempt-killed").mkdir(parents=True)
    (run / "checkpoints").mkdir()
    (run / "checkpoints/checkpoint").write_text("epoch 3")

    with through_shared_folder(fn_args, str(tmp_path / "training"), RUN_ID) as (staged, attempt):
        assert sorted(path.name for path in run.iterdir()) == [attempt.name, "checkpoints"]
        for name in ("train_files", "eval_files"):
            (ours,), (theirs,) = (
                sorted(Path(pattern).parent.iterdir() for pattern in getattr(args, name)) for args in (fn_args, staged)
            )
            assert [path.read_bytes() for path in sorted(ours)] == [path.read_bytes() for path in sorted(theirs)]
        assert (Path(staged.transform_graph_path) / "transform_fn/saved_model.pb").exists()
        assert Path(staged.schema_path).read_text() == "feature {}"
        assert staged.custom_config["checkpoints"] == str(run / "checkpoints")
        for value in (*staged.train_files, *staged.eval_files, staged.transform_graph_path, staged.serving_model_dir):
            assert value.startswith(f"{attempt}/")
        (Path(staged.serving_model_dir) / "variables").mkdir(parents=True)
        (Path(staged.serving_model_dir) / "variables/data").write_text("weights")
        Path(staged.model_run_dir).mkdir()
        (Path(staged.model_run_dir) / "training.csv").write_text("epoch")

    assert (tmp_path / "serving/variables/data").read_text() == "weights"
    assert (tmp_path / "logs/training.csv").read_text() == "epoch"
    assert [path.name for path in run.iterdir()] == ["checkpoints"]
    assert fn_args.serving_model_dir == str(tmp_path / "serving")


def test_a_failed_training_leaves_its_checkpoints_alone(make_fn_args, tmp_path):
    (tmp_path / "training").mkdir()
    with (
        pytest.raises(RuntimeError),
        through_shared_folder(make_fn_args(tmp_path), str(tmp_path / "training"), RUN_ID) as (staged, _),
    ):
        Path(staged.custom_config["checkpoints"]).mkdir()
        Path(staged.serving_model_dir).mkdir()
        raise RuntimeError

    assert [path.name for path in (tmp_path / "training" / RUN_ID).iterdir()] == ["checkpoints"]
    assert not (tmp_path / "serving").exists()


def test_a_shared_folder_that_cannot_be_used_is_one_line(make_fn_args, tmp_path):
    with (
        pytest.raises(UserError, match=r"^the shared folder .*training is not there; mount the claim"),
        through_shared_folder(make_fn_args(tmp_path), str(tmp_path / "training"), RUN_ID),
    ):
        pass

    (tmp_path / "training").mkdir()
    (tmp_path / "training" / RUN_ID).write_text("no folder")
    with (
        pytest.raises(UserError, match=r"^the shared folder .* cannot be used: .*; it must be writable"),
        through_shared_folder(make_fn_args(tmp_path), str(tmp_path / "training"), RUN_ID),
    ):
        pass


# The launcher


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClusterServer]:
    server = ClusterServer(step_pod(tmp_path / "training"))
    yield server
    server.close()


@pytest.fixture
def launch(server: ClusterServer, tmp_path: Path) -> Callable[[], None]:
    """Launches two workers with little patience."""
    return lambda: start(server.url, tmp_path)


def start(url: str, folder: Path, patience: Patience = SHORT) -> None:
    api = client.ApiClient(client.Configuration(host=url))
    KubernetesLaunch(api, NAMESPACE, STEP, RUN_ID, patience)(folder / "training/run/job.json", 2)


def nothing_is_left(server: ClusterServer) -> bool:
    return not server.objects["jobs"] and not server.objects["services"] and list(server.objects["pods"]) == [STEP]


def eventually(condition: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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
    assert (
        "training worker 1 of 2 was ended by the kernel for want of memory (OOMKilled, memory limit 8Gi); all start" in told.err
    )
    assert "another worker was gone" not in told.err
    assert [one["kind"] for one in server.created] == ["Service", "Job"]
    assert nothing_is_left(server)


def test_as_long_as_the_step_lives_the_jobs_deadline_moves_on(server, launch, monkeypatch):
    monkeypatch.setattr(kubernetes_workers, "LEASE_S", 1)

    def play(job: dict) -> None:
        chief = server.pod(0)
        eventually(lambda: server.asked["patch jobs"] >= 3)
        server.pod(0, chief, "Succeeded")

    server.played = play
    launch()

    assert server.created[1]["spec"]["activeDeadlineSeconds"] == 2  # a second from the start, and a second's lease


def test_what_an_earlier_attempt_left_is_removed_first(server, launch, capfd):
    service, job = objects()
    server.objects["services"][service["metadata"]["name"]] = service
    server.objects["jobs"][job["metadata"]["name"]] = job
    server.pod(0)
    server.played = lambda job: server.pod(0, phase="Succeeded")

    launch()

    assert server.removed == ["jobs", "services"] * 2
    assert "an earlier attempt has left training workers, which end first" in capfd.readouterr().err
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

    with pytest.raises(UserError, match=r"^Kubernetes refuses to create jobs for the training workers: .*exceeded quota: team"):
        launch()

    assert nothing_is_left(server)


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(server, tmp_path):
    def play(job: dict) -> None:
        server.refusals["get jobs"] = (503, "etcdserver: leader changed")
        eventually(lambda: server.asked["get jobs"] >= 2)
        server.pod(0, phase="Succeeded")
        del server.refusals["get jobs"]

    server.played = play
    start(server.url, tmp_path, Patience(look_s=0.02, server_s=30))

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

    assert str(error.value).startswith(f"training worker 1 of 2 could not start in 0.4 s: {reason}")
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

    with pytest.raises(UserError, match=r"^training workers lose one another .*port 2222 \(NetworkPolicy\)$"):
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

    with pytest.raises(UserError, match=r"^somebody has deleted the training Job"):
        launch()


def test_a_step_that_is_told_to_end_takes_its_workers_along(server, tmp_path):
    server.played = lambda job: server.pod(0)
    code = f"import test_kubernetes_workers as t, pathlib; t.start({server.url!r}, pathlib.Path({str(tmp_path)!r}), t.Patience())"
    paths = os.pathsep.join([str(Path(__file__).parent), str(workers.CODE)])
    step = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL)
    eventually(lambda: server.asked["list pods"] or step.poll() is not None)

    step.send_signal(signal.SIGTERM)

    assert step.wait(timeout=30) == kubernetes_workers.ENDED_BY_SIGTERM
    assert nothing_is_left(server)


def test_outside_of_a_cluster_the_key_is_refused(make_fn_args, tmp_path, monkeypatch):
    fn_args = make_fn_args(tmp_path, shared_folder=str(tmp_path))
    monkeypatch.delenv("PIPELINE_RUN_ID", raising=False)
    with pytest.raises(UserError, match=r"without the run's id in the environment; set PIPELINE_RUN_ID$"):
        train_on_workers(fn_args, 2)

    monkeypatch.setenv("PIPELINE_RUN_ID", RUN_ID)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UserError, match="this process is in no step of Kubeflow Pipelines"):
        train_on_workers(fn_args, 2)


# Real workers


class Kubelet:
    """Runs what a Job describes as processes of this machine, and starts again each that fails."""

    def __init__(self, server: ClusterServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.running: dict[int, subprocess.Popen] = {}
        self._ports = workers._free_ports(2)
        self._over = threading.Event()

    def play(self, job: dict) -> None:
        players = [threading.Thread(target=self._run, args=(job, index)) for index in range(job["spec"]["completions"])]
        for player in players:
            player.start()

    def stop(self) -> None:
        self._over.set()
        for process in self.running.values():
            process.kill()
            process.wait()

    def _run(self, job: dict, index: int) -> None:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        number = 0
        while not self._over.is_set():
            number += 1
            pod, message = self.server.pod(index), self.folder / f"message-{index}-{number}"
            arguments = []
            for argument in container["args"]:
                for port, address in zip(self._ports, addresses(job["metadata"]["name"], 2), strict=True):
                    argument = argument.replace(address, f"127.0.0.1:{port}")
                arguments.append(argument.replace(container["terminationMessagePath"], str(message)))
            process = self.running[index] = subprocess.Popen(
                [sys.executable, *container["command"][1:], *arguments],
                env={
                    **os.environ,
                    **{variable["name"]: variable["value"] for variable in container["env"] if "value" in variable},
                    "JOB_COMPLETION_INDEX": str(index),
                    "TF_NUM_INTRAOP_THREADS": "1",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for line in process.stdout:
                self.server.write(pod, line.rstrip())
            status = process.wait()
            if status == 0:
                self.server.pod(index, pod, "Succeeded")
                return
            text = message.read_text() if message.exists() else ""
            self.server.failed(index, pod, status if status >= 0 else 128 - status, text)
            if status == USER_ERROR_STATUS:
                self.server.job_condition("Failed", "PodFailurePolicy")
                return


@pytest.fixture
def kubelet(server: ClusterServer, tmp_path: Path) -> Iterator[Kubelet]:
    kubelet = Kubelet(server, tmp_path)
    server.played = kubelet.play
    (tmp_path / "training").mkdir()
    yield kubelet
    kubelet.stop()


def train(server: ClusterServer, fn_args: object) -> None:
    api = client.ApiClient(client.Configuration(host=server.url))
    train_on_workers(fn_args, 2, KubernetesLaunch(api, NAMESPACE, STEP, RUN_ID, Patience(look_s=0.1)))


def test_a_killed_worker_is_started_again_and_the_model_comes_back(server, kubelet, make_fn_args, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PIPELINE_RUN_ID", RUN_ID)
    settings = {"epochs": 2, "batch_size": 8, "crop_s": 1.0, "strategy": "multi_worker", "num_workers": 2}
    fn_args = make_fn_args(tmp_path, train=settings, shared_folder=str(tmp_path / "training"))
    checkpoints = tmp_path / "training" / RUN_ID / "checkpoints"

    def kill() -> None:
        eventually(lambda: list(checkpoints.glob("chief/ckpt-1.index")), 120)
        kubelet.running[1].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    train(server, fn_args)
    killer.join()

    told = capfd.readouterr()
    assert "training worker 1 of 2 ended with exit status 137 (SIGKILL); all start again from the last finished epoch" in told.err
    assert "training goes on from epoch 2 of 2" in told.out
    assert (tmp_path / "serving/saved_model.pb").exists()
    assert (tmp_path / "logs/training.csv").exists()
    assert list((tmp_path / "training").iterdir()) == []


def test_what_a_worker_says_reaches_the_user_and_nothing_is_tried_again(server, kubelet, make_fn_args, tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_RUN_ID", RUN_ID)
    settings = {"epochs": 1, "crop_s": 99.0, "strategy": "multi_worker", "num_workers": 2}

    with pytest.raises(UserError, match=r"^train.crop_s is 99 s, and the clips are 1.5 s long; make crop_s smaller"):
        train(server, make_fn_args(tmp_path, train=settings, shared_folder=str(tmp_path / "training")))

    assert nothing_is_left(server)
    assert list((tmp_path / "training").iterdir()) == []
