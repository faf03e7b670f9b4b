# SPDX-License-Identifier: Apache-2.0
"""Clips in serialized tf.Examples, as the generator writes them and as a client may send anything else."""

import tensorflow as tf

from beam_jobs import examples
from components.trainer.network.sound import Sound, zeros_around


def open_example(serialized: tf.Tensor, sample_rate_hz: int) -> Sound:
    """The clip of a serialized tf.Example.

    Args:
        serialized: string. It must hold `audio/pcm16`, and nothing else.
        sample_rate_hz: of a clip without `audio/sample_rate`.

    Returns:
        The sound, with an `error` where this is not such an example.
    """

    def parse(item: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        keys, values = _entries(item)
        rates = tf.boolean_mask(values, keys == examples.SAMPLE_RATE)
        rate_hz = tf.cond(
            tf.size(rates) > 0, lambda: _value(rates, "int64_list", tf.int64), lambda: tf.constant(sample_rate_hz, tf.int64)
        )
        return _value(tf.boolean_mask(values, keys == examples.PCM16), "bytes_list", tf.string), rate_hz, tf.constant(True)

    # The one way to survive an error in a graph.
    parsed = tf.data.Dataset.from_tensors(serialized).map(parse).ignore_errors()
    nothing = (tf.constant(""), tf.constant(0, tf.int64), tf.constant(False))
    pcm16, rate_hz, is_example = parsed.reduce(nothing, lambda _, clip: clip)
    samples = tf.cast(tf.strings.length(pcm16) // 2, tf.int64)

    def read(first: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.io.decode_raw(tf.strings.substr(pcm16, 2 * first, 2 * length), tf.int16), tf.float32) / 32768.0

    error = tf.where(is_example, "", f"not a tf.Example with {examples.PCM16}")
    return Sound(zeros_around(read, samples), samples, rate_hz, error)


# tf.io.parse_example would fail the whole batch for one that it cannot read, and a few wrong bytes in a list of bytes, which
# claim a length of 4 GB, end the process (TensorFlow 2.21). Errors of these functions are those of their operations.


def _entries(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Names and serialized features of an example: string [features] each."""
    features = _decode(serialized, "Example", {"features": tf.string})[0][0]
    entries = _decode(features, "Features", {"feature": tf.string})[0]
    keys, values = _decode(entries, "Features.FeatureEntry", {"key": tf.string, "value": tf.string})
    return keys[:, 0], values[:, 0]


def _value(features: tf.Tensor, kind: str, dtype: tf.DType) -> tf.Tensor:
    """The first value of the last of some features; as in any map of Protocol Buffers, the last of a name counts."""
    values = _decode(features[-1], "Feature", {kind: tf.string})[0][0]
    return _decode(values, {"bytes_list": "BytesList", "int64_list": "Int64List"}[kind], {"value": dtype})[0][0]


def _decode(message: tf.Tensor, kind: str, fields: dict[str, tf.DType]) -> list[tf.Tensor]:
    # The message types are those that every TensorFlow program is linked with.
    return tf.io.decode_proto(message, f"tensorflow.{kind}", list(fields), list(fields.values())).values
