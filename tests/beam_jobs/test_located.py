# SPDX-License-Identifier: Apache-2.0
"""A shard's records are read without their samples, as TensorFlow reads them but for those; damaged shards are refused."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.examples import PCM16, Clip, RecordError, decode_clip, encode_clip, frame_record
from beam_jobs.located import locate_samples

LENGTHS = [0, 1, 60, 64, 100, 8000, 1_048_560]
"""On both sides of where Protocol Buffers take another byte for them."""


def record_of(num_samples: int, number: int = 0) -> bytes:
    samples = (np.arange(num_samples) + number) % 30_000
    return encode_clip(Clip(f"train-{number}", 1, "sequential", ("19",), ("19-1",), -23.5, 0.75, 8000, samples.astype("<i2")))


def shard_of(*lengths: int) -> bytes:
    return b"".join(part for number, length in enumerate(lengths) for part in frame_record(record_of(length, number)))


@given(st.lists(st.sampled_from(LENGTHS), max_size=4))
def test_records_come_without_their_samples_and_say_where_these_are(lengths: list[int]) -> None:
    content = shard_of(*lengths)

    found = list(locate_samples(io.BytesIO(content)))

    assert [clip.num_samples for clip in found] == lengths
    for number, clip in enumerate(found):
        whole = decode_clip(record_of(lengths[number], number))
        samples = content[clip.first_byte : clip.first_byte + 2 * clip.num_samples]
        assert np.array_equal(np.frombuffer(samples, "<i2"), whole.pcm16)


def test_they_are_what_tensorflow_reads_of_a_file_that_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "clips"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, length in enumerate(LENGTHS):
            writer.write(record_of(length, number))

    with path.open("rb", buffering=0) as file:
        found = list(locate_samples(file))

    for clip, record in zip(found, tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), strict=True):
        expected = tf.train.Example.FromString(record)
        del expected.features.feature[PCM16]
        assert tf.train.Example.FromString(clip.record) == expected


def test_a_shard_that_ends_anywhere_in_a_record_is_refused() -> None:
    content, first = shard_of(100, 100), len(shard_of(100))
    for size in set(range(1, len(content))) - {first}:
        with pytest.raises(RecordError, match=r"the file ends inside record|does not begin with"):
            list(locate_samples(io.BytesIO(content[:size])))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (0, "the length of record 0 is damaged"),
        (21, "a record does not begin with audio/pcm16"),
        (-3000, "the length of record 1 is damaged"),
    ],
)
def test_what_stands_around_the_samples_is_not_taken_from_a_damaged_shard(place: int, message: str) -> None:
    content = bytearray(shard_of(8000, 0))
    content[place if place >= 0 else len(shard_of(8000))] ^= 1

    with pytest.raises(RecordError, match=message):
        list(locate_samples(io.BytesIO(content)))


def test_samples_cannot_be_longer_than_their_record() -> None:
    record = bytearray(record_of(8000))
    with pytest.raises(RecordError, match=r"record 0 is damaged \(its samples are longer than it is\)"):
        list(locate_samples(io.BytesIO(b"".join(frame_record(bytes(record[:1000]))))))
