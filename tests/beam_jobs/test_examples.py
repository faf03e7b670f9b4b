# SPDX-License-Identifier: Apache-2.0
"""Clips go to bytes and back; TensorFlow reads the same bytes; damaged ones are refused."""

import io
import json
import os
import struct
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beam_jobs.examples import (
    METADATA,
    PCM16,
    SEGMENTS,
    SPEECH_MASK,
    Clip,
    RecordError,
    Segment,
    _Example,
    _masked_crc,
    decode_clip,
    encode_clip,
    frame_record,
    read_records,
)
from beam_jobs.speech import speech_mask

names = st.text(max_size=12)
floats = st.floats(width=32, allow_nan=False)
clips = st.builds(
    Clip,
    id=names,
    label=st.integers(0, 2),
    mode=st.sampled_from(["simultaneous", "sequential"]),
    speaker_ids=st.lists(names, max_size=4).map(tuple),
    utterance_ids=st.lists(names, max_size=4).map(tuple),
    rms_dbfs=floats,
    speech_ratio=floats,
    sample_rate_hz=st.integers(8_000, 48_000),
    pcm16=hnp.arrays("<i2", st.integers(0, 60)),
    segments=st.lists(st.builds(Segment, st.integers(0, 2), floats, floats), max_size=4).map(tuple),
)
CLIP = Clip(
    "train-0000007", 1, "sequential", ("19", "26", "19"), ("19-1-0000", "26-1-0001", "19-1-0002"), -23.5, 0.75, 16_000,
    np.arange(-50, 50, dtype=np.int16), (Segment(1, 0.0, 2.5), Segment(0, 3.25, 5.0), Segment(1, 5.5, 6.0)),
)  # fmt: skip


def framed(*records: bytes) -> bytes:
    return b"".join(part for record in records for part in frame_record(record))


def as_data(clip: Clip) -> tuple:
    return (*astuple(replace(clip, pcm16=None, speech_mask=None)), clip.pcm16.tolist())


@given(clips)
def test_a_clip_comes_back_as_it_was(clip: Clip) -> None:
    record = encode_clip(clip)

    decoded = decode_clip(record)
    assert as_data(decoded) == as_data(clip)
    assert decoded.speech_mask.tolist() == speech_mask(clip.pcm16, clip.sample_rate_hz).tolist()
    assert encode_clip(decode_clip(record)) == record


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_records_come_back_in_order(records: list[bytes]) -> None:
    assert list(read_records(io.BytesIO(framed(*records)))) == records


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3), st.data())
def test_a_cut_file_is_refused(records: list[bytes], data: st.DataObject) -> None:
    whole = framed(*records)
    cuts = {0, *(len(framed(*records[: k + 1])) for k in range(len(records)))}
    length = data.draw(st.integers(0, len(whole)).filter(lambda length: length not in cuts))

    with pytest.raises(RecordError, match="the file ends inside record"):
        list(read_records(io.BytesIO(whole[:length])))


@pytest.mark.parametrize("length", [2**31, 2**63, 2**64 - 1])
def test_a_length_that_no_record_has_is_refused(length: int) -> None:
    header = struct.pack("<Q", length)
    with pytest.raises(RecordError, match=f"^record 0 claims {length} bytes$"):
        list(read_records(io.BytesIO(header + _masked_crc(header) + b"record")))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3), st.data())
def test_a_flipped_bit_is_refused(records: list[bytes], data: st.DataObject) -> None:
    damaged = bytearray(framed(*records))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(RecordError, match="damaged"):
        list(read_records(io.BytesIO(bytes(damaged))))


@given(st.data())
def test_damaged_examples_raise_nothing_else(data: st.DataObject) -> None:
    record = bytearray(encode_clip(CLIP))
    position = data.draw(st.integers(0, len(record) - 1))
    record[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))

    try:
        assert isinstance(decode_clip(bytes(record)), Clip)
    except RecordError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=60))
def test_no_other_bytes_are_a_clip(record: bytes) -> None:
    with pytest.raises(RecordError):
        decode_clip(record)


def test_a_number_of_speakers_that_does_not_fit() -> None:
    record = encode_clip(CLIP).replace(b"\x1a\x03\n\x01\x02", b"\x1a\x03\n\x01\x05")

    with pytest.raises(RecordError, match="clip train-0000007 names 2 speakers and counts 5"):
        decode_clip(record)


def without(record: bytes, names: tuple[str, ...]) -> bytes:
    example = _Example.FromString(record)
    for name in names:
        del example.features.feature[name]
    return example.SerializeToString(deterministic=True)


def test_a_record_of_a_dataset_without_segments() -> None:
    assert as_data(decode_clip(without(encode_clip(CLIP), SEGMENTS))) == as_data(replace(CLIP, segments=()))


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_record_with_part_of_its_segments(name: str) -> None:
    with pytest.raises(RecordError, match="a feature has an invalid value"):
        decode_clip(without(encode_clip(CLIP), (name,)))


READ_BY_TENSORFLOW = """
import json, sys
import tensorflow as tf
clips = []
for record in tf.data.TFRecordDataset(sys.argv[1]).as_numpy_iterator():
    features = tf.train.Example.FromString(record).features.feature
    clips.append({name: (
        [item.hex() for item in value.bytes_list.value] or list(value.float_list.value) or list(value.int64_list.value)
    ) for name, value in features.items()})
print(json.dumps(clips))
"""


def test_tensorflow_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "clips.tfrecord"
    path.write_bytes(framed(encode_clip(CLIP), encode_clip(replace(CLIP, id="eval-0000001", pcm16=-CLIP.pcm16))))

    run = subprocess.run(
        [sys.executable, "-c", READ_BY_TENSORFLOW, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )

    assert run.returncode == 0, run.stderr
    first, second = json.loads(run.stdout)
    assert set(first) == {PCM16, SPEECH_MASK, *METADATA}
    assert first[PCM16] == [CLIP.pcm16.astype("<i2").tobytes().hex()]
    assert second[PCM16] == [(-CLIP.pcm16).astype("<i2").tobytes().hex()]
    assert (bytes.fromhex(first["clip/id"][0]), bytes.fromhex(second["clip/id"][0])) == (b"train-0000007", b"eval-0000001")
    assert (first["clip/label"], first["clip/num_speakers"], first["audio/sample_rate"]) == ([1], [2], [16_000])
    assert [bytes.fromhex(item).decode() for item in first["clip/speaker_ids"]] == ["19", "26", "19"]
    assert (first["clip/rms_dbfs"], first["clip/speech_ratio"]) == ([-23.5], [0.75])
    assert first["clip/segment_labels"] == [1, 0, 1]
    assert (first["clip/segment_start_s"], first["clip/segment_end_s"]) == ([0.0, 3.25, 5.5], [2.5, 5.0, 6.0])
