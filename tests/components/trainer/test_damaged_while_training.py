# SPDX-License-Identifier: Apache-2.0
"""A dataset that somebody writes to while a network is trained on it: one line that names the file, whatever TensorFlow says."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beam_jobs.clip_store import ClipsError
from components.review_report.read import TRAINING_FILE
from components.trainer.run_fn import run_fn
from components.tuner.tuner_fn import tuner_fn

CHANGED = "; the dataset was changed since it was checked; start the run again, which checks it anew"
LONG = {"epochs": 1000, "batch_size": 8, "crop_s": 1.0, "learning_rate": 1e-2}


@pytest.fixture
def dataset(shards: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shards, tmp_path / "clips")


def cut(shard: Path) -> None:
    os.truncate(shard, shard.stat().st_size // 2)


def lose(shard: Path) -> None:
    shard.unlink()


def overwrite(shard: Path) -> None:
    """With other samples, from the middle of a record on: crops are cut from them, and no checksum is looked at."""
    with shard.open("r+b") as file:
        file.seek(shard.stat().st_size // 2)
        file.write(bytes(5000))


def replace_by_folder(shard: Path) -> None:
    shard.unlink()
    shard.mkdir()


@contextmanager
def damaged_later(damage: Callable[[Path], None], shard: Path, started: Callable[[], bool]) -> Iterator[None]:
    """Damages the shard once training goes on."""
    over = threading.Event()

    def wait() -> None:
        while not started():
            if over.wait(0.01):
                return
        damage(shard)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("split", "damage", "says"),
    [
        ("train", cut, r"\d+ bytes where dataset_info.json says \d+"),
        ("train", lose, r"named in dataset_info.json, and cannot be read \(No such file or directory\)"),
        ("eval", cut, r"\d+ bytes where dataset_info.json says \d+"),
        ("eval", overwrite, r"its checksum is not the one in dataset_info.json, the file was changed"),
    ],
)
def test_the_file_is_named(
    split: str, damage: Callable[[Path], None], says: str, dataset: Path, make_fn_args, tmp_path: Path
) -> None:
    fn_args = make_fn_args(tmp_path, dataset=dataset, train=LONG)
    shard = sorted(dataset.glob(f"{split}/*.tfrecord"))[1]
    table = Path(fn_args.model_run_dir, TRAINING_FILE)

    with damaged_later(damage, shard, table.exists), pytest.raises(ClipsError, match=rf"^{shard}: {says}{CHANGED}") as raised:
        run_fn(fn_args)

    assert "\n" not in str(raised.value)
    assert not Path(fn_args.serving_model_dir).exists()


def test_nothing_is_exported_that_was_trained_on_other_samples_than_were_checked(dataset, make_fn_args, tmp_path) -> None:
    fn_args = make_fn_args(tmp_path, dataset=dataset, train=LONG)
    shard = sorted(dataset.glob("train/*.tfrecord"))[0]
    table = Path(fn_args.model_run_dir, TRAINING_FILE)

    with damaged_later(overwrite, shard, table.exists), pytest.raises(ClipsError, match=rf"^{shard}: its checksum .*{CHANGED}"):
        run_fn(fn_args)


def test_bytes_that_a_disk_lost_are_found_though_no_time_says_so(dataset: Path, make_fn_args, tmp_path: Path) -> None:
    shard = sorted(dataset.glob("eval/*.tfrecord"))[0]
    fn_args = make_fn_args(tmp_path, dataset=dataset)
    before = shard.stat()
    overwrite(shard)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(ClipsError, match=rf"^{shard}: its checksum .*{CHANGED}; if that finds nothing, generate the dataset"):
        run_fn(fn_args)


def test_it_ends_a_search(dataset: Path, make_fn_args, tmp_path: Path) -> None:
    space = {"train.learning_rate": [1e-3, 2e-3, 5e-3, 1e-2]}
    fn_args = make_fn_args(tmp_path, dataset=dataset, tune={"trials": 4, "epochs": 2, "space": space})
    fn_args.working_dir = str(tmp_path)
    tuner = tuner_fn(fn_args).tuner
    shard = sorted(dataset.glob("train/*.tfrecord"))[0]
    replace_by_folder(shard)

    with pytest.raises(ClipsError, match=rf"^{shard}: named in dataset_info.json, and cannot be read"):
        tuner.search()

    assert len(tuner.oracle.trials) == 1
