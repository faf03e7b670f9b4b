# SPDX-License-Identifier: Apache-2.0
"""From TFRecord shards to batches: read, transform, crop."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from beam_jobs import examples
from beam_jobs.clip_store.scratch import Scratch
from components.trainer.input.clip_ids import ClipIds
from components.trainer.input.crops import LEVEL_FEATURES, Transform, labelled_crops
from components.trainer.input.heard import CropLabeller
from components.trainer.input.located import LocatedClips, located_clips
from components.trainer.input.shards import records_of
from components.transform.preprocessing import LABEL, WAVEFORM

LABELLED_FEATURES = {examples.PCM16: tf.io.FixedLenFeature([], tf.string), **LEVEL_FEATURES}
"""What the preprocessing graph needs to make a waveform."""


NOT_SPEECH = -1
"""The label of a sound that is not speech."""

SHUFFLED_CLIPS = 128
MIXED_SHARDS = 4
"""That are read at once, so that clips of one do not come together."""


class NotSpeech:
    """Sounds that are not speech, some of them in front of each batch.

    Args:
        sounds: float32 [sounds, samples], as long as the longest crop at least.
        rows: how many a batch gets.
    """

    def __init__(self, sounds: np.ndarray, rows: int) -> None:
        self._sounds = tf.constant(sounds)
        self.rows = rows

    def draw(self, num_samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """float32 [rows, num_samples]: stretches of random sounds; `seed` int64 [2]."""
        count, samples = self._sounds.shape
        chosen = tf.random.stateless_uniform([self.rows], seed, 0, count, tf.int32)
        start = tf.random.stateless_uniform([], seed + 1, 0, samples - num_samples + 1, tf.int32)
        return tf.gather(self._sounds, chosen)[:, start : start + num_samples]


def training_dataset(
    patterns: Sequence[str],
    transform: Transform,
    batch_size: int,
    crop_samples: int,
    seed: int,
    cache: str | None = None,
    deterministic: bool = True,
    shard: tuple[int, int] = (0, 1),
    endless: bool = False,
    clip_ids: ClipIds | None = None,
    min_crop_samples: int | None = None,
    not_speech: NotSpeech | None = None,
    labeller: CropLabeller | None = None,
    scratch: Scratch | None = None,
) -> tf.data.Dataset:
    """Shuffled batches of random crops, other ones in every epoch, the same for the same seed.

    Args:
        patterns: of the TFRecord files; with `scratch` their addresses.
        transform: the preprocessing graph.
        batch_size: clips of a batch.
        crop_samples: see `labelled_crops`.
        seed: of the order of shards and clips and of the crops.
        cache: what `record_cache` gave.
        deterministic: False lets whichever shard or batch is ready first go first.
        shard: (index, count): this share of all clips, by file where there is one for everybody, else by record.
        endless: starts again at the end, so that all batches are full and of one shape.
        clip_ids: sees all batches go by.
        min_crop_samples: with it each batch is as long as it draws between this and `crop_samples`.
        not_speech: sounds to put in front of each batch's clips.
        labeller: see `labelled_crops`.
        scratch: where shards of an object store are kept.

    Returns:
        (waveform float32 [batch, crop_samples], label int64 [batch], -1 where it is not speech).
    """
    names, (index, count) = _names(patterns, scratch), shard
    if len(names) >= count:
        names, index, count = own_shards(names, shard), 0, 1
    files = tf.data.Dataset.from_tensor_slices(names).shuffle(len(names), seed=seed)
    # By position wherever a file stays as long as its clips wait to be shuffled; a cache holds all of a clip for other crops.
    by_position = cache is None and (scratch is None or scratch.keeps_all)
    records = records_of(files, scratch, MIXED_SHARDS, index, count, located_clips if by_position else tf.data.TFRecordDataset)
    if cache is not None:
        # What is cached are the records as they were written: 16 bits a sample, and every epoch still draws its own crops.
        records = records.cache(cache)
    records = records.shuffle(SHUFFLED_CLIPS, seed=seed)
    batches = (records.repeat() if endless else records).batch(batch_size, drop_remainder=endless)
    if clip_ids is not None:
        batches = clip_ids.watch(batches)
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)

    def crop(batch: tf.Tensor | LocatedClips, seed_pair: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seed_pair = tf.cast(seed_pair, tf.int64)
        length = crop_samples
        if min_crop_samples is not None and min_crop_samples < crop_samples:
            length = tf.random.stateless_uniform([], seed_pair + 2, min_crop_samples, crop_samples + 1, tf.int32)
        crops, label = labelled_crops(batch, transform, length, seed_pair, labeller)
        if not_speech is None:
            return crops, label
        sounds = not_speech.draw(tf.shape(crops)[1], seed_pair + 3)
        no_label = tf.fill([not_speech.rows], tf.constant(NOT_SPEECH, tf.int64))
        return tf.concat([sounds, crops], axis=0), tf.concat([no_label, label], axis=0)

    options = tf.data.Options()
    options.deterministic = deterministic
    crops = tf.data.Dataset.zip((batches, seeds)).map(crop, num_parallel_calls=tf.data.AUTOTUNE)
    return crops.prefetch(tf.data.AUTOTUNE).with_options(options)


@contextmanager
def record_cache(kind: Literal["none", "memory", "file"], folder: str) -> Iterator[str | None]:
    """Where `training_dataset` keeps the records of its first epoch; a file lies in `folder` until the context ends.

    Yields:
        None for no cache, an empty name for memory, or a file's name, as `tf.data.Dataset.cache` takes them.
    """
    if kind != "file":
        yield None if kind == "none" else ""
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="records-", dir=folder) as place:
        yield str(Path(place) / "cache")


def evaluation_dataset(
    clips: Mapping[str, int],
    transform: Transform,
    batch_sizes: Sequence[int],
    shard: tuple[int, int] = (0, 1),
    scratch: Scratch | None = None,
) -> tf.data.Dataset:
    """Whole clips in a fixed order: (waveform float32 [batch, samples], label int64 [batch]).

    Args:
        clips: number of clips by TFRecord file or, with `scratch`, by its address.
        transform: the preprocessing graph.
        batch_sizes: of each batch of everybody; clips beyond them are left out.
        shard: (index, count): every count-th size, from the index-th on, of a stretch of clips that nobody else reads.
        scratch: where shards of an object store are kept.
    """
    index, count = shard
    own = list(batch_sizes[index::count])
    begin = sum(sum(batch_sizes[other::count]) for other in range(index))
    names, skipped = _stretch(clips, begin, begin + sum(own))
    records = read_in_order(names, scratch).skip(skipped)
    if len(set(own)) == 1:
        batches = records.batch(own[0], drop_remainder=True).take(len(own))
    else:
        batches = records.batch(1).rebatch(own).take(len(own))
    # Whole clips are long and cost the network, not this function: one batch ahead is enough.
    return batches.map(lambda batch: _decode(batch, transform)).prefetch(1)


def _stretch(clips: Mapping[str, int], begin: int, end: int) -> tuple[list[str], int]:
    """The files that hold the clips from `begin` to `end`, and how many clips of the first of them come before."""
    first = 0
    names: list[str] = []
    skipped = 0
    for name, number in clips.items():
        if first < end and first + number > begin:
            skipped = skipped if names else begin - first
            names.append(name)
        first += number
    return names, skipped


def read_in_order(patterns: Sequence[str], scratch: Scratch | None = None) -> tf.data.Dataset:
    """The records of the TFRecord files that `patterns` name, as strings, one file after the other."""
    return records_of(tf.data.Dataset.from_tensor_slices(_names(patterns, scratch)), scratch)


def own_shards(names: Sequence[str], shard: tuple[int, int]) -> list[str]:
    """The files of one worker, (index, count), where there are enough for everybody."""
    index, count = shard
    return list(names[index::count] if len(names) >= count else names)


def _names(patterns: Sequence[str], scratch: Scratch | None) -> list[str]:
    # TensorFlow opens no `s3://`.
    return sorted(patterns if scratch is not None else tf.io.gfile.glob(list(patterns)))


def _decode(batch: tf.Tensor, transform: Transform) -> Any:
    features = transform(tf.io.parse_example(batch, LABELLED_FEATURES))
    return features[WAVEFORM], features[LABEL]
