# SPDX-License-Identifier: Apache-2.0
"""The preprocessing graph that training and serving share: PCM to a waveform of even loudness."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from beam_jobs import examples
from beam_jobs.silence import QUIETEST_CLIP_DBFS

WAVEFORM = "waveform"
LABEL = "label"
GAIN = "gain"


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """Decodes clips and brings each to the mean loudness of the training set.

    The only analyzer looks at `clip/rms_dbfs`, so that the analysis pass decodes no audio.

    Args:
        inputs: `audio/pcm16` bytes, `clip/rms_dbfs` float32 and `clip/label` int64, each [batch].
        custom_config: `num_samples`, the length of a clip.

    Returns:
        `waveform` float32 [batch, num_samples], full scale 1.0, `label` int64 [batch], and `gain` float32 [batch], which 16-bit
        samples are multiplied with and which needs no audio.
    """
    rms_dbfs = inputs[examples.RMS_DBFS]
    gain_db = tf.where(rms_dbfs > QUIETEST_CLIP_DBFS, tft.mean(rms_dbfs) - rms_dbfs, tf.zeros_like(rms_dbfs))
    # Full scale goes into the gain: one pass less over the samples, and the same result to the last bit.
    gain = tf.pow(10.0, gain_db / 20.0) / 32768.0
    num_samples = int(custom_config["num_samples"])
    samples = tf.io.decode_raw(inputs[examples.PCM16], tf.int16, fixed_length=2 * num_samples)
    waveform = tf.ensure_shape(to_waveform(samples, gain), [None, num_samples])
    return {WAVEFORM: waveform, LABEL: inputs[examples.LABEL], GAIN: gain}


def to_waveform(samples: tf.Tensor, gain: tf.Tensor) -> tf.Tensor:
    """16-bit samples, int16 [batch, samples], times `gain` float32 [batch]: float32 [batch, samples]."""
    return tf.cast(samples, tf.float32) * gain[:, tf.newaxis]
