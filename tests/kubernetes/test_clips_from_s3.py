# SPDX-License-Identifier: Apache-2.0
"""Training workers in Pods that fetch their clips from a real S3 server into their scratch folders; one is killed and comes back.

What each of them is sent is counted between it and the server.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from api import wait_until
from clip_datasets import write_dataset
from pod_network import PodNetwork

from beam_jobs.clip_store import ClipsReference
from beam_jobs.filesystems import set_filesystem_options
from components.trainer.spec import TrainingSpec
from components.trainer.workers.launch import train_on_workers
from tests.flink.counting_proxy import CountingProxy
from tests.flink.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server

pytestmark = [
    pytest.mark.skipif(os.environ.get("RUN_KUBERNETES") != "1", reason="needs Go, Maven and some minutes: make test-kubernetes"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, for the pods' network"),
]

SHARDS = {"train": 8, "eval": 4}
HEADERS = 1.05
"""Of the answers, beside what they bring."""


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    pytest.importorskip("boto3", reason="needs boto3, the extra `s3`")
    with S3Server(tmp_path / "s3") as server:
        set_filesystem_options(server.beam_options)
        yield server
        set_filesystem_options([])


@pytest.fixture
def dataset(s3: S3Server, clips, tmp_path: Path) -> str:
    """Clips for training and evaluation, in the store and nowhere else: four to a shard."""
    parts = {"train": clips[:32], "eval": clips[32:]}
    folder = write_dataset(
        tmp_path / "dataset",
        {split: [parts[split][shard :: SHARDS[split]] for shard in range(SHARDS[split])] for split in parts},
    )
    return s3.upload(folder, "clips")


@pytest.fixture
def store(s3: S3Server, kubelet, tmp_path: Path) -> Iterator[CountingProxy]:
    """What the pods know of the server."""
    with (
        PodNetwork(tmp_path) as kubelet.network,
        CountingProxy(int(s3.url.rsplit(":", 1)[1]), kubelet.network.listen()) as proxy,
    ):
        yield proxy


@pytest.fixture
def step_variables(store: CountingProxy, tmp_path: Path) -> dict[str, str]:
    """As `kubernetes.env` and the object store's secret give them to every step, and the Job to its workers."""
    (tmp_path / "tmp").mkdir()
    return {
        "AWS_ENDPOINT_URL": store.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "TMPDIR": str(tmp_path / "tmp"),  # a Pod's own, which goes with it
    }


def test_each_worker_fetches_its_own_shards_and_again_after_it_was_killed(
    run, store, dataset, kubelet, make_fn_args, tmp_path, meanwhile, monkeypatch, capfd
):
    monkeypatch.setenv("PIPELINE_RUN_ID", run.run_id)
    (tmp_path / "training").mkdir()
    checkpoints = tmp_path / "training" / run.run_id / "checkpoints"
    train = {"epochs": 6, "batch_size": 4, "crop_s": 1.0, "learning_rate": 1e-2, "strategy": "multi_worker", "num_workers": 2}
    fn_args = make_fn_args(
        tmp_path,
        dataset=dataset,
        train=train,
        scratch_gb=0.002,
        shared_folder=str(tmp_path / "training"),
        checkpoints=str(checkpoints),
    )
    addresses: dict[int, list[str]] = {0: [], 1: []}

    def note_addresses() -> None:
        for index, found in addresses.items():
            wait_until(lambda index=index: bool(run.pod(index, "Running")), "worker", timeout_s=600)
            found.append(run.pod(index, "Running")["status"]["podIP"])

    def kill() -> None:
        note_addresses()
        wait_until(lambda: any(checkpoints.glob("chief/ckpt-*.index")), "an epoch", timeout_s=600)
        kubelet.kill(run.pod(1, "Running")["metadata"]["name"])
        wait_until(lambda: run.pod(1, "Failed") is not None and run.pod(0, "Failed") is not None, "both ended", timeout_s=60)
        note_addresses()

    meanwhile(kill)
    train_on_workers(fn_args, TrainingSpec.of(fn_args), lambda job, num_workers: run.launch(job))

    assert (tmp_path / "serving/saved_model.pb").exists()
    told = capfd.readouterr()
    assert "training worker 1 of 2 ended with exit status 137 (SIGKILL)" in " ".join(told.err.split())
    assert "training goes on from epoch" in told.out
    shards = ClipsReference.of_dataset(dataset)
    num_bytes = {split: sum(shard.num_bytes for shard in shards.of_split(split)) for split in SHARDS}
    index_bytes = sum(shard.index_bytes for shard in shards.shards)
    print(f"\n{num_bytes} and {index_bytes} of indexes; to each Pod: {addresses} {dict(store.by_client)}")
    own = num_bytes["train"] / 2 + num_bytes["eval"] / 2
    killed, again = (store.by_client[address] for address in addresses[1])
    assert num_bytes["train"] / 2 <= killed <= HEADERS * own
    assert own <= again <= HEADERS * own
    # The chief, which watches all of the eval split, and at the end takes some clips of every shard for the model's reference.
    first, last = (store.by_client[address] for address in addresses[0])
    assert first <= HEADERS * (num_bytes["train"] / 2 + num_bytes["eval"])
    assert last <= HEADERS * (sum(num_bytes.values()) + index_bytes)
    # The killed Pod's own folder would have gone with it.
    assert len(list((tmp_path / "tmp").glob("clips-*"))) <= 1
