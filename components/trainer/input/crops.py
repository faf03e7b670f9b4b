# SPDX-License-Identifier: Apache-2.0
"""Crops around speech: chosen from each record's mask and cut from its file or its bytes, so that nothing else is decoded."""

from collections.abc import Callable

import tensorflow as tf

from beam_jobs import examples
from beam_jobs.located import HEADER_BYTES
from beam_jobs.speech import SPEECH_BLOCKS_PER_S
from components.trainer.input.heard import SEGMENT_FEATURES, CropLabeller, Segments
from components.trainer.input.located import LocatedClips, read_samples
from components.transform.preprocessing import GAIN, LABEL, to_waveform

Transform = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

LEVEL_FEATURES = {
    examples.RMS_DBFS: tf.io.FixedLenFeature([], tf.float32),
    examples.LABEL: tf.io.FixedLenFeature([], tf.int64),
}
"""What the preprocessing graph needs to say how loud a clip gets."""

CROP_FEATURES = {
    **LEVEL_FEATURES,
    examples.SAMPLE_RATE: tf.io.FixedLenFeature([], tf.int64),
    examples.SPEECH_MASK: tf.io.FixedLenFeature([], tf.string),
}


def labelled_crops(
    batch: tf.Tensor | LocatedClips,
    transform: Transform,
    crop_samples: int | tf.Tensor,
    seed: tf.Tensor,
    labeller: CropLabeller | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random crop of each clip, and its label: the clip's, or what `labeller` makes of the voices in the crop.

    Args:
        batch: clips of one length: whole records, string [batch], or where they lie.
        transform: the preprocessing graph.
        crop_samples: length of a crop, at most a clip's.
        seed: int64 [2].
        labeller: None where every crop of a clip has the clip's label; then its segments are not read.

    Returns:
        (waveform float32 [batch, crop_samples], label int64 [batch]).
    """
    records = batch.record if isinstance(batch, LocatedClips) else batch
    parsed = tf.io.parse_example(records, CROP_FEATURES)  # which passes over what it is not asked for
    mask = tf.io.decode_raw(parsed[examples.SPEECH_MASK], tf.uint8) > 0
    block_samples = tf.cast(parsed[examples.SAMPLE_RATE], tf.int32) // SPEECH_BLOCKS_PER_S
    if isinstance(batch, LocatedClips):
        start = crop_starts(mask, block_samples, batch.num_samples, crop_samples, seed)
        samples = read_samples(batch, start, crop_samples)
    else:
        first_byte, num_bytes = find_samples(batch)
        start = crop_starts(mask, block_samples, num_bytes // 2, crop_samples, seed)
        pcm16 = tf.strings.substr(batch, first_byte + 2 * start, tf.fill(tf.shape(start), 2 * crop_samples))
        samples = tf.io.decode_raw(pcm16, tf.int16, fixed_length=2 * crop_samples)
    features = transform({name: parsed[name] for name in LEVEL_FEATURES})
    crops, label = to_waveform(samples, features[GAIN]), features[LABEL]
    if isinstance(crop_samples, int):
        crops = tf.ensure_shape(crops, [None, crop_samples])
    if labeller is None:
        return crops, label
    parsed = tf.io.parse_example(records, SEGMENT_FEATURES)
    segments = Segments(*(parsed[name] for name in examples.SEGMENTS))
    return crops, labeller(label, segments, start, tf.shape(crops)[1])


def crop_starts(
    mask: tf.Tensor, block_samples: tf.Tensor, num_samples: tf.Tensor, crop_samples: int | tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Where to cut a stretch around a random block of speech from each clip: a crop of a pause teaches nothing.

    Args:
        mask: which blocks hold speech, bool [batch, blocks].
        block_samples: length of a block, int32 [batch].
        num_samples: length of a clip, int32 [batch].
        crop_samples: length of a crop, at most a clip's.
        seed: int64 [2].

    Returns:
        The first sample of each crop, int32 [batch].
    """
    pivot = tf.random.stateless_categorical(tf.where(mask, 0.0, -1e9), 1, seed, dtype=tf.int32)[:, 0] * block_samples
    offset = tf.random.stateless_uniform(tf.shape(pivot), seed + 1, maxval=crop_samples, dtype=tf.int32)
    return tf.clip_by_value(pivot - offset, 0, num_samples - crop_samples)


def find_samples(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the samples lie in records, which begin with them: their first byte and number of bytes, int32 [batch]."""
    header = tf.cast(tf.io.decode_raw(tf.strings.substr(batch, 0, HEADER_BYTES), tf.uint8, fixed_length=HEADER_BYTES), tf.int32)
    place = tf.range(HEADER_BYTES)

    def skip_length(tag: tf.Tensor) -> tf.Tensor:
        # Behind a tag of one byte: a varint, whose bytes but the last are 128 and more.
        ends = (header < 128) & (place > tag[:, tf.newaxis])
        return tf.argmax(ends, axis=1, output_type=tf.int32) + 1

    key = skip_length(skip_length(tf.zeros([tf.shape(batch)[0]], tf.int32)))  # behind Example.features, Features.feature
    value = key + 2 + len(examples.PCM16)
    length = skip_length(skip_length(value))  # behind FeatureEntry.value, Feature.bytes_list
    first = skip_length(length)
    name = tf.strings.substr(batch, value - len(examples.PCM16), tf.fill(tf.shape(value), len(examples.PCM16)))
    first_name = tf.reduce_all(name == examples.PCM16)
    with tf.control_dependencies([tf.debugging.Assert(first_name, [f"a record does not begin with {examples.PCM16}"])]):
        digits = tf.where((place > length[:, tf.newaxis]) & (place < first[:, tf.newaxis]), header & 127, 0)
    shift = 7 * tf.maximum(place - length[:, tf.newaxis] - 1, 0)
    return first, tf.reduce_sum(tf.bitwise.left_shift(digits, tf.minimum(shift, 28)), axis=1)
