# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from beam_jobs.config import ClipsConfig, NumClips
from beam_jobs.examples import LABEL as LABEL_FEATURE
from beam_jobs.examples import RMS_DBFS, Clip, encode_clip, frame_record
from beam_jobs.make_shard import Shard
from beam_jobs.planning import class_index
from components.trainer.input.batches import NotSpeech, record_cache, training_dataset
from components.transform.preprocessing import GAIN, LABEL

CROP = 4000


@pytest.fixture(scope="module")
def transform(transform_graph):
    return tft.TFTransformOutput(str(transform_graph)).transform_features_layer()


@pytest.fixture
def train_files(shards, tmp_path) -> Path:
    """A copy of the training shards that a test may remove."""
    return Path(shutil.copytree(shards / "train", tmp_path / "train"))


def as_it_is(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """In place of the preprocessing graph: samples as they are."""
    return {GAIN: tf.ones_like(features[RMS_DBFS]), LABEL: features[LABEL_FEATURE]}


def epochs(dataset: tf.data.Dataset, number: int = 1) -> list[np.ndarray]:
    return [np.concatenate([crops for crops, _ in dataset.as_numpy_iterator()]) for _ in range(number)]


def test_the_same_seed_gives_the_same_batches(train_files, transform):
    first, again, other = (training_dataset([f"{train_files}/*.tfrecord"], transform, 8, CROP, seed) for seed in (1, 1, 2))

    (first_1, first_2), (again_1, again_2), (other_1, _) = (epochs(dataset, 2) for dataset in (first, again, other))

    assert first_1.shape == (32, CROP)
    assert np.array_equal(first_1, again_1) and np.array_equal(first_2, again_2)
    assert not np.array_equal(first_1, first_2)
    assert not np.array_equal(first_1, other_1)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_cached_epochs_read_no_shard_and_draw_other_crops(kind, train_files, transform, tmp_path):
    with record_cache(kind, str(tmp_path / "run")) as cache:
        dataset = training_dataset([f"{train_files}/*.tfrecord"], transform, 8, CROP, 1, cache)
        first = epochs(dataset)[0]
        assert any((tmp_path / "run").rglob("cache*")) == (kind == "file")
        for shard in train_files.glob("*.tfrecord"):
            shard.write_bytes(b"")

        second, third = epochs(dataset, 2)

    assert first.shape == second.shape == third.shape == (32, CROP)
    # Some crops of the same clip begin at its first sample in both epochs.
    repeated = sum(any(np.array_equal(one, other) for other in third) for one in second)
    assert repeated < 16


def test_an_uncached_epoch_reads_the_shards_again(train_files, transform, tmp_path):
    with record_cache("none", str(tmp_path / "run")) as cache:
        dataset = training_dataset([f"{train_files}/*.tfrecord"], transform, 8, CROP, 1, cache)
        epochs(dataset)
        for shard in train_files.glob("*.tfrecord"):
            shard.write_bytes(b"")

        with pytest.raises(ValueError, match="at least one array"):
            epochs(dataset)


def test_a_file_cache_leaves_nothing_behind_after_a_failure(train_files, transform, tmp_path):
    with pytest.raises(KeyboardInterrupt), record_cache("file", str(tmp_path / "run")) as cache:
        next(iter(training_dataset([f"{train_files}/*.tfrecord"], transform, 8, CROP, 1, cache)))
        assert any((tmp_path / "run").rglob("cache*"))
        raise KeyboardInterrupt

    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_order_is_free_only_where_asked(deterministic, train_files, transform):
    dataset = training_dataset([f"{train_files}/*.tfrecord"], transform, 8, CROP, 1, deterministic=deterministic)

    assert dataset.options().deterministic is deterministic
    assert len(epochs(dataset)[0]) == 32


def test_batches_are_about_as_balanced_as_chance_makes_them(tmp_path):
    """Of 16 clips drawn by chance, 14 or more are of one class in 4 of 1,000 batches."""
    for shard in range(20):
        clips = [
            Clip(f"train-{clip}", (shard + clip) % 2, "sequential", ("1",), ("1-1-0000",), -20.0, 1.0, 8000, np.ones(8, "<i2"))
            for clip in range(64)
        ]
        records = b"".join(part for clip in clips for part in frame_record(encode_clip(clip)))
        (tmp_path / f"clips-{shard:05d}-of-00020.tfrecord").write_bytes(records)

    dataset = training_dataset([f"{tmp_path}/*"], as_it_is, 16, 8, seed=1)
    most = [max(np.bincount(labels, minlength=2)) for _ in range(5) for _, labels in dataset.as_numpy_iterator()]

    assert len(most) == 400
    assert sum(number >= 14 for number in most) <= 8


def test_crops_are_as_long_as_each_batch_draws(train_files, transform):
    dataset = training_dataset([f"{train_files}/*.tfrecord"], transform, 2, CROP, 1, min_crop_samples=1000)

    first, second = (list(dataset.as_numpy_iterator()) for _ in range(2))

    lengths = [crops.shape[1] for crops, _ in first]
    assert 1000 <= min(lengths) < 2000 < 3000 < max(lengths) <= CROP
    assert lengths != [crops.shape[1] for crops, _ in second]
    assert all(crops.any(axis=1).all() for crops, _ in first)


def test_sounds_that_are_not_speech_lead_each_batch(train_files, transform):
    sounds = np.arange(1, 4)[:, np.newaxis] + np.linspace(0, 0.5, CROP + 100)
    dataset = training_dataset(
        [f"{train_files}/*.tfrecord"], transform, 8, CROP, 1, not_speech=NotSpeech(sounds.astype(np.float32), 3)
    )

    batches = list(dataset.as_numpy_iterator())

    assert len(batches) == 4
    assert {crops.shape for crops, _ in batches} == {(11, CROP)}
    for crops, label in batches:
        assert label[:3].tolist() == [-1, -1, -1]
        assert (label[3:] >= 0).all()
        assert (crops[:3] >= 1).all() and (np.abs(crops[3:]) < 1).all()
    drawn = np.concatenate([crops[:3] for crops, _ in batches])
    assert len(np.unique(np.floor(drawn[:, 0]))) > 1  # other sounds
    assert len(np.unique((drawn[:, 0] % 1).round(5))) > 1  # other stretches


def one_sided_batches(folder: Path, num_shards: int, clips_per_shard: int, workers: int = 1) -> float:
    """Share of the batches of 16 that hold 14 clips of a label or more, as the Trainer reads a dataset of so many shards."""
    clips = ClipsConfig(num_clips=NumClips(train=num_shards * clips_per_shard, eval=2, test=2))
    for number in range(num_shards):
        framed = b""
        for k in Shard("", "", "train", number, num_shards).clips(clips.num_clips.train):
            clip = Clip(
                f"train-{k}", class_index(clips, "train", k), "sequential", ("1",), ("1",), -20, 1, 8000, np.ones(8, "<i2")
            )
            framed += b"".join(frame_record(encode_clip(clip)))
        (folder / f"clips-{number:05d}").write_bytes(framed)

    female = [
        labels.sum()
        for worker in range(workers)
        for labels in (
            label.numpy()
            for _, label in training_dataset([f"{folder}/*"], as_it_is, 16, 8, worker, shard=(worker, workers))
            if len(label) == 16
        )
    ]
    return sum(not 2 < count < 14 for count in female) / len(female)


@pytest.mark.parametrize(
    ("num_shards", "clips_per_shard", "workers"),
    [(144, 64, 1), (89, 64, 1), (89, 55, 2), (233, 21, 1), (60, 50, 1), (5, 610, 8), (2, 987, 13)],
)
def test_batches_are_mixed_for_any_number_of_shards(num_shards, clips_per_shard, workers, tmp_path):
    """By chance 0.4 % of the batches have 14 clips of one label or more; labels by the golden ratio made it 5 to 13 %."""
    assert one_sided_batches(tmp_path, num_shards, clips_per_shard, workers) < 0.02  # two of 117 may be so by chance
