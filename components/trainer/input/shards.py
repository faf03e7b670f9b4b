# SPDX-License-Identifier: Apache-2.0
"""From shards to records, for TensorFlow: local files as they lie, those of an object store by way of the scratch folder."""

from collections.abc import Callable

import tensorflow as tf

from beam_jobs.clip_store.scratch import Scratch


def records_of(
    files: tf.data.Dataset,
    scratch: Scratch | None = None,
    cycle_length: int = 1,
    index: int = 0,
    count: int = 1,
    read: Callable[[tf.Tensor], tf.data.Dataset] = tf.data.TFRecordDataset,
) -> tf.data.Dataset:
    """The records of TFRecord files, string.

    The next shard of an object store is fetched while those before it are read, and the order is that of local files.

    Args:
        files: their names or, with `scratch`, their addresses.
        scratch: None where the files are local.
        cycle_length: how many are read at once, a record of each in turn.
        index: with `count`, the first record of each file that is read.
        count: every count-th record is.
        read: what makes records of a file's path.
    """

    def every_count_th(name: tf.Tensor) -> tf.data.Dataset:
        return read(name).shard(count, index)

    if scratch is None:
        return files.interleave(every_count_th, cycle_length=cycle_length, num_parallel_calls=tf.data.AUTOTUNE)

    def fetch(uri: bytes) -> str:
        return scratch.fetch_ahead(uri.decode())

    def hold(uri: bytes) -> object:
        return scratch.hold(uri.decode())

    def held(uri: tf.Tensor) -> tf.data.Dataset:
        # The generator yields the path, and lets go of the shard when it is asked for another or is gone.
        path = tf.data.Dataset.from_generator(hold, output_signature=tf.TensorSpec([], tf.string), args=(uri,))
        return path.flat_map(every_count_th)

    ahead = files.map(lambda uri: tf.ensure_shape(tf.numpy_function(fetch, [uri], tf.string), [])).prefetch(1)
    # One after the other: TensorFlow would open others in advance, and each that is open takes room.
    return ahead.interleave(held, cycle_length=cycle_length)
