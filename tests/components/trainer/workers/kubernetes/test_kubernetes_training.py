# SPDX-License-Identifier: Apache-2.0
"""Real training workers, started by what a Kubernetes Job says of them."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_server import NAMESPACE, RUN_ID, STEP, ClusterServer, eventually, nothing_is_left
from kubernetes import client

from beam_jobs.errors import UserError
from components.trainer.spec import TrainingSpec
from components.trainer.workers.kubernetes.launch import KubernetesLaunch, Timeouts
from components.trainer.workers.kubernetes.objects import addresses
from components.trainer.workers.launch import _free_ports, train_on_workers
from components.trainer.workers.protocol import USER_ERROR_STATUS

pytestmark = pytest.mark.skipif(os.environ.get("RUN_KUBERNETES") != "1", reason="takes minutes: make test-kubernetes")


class Kubelet:
    """Runs what a Job describes as processes of this machine, and starts again each that fails."""

    def __init__(self, server: ClusterServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.running: dict[int, subprocess.Popen] = {}
        self._ports = _free_ports(2)
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
    train_on_workers(fn_args, TrainingSpec.of(fn_args), KubernetesLaunch(api, NAMESPACE, STEP, RUN_ID, Timeouts(poll_s=0.1)))


def test_a_killed_worker_is_started_again_and_the_model_comes_back(server, kubelet, make_fn_args, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PIPELINE_RUN_ID", RUN_ID)
    settings = {"epochs": 2, "batch_size": 8, "crop_s": 1.0, "strategy": "multi_worker", "num_workers": 2}
    fn_args = make_fn_args(tmp_path, train=settings, shared_folder=str(tmp_path / "training"))
    checkpoints = tmp_path / "training" / RUN_ID / "checkpoints"

    def kill() -> None:
        eventually(lambda: list(checkpoints.glob("chief/ckpt-1.index")), 600)
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

    with pytest.raises(UserError, match=r"^train.crop_s 99 is longer than a clip of 1.5 s; make crop_s smaller"):
        train(server, make_fn_args(tmp_path, train=settings, shared_folder=str(tmp_path / "training")))

    assert nothing_is_left(server)
    assert list((tmp_path / "training").iterdir()) == []
