# SPDX-License-Identifier: Apache-2.0
"""The tf.Example of a clip, and TFRecord framing: the one place that knows feature names and bytes.

TensorFlow is not imported: a Beam worker would pay 10 s and 400 MB for it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import IO, Any, NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import message

from beam_jobs.example_message import example_class
from beam_jobs.speech import speech_mask

PCM16 = "audio/pcm16"
SAMPLE_RATE = "audio/sample_rate"
SPEECH_MASK = "audio/speech_mask"
ID = "clip/id"
LABEL = "clip/label"
MODE = "clip/mode"
NUM_SPEAKERS = "clip/num_speakers"
SPEAKER_IDS = "clip/speaker_ids"
UTTERANCE_IDS = "clip/utterance_ids"
RMS_DBFS = "clip/rms_dbfs"
SPEECH_RATIO = "clip/speech_ratio"
SEGMENT_LABELS = "clip/segment_labels"
SEGMENT_STARTS = "clip/segment_start_s"
SEGMENT_ENDS = "clip/segment_end_s"

OFFSET = "record/offset"
NUM_BYTES = "record/bytes"

SEGMENTS = (SEGMENT_LABELS, SEGMENT_STARTS, SEGMENT_ENDS)
"""Clips of older datasets lack them, and nothing but the class `mixed` needs them."""
METADATA = (ID, LABEL, MODE, NUM_SPEAKERS, SPEAKER_IDS, UTTERANCE_IDS, RMS_DBFS, SPEECH_RATIO, SAMPLE_RATE, *SEGMENTS)
"""Every feature but the audio and where speech is in it."""


class RecordError(ValueError):
    """A TFRecord file that is cut, damaged or holds something else."""


class Segment(NamedTuple):
    """When a voice is heard in a clip; `label` is the index of its class."""

    label: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Clip:
    """A mixed clip. `pcm16` is mono int16 [samples]; `label` is the index of the class.

    `speech_ratio` is the share of it that is speech, as `beam_jobs.speech` measures it.

    `speech_mask` is that of `beam_jobs.speech`, bool [blocks]; None is measured when the clip is encoded.

    `segments` has one for each of `utterance_ids`, or none where the clip does not say who speaks when.
    """

    id: str
    label: int
    mode: str
    speaker_ids: tuple[str, ...]
    utterance_ids: tuple[str, ...]
    rms_dbfs: float
    speech_ratio: float
    sample_rate_hz: int
    pcm16: np.ndarray
    segments: tuple[Segment, ...] = ()
    speech_mask: np.ndarray | None = None


class IndexEntry(NamedTuple):
    """Where a clip's framed record lies in its shard, in bytes, and the clip without its samples."""

    clip: Clip
    offset: int
    num_bytes: int


_Example = example_class()


def encode_clip(clip: Clip) -> bytes:
    """Serialises a clip as a tf.Example. The same clip gives the same bytes on every machine.

    >>> clip = Clip("train-0000000", 1, "sequential", ("19",), ("19-1-0000",), -23.5, 0.75, 8000, np.zeros(8000, "<i2"))
    >>> record = encode_clip(clip)
    >>> len(record) - clip.pcm16.nbytes < 500
    True
    """
    return b"".join(encode_parts(clip))


def encode_parts(clip: Clip) -> tuple[bytes, bytes, bytes]:
    """The same in three parts: what is before the samples, the samples, what is behind them; so they are copied once.

    They come first in the record (`audio/pcm16` is the first name), from where a reader can cut a few of them.
    """
    features = _Example().features
    mask = speech_mask(clip.pcm16, clip.sample_rate_hz) if clip.speech_mask is None else clip.speech_mask
    features.feature[SPEECH_MASK].bytes_list.value.append(mask.tobytes())
    _add_metadata(features.feature, clip)
    others: bytes = features.SerializeToString(deterministic=True)
    samples = clip.pcm16.astype("<i2", copy=False).tobytes()
    name, size = PCM16.encode(), len(samples)
    # Each message around the samples, from the inside. What is named behind it is the field that the line opens.
    head = field_head(1, size)  # BytesList.value
    head = field_head(1, len(head) + size) + head  # Feature.bytes_list
    head = field_head(1, len(name)) + name + field_head(2, len(head) + size) + head  # FeatureEntry.key and value
    head = field_head(1, len(head) + size) + head  # Features.feature
    head = field_head(1, len(head) + size + len(others)) + head  # Example.features
    return head, samples, others


def field_head(number: int, length: int) -> bytes:
    """What stands before a field of bytes in a protocol buffer: its number and wire type 2, and its length as a varint."""
    varint = bytearray([number << 3 | 2])
    while length > 127:
        varint.append(length & 127 | 128)
        length >>= 7
    return bytes([*varint, length])


def encode_index_entry(clip: Clip, offset: int, num_bytes: int) -> bytes:
    """Serialises a clip's metadata, and where its framed record lies in its shard, as a tf.Example of some 500 bytes."""
    example = _Example()
    feature = example.features.feature
    _add_metadata(feature, clip)
    feature[OFFSET].int64_list.value.append(offset)
    feature[NUM_BYTES].int64_list.value.append(num_bytes)
    return example.SerializeToString(deterministic=True)


def _add_metadata(feature: Any, clip: Clip) -> None:
    feature[SAMPLE_RATE].int64_list.value.append(clip.sample_rate_hz)
    feature[ID].bytes_list.value.append(clip.id.encode())
    feature[LABEL].int64_list.value.append(clip.label)
    feature[MODE].bytes_list.value.append(clip.mode.encode())
    feature[NUM_SPEAKERS].int64_list.value.append(len(set(clip.speaker_ids)))
    feature[SPEAKER_IDS].bytes_list.value.extend(item.encode() for item in clip.speaker_ids)
    feature[UTTERANCE_IDS].bytes_list.value.extend(item.encode() for item in clip.utterance_ids)
    feature[RMS_DBFS].float_list.value.append(clip.rms_dbfs)
    feature[SPEECH_RATIO].float_list.value.append(clip.speech_ratio)
    feature[SEGMENT_LABELS].int64_list.value.extend(segment.label for segment in clip.segments)
    feature[SEGMENT_STARTS].float_list.value.extend(segment.start_s for segment in clip.segments)
    feature[SEGMENT_ENDS].float_list.value.extend(segment.end_s for segment in clip.segments)


def decode_clip(record: bytes) -> Clip:
    """Reads what `encode_clip` wrote.

    Raises:
        RecordError: the bytes are no tf.Example, or a feature is missing or holds what it should not.

    >>> clip = Clip("train-0000000", 1, "sequential", ("19",), ("19-1-0000",), -23.5, 0.75, 8000, np.zeros(8000, "<i2"))
    >>> decode_clip(encode_clip(clip)).speaker_ids
    ('19',)
    >>> decode_clip(b"something else")
    Traceback (most recent call last):
    beam_jobs.examples.RecordError: not a tf.Example
    """
    return _clip_of(_features(record, PCM16, SPEECH_MASK, *METADATA))


def decode_index_entry(record: bytes) -> IndexEntry:
    """Reads what `encode_index_entry` wrote.

    Raises:
        RecordError: as `decode_clip`.

    """
    feature = _features(record, OFFSET, NUM_BYTES, *METADATA)
    try:
        offset, num_bytes = feature[OFFSET].int64_list.value[0], feature[NUM_BYTES].int64_list.value[0]
    except IndexError:
        raise RecordError("an index entry does not say where its record lies") from None
    return IndexEntry(_clip_of(feature), offset, num_bytes)


def _features(record: bytes, *names: str) -> Any:
    example = _Example()
    try:
        example.ParseFromString(record)
    except message.DecodeError:
        raise RecordError("not a tf.Example") from None
    feature = example.features.feature
    if missing := [name for name in names if name not in feature and name not in SEGMENTS]:
        raise RecordError(f"feature {missing[0]} is missing")
    return feature


def _clip_of(feature: Any) -> Clip:
    try:
        clip = Clip(
            id=feature[ID].bytes_list.value[0].decode(),
            label=feature[LABEL].int64_list.value[0],
            mode=feature[MODE].bytes_list.value[0].decode(),
            speaker_ids=tuple(item.decode() for item in feature[SPEAKER_IDS].bytes_list.value),
            utterance_ids=tuple(item.decode() for item in feature[UTTERANCE_IDS].bytes_list.value),
            rms_dbfs=feature[RMS_DBFS].float_list.value[0],
            speech_ratio=feature[SPEECH_RATIO].float_list.value[0],
            sample_rate_hz=feature[SAMPLE_RATE].int64_list.value[0],
            pcm16=np.frombuffer(feature[PCM16].bytes_list.value[0] if PCM16 in feature else b"", "<i2"),
            segments=tuple(
                Segment(*parts)
                for parts in zip(
                    feature[SEGMENT_LABELS].int64_list.value,
                    feature[SEGMENT_STARTS].float_list.value,
                    feature[SEGMENT_ENDS].float_list.value,
                    strict=True,
                )
            ),
            speech_mask=np.frombuffer(feature[SPEECH_MASK].bytes_list.value[0], np.bool_) if SPEECH_MASK in feature else None,
        )
        num_speakers = feature[NUM_SPEAKERS].int64_list.value[0]
    except (IndexError, ValueError) as error:
        raise RecordError(f"a feature has an invalid value ({error})") from None
    if num_speakers != len(set(clip.speaker_ids)):
        raise RecordError(f"clip {clip.id} names {len(set(clip.speaker_ids))} speakers and counts {num_speakers}")
    return clip


def _masked_crc(*parts: bytes) -> bytes:
    crc: int = reduce(google_crc32c.extend, parts, 0)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def frame_record(*parts: bytes) -> tuple[bytes, ...]:
    """A TFRecord around a record that is given in parts: header, the parts, footer (TensorFlow's record_writer.h)."""
    length = struct.pack("<Q", sum(map(len, parts)))
    return length + _masked_crc(length), *parts, _masked_crc(*parts)


FRAME_BYTES = 16
"""Of a TFRecord around the record itself."""
MAX_RECORD_BYTES = 2**31 - 1
"""Of a record that holds a tf.Example: longer ones no protocol buffer can be."""


def read_records(file: IO[bytes]) -> Iterator[bytes]:
    """Reads an uncompressed TFRecord file, record by record.

    Raises:
        RecordError: the file ends inside a record, or a checksum does not fit its bytes.

    >>> import io
    >>> list(read_records(io.BytesIO(b"".join(frame_record(b"some ", b"bytes")))))
    [b'some bytes']
    """
    number = 0
    while (length := read_length(file, number)) is not None:
        record = file.read(length)
        footer = file.read(4)
        if len(record) < length or len(footer) < 4:
            raise RecordError(f"the file ends inside record {number}")
        if footer != _masked_crc(record):
            raise RecordError(f"record {number} is damaged (checksum)")
        yield record
        number += 1


def read_length(file: IO[bytes], number: int) -> int | None:
    """The length of the record that begins here, the `number`-th of its file; None at the end of the file.

    Raises:
        RecordError: as `read_records`.
    """
    header = file.read(12)
    if not header:
        return None
    if len(header) < 12:
        raise RecordError(f"the file ends inside record {number}")
    if header[8:] != _masked_crc(header[:8]):
        raise RecordError(f"the length of record {number} is damaged")
    length: int = struct.unpack("<Q", header[:8])[0]
    if length > MAX_RECORD_BYTES:
        raise RecordError(f"record {number} claims {length} bytes")
    return length
