# SPDX-License-Identifier: Apache-2.0
"""Crops by the mask in each record, against crops by the clip's own energy, as they were drawn before there were masks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from clip_datasets import reference_to, write_dataset
from scipy.stats import ks_2samp

from beam_jobs.clip_store.scratch import Scratch
from beam_jobs.examples import PCM16, Clip, encode_clip, frame_record
from beam_jobs.speech import SPEECH_BLOCKS_PER_S, SPEECH_RANGE, speech_mask
from components.trainer.input.batches import LABELLED_FEATURES, training_dataset
from components.trainer.input.crops import find_samples, labelled_crops
from components.trainer.input.heard import CropLabeller

RATE_HZ = 8000
CROP = 4000
PAUSE = 6000


def as_it_is(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {"gain": tf.ones_like(features["clip/rms_dbfs"]), "label": features["clip/label"]}


def clip_of(pcm16: np.ndarray) -> Clip:
    return Clip("train-0", 0, "sequential", ("1",), ("1-1-0000",), -20.0, 1.0, RATE_HZ, pcm16.astype("<i2"))


def crops_of(clips: list[Clip], seed: int, crop_samples: int = CROP, transform=as_it_is) -> np.ndarray:
    batch = tf.constant([encode_clip(clip) for clip in clips])
    return labelled_crops(batch, transform, crop_samples, tf.constant([seed, 1], tf.int64))[0].numpy()


def starts_by_energy(waveform: np.ndarray, seed: int) -> np.ndarray:
    """What the Trainer did with the whole waveform (float32 [batch, samples]) before records had a mask."""
    block_samples, seed = RATE_HZ // SPEECH_BLOCKS_PER_S, tf.constant([seed, 1], tf.int64)
    batch, samples = waveform.shape
    blocks = samples // block_samples
    energy = tf.reduce_sum(tf.square(tf.reshape(waveform[:, : blocks * block_samples], [batch, blocks, -1])), axis=2)
    speech = energy >= SPEECH_RANGE * tf.reduce_max(energy, axis=1, keepdims=True)
    pivot = tf.random.stateless_categorical(tf.where(speech, 0.0, -1e9), 1, seed, dtype=tf.int32)[:, 0] * block_samples
    offset = tf.random.stateless_uniform([batch], seed + 1, maxval=CROP, dtype=tf.int32)
    return tf.clip_by_value(pivot - offset, 0, samples - CROP).numpy()


@pytest.fixture(scope="module")
def with_pauses(clips) -> list[Clip]:
    """The clips with pauses of their own in them, of digital silence and of soft noise."""
    rng = np.random.default_rng(0)
    found = []
    for clip in clips:
        pcm16 = np.tile(clip.pcm16, 2)
        first, second = rng.integers(0, len(pcm16) - PAUSE, 2)
        pcm16[first : first + PAUSE] = 0
        pcm16[second : second + PAUSE] = rng.normal(0, 2, PAUSE)
        found.append(clip_of(pcm16))
    return found


def numbered(clips: list[Clip]) -> list[Clip]:
    """The same clips with the same masks, whose samples say where they are."""
    masks = [speech_mask(clip.pcm16, RATE_HZ) for clip in clips]
    assert all(0 < mask.mean() < 1 for mask in masks)
    return [
        Clip("", 0, "", (), (), -20.0, 1.0, RATE_HZ, np.arange(len(clip.pcm16)).astype("<i2"), (), mask)
        for clip, mask in zip(clips, masks, strict=True)
    ]


def test_crops_are_those_that_the_clips_own_energy_gave(with_pauses):
    waveform = np.stack([clip.pcm16 for clip in with_pauses]).astype(np.float32) / 32768
    for seed in range(10):
        starts = starts_by_energy(waveform, seed)

        crops = crops_of(with_pauses, seed)

        assert len(set(starts.tolist())) > len(starts) / 2
        for crop, clip, start in zip(crops, with_pauses, starts, strict=True):
            assert np.array_equal(crop, clip.pcm16[start : start + CROP])


def test_they_come_from_the_same_distribution_with_other_seeds_too(with_pauses):
    """Each clip's own: a Kolmogorov-Smirnov test of 300 old starts against 300 new ones; by chance one in 1,000 fails."""
    before = np.stack([starts_by_energy(np.stack([c.pcm16 for c in with_pauses]).astype(np.float32), k) for k in range(300)])
    located = numbered(with_pauses)

    after = np.stack([crops_of(located, 1000 + seed)[:, 0] for seed in range(300)])

    assert len(located[0].pcm16) < 32768, "a sample could not say where it is"
    small = [ks_2samp(before[:, k], after[:, k]).pvalue for k in range(before.shape[1])]
    assert min(small) > 1e-3 / len(small)
    assert np.mean(np.array(small) < 0.05) < 0.2


def test_crops_hold_speech():
    pcm16 = np.zeros(10_000)
    pcm16[7200:7400] = 1000

    for seed in range(20):
        (crop,) = crops_of([clip_of(pcm16)], seed, 1600)
        assert crop.shape == (1600,)
        assert crop.any()


def test_crops_differ_by_seed_and_only_by_seed(with_pauses):
    first, again, other = (crops_of(with_pauses, seed) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_crop_as_long_as_the_clip_is_all_of_it(with_pauses):
    clip = with_pauses[0]
    assert np.array_equal(crops_of([clip], 1, len(clip.pcm16))[0], clip.pcm16)


def test_a_crop_is_a_stretch_of_the_preprocessing_graphs_waveform(clips, transform_graph):
    """To the last bit, though the graph makes whole clips."""
    transform = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()
    batch = tf.constant([encode_clip(clip) for clip in clips[:8]])
    whole = transform(tf.io.parse_example(batch, LABELLED_FEATURES))["waveform"].numpy()

    crops = crops_of(clips[:8], 3, CROP, transform)

    for waveform, crop in zip(whole, crops, strict=True):
        places = np.lib.stride_tricks.sliding_window_view(waveform, CROP)
        assert (places == crop).all(axis=1).any()


@pytest.mark.parametrize("samples", [0, 1, 60, 64, 100, 8000, 1_000_000, 1_048_500, 1_048_560, 1_048_576])
def test_the_samples_of_a_record_are_found_at_any_length(samples):
    """Lengths on both sides of where Protocol Buffers take another byte for them."""
    record = encode_clip(clip_of(np.arange(samples) % 30_000))

    first, num_bytes = find_samples(tf.constant([record, record]))

    pcm16 = tf.train.Example.FromString(record).features.feature[PCM16].bytes_list.value[0]
    assert num_bytes.numpy().tolist() == [2 * samples] * 2
    assert record[int(first[0]) : int(first[1]) + 2 * samples] == pcm16


def test_a_record_that_begins_with_something_else_is_refused():
    example = tf.train.Example()
    example.features.feature["audio/other"].bytes_list.value.append(b"0" * 100)

    with pytest.raises(tf.errors.InvalidArgumentError, match="does not begin with audio/pcm16"):
        find_samples(tf.constant([example.SerializeToString()]))


# By position.


def read_both_ways(folder: Path, **options: Any) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """The first epoch's batches, cut from files and cut from whole records, which is what is cached."""
    datasets = (training_dataset([f"{folder}/*"], as_it_is, 4, CROP, 1, cache=cache, **options) for cache in (None, ""))
    return zip(*(dataset.as_numpy_iterator() for dataset in datasets), strict=True)


@pytest.fixture(scope="module")
def folder(with_pauses, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(5):
        framed = (part for clip in with_pauses[shard::5] for part in frame_record(encode_clip(clip)))
        (folder / f"clips-{shard}").write_bytes(b"".join(framed))
    return folder


@pytest.mark.parametrize("shard", [(0, 1), (1, 2), (3, 7)])
def test_crops_from_files_are_those_of_whole_records(shard, folder):
    options = {"shard": shard, "min_crop_samples": 1000, "labeller": CropLabeller(2, RATE_HZ)}

    batches = list(read_both_ways(folder, **options))

    assert batches
    for (crops, labels), (expected, expected_labels) in batches:
        assert np.array_equal(crops, expected) and np.array_equal(labels, expected_labels)


def test_of_long_clips_little_is_read(with_pauses, tmp_path):
    """By the kernel's count of what this process reads, from the page cache too."""
    long = [clip_of(np.tile(clip.pcm16, 50)) for clip in with_pauses]
    (tmp_path / "clips").write_bytes(b"".join(part for clip in long for part in frame_record(encode_clip(clip))))

    def bytes_read(cache: str | None) -> int:
        dataset = training_dataset([f"{tmp_path}/*"], as_it_is, 4, CROP, 1, cache=cache)
        before = int(Path("/proc/self/io").read_text().split()[1])
        assert sum(len(crops) for crops, _ in dataset.as_numpy_iterator()) == len(long)
        return int(Path("/proc/self/io").read_text().split()[1]) - before

    size = (tmp_path / "clips").stat().st_size
    assert bytes_read("") >= size
    assert bytes_read(None) < 0.05 * size


def test_a_shard_that_was_cut_off_ends_the_training_with_its_name(folder, tmp_path):
    content = (folder / "clips-0").read_bytes()
    (tmp_path / "clips-0").write_bytes(content[:-1])

    with pytest.raises(tf.errors.OpError, match=f"{tmp_path}/clips-0: the file ends inside record"):
        list(training_dataset([f"{tmp_path}/*"], as_it_is, 4, CROP, 1))


@pytest.mark.parametrize("room", [1.0, 0.9])
def test_clips_of_an_object_store_are_cut_from_files_only_where_these_stay(room, with_pauses, tmp_path):
    """A copy that may make room for another is read whole while it is held. Batches are the same either way."""
    groups = [with_pauses[shard::12] for shard in range(12)]
    reference = reference_to(write_dataset(tmp_path / "clips", {"train": groups}))
    shards = reference.of_split("train")
    gigabytes = room * sum(shard.num_bytes for shard in shards) / 1e9
    scratch = Scratch(reference, gigabytes, str(tmp_path))
    names = [reference.location(shard.file) for shard in shards]

    fetched = training_dataset(names, as_it_is, 4, CROP, 1, scratch=scratch)
    local = training_dataset(names, as_it_is, 4, CROP, 1)

    assert scratch.keeps_all is (room == 1.0)
    for (crops, labels), (expected, expected_labels) in zip(fetched.as_numpy_iterator(), local.as_numpy_iterator(), strict=True):
        assert np.array_equal(crops, expected) and np.array_equal(labels, expected_labels)
    scratch.close()
