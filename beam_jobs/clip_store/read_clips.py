# SPDX-License-Identifier: Apache-2.0
"""Clips as the beginning of a Beam pipeline."""

from collections.abc import Iterator

import apache_beam as beam

from beam_jobs.clip_store.reference import ClipsReference
from beam_jobs.clip_store.store import stream_shard
from beam_jobs.dataset import ShardInfo


class ReadClips(beam.PTransform):
    """The records of a split, serialised tf.Examples. One element is one shard, which its worker reads where it lies."""

    def __init__(self, reference: ClipsReference, split: str) -> None:
        super().__init__()
        self._shards = reference.of_split(split)
        # The workers need no list of all shards.
        self._reference = reference.model_copy(update={"shards": []})

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Begins a pipeline."""
        return (
            pipeline
            | "Shards" >> beam.Create(self._shards, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "ReadShard" >> beam.FlatMap(_read, self._reference).with_output_types(bytes)
        )


def _read(shard: ShardInfo, reference: ClipsReference) -> Iterator[bytes]:
    yield from stream_shard(reference, shard)
