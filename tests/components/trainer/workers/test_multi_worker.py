# SPDX-License-Identifier: Apache-2.0
"""Training in several processes: what they come to, and what happens when one of them is killed."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import tensorflow as tf
from clip_datasets import write_dataset

from beam_jobs.errors import UserError
from components.trainer.run_fn import run_fn
from components.trainer.spec import TrainingSpec
from components.trainer.workers import launch as launching
from components.trainer.workers.launch import train_on_workers
from components.trainer.workers.protocol import MAX_RESTARTS, PEER_LOST_STATUS, WorkerDied

pytestmark = pytest.mark.slow

TRAIN = {"epochs": 6, "batch_size": 8, "crop_s": 1.0, "learning_rate": 1e-2}
TWO_WORKERS = {**TRAIN, "batch_size": 4, "strategy": "multi_worker", "num_workers": 2}

# Runs the Trainer's entry point, and writes down what this process has seen and learned.
PROBE = """
import json, sys
from types import SimpleNamespace
import numpy as np
from components.trainer import training
from components.trainer.spec import TrainingSpec

fit, output = training.fit, sys.argv[2]

def watched_fit(network, *arguments):
    history = fit(network, *arguments)
    np.savez(output, *network.get_weights(), **{name: values for name, values in history.history.items()})

training.fit = watched_fit
fn_args = SimpleNamespace(**json.loads(open(sys.argv[1]).read()))
training.train_and_export(fn_args, TrainingSpec.of(fn_args))
"""


# Writes down what each replica of this process draws in the first step of a training: the frequency responses of
# the augmentation, and which features the dropout leaves out.
DRAWS = """
import json, sys
from types import SimpleNamespace
import numpy as np
import tensorflow as tf
import tf_keras as keras
if sys.argv[3:] == ["mirrored"]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.distribute.MirroredStrategy = lambda made=tf.distribute.MirroredStrategy: made(["CPU:0", "CPU:1"])
from components.trainer import training
from components.trainer.network import augmentation
from components.trainer.spec import TrainingSpec

drawn = {}

def noting(name, function):
    def call(*arguments, **options):
        result = function(*arguments, **options)
        context = tf.distribute.get_replica_context()
        if context is not None and keras.backend.learning_phase() is not False:
            number = context.replica_id_in_sync_group
            def note(number, value):
                drawn.setdefault(f"{name}/{int(number)}", value.numpy())
            tf.py_function(note, [number, tf.cast(result == 0, tf.float32) if name == "dropout" else result], [])
        return result
    return call

augmentation.smooth_curves = noting("curves", augmentation.smooth_curves)
keras.layers.Dropout.call = noting("dropout", keras.layers.Dropout.call)
fn_args = SimpleNamespace(**json.loads(open(sys.argv[1]).read()))
training.train_and_export(fn_args, TrainingSpec.of(fn_args))
np.savez(sys.argv[2], **drawn)
"""


@contextmanager
def cluster(arguments: list[str | Path], folder: Path) -> Iterator[list[subprocess.Popen]]:
    """Two workers that the test starts itself, as a cluster would; `@` in the arguments stands for the worker's number."""
    addresses = [f"127.0.0.1:{port}" for port in launching._free_ports(2)]
    processes = []
    with ExitStack() as stack:
        for index in range(2):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            processes.append(
                subprocess.Popen(
                    [sys.executable, *(str(argument).replace("@", str(index)) for argument in arguments)],
                    env={**os.environ, "TF_CONFIG": json.dumps(task)},
                    stderr=stack.enter_context((folder / f"worker{index}.log").open("w")),
                )
            )
            stack.callback(processes[-1].kill)
        yield processes


@pytest.fixture(scope="module")
def cluster_run(make_fn_args, clips, tmp_path_factory) -> SimpleNamespace:
    """What two workers came to that have one training shard between them: fewer shards than workers."""
    folder = tmp_path_factory.mktemp("cluster")
    # One class behind the other: every second clip, which is a worker's, is of both.
    train = [*clips[0:32:2], *clips[1:32:2]]
    one_shard = write_dataset(folder / "clips", {"train": [train], "eval": [clips[32:40], clips[40:]]})
    for index in range(2):
        fn_args = make_fn_args(folder / f"worker{index}", train=TWO_WORKERS, dataset=one_shard)
        (folder / f"job{index}.json").write_text(json.dumps(vars(fn_args)))
    with cluster(["-c", PROBE, folder / "job@.json", folder / "worker@.npz"], folder) as processes:
        for index, process in enumerate(processes):
            assert process.wait(timeout=400) == 0, (folder / f"worker{index}.log").read_text()
    return SimpleNamespace(folder=folder, seen=[dict(np.load(folder / f"worker{index}.npz")) for index in range(2)])


def losses(log_dir: Path) -> list[float]:
    """The training loss of each epoch, from TensorBoard's last log."""
    events = max((log_dir / "train").glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime)
    values = [value for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value]
    return [float(tf.make_ndarray(value.tensor)) for value in values if value.tag == "loss"]


def test_two_workers_end_with_equal_weights_and_metrics(cluster_run):
    first, second = cluster_run.seen

    assert first.keys() == second.keys() >= {"loss", "accuracy", "val_loss", "val_accuracy"}
    for name, values in first.items():
        assert np.array_equal(values, second[name]), name


def test_two_workers_learn_as_one_device_does_with_the_same_global_batch(cluster_run, trained):
    one_device, ours = losses(Path(trained.model_run_dir)), losses(cluster_run.folder / "worker0/logs")

    assert len(ours) == len(one_device) == TRAIN["epochs"]
    # On the way they differ: each draws other crops and conditions, and batch norms see 4 clips instead of 8.
    assert ours[-1] == pytest.approx(one_device[-1], abs=0.2)
    assert ours[-1] < ours[0] / 1.5
    # Metrics of several replicas are not added up.
    accuracies = [
        float(row["eval_accuracy"]) for row in csv.DictReader((cluster_run.folder / "worker0/logs/training.csv").open())
    ]
    assert max(accuracies) <= 1


def drawn_by_two(strategy: str, make_fn_args, folder: Path) -> dict[str, np.ndarray]:
    """What each of two replicas drew, by `what/replica`."""
    for index in range(2):
        fn_args = make_fn_args(folder / f"worker{index}", train={**TWO_WORKERS, "epochs": 1, "strategy": strategy})
        (folder / f"job{index}.json").write_text(json.dumps(vars(fn_args)))
    if strategy == "mirrored":
        subprocess.run([sys.executable, "-c", DRAWS, folder / "job0.json", folder / "drawn0.npz", "mirrored"], check=True)
    else:
        with cluster(["-c", DRAWS, folder / "job@.json", folder / "drawn@.npz"], folder) as processes:
            for index, process in enumerate(processes):
                assert process.wait(timeout=400) == 0, (folder / f"worker{index}.log").read_text()
    return {name: values for path in folder.glob("drawn?.npz") for name, values in np.load(path).items()}


@pytest.mark.parametrize("strategy", ["multi_worker", "mirrored"])
def test_each_replica_draws_conditions_of_its_own(strategy, make_fn_args, tmp_path):
    """With one seed for all, two workers would show the network each condition twice."""
    drawn = drawn_by_two(strategy, make_fn_args, tmp_path)

    for what in ("curves", "dropout"):
        first, second = drawn[f"{what}/0"], drawn[f"{what}/1"]
        assert first.shape == second.shape
        assert not np.array_equal(first, second), what


def test_the_chief_alone_leaves_files(cluster_run):
    assert (cluster_run.folder / "worker0/serving/saved_model.pb").exists()
    assert list((cluster_run.folder / "worker0/logs").rglob("events.out.tfevents.*"))
    assert not (cluster_run.folder / "worker1").exists()


def children(process: psutil.Process) -> list[psutil.Process]:
    """The training workers that a process has started."""
    return [child for child in process.children() if "components.trainer.worker" in child.cmdline()]


def wait_until(condition: Callable[[], bool], timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_checkpoint(folder: Path, number: int) -> bool:
    return any(int(path.stem.removeprefix("ckpt-")) >= number for path in folder.glob("chief/ckpt-*.index"))


def kill_a_worker_after_epochs(checkpoints: Path, number: int) -> threading.Thread:
    """Kills worker 1 of this process with -9 once so many epochs are in the checkpoint."""

    def kill() -> None:
        wait_until(lambda: has_checkpoint(checkpoints, number))
        children(psutil.Process())[1].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    return killer


def test_a_killed_worker_costs_no_more_than_an_epoch(make_fn_args, tmp_path, capfd):
    checkpoints = tmp_path / "checkpoints"
    fn_args = make_fn_args(tmp_path, train={**TWO_WORKERS, "epochs": 8}, checkpoints=str(checkpoints))

    killer = kill_a_worker_after_epochs(checkpoints, 2)
    run_fn(fn_args)
    killer.join()

    told = capfd.readouterr().err
    assert "training worker 1 of 2 was ended by SIGKILL; all workers start again from the last finished epoch" in told
    (first,) = re.findall(r"training goes on from epoch (\d+) of 8", told)
    assert 2 <= int(first) <= 7  # the second checkpoint is there, but may not be finished
    assert len(losses(tmp_path / "logs")) == 8 - int(first) + 1
    assert (tmp_path / "serving/saved_model.pb").exists()
    assert not checkpoints.exists()
    assert children(psutil.Process()) == []


def test_workers_that_die_again_and_again_end_with_a_clear_line(make_fn_args, tmp_path):
    launched = []

    def launch(job: Path, num_workers: int) -> None:
        launched.append(num_workers)
        raise WorkerDied("training worker 1 of 2 was ended by SIGKILL")

    with pytest.raises(UserError, match=r"^training worker 1 of 2 was ended by SIGKILL, after 3 restarts.*with --resume$"):
        fn_args = make_fn_args(tmp_path)
        train_on_workers(fn_args, TrainingSpec.of(fn_args), launch)

    assert launched == [2] * (1 + MAX_RESTARTS)


def test_where_nobody_starts_workers_again_the_others_end_within_a_minute_with_a_clear_line(make_fn_args, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    fn_args = make_fn_args(tmp_path, train={**TWO_WORKERS, "epochs": 1000}, checkpoints=str(checkpoints))
    job = tmp_path / "job.json"
    job.write_text(json.dumps(vars(fn_args)))
    with cluster(["-m", "components.trainer.worker", job], tmp_path) as (survivor, victim):
        wait_until(lambda: has_checkpoint(checkpoints, 1))

        victim.kill()

        assert survivor.wait(timeout=60) == PEER_LOST_STATUS
    assert (tmp_path / "error-0.txt").read_text().startswith("another training worker is gone; start all workers again")
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(tmp_path, sent):
    job = tmp_path / "job.json"
    os.mkfifo(job)  # which nobody writes to: the workers would wait for ever
    waiting = (
        f"from pathlib import Path; from components.trainer.workers.launch import launch_here; launch_here(Path({str(job)!r}), 3)"
    )
    parent = psutil.Popen([sys.executable, "-c", waiting], stderr=subprocess.DEVNULL)
    wait_until(lambda: len(children(parent)) == 3)
    started = children(parent)

    parent.send_signal(sent)

    _, alive = psutil.wait_procs([parent, *started], timeout=60)
    assert alive == []
