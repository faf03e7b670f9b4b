# SPDX-License-Identifier: Apache-2.0
"""Where the samples of a shard's clips lie, so that a few of them can be read and the others left alone."""

from collections.abc import Iterator
from typing import IO, NamedTuple

from beam_jobs.examples import PCM16, RecordError, field_head, read_length

HEADER_BYTES = 64
"""More than there is of a record before its samples."""


class Located(NamedTuple):
    """A record without its samples, and where in the file these begin and how many there are."""

    record: bytes
    first_byte: int
    num_samples: int


def locate_samples(file: IO[bytes]) -> Iterator[Located]:
    """Reads a shard's records but for their samples, of which no checksum can speak then: whoever needs one reads all.

    Args:
        file: uncompressed TFRecords of what `encode_clip` wrote; best unbuffered, as most of it is passed over.

    Raises:
        RecordError: the file ends inside a record, or a record does not begin with samples.
    """
    number = 0
    while (length := read_length(file, number)) is not None:
        start = file.tell()
        head = file.read(min(HEADER_BYTES, length))
        first, num_bytes = find_samples(head)
        others = length - first - num_bytes
        if others < 0:
            raise RecordError(f"record {number} is damaged (its samples are longer than it is)")
        file.seek(start + first + num_bytes)
        rest = file.read(others + 4)  # and the checksum behind them
        if len(rest) < others + 4:
            raise RecordError(f"the file ends inside record {number}")
        yield Located(field_head(1, others) + rest[:others], start + first, num_bytes // 2)
        number += 1


def find_samples(head: bytes) -> tuple[int, int]:
    """The first byte of the samples in a record and their number of bytes, told by the beginning of the record.

    Raises:
        RecordError: the record begins with something else.
    """
    name = PCM16.encode()
    try:
        key, _ = _skip_length(head, _skip_length(head, 0)[0])  # behind Example.features, Features.feature
        value = key + 2 + len(name)
        if head[key + 2 : value] != name:
            raise RecordError(f"a record does not begin with {PCM16}")
        # Behind FeatureEntry.value, Feature.bytes_list.
        return _skip_length(head, _skip_length(head, _skip_length(head, value)[0])[0])
    except IndexError:
        raise RecordError(f"a record does not begin with {PCM16}") from None


def _skip_length(head: bytes, tag: int) -> tuple[int, int]:
    """Behind a tag of one byte and its varint: the next place, and the varint."""
    place, shift, length = tag + 1, 0, 0
    while head[place] > 127:
        length |= (head[place] & 127) << shift
        place, shift = place + 1, shift + 7
    return place + 1, length | head[place] << shift
