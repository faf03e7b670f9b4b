# SPDX-License-Identifier: Apache-2.0
"""Clips that are left in their files until it is known which samples of them are wanted."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from beam_jobs.examples import RecordError
from beam_jobs.located import locate_samples


class LocatedClips(NamedTuple):
    """Clips of local files, each [batch].

    Attributes:
        record: string, tf.Examples without their samples.
        path: string, of the file that holds them.
        first_byte: int64, where their samples begin in it.
        num_samples: int32.
    """

    record: tf.Tensor
    path: tf.Tensor
    first_byte: tf.Tensor
    num_samples: tf.Tensor


def located_clips(path: tf.Tensor) -> tf.data.Dataset:
    """The clips of a TFRecord file, `LocatedClips` without [batch], in their order."""

    def locate(path: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        try:
            with Path(path.decode()).open("rb", buffering=0) as file:
                found = list(locate_samples(file))
        except RecordError as error:
            raise RecordError(f"{path.decode()}: {error}") from None
        return (
            np.array([clip.record for clip in found], object),
            np.array([clip.first_byte for clip in found], np.int64),
            np.array([clip.num_samples for clip in found], np.int32),
        )

    record, first_byte, num_samples = tf.numpy_function(locate, [path], (tf.string, tf.int64, tf.int32))
    for column in (record, first_byte, num_samples):
        column.set_shape([None])
    paths = tf.fill(tf.shape(first_byte), path)
    return tf.data.Dataset.from_tensor_slices(LocatedClips(record, paths, first_byte, num_samples))


def read_samples(clips: LocatedClips, start: tf.Tensor, num_samples: tf.Tensor | int) -> tf.Tensor:
    """So many samples of each clip, int16 [batch, num_samples], from sample `start`, int32 [batch], on."""

    def read(paths: np.ndarray, places: np.ndarray, num_samples: np.ndarray) -> np.ndarray:
        samples = np.empty((len(paths), num_samples), "<i2")
        for path, place, row in zip(paths, places, samples, strict=True):
            with Path(path.decode()).open("rb", buffering=0) as file:
                file.seek(place)
                if file.readinto(row) < row.nbytes:
                    raise RecordError(f"{path.decode()}: the file was cut off while it was read")
        return samples

    place = clips.first_byte + 2 * tf.cast(start, tf.int64)
    return tf.ensure_shape(tf.numpy_function(read, [clips.path, place, num_samples], tf.int16), [None, None])
