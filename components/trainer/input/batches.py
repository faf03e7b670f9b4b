# SPDX-License-Identifier: Apache-2.0
"""From TFRecord shards to batches: read, transform, crop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from beam_jobs import examples
from components.trainer.input.clip_ids import ClipIds
from components.trainer.input.heard import SEGMENT_FEATURES, CropLabeller, Segments
from components.transform.preprocessing import LABEL, WAVEFORM

RAW_FEATURES = {
    examples.PCM16: tf.io.FixedLenFeature([], tf.string),
    examples.RMS_DBFS: tf.io.FixedLenFeature([], tf.float32),
}
"""What the preprocessing graph needs to make a waveform."""

LABELLED_FEATURES = {**RAW_FEATURES, examples.LABEL: tf.io.FixedLenFeature([], tf.int64)}

Transform = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

RECORD_FRAME_BYTES = 16
"""Of a TFRecord around the record itself: length, its checksum, the record's checksum."""

NOT_SPEECH = -1
"""The label of a sound that is not speech."""

SHUFFLED_CLIPS = 128
SPEECH_RANGE = 1e-4
"""A block of this share of the loudest block's energy (-40 dB) is taken for speech."""


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
    block_samples: int,
    seed: int,
    cache: str | None = None,
    deterministic: bool = True,
    shard: tuple[int, int] = (0, 1),
    endless: bool = False,
    clip_ids: ClipIds | None = None,
    min_crop_samples: int | None = None,
    not_speech: NotSpeech | None = None,
    labeller: CropLabeller | None = None,
) -> tf.data.Dataset:
    """Shuffled batches of random crops, other ones in every epoch, the same for the same seed.

    Args:
        patterns: of the TFRecord files.
        transform: the preprocessing graph.
        batch_size: clips of a batch.
        crop_samples: see `random_crop`.
        block_samples: the resolution with which speech is searched for; see `random_crop`.
        seed: of the order of shards and clips and of the crops.
        cache: what `record_cache` gave.
        deterministic: False lets whichever shard or batch is ready first go first.
        shard: (index, count): this share of all clips, by file where there is one for everybody, else by record.
        endless: starts again at the end, so that all batches are full and of one shape.
        clip_ids: sees all batches go by.
        min_crop_samples: with it each batch is as long as it draws between this and `crop_samples`.
        not_speech: sounds to put in front of each batch's clips.
        labeller: see `labelled_crops`.

    Returns:
        (waveform float32 [batch, crop_samples], label int64 [batch], -1 where it is not speech).
    """
    names, (index, count) = sorted(tf.io.gfile.glob(list(patterns))), shard
    if len(names) >= count:
        names, index, count = names[index::count], 0, 1
    files = tf.data.Dataset.from_tensor_slices(names).shuffle(len(names), seed=seed)
    records = _read(files, index, count)
    if cache is not None:
        # What is cached are the records as they were written: 16 bits a sample, and every epoch still draws its own crops.
        records = records.cache(cache)
    records = records.shuffle(SHUFFLED_CLIPS, seed=seed)
    batches = (records.repeat() if endless else records).batch(batch_size, drop_remainder=endless)
    if clip_ids is not None:
        batches = clip_ids.watch(batches)
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)

    def crop(batch: tf.Tensor, seed_pair: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seed_pair = tf.cast(seed_pair, tf.int64)
        length = crop_samples
        if min_crop_samples is not None and min_crop_samples < crop_samples:
            length = tf.random.stateless_uniform([], seed_pair + 2, min_crop_samples, crop_samples + 1, tf.int32)
        crops, label = labelled_crops(batch, transform, length, block_samples, seed_pair, labeller)
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
    patterns: Sequence[str], transform: Transform, batch_size: int | Sequence[int], shard: tuple[int, int] = (0, 1)
) -> tf.data.Dataset:
    """Whole clips in a fixed order: (waveform float32 [batch, samples], label int64 [batch]).

    `batch_size` is that of all batches, or a list of the size of each; clips beyond the list are left out. `shard` is
    (index, count): every count-th batch, from the index-th on.
    """
    records = read_in_order(patterns)
    if isinstance(batch_size, int):
        batches = records.batch(batch_size)
    elif len(set(batch_size)) == 1:
        batches = records.batch(batch_size[0], drop_remainder=True).take(len(batch_size))
    else:
        batches = records.batch(1).rebatch(list(batch_size)).take(len(batch_size))
    index, count = shard
    # Whole clips are long and cost the network, not this function: one batch ahead is enough.
    return batches.shard(count, index).map(lambda batch: _decode(batch, transform)).prefetch(1)


def read_in_order(patterns: Sequence[str]) -> tf.data.Dataset:
    """The records of the TFRecord files that `patterns` name, as strings, in the same order each time."""
    return _read(tf.data.Dataset.list_files(list(patterns), shuffle=False))


def count_clips(patterns: Sequence[str]) -> dict[str, int]:
    """Number of records in each file, by jumping from one record's header to the next."""
    counts = {}
    for name in sorted(tf.io.gfile.glob(list(patterns))):
        with tf.io.gfile.GFile(name, "rb") as file:
            size, position, counts[name] = file.size(), 0, 0
            while position < size:
                file.seek(position)
                position += RECORD_FRAME_BYTES + int.from_bytes(file.read(8), "little")
                counts[name] += 1
    return counts


def labelled_crops(
    batch: tf.Tensor,
    transform: Transform,
    crop_samples: int | tf.Tensor,
    block_samples: int,
    seed: tf.Tensor,
    labeller: CropLabeller | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random crop of each clip, and its label: the clip's, or what `labeller` makes of the voices in the crop.

    Args:
        batch: records, string [batch].
        transform: the preprocessing graph.
        crop_samples: as the rest, see `random_crop`.
        block_samples: likewise.
        seed: likewise.
        labeller: None where every crop of a clip has the clip's label; then its segments are not read.

    Returns:
        (waveform float32 [batch, crop_samples], label int64 [batch]).
    """
    waveform, label = _decode(batch, transform)
    crops, start = random_crop(waveform, crop_samples, block_samples, seed)
    if labeller is None:
        return crops, label
    parsed = tf.io.parse_example(batch, SEGMENT_FEATURES)
    segments = Segments(*(parsed[name] for name in examples.SEGMENTS))
    return crops, labeller(label, segments, start, tf.shape(crops)[1])


def random_crop(
    waveform: tf.Tensor, crop_samples: int | tf.Tensor, block_samples: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts from each clip a stretch around a random block of speech: a crop of a pause teaches nothing.

    Args:
        waveform: float32 [batch, samples].
        crop_samples: length of a crop; a clip that is shorter stays whole.
        block_samples: length of the blocks whose energy is compared.
        seed: int64 [2].

    Returns:
        float32 [batch, crop_samples], and the sample at which each was cut, int32 [batch].
    """
    batch, samples = tf.shape(waveform)[0], waveform.shape[1]
    if isinstance(crop_samples, int) and samples <= crop_samples:
        return waveform, tf.zeros([batch], tf.int32)
    block_samples = min(block_samples, samples)
    blocks = samples // block_samples
    energy = tf.reduce_sum(tf.square(tf.reshape(waveform[:, : blocks * block_samples], [batch, blocks, -1])), axis=2)
    speech = energy >= SPEECH_RANGE * tf.reduce_max(energy, axis=1, keepdims=True)
    logits = tf.where(speech, 0.0, -1e9)
    pivot = tf.random.stateless_categorical(logits, 1, seed, dtype=tf.int32)[:, 0] * block_samples
    offset = tf.random.stateless_uniform([batch], seed + 1, maxval=crop_samples, dtype=tf.int32)
    start = tf.clip_by_value(pivot - offset, 0, samples - crop_samples)

    def cut(clip: tf.Tensor) -> tf.Tensor:
        return waveform[clip, start[clip] : start[clip] + crop_samples]

    # Slice by slice: a tf.gather of single samples took as long as the rest of the input pipeline.
    static_length = crop_samples if isinstance(crop_samples, int) else None
    return tf.map_fn(cut, tf.range(batch), fn_output_signature=tf.TensorSpec([static_length], tf.float32)), start


def _read(files: tf.data.Dataset, index: int = 0, count: int = 1) -> tf.data.Dataset:
    def every_count_th(name: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(name).shard(count, index)

    return files.interleave(every_count_th, cycle_length=4, num_parallel_calls=tf.data.AUTOTUNE)


def _decode(batch: tf.Tensor, transform: Transform) -> Any:
    features = transform(tf.io.parse_example(batch, LABELLED_FEATURES))
    return features[WAVEFORM], features[LABEL]
