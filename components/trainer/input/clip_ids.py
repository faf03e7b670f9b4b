# SPDX-License-Identifier: Apache-2.0
"""Which clips are in a batch, without carrying their names through the model."""

from typing import Any

import tensorflow as tf

from beam_jobs import examples
from components.trainer.input.located import LocatedClips

KEPT_BATCHES = 1024
"""More than tf.data ever has under way between here and the train step."""


class ClipIds:
    """Remembers the clip ids of the last batches that went by, in a table beside the input pipeline.

    Reading a short string of each record costs next to nothing, needs no Python, and goes ahead of the train step as the
    rest of the pipeline does; the batches themselves stay as they are, and may go to any device.
    """

    def __init__(self) -> None:
        self._table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, default_value="")

    def watch(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Passes on batches of serialized examples, string [batch], or `LocatedClips`, as they are."""

        def remember(number: tf.Tensor, batch: tf.Tensor | LocatedClips) -> Any:
            records = batch.record if isinstance(batch, LocatedClips) else batch
            ids = tf.io.parse_example(records, {examples.ID: tf.io.FixedLenFeature([], tf.string, "")})[examples.ID]
            remembered = self._table.insert(number % KEPT_BATCHES, tf.strings.reduce_join(ids, separator=", "))
            with tf.control_dependencies([remembered]):
                return tf.nest.map_structure(tf.identity, batch)

        return batches.enumerate().map(remember)

    def of(self, number: int) -> str:
        """The ids in batch `number`, counted from 0 since the iterator was made, with commas between them."""
        names: bytes = self._table.lookup(tf.constant(number % KEPT_BATCHES, tf.int64)).numpy()
        return names.decode()
