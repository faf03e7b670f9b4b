# SPDX-License-Identifier: Apache-2.0
"""What is heard in a stretch of a clip: with a class `mixed`, a crop's label is that of the voices in it, not the clip's."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from beam_jobs import examples
from beam_jobs.labels import mixed_index

HEARD_S = 0.3
"""A voice that is in a crop for less is not counted: an utterance begins and ends with as much of a pause."""

NO_SEGMENT = -1
"""Fills up the segments of a clip that has fewer than another of its batch."""


class Segments(NamedTuple):
    """Who speaks when: `label` int64, `start_s` and `end_s` float32, all [batch, segments]; -1 where a clip has no more."""

    label: tf.Tensor
    start_s: tf.Tensor
    end_s: tf.Tensor


SEGMENT_FEATURES = {
    examples.SEGMENT_LABELS: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True, default_value=NO_SEGMENT),
    examples.SEGMENT_STARTS: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    examples.SEGMENT_ENDS: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
}


class CropLabeller(NamedTuple):
    """Labels crops by the voices in them; `mixed` is the index of that class."""

    mixed: int
    sample_rate_hz: int

    @classmethod
    def of(cls, classes: Sequence[str], sample_rate_hz: int) -> "CropLabeller | None":
        """The one for `classes`; None where there is no class `mixed`, and a crop has its clip's label."""
        mixed = mixed_index(classes)
        return None if mixed is None else cls(mixed, sample_rate_hz)

    def __call__(self, label: tf.Tensor, segments: Segments, start: tf.Tensor, num_samples: tf.Tensor | int) -> tf.Tensor:
        """Labels the crops of a batch.

        Args:
            label: of the clips, int64 [batch]; it stays where no voice is in the crop for `HEARD_S`.
            segments: of the clips.
            start: sample at which each crop begins, int32 [batch].
            num_samples: length of the crops.

        Returns:
            int64 [batch].
        """
        start_s = (tf.cast(start, tf.float32) / self.sample_rate_hz)[:, tf.newaxis]
        end_s = start_s + tf.cast(num_samples, tf.float32) / self.sample_rate_hz
        seconds = tf.maximum(tf.minimum(segments.end_s, end_s) - tf.maximum(segments.start_s, start_s), 0.0)
        # A padded segment's label is outside of one_hot's depth and gives zeros.
        by_label = tf.reduce_sum(seconds[:, :, tf.newaxis] * tf.one_hot(segments.label, self.mixed), axis=1)
        heard = by_label >= HEARD_S
        voices = tf.reduce_sum(tf.cast(heard, tf.int32), axis=1)
        only = tf.argmax(tf.cast(heard, tf.int32), axis=1)
        return tf.where(voices == 0, label, tf.where(voices == 1, only, tf.cast(self.mixed, tf.int64)))
